"""Rules per slice and per class: a model that fails on the night images does not pass on the average.

A slice below its own minimum of examples is not judged by itself: one example would move its ratio too far. But a slice
that somebody asked for by name (a bucket, a class) and that holds nothing at all is a "no": nothing is known about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from components.evaluator.counts import Counts
from components.evaluator.rule import SOURCE_CLOSED, SOURCE_CONFIG, RuleResult, percent, percent_down
from components.evaluator.slices import MISSING, PairedCounts, SliceBy, SliceKey, SliceSpec
from components.evaluator.tally import Tally

#: Slices named in a reason; the report holds all of them.
_NAMED = 3


def slices_found(tally: Tally, specs: Sequence[SliceSpec]) -> RuleResult:
    """Every slicing by a feature found the feature in at least one example."""
    keys = {*tally.slices, *tally.slice_errors}
    absent = [
        spec.name
        for spec in specs
        if spec.by is SliceBy.FEATURE and not any(key.name == spec.name and key.value != MISSING for key in keys)
    ]
    reason = (
        f"no example has a value of {', '.join(absent)}, so nothing is known about these slices. Check gate.slices."
        if absent
        else "every slicing found its feature."
    )
    observed = f"{len(specs) - len(absent)} of {len(specs)}"
    return RuleResult("slices_found", "every slicing", observed, not absent, reason, SOURCE_CLOSED)


def slices_kept(tally: Tally, specs: Sequence[SliceSpec], minimum: Fraction, minimum_examples: int) -> RuleResult:
    """Every slice with enough examples keeps the ratio; declared slices are not empty."""
    declared = [SliceKey(spec.name, value) for spec in specs for value in spec.declared_values]
    of_label = {spec.name for spec in specs if spec.by is SliceBy.LABEL}
    judged = {key: part for key, part in tally.slices.items() if key.name not in of_label}
    return _parts_kept("slices_kept", "slice", judged, declared, minimum, minimum_examples)


def classes_kept(counts: Counts, class_names: Sequence[str], minimum: Fraction, minimum_examples: int) -> RuleResult:
    """Every class with enough examples keeps the ratio; no class is without examples."""
    parts: dict[SliceKey, PairedCounts] = {}
    columns = (counts.examples_by_label, counts.correct_float_by_label, counts.correct_candidate_by_label)
    for label, (total, right_float, right_candidate) in enumerate(zip(*columns, strict=True)):
        both = min(right_float, right_candidate)  # how they overlap matters to no ratio
        neither = total - right_float - right_candidate + both
        name = class_names[label] if label < len(class_names) else str(label)
        parts[SliceKey("class", name)] = PairedCounts(both, right_float - both, right_candidate - both, neither)
    return _parts_kept("classes_kept", "class", parts, list(parts), minimum, minimum_examples)


def _parts_kept(
    name: str,
    what: str,
    parts: Mapping[SliceKey, PairedCounts],
    declared: Sequence[SliceKey],
    minimum: Fraction,
    minimum_examples: int,
) -> RuleResult:
    threshold = f"{percent(minimum)} in every {what} of {minimum_examples} examples or more"
    empty = [key for key in declared if key not in parts or parts[key].num_examples == 0]
    judged = {key: part for key, part in parts.items() if part.num_examples >= minimum_examples}
    broken = sorted(
        (part.kept if part.kept is not None else Fraction(-1), key)
        for key, part in judged.items()
        if part.kept is None or part.kept < minimum
    )
    observed = f"{len(judged) - len(broken)} of {len(judged)} keep it, {len(parts) - len(judged)} too small to judge"
    problems = [_describe(what, key, parts[key]) for _, key in broken[:_NAMED]]
    problems += [f"{_named(what, key)} holds no example" for key in empty[:_NAMED]]
    if not judged:
        problems.append(f"no {what} holds {minimum_examples} examples")
    if not problems:
        return RuleResult(
            name, threshold, observed, True, f"every {what} that is large enough keeps it.", SOURCE_CONFIG
        )
    more = len(broken) + len(empty) - len(problems)
    reason = "; ".join(problems) + (f"; and {more} more" if more > 0 else "") + f"; required {percent(minimum)}."
    return RuleResult(name, threshold, observed, False, reason, SOURCE_CONFIG)


def _named(what: str, key: SliceKey) -> str:
    return f"class {key.value}" if what == "class" else f"slice {key.name} = {key.value}"


def _describe(what: str, key: SliceKey, part: PairedCounts) -> str:
    right = f"({part.num_correct_candidate} / {part.num_correct_float} right of {part.num_examples})"
    if part.kept is None:
        return f"{_named(what, key)}: the float model got nothing right {right}, so nothing can be kept"
    return f"{_named(what, key)} keeps {percent_down(part.kept)} {right}"
