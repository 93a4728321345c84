"""Rules per slice and per class: a model that fails on the night images does not pass on the average.

A slice below its own minimum of examples is not judged by itself: one example would move its ratio too far. But a slice
that somebody asked for by name (a bucket, a class) and that holds nothing at all is a "no": nothing is known about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from components.evaluator.counting.metric import LabelKind
from components.evaluator.counting.slices import MISSING, SliceBy, SliceKey, SliceSpec
from components.evaluator.gate.evidence import Evidence
from components.evaluator.gate.rule import SOURCE_CLOSED, SOURCE_CONFIG, Blame, Rule, RuleName, RuleResult
from components.evaluator.measurements.class_rows import class_parts
from components.evaluator.measurements.measurement import PartResult

#: Slices named in a reason; the report holds all of them.
_NAMED = 3


def slices_found(evidence: Evidence) -> RuleResult:
    """Every slicing by a feature found the feature in at least one example."""
    specs, keys = evidence.case.slices, evidence.counted.slices
    absent = [
        spec.name
        for spec in specs
        if spec.by is SliceBy.FEATURE and not any(key.name == spec.name and key.value != MISSING for key in keys)
    ]
    return RuleResult(
        name=RuleName.SLICES_FOUND,
        threshold="every slicing",
        observed=f"{len(specs) - len(absent)} of {len(specs)}",
        passed=not absent,
        reason=f"no example has a value of {', '.join(absent)}, so nothing is known about these slices. Check gate.slices."
        if absent
        else "every slicing found its feature.",
        source=SOURCE_CLOSED,
    )


def slices_kept(evidence: Evidence) -> RuleResult:
    """Every slice with enough examples keeps the ratio; declared slices are not empty."""
    return _slices_kept(evidence, RuleName.SLICES_KEPT, evidence.rules.slice_min_ratio)


def slice_errors_kept(evidence: Evidence) -> RuleResult:
    """Every slice with enough examples keeps the error factor; declared slices are not empty."""
    return _slices_kept(evidence, RuleName.SLICE_ERRORS_KEPT, evidence.rules.slice_max_error_factor)


def _slices_kept(evidence: Evidence, name: RuleName, required: Fraction | None) -> RuleResult:
    assert required is not None
    declared, minimum = _declared(evidence.case.slices), evidence.rules.slice_min_examples
    return _parts_kept(evidence, name, "slice", evidence.counted.slices, declared, required, minimum)


def classes_kept(evidence: Evidence) -> RuleResult:
    """Every class with enough examples keeps the ratio; no class is without examples."""
    required = evidence.rules.class_min_ratio
    assert required is not None
    parts = class_parts(evidence.counts, evidence.case.class_names)
    minimum = evidence.rules.class_min_examples
    return _parts_kept(evidence, RuleName.CLASSES_KEPT, "class", parts, list(parts), required, minimum)


def _declared(specs: Sequence[SliceSpec]) -> list[SliceKey]:
    """The slices that a person asked for by name; buckets of the label may be the quarters that nobody named."""
    return [
        SliceKey(spec.name, value) for spec in specs if spec.by is not SliceBy.LABEL for value in spec.declared_values
    ]


def _parts_kept(
    evidence: Evidence,
    name: RuleName,
    what: str,
    statistics: Mapping[SliceKey, Any],
    declared: Sequence[SliceKey],
    required: Fraction,
    min_examples: int,
) -> RuleResult:
    measurement = evidence.measurement
    words = measurement.requirement(required)
    parts = {key: measurement.part_kept(part, required) for key, part in statistics.items()}
    empty = [key for key in declared if key not in parts or parts[key].num_examples == 0]
    judged = {key: part for key, part in parts.items() if part.num_examples >= min_examples}
    broken = sorted((part.rank, key) for key, part in judged.items() if not part.keeps)
    problems = _problems(what, parts, [key for _, key in broken], empty)
    if not judged:
        problems.append(f"no {what} holds {min_examples} examples")
    return RuleResult(
        name=name,
        threshold=f"{words} in every {what} of {min_examples} examples or more",
        observed=f"{len(judged) - len(broken)} of {len(judged)} keep it, {len(parts) - len(judged)} too small to judge",
        passed=not problems,
        reason="; ".join(problems) + f"; required {words}."
        if problems
        else f"every {what} that is large enough keeps it.",
        source=SOURCE_CONFIG,
    )


def _problems(
    what: str, parts: Mapping[SliceKey, PartResult], broken: Sequence[SliceKey], empty: Sequence[SliceKey]
) -> list[str]:
    """The first broken and the first empty ones by name, and how many more there are."""
    problems = [f"{_named(what, key)}{parts[key].result}" for key in broken[:_NAMED]]
    problems += [f"{_named(what, key)} holds no example" for key in empty[:_NAMED]]
    more = len(broken) + len(empty) - len(problems)
    return [*problems, f"and {more} more"] if more > 0 else problems


def _named(what: str, key: SliceKey) -> str:
    return f"class {key.value}" if what == "class" else f"slice {key.name} = {key.value}"


SLICE_RULES = (
    Rule(
        name=RuleName.SLICES_FOUND,
        judge=slices_found,
        applies=lambda evidence: any(spec.by is SliceBy.FEATURE for spec in evidence.case.slices),
    ),
    Rule(
        name=RuleName.SLICES_KEPT,
        judge=slices_kept,
        setting="slice_min_ratio",
        blame=Blame.PART,
    ),
    Rule(
        name=RuleName.SLICE_ERRORS_KEPT,
        judge=slice_errors_kept,
        setting="slice_max_error_factor",
        blame=Blame.QUANTIZATION,
    ),
    Rule(
        name=RuleName.CLASSES_KEPT,
        judge=classes_kept,
        setting="class_min_ratio",
        applies=lambda evidence: evidence.rules.metric.labels is LabelKind.CLASS,
        blame=Blame.PART,
    ),
)
