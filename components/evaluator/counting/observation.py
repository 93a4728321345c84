"""Observes the model on the holdout with the device's own interpreter: golden vectors for the self-test, histograms for drift.

Kernels of different families differ in the last bits: 22 % of int8 outputs by up to 15 steps of 256, and 0.9 % of the
answers (DS-CNN, XNNPACK against built-in kernels on three architectures). A self-test on any examples would fail a good
model. Rules, in order: 1. Only rows whose answer leads by 32 steps and is the same under both kernel families are
golden; where too few lead that far, those that lead furthest. 2. Golden rows are spread over the classes the model
answers. 3. A device may differ by 24 steps. 4. Histograms have fixed edges, so that a fleet's windows add up. 5. A real
value has no lead: rows on which both kernel families differ by no more than 24 steps are golden, spread from the lowest
value to the highest. 6. Of a stream the first rows are golden, as far as both agree: the others depend on what came before.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from edgeproof_edge.answers import answered_classes, leads, named_inputs
from edgeproof_edge.bundle import GOLDEN_FILE
from edgeproof_edge.manifest import GoldenVectors, Histogram, Reference
from edgeproof_edge.rows import Feeding
from edgeproof_edge.tensors import TensorSpec
from numpy.typing import NDArray

from components.saved_model import as_column
from releases.observation import Golden, Observation

if TYPE_CHECKING:
    from edgeproof_edge.interpreter import TFLiteModel

#: Lead of a golden row's answer, and the largest difference on a device, as shares of the output's range.
SAFE_MARGIN = 32 / 256
TOLERANCE = 24 / 256
NUM_GOLDEN = 32
#: With fewer safe rows than this, the rows that lead furthest are taken.
MIN_GOLDEN = 8
#: Rows of the holdout that are looked at: enough for histograms of 20 bins, a second of work for a large model.
MAX_OBSERVED = 4096
NUM_BINS = 20

Array = NDArray[Any]
Rows = Mapping[str, Array]


@dataclass
class _Rows:
    """Rows gathered batch by batch."""

    inputs: dict[str, list[Array]] = field(default_factory=dict)
    fast: list[Array] = field(default_factory=list)
    plain: list[Array] = field(default_factory=list)


def observe(
    model: bytes,
    batches: Iterable[Rows],
    value_ranges: Mapping[str, tuple[float, float]],
    threshold: float | None = 0.5,
) -> Observation | None:
    """Runs the model on the first rows of the holdout.

    Args:
        model: the bytes of model.tflite.
        batches: inputs by name, batch first, in real-world units.
        value_ranges: known range of an input, by name; others are taken from the rows.
        threshold: a one-unit output at or above it is class 1; None where the output is a real value.

    Returns:
        What was seen; None where there are no rows, or the model has no output of class scores (or one real value).

    Raises:
        InputError: the rows do not fit the model.
    """
    from edgeproof_edge.interpreter import Kernels, TFLiteModel, delegation

    fast, plain = TFLiteModel.load(model), TFLiteModel.load(model, Kernels.BUILTIN)
    output = _class_output(fast.outputs)
    if output is None:
        return None
    rows = _Rows()
    for batch in batches:
        bound = _bound(batch, fast.inputs)
        rows.fast.append(_scores(fast.predict(bound)[output.name]))
        rows.plain.append(_scores(plain.predict(bound)[output.name]))
        for name, values in bound.items():
            rows.inputs.setdefault(name, []).append(np.asarray(values))
        if sum(map(len, rows.fast)) >= MAX_OBSERVED:
            break
    if not rows.fast:
        return None
    inputs = {name: np.concatenate(parts)[:MAX_OBSERVED] for name, parts in rows.inputs.items()}
    scores, other = (np.concatenate(parts)[:MAX_OBSERVED] for parts in (rows.fast, rows.plain))
    delegated = delegation(fast)
    return Observation(
        golden=choose_golden(inputs, scores, other, output, threshold, is_stream=is_stream(fast)),
        reference=_reference(inputs, scores, output, value_ranges, threshold),
        delegated_fraction=None if delegated is None else round(delegated.delegated_fraction, 6),
    )


def is_stream(model: TFLiteModel) -> bool:
    """Whether what the model answers depends on the rows before."""
    return model.row_use.feeding is Feeding.STREAM


def choose_golden(
    inputs: Rows,
    scores: Array,
    other: Array,
    output: TensorSpec,
    threshold: float | None = 0.5,
    *,
    is_stream: bool = False,
) -> Golden | None:
    """Chooses golden rows and packs them.

    Args:
        inputs: inputs by name, `[n, ...]`.
        scores: the output under XNNPACK, `[n, classes]`, in real-world units.
        other: the same under built-in kernels.
        output: the output.
        threshold: of a one-unit output; None where it is a real value.
        is_stream: whether a row's output depends on the rows before it.

    Returns:
        The golden vectors; None where no row has the same answer under both.
    """
    output_range = _output_range(scores, output)
    close = np.abs(scores - other).max(axis=1) <= TOLERANCE * output_range
    usable = close & np.isfinite(scores).all(axis=1)
    if threshold is None:
        rows = np.flatnonzero(usable)
        if is_stream:
            return _packed(inputs, scores, output, _leading(usable), None)
        return _packed(inputs, scores, output, _spread(rows, _tenths(scores, rows), NUM_GOLDEN), None)
    answers = answered_classes(scores, threshold)
    margins = np.minimum(leads(scores, threshold), leads(other, threshold))
    usable &= answers == answered_classes(other, threshold)
    if is_stream:
        return _packed(inputs, scores, output, _leading(usable & (margins > 0)), margins)
    safe = np.flatnonzero(usable & (margins >= SAFE_MARGIN * output_range))
    if len(safe) < min(MIN_GOLDEN, len(scores)):
        safe = np.flatnonzero(usable & (margins > 0))
        safe = safe[np.argsort(-margins[safe], kind="stable")][:NUM_GOLDEN]
    return _packed(inputs, scores, output, _spread(safe, answers, NUM_GOLDEN), margins)


def _leading(usable: Array) -> Array:
    """The first rows, up to the first that is not usable."""
    ends = np.flatnonzero(~usable)
    return np.arange(min(int(ends[0]) if len(ends) else len(usable), NUM_GOLDEN))


def _tenths(values: Array, rows: Array) -> Array:
    """Position of every row's value `[n, 1]` among ten equal steps from the lowest to the highest of `rows`."""
    if not len(rows):
        return np.zeros(len(values), np.int64)
    low, high = float(values[rows].min()), float(values[rows].max())
    return np.searchsorted(np.linspace(low, high, 11)[1:-1], np.nan_to_num(values[:, 0]), side="right")


