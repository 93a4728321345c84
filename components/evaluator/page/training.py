"""The float model's training on the page: a curve per figure, and what quantization-aware training came to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from components.evaluator.page.charts import Chart, line_chart
from components.trainer.history import Epoch, History
from components.trainer.qat_report import EqualizationFacts, QatReport

#: What Keras puts before a figure of the validation split, which is the calibration split here.
_VALIDATION = "val_"
#: Charts: the loss, and what else the model was compiled with.
MAX_CURVES = 3


def training_charts(history: History | None) -> list[Chart]:
    """A chart per figure, the loss first; none of a training of one epoch, which is in the sentence."""
    if history is None or len(history.epochs) < 2:
        return []
    return [_curve(history.epochs, name) for name in _names(history)[:MAX_CURVES]]


def training_sentences(history: History | None) -> list[str]:
    """How long, which epoch was kept with which figures, and why it ended."""
    if history is None or not history.epochs:
        return []
    number, kept = len(history.epochs), next((e for e in history.epochs if e.number == history.kept_epoch), None)
    ended = " and ended early" if history.stopped_early else ""
    sentences = [f"Trained for {number} epoch{'' if number == 1 else 's'}{ended}; epoch {history.kept_epoch} was kept."]
    if kept is not None:
        sentences.append(f"Its figures: {'; '.join(_kept_figure(kept, name) for name in _names(history))}.")
    if history.resumed_after:
        after = ", ".join(str(epoch) for epoch in history.resumed_after)
        sentences.append(f"It was stopped, and went on after epoch {after}.")
    if history.class_weights:
        sentences.append("Examples were weighted by class.")
    return sentences


def _names(history: History) -> list[str]:
    """Figures of the train split, the loss first; the learning rate is none."""
    names = dict.fromkeys(name.removeprefix(_VALIDATION) for epoch in history.epochs for name in epoch.figures)
    return sorted((name for name in names if name not in ("lr", "learning_rate")), key=lambda name: name != "loss")


def _kept_figure(epoch: Epoch, name: str) -> str:
    values = ((of, epoch.figures.get(key)) for of, key in (("train", name), ("calibration", _VALIDATION + name)))
    return f"{name} {', '.join(f'{value:.4g} ({of})' for of, value in values if value is not None)}"


def _curve(epochs: Sequence[Epoch], name: str) -> Chart:
    series: dict[str, list[tuple[int, float] | None]] = {}
    for of, key in (("train split", name), ("calibration split", _VALIDATION + name)):
        points = [(epoch.number, epoch.figures.get(key, math.nan)) for epoch in epochs]
        if any(math.isfinite(value) for _, value in points):
            series[of] = [point if math.isfinite(point[1]) else None for point in points]
    return line_chart(f"curve-{name}", f"{name} by epoch", series)


def qat_scores(qat: QatReport | None) -> list[dict[str, Any]]:
    """Float, fake-quantized and .tflite on the same examples, and how far each is from float."""
    if qat is None:
        return []
    scores = (
        ("float", "the gate's baseline", qat.float_model),
        ("fake-quantized", "in Keras, while it was trained", qat.fake_quantized),
        ("int8-qat .tflite", "what a device runs", qat.tflite),
    )
    return [
        {
            "title": title,
            "note": note,
            "num_correct": score.num_correct,
            "num_examples": score.num_examples,
            "difference": score.num_correct - qat.float_model.num_correct,
        }
        for title, note, score in scores
        if score is not None
    ]


def qat_notes(qat: QatReport | None) -> list[str]:
    """How the fine-tuned model was made, in sentences."""
    if qat is None:
        return []
    plural = "" if qat.epochs == 1 else "s"
    notes = [
        f"Right of {qat.float_model.num_examples:,} examples of the calibration split; the verdict comes from the holdout. "
        f"Fine-tuned for {qat.epochs} epoch{plural} from a learning rate of {qat.learning_rate:.3g}, seed {qat.seed}."
    ]
    if qat.tflite_problem:
        notes.append(f"The int8-qat .tflite does not run: {qat.tflite_problem}")
    if qat.equalization is not None:
        notes.extend(_equalization_notes(qat.equalization))
    return notes


def _equalization_notes(equalization: EqualizationFacts) -> list[str]:
    before, after = equalization.worst_before, equalization.worst_after
    notes = []
    if equalization.skipped:
        notes.append(f"Channels were not equalized first: {equalization.skipped}.")
    elif before and after:
        notes.append(
            f"{equalization.num_layers} layers were equalized first; the function stayed. The most uneven output was "
            f"{before.figure:.3g} times as wide as its median channel ({before.layer}), then {after.figure:.3g} "
            f"({after.layer})."
        )
    if equalization.left:
        left = ", ".join(f"{entry.layer} ({entry.figure:.3g})" for entry in equalization.left)
        notes.append(f"Still uneven, because no gain passes the layers around them: {left}.")
    return notes
