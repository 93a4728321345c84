"""Decides whether the candidate may ship: pure rules over what was counted, closed by default.

:data:`RULES` is the list of all rules, in order: the candidate's file (``file_rules.py``); the counts, the float model and
the figure that is compared (``figure_rules.py``); what the config turns on about slices and classes (``slice_rules.py``),
about the current release and other kernels (``release_rules.py``), and about a device (``device_rules.py``). Every rule
returns a :class:`RuleResult` with its threshold, what was observed, a sentence and a source. An absent number is a "no",
never an exception. The verdict holds when every rule does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from components.evaluator.gate.device_rules import DEVICE_RULES
from components.evaluator.gate.evidence import Evidence
from components.evaluator.gate.figure_rules import FIGURE_RULES
from components.evaluator.gate.file_rules import FILE_RULES
from components.evaluator.gate.release_rules import RELEASE_RULES
from components.evaluator.gate.rule import Blame, Rule, RuleName, RuleResult
from components.evaluator.gate.slice_rules import SLICE_RULES

#: Every rule of the gate.
RULES: tuple[Rule, ...] = (*FILE_RULES, *FIGURE_RULES, *SLICE_RULES, *RELEASE_RULES, *DEVICE_RULES)
#: The rules that the verdict's sentence states in full.
RATIO_RULES = (RuleName.ACCURACY_KEPT, RuleName.FIGURE_KEPT, RuleName.ERROR_KEPT)
#: Names under which a rule of the list may report, beside its own.
_STAND_INS = {RuleName.FIGURE_KEPT: RuleName.ACCURACY_KEPT, RuleName.ERROR_KEPT: RuleName.ACCURACY_KEPT}


@dataclass(frozen=True)
class Verdict:
    """The decision with its evidence: accepted only when every rule passed."""

    accepted: bool
    results: tuple[RuleResult, ...]
    sentence: str

    @property
    def broken_rules(self) -> tuple[RuleResult, ...]:
        """The rules that did not pass, in order."""
        return tuple(result for result in self.results if not result.passed)

    @property
    def blamed(self) -> frozenset[Blame]:
        """What the broken rules are the fault of."""
        return frozenset(rule_of(result.name).blame for result in self.broken_rules)


def rule_of(name: RuleName) -> Rule:
    """The rule that reports under a name."""
    return next(rule for rule in RULES if rule.name is _STAND_INS.get(name, name))


def judge(evidence: Evidence) -> Verdict:
    """Applies every rule that is on."""
    results = tuple(rule.judge(evidence) for rule in RULES if rule.is_on(evidence))
    accepted = bool(results) and all(result.passed for result in results)
    return Verdict(accepted, results, verdict_sentence(accepted, evidence, results))


def verdict_sentence(accepted: bool, evidence: Evidence, results: Sequence[RuleResult]) -> str:
    """One line: the decision, both parts of the ratio, the requirement, and the first other rule that broke."""
    word, name = "ACCEPTED" if accepted else "REFUSED", evidence.case.candidate_name
    broken = [result for result in results if not result.passed]
    measurement, whole = evidence.measurement, evidence.tally.whole if evidence.tally else None
    has_ratio = whole is not None and measurement.figure(whole).ratio is not None
    if not has_ratio or any(result.name is RuleName.CONSISTENT_COUNTS for result in broken):
        return f"{word}  {name}: {broken[0].reason if broken else 'nothing was judged.'}"
    sentence = f"{word}  {name} {measurement.compared(whole, evidence.rules)}"
    if broken and all(result.name not in RATIO_RULES for result in broken):
        sentence += f", but {broken[0].reason}"
    return sentence
