"""The rule by which one of the candidates is chosen.

In order: integers throughout, then with float islands, then other recipes, each only where nothing before it meets the
goal. Within one of these groups the cheapest that meets the goal with room to spare goes, and a cheaper one still if it is
no worse than chance allows; where none has room to spare, the closest to float that meets the goal.
"""

from __future__ import annotations

from collections.abc import Sequence

from components.repair.goal import Score, is_better
from components.repair.search.candidates import Candidate, Choice

#: Where no candidate has room to spare, a loss up to this many times the smallest is as good.
AS_CLOSE = 1.25


def choose(candidates: Sequence[Candidate]) -> Choice:
    """Picks the cheapest that meets the goal, or the best; a cheaper one that is no worse than chance allows goes first.

    Args:
        candidates: At least one, in the order in which they were made: the cheaper cure first.
    """
    order = sorted(range(len(candidates)), key=lambda index: (candidates[index].cost, index))
    scores = [candidate.score for candidate in candidates]
    ample = [index for index in order if scores[index].is_ample]
    if ample:
        index = _cheapest_tie(order, ample[0], [score.is_near for score in scores], scores)
        if index == ample[0]:
            return Choice(index, True, "the cheapest that meets the goal")
        name = candidates[ample[0]].name
        return Choice(index, True, f"cheaper than {name!r}, which meets the goal, and no worse by chance")
    met = [index for index in order if scores[index].met]
    best = min(met or order, key=lambda index: scores[index].distance)
    if met:
        as_close = [score.met and score.distance <= AS_CLOSE * scores[best].distance for score in scores]
        index = next(index for index in order if as_close[index])
        return Choice(index, True, "the cheapest of those that meet the goal and are closest to float")
    index = _cheapest_tie(order, best, [True] * len(scores), scores)
    return Choice(index, False, "nothing met the goal; this came closest")


def _cheapest_tie(order: Sequence[int], best: int, may_be: Sequence[bool], scores: Sequence[Score]) -> int:
    """The first in the order that may be taken and that the best one does not beat."""
    ties = (index for index in order if may_be[index] and not is_better(scores[best], scores[index]))
    return next(ties, best)
