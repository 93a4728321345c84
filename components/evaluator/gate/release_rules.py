"""Rules that compare the candidate with something beside the float model's answers: the model released now, the float
.tflite file's size and speed, and its own answers with other kernels. All of them are off unless the config sets them.
"""

from __future__ import annotations

from fractions import Fraction

from components.evaluator.counting.kernels import KernelAgreement
from components.evaluator.counting.latency import Latency
from components.evaluator.counting.tally import Tally
from components.evaluator.gate.rule import SOURCE_CLOSED, SOURCE_CONFIG, RuleResult, decimal_up, percent, percent_down

SOURCE_HOST = f"{SOURCE_CONFIG}; measured on the host that ran the gate, which says little about devices"


#: What the model is called that a candidate is compared with, and why there may be none, unless a channel tells more.
CURRENT_RELEASE = "the current release"
NOTHING_BLESSED = "nothing was blessed before this model."


def no_worse_than_champion(
    tally: Tally,
    minimum: Fraction,
    has_champion: bool,
    title: str = CURRENT_RELEASE,
    no_champion: str = NOTHING_BLESSED,
) -> RuleResult:
    """Right answers over those of the model released now, on the same examples; nothing released yet passes.

    Args:
        tally: What was counted.
        minimum: Share of its right answers to reach.
        has_champion: Whether there is one.
        title: What it is called.
        no_champion: Why there is none, as a sentence.
    """
    name, threshold = "no_worse_than_release", f"{percent(minimum)} of the right answers of {title}"
    champion = tally.champion
    if not has_champion:
        return RuleResult(name, threshold, "no release", True, no_champion, SOURCE_CONFIG)
    if champion is None or champion.problem or champion.num_correct_champion <= 0:
        found = champion.problem if champion is not None and champion.problem else "it got nothing right"
        reason = f"{title} could not be compared with: {found} Remove gate.champion_min_ratio for this run."
        return RuleResult(name, threshold, "no comparison", False, reason, SOURCE_CLOSED)
    right = champion.num_correct_champion + champion.num_only_candidate_correct - champion.num_only_champion_correct
    kept = Fraction(right, champion.num_correct_champion)
    reason = (
        f"the candidate got {right} right where {title} got {champion.num_correct_champion} "
        f"({percent_down(kept)}); required {percent(minimum)}."
    )
    observed = f"{right} / {champion.num_correct_champion}"
    return RuleResult(name, threshold, observed, kept >= minimum, reason, SOURCE_CONFIG)


def size_kept(size_bytes: int | None, float_size_bytes: int | None, maximum: Fraction) -> RuleResult:
    """Bytes of the candidate over bytes of the float .tflite file."""
    name, threshold = "size_ratio", f"at most {percent(maximum)} of the float file"
    if not size_bytes or not float_size_bytes:
        reason = "there is no float.tflite beside the candidate to compare sizes with. Convert again."
        return RuleResult(name, threshold, "no comparison", False, reason, SOURCE_CLOSED)
    ratio = Fraction(size_bytes, float_size_bytes)
    reason = f"the candidate has {decimal_up(100 * ratio, 2)} % of the float file's bytes; allowed {percent(maximum)}."
    return RuleResult(name, threshold, f"{size_bytes} / {float_size_bytes}", ratio <= maximum, reason, SOURCE_CONFIG)


def latency_kept(candidate: Latency | None, reference: Latency | None, maximum: Fraction) -> RuleResult:
    """Median milliseconds of the candidate over those of the float .tflite file, on this host."""
    name, threshold = "latency_ratio", f"at most {percent(maximum)} of the float file"
    if candidate is None or reference is None or not reference.median_ms > 0 or not candidate.median_ms > 0:
        reason = "the latency of the candidate and of float.tflite beside it could not be measured. Convert again."
        return RuleResult(name, threshold, "no measurement", False, reason, SOURCE_CLOSED)
    ratio = Fraction(candidate.median_ms) / Fraction(reference.median_ms)
    observed = f"{candidate.median_ms:.3f} ms / {reference.median_ms:.3f} ms"
    reason = f"on this host the candidate takes {decimal_up(100 * ratio, 2)} % of the float file's time; allowed {percent(maximum)}."
    return RuleResult(name, threshold, observed, ratio <= maximum, reason, SOURCE_HOST)


def kernels_agree(kernels: KernelAgreement | None, minimum: Fraction) -> RuleResult:
    """Share of the sample to which built-in kernels and XNNPACK give the same answer."""
    name, threshold = "kernels_agree", f"{percent(minimum)} same answers"
    if kernels is None or kernels.problem or kernels.num_examples == 0:
        found = kernels.problem if kernels is not None and kernels.problem else "no example was sampled."
        reason = f"the built-in kernels scored nothing: {found}"
        return RuleResult(name, threshold, "no comparison", False, reason, SOURCE_CLOSED)
    share = Fraction(kernels.num_same_answer, kernels.num_examples)
    reason = f"built-in kernels and XNNPACK give the same answer on {percent_down(share)} of the sample; required {percent(minimum)}."
    observed = f"{kernels.num_same_answer} / {kernels.num_examples}"
    return RuleResult(name, threshold, observed, share >= minimum, reason, SOURCE_CONFIG)
