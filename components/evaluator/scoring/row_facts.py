"""How rows went into both models, for the report: what a figure was measured on is part of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from edgeproof_edge.rows import Feeding, RowUse


@dataclass(frozen=True)
class RowFacts:
    """How rows went in; ``a + b`` merges two disjoint parts.

    Attributes:
        float_model: How rows went into the float model: together, apart, reset or stream. Several, where parts differ;
            none, where too few different rows came to find out, and they went in one by one.
        candidate: How rows went into the candidate, likewise.
        num_probe_rows: Rows that a model ran beside those that were scored, to find that out.
    """

    float_model: tuple[Feeding, ...] = ()
    candidate: tuple[Feeding, ...] = ()
    num_probe_rows: int = 0

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    @classmethod
    def of(cls, float_model: RowUse, candidate: RowUse) -> RowFacts:
        """What two models tell of themselves."""
        return cls(
            _settled(float_model), _settled(candidate), max(float_model.num_probe_rows, candidate.num_probe_rows)
        )

    def __add__(self, other: RowFacts) -> RowFacts:
        return RowFacts(
            tuple(sorted({*self.float_model, *other.float_model})),
            tuple(sorted({*self.candidate, *other.candidate})),
            max(self.num_probe_rows, other.num_probe_rows),
        )


def _settled(use: RowUse) -> tuple[Feeding, ...]:
    return (use.feeding,) if use.is_known else ()
