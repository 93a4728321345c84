"""Whether another kernel family gives the same answers: built-in kernels without XNNPACK, on a sample of the holdout.

A device may not run the kernels that were judged. Nobody promises bit-exactness between them, so the report states how
far they agree. The sample is drawn by a hash of the content: the same examples whatever the workers and the order.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from edgeproof_edge.errors import ModelFileError
from numpy.typing import NDArray

#: Examples that the second kernel family scores: enough to see a disagreement of 0.3 % with a chance of 95 %.
DEFAULT_SAMPLE_SIZE = 1000
#: Multiply-adds that the second family may cost, some 3 s of a core: without XNNPACK a row of a large model takes
#: several times as long as with it (MobileNetV2 at 224 pixels 11 ms).
WORK_BUDGET = 6e10
#: Examples that are scored whatever they cost.
MIN_SAMPLE_SIZE = 8
#: Seed of the sample; a hash of the content is not random towards someone who made the content.
SAMPLE_SEED = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class KernelAgreement:
    """Counts on the sample; ``a + b`` merges two disjoint parts.

    Attributes:
        num_examples: Examples scored with both kernel families.
        num_same_answer: Of them with the same class (with real-valued outputs: with equal outputs).
        num_correct_float: That the float model got right.
        num_correct: That the candidate got right with the kernels that are judged.
        num_correct_builtin: That it got right with the built-in kernels.
        worst_difference: Largest difference of two outputs, in their real-world unit.
        problem: Why the built-in kernels could not be run; empty when they could.
    """

    num_examples: int = 0
    num_same_answer: int = 0
    num_correct_float: int = 0
    num_correct: int = 0
    num_correct_builtin: int = 0
    worst_difference: float = 0.0
    problem: str = ""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __add__(self, other: KernelAgreement) -> KernelAgreement:
        return KernelAgreement(
            self.num_examples + other.num_examples,
            self.num_same_answer + other.num_same_answer,
            self.num_correct_float + other.num_correct_float,
            self.num_correct + other.num_correct,
            self.num_correct_builtin + other.num_correct_builtin,
            max(self.worst_difference, other.worst_difference),
            min({self.problem, other.problem} - {""}, default=""),
        )

    @property
    def kept(self) -> Fraction | None:
        """Right answers of the built-in kernels over the float model's, on the sample."""
        return Fraction(self.num_correct_builtin, self.num_correct_float) if self.num_correct_float else None


def affordable_sample(wanted: int, tflite: bytes) -> int:
    """Examples that the second family scores: as many as wanted, within :data:`WORK_BUDGET`; depends on the file only.

    Args:
        wanted: At most so many; 0 stays 0.
        tflite: The candidate's bytes; one that cannot be read is refused elsewhere.
    """
    from components.repair.graph import FloatGraph
    from components.repair.sensitivity import multiply_adds

    try:
        affordable = int(WORK_BUDGET / max(1.0, multiply_adds(FloatGraph.parse(tflite))))
    except ModelFileError:
        return wanted
    return min(wanted, max(MIN_SAMPLE_SIZE, affordable))


def sampled_rows(keys: NDArray[np.uint64], share: float) -> NDArray[np.int64]:
    """Positions of the rows that are in the sample.

    Args:
        keys: Hashes of the rows' content, ``[n]``.
        share: Part of all examples to draw; 1 or more draws all.
    """
    if share >= 1:
        return np.arange(len(keys))
    mixed = (keys ^ np.uint64(SAMPLE_SEED)) * np.uint64(0xBF58476D1CE4E5B9)  # wraps around, as SplitMix64 does
    return np.flatnonzero(mixed < np.uint64(int(max(share, 0.0) * 2**64)))


def largest_difference(left: NDArray[Any], right: NDArray[Any]) -> float:
    """Of two outputs, over their finite values."""
    difference = np.abs(left.astype(np.float64) - right.astype(np.float64))
    return float(np.max(difference, initial=0.0, where=np.isfinite(difference)))
