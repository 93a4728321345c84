"""The story that Edgeproof ends, replayed on the demo's model and data; nothing is trained.

A pixel of the digits is the amount of ink in it: a bright scan has little, a dark one much. The calibration pool begins with bright scans
(the same digits in half the ink), as a capture on a sunny day does, and dark ones follow. The field, the whole holdout, is dark.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edgeproof_edge.progress import progress
from numpy.typing import NDArray

from components.data.examples import Batch, ExampleSpec, read_batches, split_files
from components.evaluator.arrays import evaluate_arrays
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.report.explanation import explain
from components.evaluator.report.gate_report import GateReport
from components.repair.recipes import Recipe
from components.saved_models.saved_model import saved_model_dir
from components.tflite_converter.calibration import CalibrationPool
from components.tflite_converter.conversion import Conversion, ConversionRequest, convert
from pipeline.history.run_record import RunRecord

#: Of the ink of a dark scan.
BRIGHT_INK = 0.5
#: More examples than any split of the demo holds.
_ALL = 100_000


@dataclass(frozen=True)
class Replay:
    """Both ways to int8, each with its verdict on the same holdout."""

    num_pool: int
    num_bright: int
    usual: GateReport
    repaired: GateReport
    conversion: Conversion

    @property
    def is_told(self) -> bool:
        """Whether it went as the story goes: the usual way refused, ours accepted."""
        return not self.usual.verdict.accepted and self.repaired.verdict.accepted


def replay(record: RunRecord, spec: ExampleSpec, workspace: Path) -> Replay:
    """Converts the demo's model twice and judges both.

    Args:
        record: A run of the demo.
        spec: How the demo's examples are parsed.
        workspace: Where the two models go.
    """
    pool, field = (_read(record, split, spec) for split in ("calibration", "eval"))
    scans = pool.inputs[spec.image_feature]
    num_bright = len(scans) // 2
    in_capture_order = np.concatenate([np.rint(scans[:num_bright] * BRIGHT_INK), scans[num_bright:]])
    model = saved_model_dir(record.float_model)

    progress.info("int8 as usual: calibrated on the first %d scans of the pool", num_bright)
    bright = _pool(spec, in_capture_order[:num_bright], pool.labels[:num_bright])
    usual = convert(ConversionRequest(model, Recipe.INT8, bright, min_samples=num_bright))
    progress.info("auto: on the whole pool")
    whole = _pool(spec, in_capture_order, pool.labels)
    repaired = convert(ConversionRequest(model, Recipe.AUTO, whole))
    judge = _Judge(model, field, spec, workspace)
    return Replay(len(scans), num_bright, judge(usual, "usual"), judge(repaired, "auto"), repaired)


def _read(record: RunRecord, split: str, spec: ExampleSpec) -> Batch:
    return next(read_batches(split_files(f"{record.examples}/Split-{split}"), spec, _ALL))


def _pool(spec: ExampleSpec, scans: NDArray[Any], labels: NDArray[np.int64]) -> CalibrationPool:
    return CalibrationPool({spec.image_feature: scans.astype(np.float32)}, labels, "the capture of a sunny day")


@dataclass(frozen=True)
class _Judge:
    model: Path
    field: Batch
    spec: ExampleSpec
    workspace: Path

    def __call__(self, conversion: Conversion, name: str) -> GateReport:
        file = self.workspace / "incident" / f"{name}.tflite"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(conversion.model)
        return evaluate_arrays(
            self.model,
            file,
            self.field.inputs,
            self.field.labels,
            GateRules(),
            class_names=self.spec.class_names,
            candidate_name="int8",
            source="eval",
        ).report


def describe_replay(told: Replay) -> str:
    """Both verdicts on one screen."""
    causes = [
        f"found: {finding.name} in {finding.tensor} ({finding.figure:.3g}, healthy up to {finding.threshold:.3g}); {finding.remedy}"
        for finding in told.conversion.report.findings
    ]
    return "\n".join(
        [
            f"The pool holds {told.num_pool} scans: {told.num_bright} bright ones, then {told.num_pool - told.num_bright} dark ones."
            " The field is dark.",
            "",
            f"int8 as usual, calibrated on the first {told.num_bright}:",
            explain(told.usual),
            "",
            "edgeproof convert --recipe auto, on the whole pool:",
            *causes,
            explain(told.repaired),
        ]
    )
