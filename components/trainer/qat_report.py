"""qat_report.json: the float model, its fake-quantized copy and the .tflite made of that, scored side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from components.repair.facts import ChangeFacts

REPORT_FILE = "qat_report.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Score(_Record):
    """Right answers of one model."""

    num_examples: int
    num_correct: int

    @property
    def accuracy(self) -> float:
        """Share of right answers; 0 where there were no examples."""
        return self.num_correct / self.num_examples if self.num_examples else 0.0


class Imbalance(_Record):
    """How uneven the channels of one layer's output are."""

    layer: str
    figure: float = Field(description="Range of the output / range of its median channel.")


class EqualizationFacts(_Record):
    """What was done to the float model's copy before it was fine-tuned; its function stayed."""

    num_layers: int = Field(
        description="Layers whose weights were rescaled; 0 where there was nothing to do, or no way."
    )
    changes: tuple[ChangeFacts, ...] = Field(description="By the layer whose output they were made for.")
    worst_before: Imbalance | None
    worst_after: Imbalance | None
    left: tuple[Imbalance, ...] = Field(
        description="Outputs that int8 still resolves badly: no gain passes a layer around them."
    )
    largest_difference: float = Field(description="Largest difference of an output before and after / its spread.")
    skipped: str = Field(description="Why nothing was done; empty where something was.")

    @property
    def sentence(self) -> str:
        """What was done, in one line."""
        if self.skipped:
            return f"equalization before qat: nothing done ({self.skipped})"
        assert self.worst_before is not None
        assert self.worst_after is not None
        return (
            f"equalization before qat: {self.num_layers} layers rescaled; range of the most uneven output / of its median channel "
            f"{self.worst_before.figure:.3g} -> {self.worst_after.figure:.3g}"
        )


class QatReport(_Record):
    """What quantization-aware training came to, on examples that are not the holdout."""

    schema_version: Literal[1] = 1
    float_model: Score = Field(description="The baseline, trained without fake quantization.")
    fake_quantized: Score = Field(description="The fine-tuned model as Keras computes it; it decides nothing.")
    tflite: Score | None = Field(
        description="The int8 .tflite made of the fine-tuned model; null where no interpreter runs it."
    )
    tflite_problem: str = Field("", description="Why the interpreter refuses the .tflite; empty where it runs.")
    tflite_sha256: str
    tflite_size_bytes: int
    float_operators: tuple[str, ...] = Field(description="Operators of the .tflite that compute in float.")
    equalization: EqualizationFacts | None = Field(None, description="Null where train.qat.equalize is off.")
    epochs: int
    learning_rate: float
    seed: int
    seconds: float = Field(description="Wall time of equalizing, fine-tuning, export and conversion.")

    @property
    def sentence(self) -> str:
        """The three scores in one line."""
        of_tflite = f"does not run ({self.tflite_problem})" if self.tflite is None else self.tflite.num_correct
        return (
            f"qat: right of {self.float_model.num_examples}: float {self.float_model.num_correct}, "
            f"fake-quantized {self.fake_quantized.num_correct}, int8-qat .tflite {of_tflite}"
        )


def write_report(report: QatReport, directory: Path) -> Path:
    """Writes ``qat_report.json`` under ``directory``."""
    path = directory / REPORT_FILE
    path.write_text(json.dumps(report.model_dump(mode="json"), sort_keys=True, indent=2) + "\n", encoding="utf-8")
    return path


def read_report(directory: Path) -> QatReport | None:
    """The report under ``directory``, or None where there was no such training.

    Raises:
        pydantic.ValidationError: The file is no report of this version.
    """
    path = directory / REPORT_FILE
    return QatReport.model_validate_json(path.read_bytes()) if path.is_file() else None
