"""The ladder of cures for one float model, cheapest first, climbed until an int8 candidate meets the goal.

Rules, in order:

1. The first candidate is what recipe int8 gives, byte for byte: a model that needs no repair gets none.
2. Ranges come from the range rows, scores from the selection rows; nothing else is looked at.
3. The first candidate that meets the goal with room to spare ends the search. One that only meets it ends it after the
   rungs that keep every operator in integers; float operators and other recipes come only where nothing before meets it
   (choice.choose has the rule by which one is taken).
4. A step that does not apply is skipped by name. A step that fails is skipped with the reason; it never ends the search.
5. If nothing meets the goal, the best candidate goes on, marked: the Evaluator decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from components.errors import ConversionError
from components.repair.facts import THE_REST
from components.repair.search import islands, rungs
from components.repair.search.candidates import SearchRequest, SearchResult
from components.repair.search.choice import choose
from components.repair.search.fallbacks import Fallbacks, fallbacks
from components.repair.search.prepared import Prepared
from components.repair.search.proposals import Quantizer
from components.repair.search.trials import Trials


@dataclass(frozen=True)
class Rung:
    """A group of cures.

    Attributes:
        name: As messages call it.
        climb: Asks the trials for candidates.
        costs_integers: Whether its cures give up integers somewhere: only where nothing before meets the goal.
    """

    name: str
    climb: Callable[[Prepared, Trials], None]
    costs_integers: bool = False


#: In the order of what they bring for a second of search: the strong cures before the many that vary a range.
RUNGS = (
    Rung("plain int8", rungs.plain),
    Rung("setting fault rows aside", rungs.without_faults),
    Rung("cut masks", rungs.without_masks),
    Rung("saturated ranges", rungs.saturated),
    Rung("equalization", rungs.equalized),
    Rung("bias correction", rungs.with_corrected_biases),
    Rung("narrower ranges", rungs.narrow_ranges),
    Rung("bias correction of the best", rungs.with_corrected_biases),
    Rung("float islands", islands.float_islands, costs_integers=True),
    Rung("other ranges around float islands", islands.with_other_ranges, costs_integers=True),
    Rung("bias correction of float islands", islands.with_corrected_biases, costs_integers=True),
)


def search(request: SearchRequest, quantize: Quantizer, makers: Fallbacks | None = None) -> SearchResult:
    """Climbs the ladder.

    Args:
        request: Model, rows, goal and bounds.
        quantize: Makes an integer model of a float one whose tensors carry ranges.
        makers: Other recipes that may compete where int8 does not meet the goal, and what makes them.

    Raises:
        ConversionError: Not one candidate could be made and loaded.
        CalibrationError: An activation is not finite on the calibration rows.
    """
    prepared = Prepared.of(request, quantize)
    trials = Trials(prepared.request, prepared.goal, prepared.reference)
    selection = prepared.measure_selection()
    findings = prepared.diagnose(selection)
    _climb((*RUNGS, *_other_recipes(makers)), prepared, trials)
    if not trials.candidates:
        raise ConversionError(_nothing_made(trials))
    return SearchResult(
        goal=prepared.goal,
        findings=findings,
        candidates=tuple(trials.candidates),
        choice=choose(trials.candidates),
        skipped=tuple(trials.skipped),
        outside=prepared.base.statistics.outside(selection),
    )


def _climb(ladder: tuple[Rung, ...], prepared: Prepared, trials: Trials) -> None:
    for position, rung in enumerate(ladder):
        if trials.is_done or (rung.costs_integers and trials.has_met):
            return
        if reason := trials.limit_reached:
            left = ", ".join(rung.name for rung in ladder[position:])
            trials.skip(THE_REST, f"the search stopped after {reason}, before {left}; {trials.how_to_go_on}")
            return
        rung.climb(prepared, trials)


def _other_recipes(makers: Fallbacks | None) -> tuple[Rung, ...]:
    return (Rung("other recipes", partial(fallbacks, makers), costs_integers=True),) if makers else ()


def _nothing_made(trials: Trials) -> str:
    reasons = "; ".join(f"{skip.step}: {skip.reason}" for skip in trials.skipped[:3])
    return (
        f"not one int8 model could be made and loaded. {reasons}. "
        "Convert with recipe float32 or float16, or run `edgeproof inspect` on float.tflite."
    )
