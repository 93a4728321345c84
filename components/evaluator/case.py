"""One case: what is to be judged, and by which rules. Everything after it - scoring, rules, report, advice - reads this value."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgeproof_edge.answers import DEFAULT_DECISION_THRESHOLD

from components.evaluator.counting.metric import LabelKind
from components.evaluator.counting.slices import SliceSpec, check_label_slices, check_slices
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.measurements.measurement import Measurement, MeasurementOptions
from components.evaluator.measurements.table import measurement_of
from components.evaluator.report.gate_report import LineageRecord
from components.evaluator.scoring.both_models import ScoringPlan
from components.evaluator.scoring.kernels import DEFAULT_SAMPLE_SIZE, affordable_sample

#: Examples of which golden rows are chosen, where the kernels' own sample is smaller.
NUM_OBSERVED_BY_KERNELS = 256
#: Why no model is compared with, unless a channel tells more.
NOTHING_BLESSED = "nothing was blessed before this model."


@dataclass(frozen=True)
class Champion:
    """The model released now: its file; the id of its artifact, and which release of which channel, where it is one."""

    tflite: Path
    model_id: int | None = None
    version: str = ""
    channel: str = ""

    @property
    def title(self) -> str:
        """How a sentence names it."""
        return f"release {self.version} on channel {self.channel}" if self.version else "the current release"


@dataclass(frozen=True)
class NoChampion:
    """There is no model to compare with, and why, as a sentence."""

    reason: str = NOTHING_BLESSED


#: There is none, and nobody said why.
NO_CHAMPION = NoChampion()


@dataclass(frozen=True)
class Case:
    """What is to be judged, and by which rules.

    Attributes:
        saved_model: Directory of the float SavedModel.
        tflite: File of the candidate; its float twin and the converter's report are looked for beside it.
        candidate_name: Recipe that made it, such as ``int8``.
        split: Name of the examples, for the report.
        expected_num_examples: Examples there are, counted by someone else than the scoring; None refuses.
        rules: The gate's thresholds.
        checks_recorded_sha256: Whether ``recorded_sha256`` is a rule. Outside a pipeline nobody recorded one.
        recorded_sha256: What the converter recorded, lower-case hex; empty refuses where it is a rule.
        class_names: By label; empty where the data does not name them.
        num_classes: Number of classes; 0 takes it from the outputs.
        decision_threshold: For models with one output unit.
        output: The output that is judged; empty where the models have one.
        slices: How the holdout is cut.
        kernel_sample_size: Examples that a second kernel family scores too; 0 switches that off.
        champion: The model released now, where it is compared, or why there is none.
        lineage: Artifacts that went in, for the report.
        eval_config: What TFMA computes beside the counts (``config_pb2.EvalConfig``), or None.
        is_observed: Whether golden rows and histograms are gathered for a release.
    """

    saved_model: Path
    tflite: Path
    candidate_name: str
    split: str
    expected_num_examples: int | None
    rules: GateRules
    checks_recorded_sha256: bool = False
    recorded_sha256: str = ""
    class_names: tuple[str, ...] = ()
    num_classes: int = 0
    decision_threshold: float = DEFAULT_DECISION_THRESHOLD
    output: str = ""
    slices: tuple[SliceSpec, ...] = ()
    kernel_sample_size: int = DEFAULT_SAMPLE_SIZE
    champion: Champion | NoChampion = NO_CHAMPION
    lineage: tuple[LineageRecord, ...] = ()
    eval_config: Any = None
    is_observed: bool = False

    def __post_init__(self) -> None:
        check_slices(self.slices)
        check_label_slices(self.slices, has_real_label=self.rules.metric.labels is LabelKind.VALUE)

    @cached_property
    def measurement(self) -> Measurement:
        """How examples are measured."""
        options = MeasurementOptions(
            self.rules.answers_ranked, self.num_classes, self.decision_threshold, self.class_names
        )
        return measurement_of(self.rules.metric, options)

    @property
    def plan(self) -> ScoringPlan:
        """What the scoring counts."""
        observed = self._affordable_share(NUM_OBSERVED_BY_KERNELS) if self.is_observed else 0.0
        kernels = self._affordable_share(self.kernel_sample_size)
        return ScoringPlan(self.measurement, self.slices, kernels, self.output, observed)

    def _affordable_share(self, wanted: int) -> float:
        """Part of the examples that a second kernel family scores, where so many are wanted."""
        if not self.expected_num_examples:
            return 0.0
        with contextlib.suppress(OSError):  # a candidate that cannot be read is refused by its own rule
            wanted = affordable_sample(wanted, self.tflite.read_bytes())
        return min(wanted / self.expected_num_examples, 1.0)

    @property
    def is_of_pipeline(self) -> bool:
        """Whether a config made the candidate; otherwise `edgeproof convert` did, or somebody else."""
        return self.checks_recorded_sha256
