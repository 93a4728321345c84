"""qat_report.json: the float model, its fake-quantized copy and the .tflite made of that, scored side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

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


class QatReport(_Record):
    """What quantization-aware training came to, on examples that are not the holdout."""

    schema_version: Literal[1] = 1
    float_model: Score = Field(description="The baseline, trained without fake quantization.")
    fake_quantized: Score = Field(description="The fine-tuned model as Keras computes it; it decides nothing.")
    tflite: Score = Field(description="The int8 .tflite made of the fine-tuned model.")
    tflite_sha256: str
    tflite_size_bytes: int
    float_operators: tuple[str, ...] = Field(description="Operators of the .tflite that compute in float.")
    epochs: int
    learning_rate: float
    seed: int
    seconds: float = Field(description="Wall time of fine-tuning, export and conversion.")

    @property
    def sentence(self) -> str:
        """The three scores in one line."""
        return (
            f"qat: right of {self.float_model.num_examples}: float {self.float_model.num_correct}, "
            f"fake-quantized {self.fake_quantized.num_correct}, int8-qat .tflite {self.tflite.num_correct}"
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
