"""Why a float model may be near chance although it is a good model: its inputs or its classes are not what it was trained on.

Nothing is guessed from ranges or names: the float model is run again on a few hundred examples with the pixels scaled
otherwise, with the color channels the other way round, and with the classes in another order. What makes it right far
more often is the cause, and chance must not explain it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from edgeproof_edge.errors import EdgeproofError
from numpy.typing import NDArray

from components.data.examples import Batch
from components.evaluator.case import Case
from components.evaluator.counting.class_statistics import ClassStatistics
from components.evaluator.counting.tally import Tally
from components.evaluator.scoring.both_models import paired_names
from components.exact_tests import PairedLoss, is_beyond_chance
from components.saved_models.saved_model import FloatModel, bind_inputs

#: Share of one answer among all from which "one answer for everything" is said.
ONE_ANSWER_SHARE = 0.95
#: A cause makes the float model right for at least so many times as many examples, or for most of what it got wrong.
LEAST_GAIN = 1.5


@dataclass(frozen=True)
class Probe:
    """What was found out: the likely cause, what to do, and the share of examples that the float model is then right for."""

    cause: str
    step: str
    right_share: float = 0.0


def probe_float_model(case: Case, tally: Tally, batch: Batch | None) -> Probe | None:
    """Looks for a cause of a float model near chance; None where none was found.

    Args:
        case: What is judged.
        tally: What was counted.
        batch: A few hundred examples to try; None where there are none at hand.
    """
    if not isinstance(tally.whole, ClassStatistics):
        return None
    probes = [probe for probe in (_of_inputs(case, batch), _class_order(case, tally.whole)) if probe is not None]
    best = max(
        probes, key=lambda probe: probe.right_share, default=None
    )  # colors that changed places look like classes that did
    return best or _one_answer(case, tally.whole)


def _class_order(case: Case, statistics: ClassStatistics) -> Probe | None:
    """Whether another order of the classes makes most answers right."""
    counts = statistics.counts
    size = counts.num_classes
    if not statistics.confusion or size < 2:
        return None
    table = np.zeros((size, size), np.int64)
    for (label, of_float, _), number in statistics.confusion.items():
        table[label, of_float] += number
    order = best_order(table)
    right, reordered = int(np.trace(table)), int(table[np.arange(size), order].sum())
    if not _is_clear(right, reordered, counts.num_examples):
        return None
    moved = [label for label in range(size) if order[label] != label and table[label].any()]
    examples = ", ".join(f"{_name(case, label)} -> output {order[label]}" for label in moved[:3])
    return Probe(
        f"class order: with the classes in another order the float model is right for {reordered} of {counts.num_examples} "
        f"examples, not for {right} ({examples}{', ...' if len(moved) > 3 else ''})",
        "number the labels as the model's outputs are (class_names in the order of the outputs)",
        reordered / counts.num_examples,
    )


def best_order(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Output of every label, each once, so that most answers are right: the assignment problem."""
    from scipy.optimize import linear_sum_assignment

    return np.asarray(linear_sum_assignment(table, maximize=True)[1], np.int64)


def _of_inputs(case: Case, batch: Batch | None) -> Probe | None:
    """Whether pixels scaled or ordered otherwise make the float model right far more often."""
    if batch is None:
        return None
    try:
        model = FloatModel.load(case.saved_model)
        inputs = bind_inputs(batch.inputs, model.signature.inputs)
        before = _right_answers(case, model, inputs, batch)
        causes: list[Probe] = []
        for words, step, changed in _variants(inputs):
            after = _right_answers(case, model, changed, batch)
            gains, losses = int((after & ~before).sum()), int((before & ~after).sum())
            is_clear = _is_clear(int(before.sum()), int(after.sum()), len(before))
            if is_clear and is_beyond_chance(PairedLoss(gains, losses)):
                cause = (
                    f"{words}: with that changed the float model is right for {int(after.sum())} of {len(before)} examples "
                    f"that were tried, not for {int(before.sum())}"
                )
                causes.append(Probe(cause, step, float(after.mean())))
    except EdgeproofError:  # a probe explains a refusal and decides nothing
        return None
    return max(causes, key=lambda probe: probe.right_share, default=None)


def _variants(inputs: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, str, dict[str, NDArray[Any]]]]:
    """The image among the inputs, changed: in words, what to do, and the inputs."""
    images = [name for name, array in inputs.items() if array.ndim == 4 and array.shape[-1] in (1, 3, 4)]
    if len(images) != 1:
        return
    name = images[0]
    pixels = inputs[name].astype(np.float32)
    low, high = float(pixels.min()), float(pixels.max())
    scaled: list[tuple[str, NDArray[Any]]] = [("", pixels)]
    if low >= 0 and high <= 1:
        scaled += [("pixel range: pixels are 0..1, and the model wants 0..255", 255 * pixels)]
        scaled += [("pixel range: pixels are 0..1, and the model wants -1..1", 2 * pixels - 1)]
    elif low < 0 and low >= -1 and high <= 1:
        scaled += [("pixel range: pixels are -1..1, and the model wants 0..255", 127.5 * (pixels + 1))]
        scaled += [("pixel range: pixels are -1..1, and the model wants 0..1", (pixels + 1) / 2)]
    elif low >= 0 and high <= 255:
        scaled += [("pixel range: pixels are 0..255, and the model wants 0..1", pixels / 255)]
        scaled += [("pixel range: pixels are 0..255, and the model wants -1..1", pixels / 127.5 - 1)]
    for words, array in scaled:
        if words:
            yield words, _step(words), {**inputs, name: array.astype(inputs[name].dtype)}
    if pixels.shape[-1] == 3:
        for words, array in scaled:
            channels = "channel order: red and blue have changed places (BGR for RGB)"
            advice = f"{channels}, and {words}" if words else channels
            yield advice, _step(advice), {**inputs, name: array[..., ::-1].astype(inputs[name].dtype)}


def _step(words: str) -> str:
    parts = ["give the pixels as the model wants them"] if "pixel range" in words else []
    parts += ["turn the color channels round"] if "channel order" in words else []
    return " and ".join(parts) + ", in the data or in the exported signature"


def _right_answers(
    case: Case, model: FloatModel, inputs: Mapping[str, NDArray[Any]], batch: Batch
) -> NDArray[np.bool_]:
    outputs = model.predict(inputs)
    name, _ = paired_names(outputs, outputs, case.output)
    right = case.measurement.compare(batch.labels, outputs[name], outputs[name]).right_float
    return np.zeros(len(batch.labels), np.bool_) if right is None else right


def _one_answer(case: Case, statistics: ClassStatistics) -> Probe | None:
    answers, labels = statistics.counts.predicted_float, statistics.counts.examples_by_label
    total = sum(answers)
    if not total or max(answers) < ONE_ANSWER_SHARE * total:
        return None
    favorite = answers.index(max(answers))
    if labels[favorite] >= ONE_ANSWER_SHARE * sum(labels):
        return None  # the labels are of one class, too
    return Probe(
        f"one answer for everything: the float model answers {_name(case, favorite)} for {max(answers)} of {total} examples",
        "look at the inputs (range, order, a normalization that is missing) before training again",
    )


def _is_clear(before: int, after: int, num_examples: int) -> bool:
    return after >= max(LEAST_GAIN * before, before + 1) and after - before >= (num_examples - before) / 5


def _name(case: Case, label: int) -> str:
    return case.class_names[label] if label < len(case.class_names) else f"class {label}"
