"""What came of a measurement: what a device did, how that compares with what was judged, or why nothing is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from edgeproof_edge.measuring import Facts


@dataclass(frozen=True)
class OutputAgreement:
    """One output on a device against the same output here.

    Attributes:
        output: Its name.
        num_rows: That were compared.
        num_comparable: Of them on which both kernel families agree here.
        num_beyond: Of these with a number that differs by more than the tolerance.
        largest_difference: On these, in the output's unit; None where a number is not finite.
        tolerance: What is allowed.
        num_same_answer: Of all rows with the same class; None where the output is no classes.
        num_leading: Of the comparable rows with an answer that leads far enough for any kernel; None likewise.
        num_leading_same: Of these with the same class; None likewise.
    """

    output: str
    num_rows: int
    num_comparable: int
    num_beyond: int
    largest_difference: float | None
    tolerance: float
    num_same_answer: int | None = None
    num_leading: int | None = None
    num_leading_same: int | None = None

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    @property
    def holds(self) -> bool:
        """Whether the device answers as was judged; no comparable row at all is a no."""
        return self.num_comparable > 0 and not self.num_beyond and self.num_leading == self.num_leading_same

    @property
    def sentence(self) -> str:
        """What was compared, and how it came out."""
        if not self.num_comparable:
            return f"on none of {self.num_rows} rows do XNNPACK and built-in kernels agree here, so nothing can be compared"
        largest = "a number that is not finite" if self.largest_difference is None else f"{self.largest_difference:.3g}"
        within = f"{self.num_comparable - self.num_beyond} of {self.num_comparable} rows within {self.tolerance:.3g}"
        text = f"{within}, largest difference {largest}"
        if self.num_same_answer is None:
            return text
        return f"same answer on {self.num_same_answer} of {self.num_rows} rows; {text}"


@dataclass(frozen=True)
class DeviceMeasurement:
    """What a device did.

    Attributes:
        device: How a sentence names it.
        facts: Times, memory, delegation; or why its runtime refuses the model.
        num_rows: That ran there.
        agreement: Per output, against this machine; empty where the runtime there refuses the model.
    """

    device: str
    facts: Facts
    num_rows: int
    agreement: tuple[OutputAgreement, ...] = ()

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


@dataclass(frozen=True)
class DeviceProblem:
    """Why a device could not be measured.

    Attributes:
        device: How a sentence names it.
        reason: A sentence that says what to do, too.
    """

    device: str
    reason: str
