"""What the rules judge: the case, the candidate's file, and what was counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.device.outcome import DeviceMeasurement, DeviceProblem
from components.evaluator.case import Case
from components.evaluator.counting.class_statistics import ClassStatistics
from components.evaluator.counting.counts import Counts
from components.evaluator.counting.tally import Tally
from components.evaluator.gate.rule import RuleName
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.measurements.measurement import Measurement
from components.evaluator.scoring.latency import Latency


@dataclass(frozen=True)
class CandidateFacts:
    """The candidate's file, before anything is counted.

    Attributes:
        sha256: Of its bytes, lower-case hex; None where they could not be read.
        size_bytes: Their number; None likewise.
        problem: Why the candidate cannot be judged; empty when it can.
        float_size_bytes: Of the float .tflite file beside it; None where there is none.
        latency: Of both files on this host; None where no rule asks for it or it could not be measured.
        float_latency: The same of the float .tflite file.
        output: The output that is judged; empty where it could not be told.
        delegated_fraction: Share of the operators that XNNPACK computes; None where the runtime does not tell.
        device: What it did on a device, or why that could not be measured; None where no rule asks for it.
    """

    sha256: str | None = None
    size_bytes: int | None = None
    problem: str = ""
    float_size_bytes: int | None = None
    latency: Latency | None = None
    float_latency: Latency | None = None
    output: str = ""
    delegated_fraction: float | None = None
    device: DeviceMeasurement | DeviceProblem | None = None


@dataclass(frozen=True)
class Evidence:
    """All that a rule may look at.

    Attributes:
        case: What is judged.
        candidate: Its file.
        tally: What was counted; None when nothing could be scored.
    """

    case: Case
    candidate: CandidateFacts
    tally: Tally | None

    @property
    def rules(self) -> GateRules:
        """The thresholds."""
        return self.case.rules

    @property
    def measurement(self) -> Measurement:
        """How examples are measured."""
        return self.case.measurement

    @property
    def is_scored(self) -> bool:
        """Whether anything was counted."""
        return self.tally is not None and self.tally.whole is not None

    @property
    def counted(self) -> Tally:
        """What was counted, for rules that judge only where something was."""
        assert self.tally is not None, RuleName.SCORED
        return self.tally

    @property
    def whole(self) -> Any:
        """The measurement's statistics of all examples."""
        return self.counted.whole

    @property
    def counts(self) -> Counts:
        """Right and wrong answers, for rules about classes."""
        return self.whole.counts if isinstance(self.whole, ClassStatistics) else Counts()
