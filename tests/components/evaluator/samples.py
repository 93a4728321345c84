"""Cases and counts as the evaluator's tests need them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.evaluator.case import NO_CHAMPION, Case, Champion, NoChampion
from components.evaluator.counting.class_statistics import ClassStatistics
from components.evaluator.counting.counts import Counts
from components.evaluator.counting.ranks import Ranks
from components.evaluator.counting.slices import SliceSpec
from components.evaluator.counting.tally import Tally
from components.evaluator.gate.evidence import CandidateFacts, Evidence
from components.evaluator.gate.thresholds import GateRules

RULES = GateRules()
SHA256 = "c" * 64
FACTS = CandidateFacts(sha256=SHA256, size_bytes=40_000, output="scores")
STABLE = Champion(Path("champion.tflite"), 7, "000012-ab", "stable")


def tally_of(
    counts: Counts,
    ranks: Ranks | None = None,
    confusion: Mapping[tuple[int, int, int], int] | None = None,
    **others: Any,
) -> Tally:
    """What was counted of classes."""
    return Tally(ClassStatistics(counts, ranks, confusion or {}), **others)


def case_of(
    rules: GateRules = RULES,
    num_examples: int | None = 10_000,
    slices: tuple[SliceSpec, ...] = (),
    champion: Champion | NoChampion = NO_CHAMPION,
    **others: Any,
) -> Case:
    """A case whose files are never opened."""
    return Case(
        Path("saved_model"),
        Path("model.tflite"),
        "int8",
        "eval",
        num_examples,
        rules,
        slices=slices,
        champion=champion,
        **others,
    )


def evidence_of(
    tally: Tally | None,
    rules: GateRules = RULES,
    facts: CandidateFacts = FACTS,
    num_examples: int | None = -1,
    **case: Any,
) -> Evidence:
    """Evidence on a case; the split holds what was scored unless ``num_examples`` says otherwise."""
    scored = 0 if tally is None else tally.num_examples
    return Evidence(case_of(rules, scored if num_examples == -1 else num_examples, **case), facts, tally)
