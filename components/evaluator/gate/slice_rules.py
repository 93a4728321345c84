"""Rules per slice and per class: a model that fails on the night images does not pass on the average.

A slice below its own minimum of examples is not judged by itself: one example would move its ratio too far. But a slice
that somebody asked for by name (a bucket, a class) and that holds nothing at all is a "no": nothing is known about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from components.evaluator.counting.counts import Counts
from components.evaluator.counting.deviations import Deviations
from components.evaluator.counting.metric import Metric
from components.evaluator.counting.slices import MISSING, PairedCounts, SliceBy, SliceKey, SliceSpec
from components.evaluator.counting.tally import Tally
from components.evaluator.gate.figure import error_figure
from components.evaluator.gate.figure_rules import growth
from components.evaluator.gate.rule import SOURCE_CLOSED, SOURCE_CONFIG, RuleResult, decimal, percent, percent_down

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


@dataclass(frozen=True)
class _Part:
    """One slice or class: its examples, whether it keeps the rule, how it ranks (lowest first), and what it did in words."""

    num_examples: int
    keeps: bool
    rank: Fraction
    result: str


def slices_kept(tally: Tally, specs: Sequence[SliceSpec], minimum: Fraction, minimum_examples: int) -> RuleResult:
    """Every slice with enough examples keeps the ratio; declared slices are not empty."""
    of_label = {spec.name for spec in specs if spec.by is SliceBy.LABEL}
    parts = {key: _ratio_part(part, minimum) for key, part in tally.slices.items() if key.name not in of_label}
    return _parts_kept("slices_kept", "slice", parts, _declared(specs), percent(minimum), minimum_examples)


def slice_errors_kept(
    tally: Tally, specs: Sequence[SliceSpec], metric: Metric, maximum: Fraction, minimum_examples: int
) -> RuleResult:
    """Every slice with enough examples keeps the error factor; declared slices are not empty."""
    parts = {key: _error_part(errors, metric, maximum) for key, errors in tally.slice_errors.items()}
    required = f"at most {decimal(maximum, 4)} times the float model's error"
    return _parts_kept("slice_errors_kept", "slice", parts, _declared(specs), required, minimum_examples)


def classes_kept(counts: Counts, class_names: Sequence[str], minimum: Fraction, minimum_examples: int) -> RuleResult:
    """Every class with enough examples keeps the ratio; no class is without examples."""
    parts: dict[SliceKey, _Part] = {}
    columns = (counts.examples_by_label, counts.correct_float_by_label, counts.correct_candidate_by_label)
    for label, (total, right_float, right_candidate) in enumerate(zip(*columns, strict=True)):
        both = min(right_float, right_candidate)  # how they overlap matters to no ratio
        neither = total - right_float - right_candidate + both
        name = class_names[label] if label < len(class_names) else str(label)
        part = PairedCounts(both, right_float - both, right_candidate - both, neither)
        parts[SliceKey("class", name)] = _ratio_part(part, minimum)
    return _parts_kept("classes_kept", "class", parts, list(parts), percent(minimum), minimum_examples)


def _declared(specs: Sequence[SliceSpec]) -> list[SliceKey]:
    """The slices that a person asked for by name; buckets of the label may be the quarters that nobody named."""
    return [
        SliceKey(spec.name, value) for spec in specs if spec.by is not SliceBy.LABEL for value in spec.declared_values
    ]


def _ratio_part(part: PairedCounts, minimum: Fraction) -> _Part:
    right = f"({part.num_correct_candidate} / {part.num_correct_float} right of {part.num_examples})"
    if part.kept is None:
        result = f": the float model got nothing right {right}, so nothing can be kept"
        return _Part(part.num_examples, False, Fraction(-1), result)
    return _Part(part.num_examples, part.kept >= minimum, part.kept, f" keeps {percent_down(part.kept)} {right}")


def _error_part(errors: Deviations, metric: Metric, maximum: Fraction) -> _Part:
    figure = error_figure(errors, metric)
    if figure.ratio is None:
        result = f": the float model's {figure.name} is {figure.text(figure.of_float)}, and nothing can be a multiple of that"
        return _Part(errors.num_examples, False, Fraction(-(10**9)), result)
    limit = maximum ** (2 if metric is Metric.RMSE else 1)
    both = f"({figure.text(figure.of_candidate)} / {figure.text(figure.of_float)} on {errors.num_examples})"
    result = f" has {growth(figure)} times the float model's {figure.name} {both}"
    return _Part(errors.num_examples, figure.ratio <= limit, -figure.ratio, result)


def _parts_kept(
    name: str,
    what: str,
    parts: Mapping[SliceKey, _Part],
    declared: Sequence[SliceKey],
    required: str,
    minimum_examples: int,
) -> RuleResult:
    threshold = f"{required} in every {what} of {minimum_examples} examples or more"
    empty = [key for key in declared if key not in parts or parts[key].num_examples == 0]
    judged = {key: part for key, part in parts.items() if part.num_examples >= minimum_examples}
    broken = sorted((part.rank, key) for key, part in judged.items() if not part.keeps)
    observed = f"{len(judged) - len(broken)} of {len(judged)} keep it, {len(parts) - len(judged)} too small to judge"
    problems = [f"{_named(what, key)}{parts[key].result}" for _, key in broken[:_NAMED]]
    problems += [f"{_named(what, key)} holds no example" for key in empty[:_NAMED]]
    if not judged:
        problems.append(f"no {what} holds {minimum_examples} examples")
    if not problems:
        return RuleResult(
            name, threshold, observed, True, f"every {what} that is large enough keeps it.", SOURCE_CONFIG
        )
    more = len(broken) + len(empty) - len(problems)
    reason = "; ".join(problems) + (f"; and {more} more" if more > 0 else "") + f"; required {required}."
    return RuleResult(name, threshold, observed, False, reason, SOURCE_CONFIG)


def _named(what: str, key: SliceKey) -> str:
    return f"class {key.value}" if what == "class" else f"slice {key.name} = {key.value}"
