"""Rules about the candidate's file: that it runs, whose bytes it holds, how large it is and how fast."""

from __future__ import annotations

from fractions import Fraction

from components.evaluator.gate.evidence import Evidence
from components.evaluator.gate.rule import (
    SOURCE_BYTES,
    SOURCE_CLOSED,
    SOURCE_CONFIG,
    Blame,
    Rule,
    RuleName,
    RuleResult,
    decimal_up,
    percent,
)
from components.evaluator.scoring.latency import Latency

SOURCE_HOST = f"{SOURCE_CONFIG}; measured on the host that ran the gate, which says little about devices"


def candidate_usable(problem: str) -> RuleResult:
    """The candidate's file could be read, loaded and run; ``problem`` says why not."""
    return RuleResult(
        name=RuleName.CANDIDATE_USABLE,
        threshold="loads and runs",
        observed="not usable" if problem else "usable",
        passed=not problem,
        reason=problem or "the candidate loads and runs.",
        source=SOURCE_CLOSED,
    )


def candidate_unchanged(sha256: str, recorded_sha256: str) -> RuleResult:
    """The bytes are the ones that the converter recorded; nothing recorded refuses."""
    reason = "the bytes are the ones that the converter made."
    if not recorded_sha256:
        reason = (
            "the converter recorded no SHA-256 of the candidate, so nobody knows whose bytes these are. Convert again."
        )
    elif sha256 != recorded_sha256:
        reason = (
            f"the candidate's bytes have SHA-256 {sha256[:12]}..., and {recorded_sha256[:12]}... was recorded: the file was "
            "changed after it was made. Convert again; nothing but the converter may write there."
        )
    return RuleResult(
        name=RuleName.CANDIDATE_UNCHANGED,
        threshold=f"SHA-256 {recorded_sha256 or 'unknown'}",
        observed=f"SHA-256 {sha256}",
        passed=bool(recorded_sha256) and sha256 == recorded_sha256,
        reason=reason,
        source=SOURCE_BYTES,
    )


def size_kept(size_bytes: int | None, float_size_bytes: int | None, maximum: Fraction) -> RuleResult:
    """Bytes of the candidate over bytes of the float .tflite file."""
    ratio = Fraction(size_bytes, float_size_bytes) if size_bytes and float_size_bytes else None
    return RuleResult(
        name=RuleName.SIZE_RATIO,
        threshold=f"at most {percent(maximum)} of the float file",
        observed="no comparison" if ratio is None else f"{size_bytes} / {float_size_bytes}",
        passed=ratio is not None and ratio <= maximum,
        reason="there is no float.tflite beside the candidate to compare sizes with. Convert again."
        if ratio is None
        else f"the candidate has {decimal_up(100 * ratio, 2)} % of the float file's bytes; allowed {percent(maximum)}.",
        source=SOURCE_CLOSED if ratio is None else SOURCE_CONFIG,
    )


def latency_kept(candidate: Latency | None, reference: Latency | None, maximum: Fraction) -> RuleResult:
    """Median milliseconds of the candidate over those of the float .tflite file, on this host."""
    ratio, observed = None, "no measurement"
    if candidate is not None and reference is not None and reference.median_ms > 0 and candidate.median_ms > 0:
        ratio = Fraction(candidate.median_ms) / Fraction(reference.median_ms)
        observed = f"{candidate.median_ms:.3f} ms / {reference.median_ms:.3f} ms"
    return RuleResult(
        name=RuleName.LATENCY_RATIO,
        threshold=f"at most {percent(maximum)} of the float file",
        observed=observed,
        passed=ratio is not None and ratio <= maximum,
        reason="the latency of the candidate and of float.tflite beside it could not be measured. Convert again."
        if ratio is None
        else f"on this host the candidate takes {decimal_up(100 * ratio, 2)} % of the float file's time; allowed {percent(maximum)}.",
        source=SOURCE_CLOSED if ratio is None else SOURCE_HOST,
    )


def _unchanged(evidence: Evidence) -> RuleResult:
    return candidate_unchanged(evidence.candidate.sha256 or "", evidence.case.recorded_sha256)


def _size(evidence: Evidence) -> RuleResult:
    assert evidence.rules.max_size_ratio is not None
    candidate = evidence.candidate
    return size_kept(candidate.size_bytes, candidate.float_size_bytes, evidence.rules.max_size_ratio)


def _latency(evidence: Evidence) -> RuleResult:
    assert evidence.rules.max_latency_ratio is not None
    candidate = evidence.candidate
    return latency_kept(candidate.latency, candidate.float_latency, evidence.rules.max_latency_ratio)


def _is_readable(evidence: Evidence) -> bool:
    """A file that cannot be read has its own refusal already."""
    return evidence.candidate.sha256 is not None


FILE_RULES = (
    Rule(
        name=RuleName.CANDIDATE_USABLE,
        judge=lambda evidence: candidate_usable(evidence.candidate.problem),
        needs_counts=False,
    ),
    Rule(
        name=RuleName.CANDIDATE_UNCHANGED,
        judge=_unchanged,
        applies=lambda evidence: evidence.case.checks_recorded_sha256 and _is_readable(evidence),
        needs_counts=False,
    ),
    Rule(
        name=RuleName.SIZE_RATIO,
        judge=_size,
        setting="max_size_ratio",
        applies=_is_readable,
        blame=Blame.SIZE,
        needs_counts=False,
    ),
    Rule(
        name=RuleName.LATENCY_RATIO,
        judge=_latency,
        setting="max_latency_ratio",
        applies=_is_readable,
        needs_counts=False,
    ),
)
