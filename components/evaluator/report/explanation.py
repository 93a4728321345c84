"""The gate report as one screen for people: what was kept, of how many, the worst part, the cause, what to try next."""

from __future__ import annotations

from fractions import Fraction

from components.device.outcome import DeviceMeasurement
from components.evaluator.counting.slices import SliceBy
from components.evaluator.gate.judgement import RATIO_RULES
from components.evaluator.gate.rule import percent_down
from components.evaluator.gate.thresholds import DEFAULT_SLICE_MINIMUM_EXAMPLES
from components.evaluator.measurements.table import measurement_in
from components.evaluator.report.advice import Invocation
from components.evaluator.report.gate_report import GateReport

#: Left margin of the lines under the verdict, as wide as "REFUSED  ".
_MARGIN = " " * 9


def explain(report: GateReport, invocation: Invocation | None = None) -> str:
    """The verdict on one screen: what was kept, the worst class, broken rules, the likely cause, the next command.

    Args:
        report: What is explained.
        invocation: What was run, for a command that can be typed as it stands.
    """
    lines = [
        _measured(report),
        _mistakes_line(report),
        _worst_line(report),
        _worst_slice_line(report),
        _kernels_line(report),
        _champion_line(report),
        _device_line(report),
        *_other_output_lines(report),
        *_broken_lines(report),
    ]
    lines.append(f"likely cause: {report.cause}" if report.cause else "")
    lines.append(f"tried: {report.tried}" if report.tried else "")
    lines.append(f"next: {(invocation or Invocation()).fill_in(report.next_command)}" if report.next_command else "")
    return "\n".join(
        [report.verdict.sentence, *(_MARGIN + line for line in lines if line), *map(note_line, report.notes)]
    )


def note_line(note: str) -> str:
    """A note under the verdict."""
    return f"{_MARGIN}note: {note}"


def _measured(report: GateReport) -> str:
    interval = report.interval
    if interval is None:
        return ""
    upper = "no upper end" if interval.upper is None else f"{100 * interval.upper:.2f} %"
    return f"{100 * interval.confidence:.0f} % interval of the ratio: {100 * interval.lower:.2f} % to {upper}"


def _mistakes_line(report: GateReport) -> str:
    mistakes = report.mistakes
    if mistakes is None:
        return ""
    factor = f" (x{mistakes.factor})" if mistakes.factor else ""
    line = f"mistakes: {mistakes.num_float} float, {mistakes.num_candidate} {report.candidate.name}{factor}"
    return line + _accuracy_note(report)


def _accuracy_note(report: GateReport) -> str:
    """What both models are worth by themselves, which the ratio does not tell: a weak model can keep all it has."""
    counts = report.counts
    if counts is None or counts.num_examples <= 0:
        return ""
    of_float, of_candidate = (
        percent_down(Fraction(right, counts.num_examples))
        for right in (counts.num_correct_float, counts.num_correct_candidate)
    )
    is_top_k = report.metric is not None and report.metric.name.startswith("top")
    title = report.metric.title if report.metric is not None and is_top_k else "accuracy"
    return f"; {title} {of_float} float, {of_candidate} {report.candidate.name}"


def _worst_line(report: GateReport) -> str:
    if not report.worst_classes or report.worst_classes[0].kept >= 1:
        return ""
    worst = report.worst_classes[0]
    name = report.class_names[worst.label] if worst.label < len(report.class_names) else str(worst.label)
    return (
        f"worst class: {name} keeps {percent_down(worst.kept)} "
        f"({worst.num_correct_candidate} / {worst.num_correct_float} right of {worst.num_examples})"
    )


def _worst_slice_line(report: GateReport) -> str:
    """The slice that lost the most, of those with enough examples to say something; classes have their own line."""
    minimum = report.rules.slice_min_examples if report.rules else DEFAULT_SLICE_MINIMUM_EXAMPLES
    has_classes = report.counts is not None
    rows = [
        row
        for row in measurement_in(report).part_rows(report)
        if row.num_examples >= minimum and not (has_classes and row.name == SliceBy.LABEL.value)
    ]
    worst = max(rows, key=lambda row: row.loss, default=None)
    if len(rows) < 2 or worst is None or worst.loss <= 0:
        return ""
    return f"worst slice: {worst.name} {worst.value} {worst.sentence}"


def _kernels_line(report: GateReport) -> str:
    kernels = report.kernel_agreement
    if kernels is None:
        return ""
    if kernels.problem:
        return f"built-in kernels: {kernels.problem}"
    if not kernels.num_examples or (report.counts is None):
        return ""
    ratio = f", ratio {percent_down(Fraction(kernels.ratio))}" if kernels.ratio else ""
    return (
        f"built-in kernels: same answer on {kernels.num_same_answer} of {kernels.num_examples} sampled{ratio}, "
        f"outputs at most {kernels.worst_difference:.3g} apart"
    )


def _champion_line(report: GateReport) -> str:
    champion = report.champion
    if champion is None or champion.num_correct is None:
        return ""
    title = f"release {champion.version} on channel {champion.channel}" if champion.version else "the current release"
    return (
        f"{title}: {champion.num_correct} right, {champion.num_only_champion_correct} of them only there; "
        f"{champion.num_only_candidate_correct} only with the new model"
    )


def _device_line(report: GateReport) -> str:
    """What a device did; that it could not be measured is a broken rule."""
    device = report.device
    if not isinstance(device, DeviceMeasurement) or device.facts.times is None:
        return ""
    facts = device.facts
    assert facts.times is not None
    twin = f", float {facts.float_times.p50_ms:.3f} ms" if facts.float_times is not None else ""
    share = (
        ""
        if facts.delegated_fraction is None
        else f", {facts.delegate} computes {100 * facts.delegated_fraction:.0f} %"
    )
    memory = "" if facts.memory_mb is None else f", {facts.memory_mb:.0f} MB"
    return f"on {device.device}: p50 {facts.times.p50_ms:.3f} ms, p90 {facts.times.p90_ms:.3f} ms{twin}{share}{memory}"


def _other_output_lines(report: GateReport) -> list[str]:
    """Outputs that were not judged."""
    lines = []
    for output in report.other_outputs:
        share = "" if output.share_of_spread is None else f", {100 * output.share_of_spread:.2f} % of its spread"
        difference = "not comparable" if output.difference is None else f"{output.difference:.4g} from float's{share}"
        wrong = f"; {output.num_nonfinite} rows with NaN or infinite values" if output.num_nonfinite else ""
        lines.append(f"output {output.name} (not judged): {difference}{wrong}")
    return lines


def _broken_lines(report: GateReport) -> list[str]:
    """Broken rules that the verdict's sentence does not already tell."""
    sentence = report.verdict.sentence
    return [
        f"broken rule {rule.name}: {rule.reason}"
        for rule in report.verdict.rules
        if not rule.passed and rule.name not in RATIO_RULES and rule.reason not in sentence
    ]
