"""The ladder of cures for one float model, cheapest first, climbed until an int8 candidate meets the goal.

Rules, in order:

1. The first candidate is what recipe int8 gives, byte for byte: a model that needs no repair gets none.
2. Ranges come from the range rows, scores from the selection rows; nothing else is looked at.
3. The first candidate that meets the goal ends the search. A cheaper one that is no worse than chance allows is taken
   instead (choice.choose).
4. A step that does not apply is skipped by name. A step that fails is skipped with the reason; it never ends the search.
5. If nothing meets the goal, the best candidate goes on, marked: the Evaluator decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from components.errors import ConversionError
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
    """

    name: str
    climb: Callable[[Prepared, Trials], None]


RUNGS = (
    Rung("plain int8", rungs.plain),
    Rung("setting fault rows aside", rungs.without_faults),
    Rung("narrower ranges", rungs.narrow_ranges),
    Rung("saturated ranges", rungs.saturated),
    Rung("equalization", rungs.equalized),
    Rung("bias correction", rungs.with_corrected_biases),
    Rung("float islands", islands.float_islands),
    Rung("bias correction of float islands", islands.with_corrected_biases),
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
    _climb((*RUNGS, Rung("other recipes", partial(fallbacks, makers or {}))), prepared, trials)
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
    for rung in ladder:
        rung.climb(prepared, trials)
        if trials.is_done:
            return
        if trials.limit_reached:
            trials.skip("the rest", trials.limit_reached)
            return


def _nothing_made(trials: Trials) -> str:
    reasons = "; ".join(f"{skip.step}: {skip.reason}" for skip in trials.skipped[:3])
    return (
        f"not one int8 model could be made and loaded. {reasons}. "
        "Convert with recipe float32 or float16, or run `edgeproof inspect` on float.tflite."
    )