def _packed(inputs: Rows, scores: Array, output: TensorSpec, chosen: Array, margins: Array | None) -> Golden | None:
    if not len(chosen):
        return None
    arrays = {f"input:{name}": np.ascontiguousarray(values[chosen]) for name, values in inputs.items()}
    arrays[f"output:{output.name}"] = np.ascontiguousarray(scores[chosen])
    entry = GoldenVectors(
        file=GOLDEN_FILE,
        num_examples=len(chosen),
        output=output.name,
        minimum_margin=None if margins is None else float(margins[chosen].min()),
        tolerance=float(TOLERANCE * _output_range(scores, output)),
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


def _class_output(outputs: tuple[TensorSpec, ...]) -> TensorSpec | None:
    """The output of class scores: the only one, or the only one with more than one entry per row."""
    if len(outputs) == 1:
        return outputs[0]
    wide = [spec for spec in outputs if len(spec.shape) == 2 and spec.shape[1] > 1]
    return wide[0] if len(wide) == 1 else None


def _scores(output: Array) -> Array:
    return output.reshape(len(output), -1)


def _output_range(scores: Array, output: TensorSpec) -> float:
    """256 steps of an 8-bit output; for others, what the rows span."""
    if output.is_quantized and np.dtype(output.dtype).itemsize == 1:
        return 256 * output.scale
    finite = scores[np.isfinite(scores)]
    return float(finite.max() - finite.min()) if finite.size else 0.0


def _spread(rows: Array, answers: Array, limit: int) -> Array:
    """Up to `limit` of `rows`, taken from the answered classes in turn; sorted."""
    turns: dict[int, int] = {}
    order: list[tuple[int, int, int]] = []
    for row in rows:
        turns[int(answers[row])] = turn = turns.get(int(answers[row]), 0) + 1
        order.append((turn, len(order), int(row)))
    return np.array(sorted(row for _, _, row in sorted(order)[:limit]), np.int64)


def _reference(
    inputs: Rows,
    scores: Array,
    output: TensorSpec,
    value_ranges: Mapping[str, tuple[float, float]],
    threshold: float | None,
) -> Reference:
    histograms: list[Histogram] = []
    only_range = next(iter(value_ranges.values())) if len(value_ranges) == len(inputs) == 1 else None
    for name, values in sorted(inputs.items()):
        histograms += _input_histograms(name, values, value_ranges.get(name, only_range))
    if threshold is None:
        edges = _edges(float(scores.min()), float(scores.max()))
        answered = histogram(output.name, "value", scores[:, 0], edges)
        return Reference(len(scores), tuple(histograms), (), None, answered)
    answers = answered_classes(scores, threshold)
    num_classes = max(2, scores.shape[1])
    return Reference(
        num_examples=len(scores),
        inputs=tuple(histograms),
        predictions=tuple(int(count) for count in np.bincount(answers, minlength=num_classes)),
        confidence=histogram(output.name, "confidence", confidence(scores), _edges(0.0, 1.0)),
    )


def _input_histograms(name: str, values: Array, value_range: tuple[float, float] | None) -> list[Histogram]:
    rows = values.reshape(len(values), -1).astype(np.float64)
    low, high = value_range or (float(rows.min()), float(rows.max()))
    means = histogram(name, "mean", rows.mean(axis=1), _edges(low, high))
    return [means, histogram(name, "deviation", rows.std(axis=1), _edges(0.0, (high - low) / 2))]


def confidence(scores: Array) -> Array:
    """How sure an answer is, 0 to 1: the largest probability; logits go through softmax or a sigmoid first.

    Args:
        scores: `[n, classes]`, or `[n, 1]` of a two-class model.
    """
    values = scores.astype(np.float64)
    is_probability = bool(((values >= -0.01) & (values <= 1.01)).all())
    if values.shape[1] == 1:
        positive = values[:, 0] if is_probability else 1 / (1 + np.exp(-np.clip(values[:, 0], -500, 500)))
        return np.clip(np.maximum(positive, 1 - positive), 0.0, 1.0)
    if not is_probability:
        exponents = np.exp(values - values.max(axis=1, keepdims=True))
        values = exponents / exponents.sum(axis=1, keepdims=True)
    highest: Array = np.clip(values.max(axis=1), 0.0, 1.0)
    return highest


def _edges(low: float, high: float) -> tuple[float, ...]:
    high = high if high > low else low + 1.0
    return tuple(float(edge) for edge in np.linspace(low, high, NUM_BINS + 1))
