"""What crosses between the parent and the child process that converts: two frozen records as JSON files.

The job says what to convert and where the files go; the result says what came out, or why nothing did. The converted
bytes and the calibration arrays lie beside them in the job's directory.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from components.repair.recipes import IoType, Recipe
from components.repair.settings import AutoSettings

FLOAT_FILE = "float.tflite"
MODEL_FILE = "model.tflite"
CALIBRATION_FILE = "calibration.npz"
SELECTION_FILE = "selection.npz"
FIXED_BATCH_FOLDER = "fixed-batch"
HEAD_FILE = "head.npz"
LABELS = "labels"
SEARCH_FILE = "search.json"
JOB_FILE = "job.json"
RESULT_FILE = "result.json"


class FailureKind(str, Enum):
    """Why a conversion gave nothing."""

    UNSUPPORTED_OPERATORS = "unsupported_operators"
    CALIBRATION = "calibration"
    NO_CANDIDATE = "no_candidate"
    MEMORY = "memory"
    CONVERTER = "converter"


@dataclass(frozen=True)
class UnsupportedOperator:
    """An operator without a TFLite kernel, and the node of the graph (it carries the layer's name) it came from."""

    operator: str
    node: str


@dataclass(frozen=True)
class ConversionJob:
    """One SavedModel to convert to float and, by one recipe, to the wanted model.

    Attributes:
        saved_model: Absolute path of the directory with ``saved_model.pb``; empty where only the QAT model is converted.
        signature: Key of the raw-tensor signature.
        recipe: How the model is quantized.
        input_type: Type of its real-valued inputs.
        output_type: Type of its real-valued outputs.
        inputs: Names of the model's inputs, in the order of the arrays in the calibration file.
        auto: Goal, bounds and fallbacks of recipe auto.
        may_change_io: Whether recipe auto may leave real-valued inputs and outputs in float32.
        may_use_islands: Whether recipe auto may leave operators in float.
        qat_saved_model: Absolute path of the SavedModel that was trained with quantization in the loop; empty for none.
        qat_signature: Key of its raw-tensor signature.
        select_tf_operators: Whether operators without a TFLite kernel may come along as TensorFlow's own.
        batch_size: Rows per step of TensorFlow's own calibration: 1, or the batch size fixed in the signature.
    """

    saved_model: str
    signature: str
    recipe: Recipe
    input_type: IoType
    output_type: IoType
    inputs: tuple[str, ...] = ()
    batch_size: int = 1
    auto: AutoSettings = field(default_factory=AutoSettings)
    may_change_io: bool = True
    may_use_islands: bool = True
    select_tf_operators: bool = False
    qat_saved_model: str = ""
    qat_signature: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ConversionJob:
        fields = json.loads(text)
        kinds: dict[str, Callable[[Any], Any]] = {
            "recipe": Recipe,
            "input_type": IoType,
            "output_type": IoType,
            "inputs": tuple,
            "auto": lambda value: AutoSettings.from_json(json.dumps(value)),
        }
        return cls(**{name: kinds[name](value) if name in kinds else value for name, value in fields.items()})


@dataclass(frozen=True)
class Failure:
    """Why the child could not convert: the converter's own words, or a whole message where the calibration rows are to blame."""

    kind: FailureKind
    message: str
    operators: tuple[UnsupportedOperator, ...] = ()


@dataclass(frozen=True)
class JobResult:
    """What the child did.

    Attributes:
        num_calibration_rows: Rows that really ran through the model to set ranges.
        float_seconds: Wall time of SavedModel -> float.tflite.
        model_seconds: Wall time of making model.tflite.
        notes: What was changed so that the model could be converted, one sentence each.
        failure: None when both files were written.
    """

    num_calibration_rows: int = 0
    float_seconds: float = 0.0
    model_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    failure: Failure | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> JobResult:
        fields = json.loads(text)
        failure = fields.pop("failure")
        if failure is not None:
            operators = tuple(UnsupportedOperator(**operator) for operator in failure["operators"])
            failure = Failure(FailureKind(failure["kind"]), failure["message"], operators)
        return cls(**{**fields, "notes": tuple(fields["notes"])}, failure=failure)


def write_result(directory: Path, result: JobResult) -> None:
    """Writes the child's last word."""
    (directory / RESULT_FILE).write_text(result.to_json(), encoding="utf-8")


def read_result(directory: Path) -> JobResult | None:
    """Reads it; None when the child died before it could write."""
    path = directory / RESULT_FILE
    return JobResult.from_json(path.read_text(encoding="utf-8")) if path.is_file() else None
