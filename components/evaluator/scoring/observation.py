"""From the rows that the one pass observed to what a bundle carries: golden vectors for the self-test, histograms for drift.

Kernels of different families differ in the last bits: 22 % of int8 outputs by up to 15 steps of 256, and 0.9 % of the
answers (DS-CNN, XNNPACK against built-in kernels on three architectures). A self-test on any examples would fail a good
model. Rules, in order: 1. Only rows whose answer leads by 32 steps and is the same under both kernel families are
golden; where too few lead that far, those that lead furthest. 2. Golden rows are spread over the classes the model
answers. 3. A device may differ by 24 steps. 4. Histograms have fixed edges, so that a fleet's windows add up. 5. A real
value has no lead: rows on which both kernel families differ by no more than 24 steps are golden, spread from the lowest
value to the highest. 6. Of a stream no row is golden: its answer depends on the rows before it. 7. Golden rows are raw examples, and
travel to every device.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from edgeproof_edge.answers import answered_classes, judged_output, leads, named_inputs
from edgeproof_edge.bundle import GOLDEN_FILE
from edgeproof_edge.manifest import GoldenVectors, Histogram, Reference
from edgeproof_edge.tensors import TensorSpec
from numpy.typing import NDArray

from components.evaluator.counting.flips import row_keys
from components.evaluator.scoring.observed_rows import SAFE_MARGIN, ObservedRows, Watch, observe_batch, row_confidences
from components.saved_models.saved_model import as_column
from releases.bundles.observation import Golden, Observation

#: The largest difference on a device, as a share of the output's range.
TOLERANCE = 24 / 256
NUM_GOLDEN = 32
#: With fewer safe rows than this, the rows that lead furthest are taken.
MIN_GOLDEN = 8
NUM_BINS = 20

Array = NDArray[Any]
Rows = Mapping[str, Array]


def observe(
    model: bytes,
    batches: Iterable[Rows],
    value_ranges: Mapping[str, tuple[float, float]],
    threshold: float | None = 0.5,
    output: str = "",
) -> Observation | None:
    """Runs the model on rows of their own, such as the split that golden rows are to come from.

    Args:
        model: The bytes of model.tflite.
        batches: Inputs by name, batch first, in real-world units.
        value_ranges: Known range of an input, by name; others are taken from the rows.
        threshold: A one-unit output at or above it is class 1; None where the output is a real value.
        output: The output that is judged; empty where the model has one.

    Returns:
        What was seen; None where there are no rows, or the model has several outputs and none is named.

    Raises:
        InputError: The rows do not fit the model.
    """
    from edgeproof_edge.interpreter import Kernels, TFLiteModel, delegation

    fast, plain = TFLiteModel.load(model), TFLiteModel.load(model, Kernels.BUILTIN)
    name = judged_output([spec.name for spec in fast.outputs], output)
    if name is None:
        return None
    watch = Watch(next(spec for spec in fast.outputs if spec.name == name), threshold)
    observed: ObservedRows | None = None
    for batch in batches:
        bound = _bound(batch, fast.inputs)
        every, keys = np.arange(len(next(iter(bound.values())))), row_keys(bound)
        part = observe_batch(watch, keys, bound, fast.predict(bound)[name], every, plain.predict(bound)[name])
        observed = part if observed is None else observed + part
    if observed is None:
        return None
    delegated = delegation(fast)
    return summarize(observed, watch, value_ranges, None if delegated is None else delegated.delegated_fraction)


def summarize(
    observed: ObservedRows,
    watch: Watch,
    value_ranges: Mapping[str, tuple[float, float]],
    delegated_fraction: float | None,
) -> Observation:
    """What a bundle carries of the observed rows."""
    return Observation(
        golden=golden_of(observed, watch),
        reference=_reference(observed, watch, value_ranges),
        delegated_fraction=None if delegated_fraction is None else round(delegated_fraction, 6),
    )


def golden_of(observed: ObservedRows, watch: Watch) -> Golden | None:
    """The golden vectors among the candidates; None where no row has the same answer under both kernel families."""
    if not observed.candidates:
        return None
    names = observed.candidates[0].inputs
    inputs = {name: np.stack([row.inputs[name] for row in observed.candidates]) for name in names}
    scores, other = (np.stack([getattr(row, which) for row in observed.candidates]) for which in ("scores", "other"))
    low, high = observed.values[:, 1], observed.values[:, 2]
    finite = np.isfinite(low) & np.isfinite(high)
    span = float(high[finite].max() - low[finite].min()) if finite.any() else 0.0
    return choose_golden(inputs, scores, other, watch, span)


def choose_golden(inputs: Rows, scores: Array, other: Array, watch: Watch, span: float) -> Golden | None:
    """Chooses golden rows and packs them.

    Args:
        inputs: Inputs by name, ``[n, ...]``.
        scores: The output under XNNPACK, ``[n, classes]``, in real-world units.
        other: The same under built-in kernels.
        watch: The output and its threshold.
        span: What the output's values span over all rows; of an 8-bit output its 256 steps count instead.

    Returns:
        The golden vectors; None where no row has the same answer under both.
    """
    output, threshold = watch.output, watch.threshold
    output_range = watch.fixed_range or span
    close = np.abs(scores - other).max(axis=1) <= TOLERANCE * output_range
    usable = close & np.isfinite(scores).all(axis=1)
    if threshold is None:
        rows = np.flatnonzero(usable)
        return _packed(inputs, scores, output, _spread(rows, _tenths(scores, rows), NUM_GOLDEN), None, output_range)
    answers = answered_classes(scores, threshold)
    margins = np.minimum(leads(scores, threshold), leads(other, threshold))
    usable &= answers == answered_classes(other, threshold)
    safe = np.flatnonzero(usable & (margins >= SAFE_MARGIN * output_range))
    if len(safe) < min(MIN_GOLDEN, len(scores)):
        safe = np.flatnonzero(usable & (margins > 0))
        safe = safe[np.argsort(-margins[safe], kind="stable")][:NUM_GOLDEN]
    return _packed(inputs, scores, output, _spread(safe, answers, NUM_GOLDEN), margins, output_range)


def _tenths(values: Array, rows: Array) -> Array:
    """Position of every row's value `[n, 1]` among ten equal steps from the lowest to the highest of `rows`."""
    if not len(rows):
        return np.zeros(len(values), np.int64)
    low, high = float(values[rows].min()), float(values[rows].max())
    return np.searchsorted(np.linspace(low, high, 11)[1:-1], np.nan_to_num(values[:, 0]), side="right")


def _packed(
    inputs: Rows, scores: Array, output: TensorSpec, chosen: Array, margins: Array | None, output_range: float
) -> Golden | None:
    if not len(chosen):
        return None
    arrays = {f"input:{name}": np.ascontiguousarray(values[chosen]) for name, values in inputs.items()}
    arrays[f"output:{output.name}"] = np.ascontiguousarray(scores[chosen])
    entry = GoldenVectors(
        file=GOLDEN_FILE,
        num_examples=len(chosen),
        output=output.name,
        minimum_margin=None if margins is None else float(margins[chosen].min()),
        tolerance=float(TOLERANCE * output_range),
    )
    return Golden(entry, pack_arrays(arrays))


def pack_arrays(arrays: Mapping[str, Array]) -> bytes:
    """Returns an .npz file without times: equal arrays are equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            part = io.BytesIO()
            np.save(part, arrays[name], allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), part.getvalue(), zipfile.ZIP_DEFLATED, 6)
    return buffer.getvalue()


def histogram(name: str, statistic: str, values: Array, edges: tuple[float, ...]) -> Histogram:
    """Counts values over fixed edges; see `Histogram`."""
    bins = np.searchsorted(np.asarray(edges), values, side="right")
    counts = np.bincount(bins, minlength=len(edges) + 1)
    return Histogram(name, statistic, edges, tuple(int(count) for count in counts))


def _bound(batch: Rows, inputs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    """Rows under the model's own names; one number per row fits an input of one."""
    named = named_inputs(batch, [spec.name for spec in inputs])
    return {spec.name: as_column(named[spec.name], spec) for spec in inputs}


def _spread(rows: Array, answers: Array, limit: int) -> Array:
    """Up to `limit` of `rows`, taken from the answered classes in turn; sorted."""
    turns: dict[int, int] = {}
    order: list[tuple[int, int, int]] = []
    for row in rows:
        turns[int(answers[row])] = turn = turns.get(int(answers[row]), 0) + 1
        order.append((turn, len(order), int(row)))
    return np.array(sorted(row for _, _, row in sorted(order)[:limit]), np.int64)


def _reference(observed: ObservedRows, watch: Watch, value_ranges: Mapping[str, tuple[float, float]]) -> Reference:
    histograms: list[Histogram] = []
    only_range = next(iter(value_ranges.values())) if len(value_ranges) == len(observed.inputs) == 1 else None
    for name, facts in sorted(observed.inputs.items()):
        histograms += _input_histograms(name, facts, value_ranges.get(name, only_range))
    num_examples, name = len(observed.keys), watch.output.name
    if watch.threshold is None:
        values = observed.values[:, 0]
        finite = values[np.isfinite(values)]
        edges = _edges(float(finite.min()), float(finite.max())) if finite.size else _edges(0.0, 1.0)
        return Reference(num_examples, tuple(histograms), (), None, histogram(name, "value", values, edges))
    counts = np.bincount(observed.answers, minlength=observed.num_classes)
    sure = observed.confidences[:, 0 if observed.are_probabilities.all() else 1]
    return Reference(
        num_examples=num_examples,
        inputs=tuple(histograms),
        predictions=tuple(int(count) for count in counts),
        confidence=histogram(name, "confidence", sure, _edges(0.0, 1.0)),
    )


def _input_histograms(
    name: str, facts: NDArray[np.float64], value_range: tuple[float, float] | None
) -> list[Histogram]:
    low, high = value_range or (float(facts[:, 2].min()), float(facts[:, 3].max()))
    means = histogram(name, "mean", facts[:, 0], _edges(low, high))
    return [means, histogram(name, "deviation", facts[:, 1], _edges(0.0, (high - low) / 2))]


def confidence(scores: Array) -> Array:
    """How sure an answer is, 0 to 1: the largest probability; logits go through softmax or a sigmoid first.

    Args:
        scores: ``[n, classes]``, or ``[n, 1]`` of a two-class model.
    """
    both, are_probabilities = row_confidences(scores)
    return np.asarray(both[:, 0 if are_probabilities.all() else 1])


def _edges(low: float, high: float) -> tuple[float, ...]:
    high = high if high > low else low + 1.0
    return tuple(float(edge) for edge in np.linspace(low, high, NUM_BINS + 1))
