"""The rule by which one of the candidates is chosen.

In order: integers throughout, then with float islands, then other recipes, each only where nothing before it meets the
goal. Within one of these groups the cheapest that meets the goal with room to spare goes, and a cheaper one still if it is
no worse than chance allows; where none has room to spare, the closest to float that meets the goal, or, where islands are
paid for, the one with the fewest that meets it safely or is as good as that. Where none meets the goal, the closest to
float: a cheaper one only if it is nearly as close.
"""

from __future__ import annotations

from collections.abc import Sequence

from components.repair.goal import Score, is_better
from components.repair.recipes import Recipe
from components.repair.search.candidates import Candidate, Choice

#: Where no candidate has room to spare, a loss up to this many times the smallest is as good.
AS_CLOSE = 1.25


def choose(candidates: Sequence[Candidate]) -> Choice:
    """Picks one by the rule above.

    Args:
        candidates: At least one, in the order in which they were made: the cheaper cure first.
    """
    order = sorted(range(len(candidates)), key=lambda index: (candidates[index].cost, index))
    scores = [candidate.score for candidate in candidates]
    for group in _groups(candidates, order):
        if any(scores[index].met for index in group):
            return _choose_in(group, candidates, scores)
    best = min(order, key=lambda index: scores[index].order)
    as_close = [score.distance <= AS_CLOSE * scores[best].distance for score in scores]
    index = _cheapest_tie(order, best, as_close, scores)
    return Choice(index, False, "nothing met the goal; this came closest")


def _groups(candidates: Sequence[Candidate], order: Sequence[int]) -> list[list[int]]:
    """All-integer candidates, those with float islands, those of other recipes; each in order."""
    kinds = [(candidate.recipe is not Recipe.INT8, bool(candidate.freed)) for candidate in candidates]
    return [[index for index in order if kinds[index] == kind] for kind in sorted(set(kinds))]


def _choose_in(group: Sequence[int], candidates: Sequence[Candidate], scores: Sequence[Score]) -> Choice:
    """One of a group in which the goal is met."""
    ample = [index for index in group if scores[index].is_ample]
    if ample:
        index = _cheapest_tie(group, ample[0], [score.is_near for score in scores], scores)
        if index == ample[0]:
            return Choice(index, True, "the cheapest that meets the goal with room to spare")
        name = candidates[ample[0]].name
        return Choice(index, True, f"cheaper than {name!r}, which has room to spare, and no worse by chance")
    safe = [index for index in group if scores[index].is_safe and candidates[index].freed]
    if safe:
        index = next(index for index in group if _is_as_close(scores[index], scores[safe[0]]))
        return Choice(index, True, "the fewest float islands that meet the goal safely, or nearly so")
    met = [index for index in group if scores[index].met]
    best = min(met, key=lambda index: scores[index].order)
    as_close = [_is_as_close(score, scores[best]) for score in scores]
    index = next(index for index in group if as_close[index] and not is_better(scores[best], scores[index]))
    return Choice(index, True, "of those that meet the goal, the closest to float")


def _is_as_close(score: Score, best: Score) -> bool:
    """Whether a score meets the goal and is as good as this one, which does."""
    return score.met and score.distance <= AS_CLOSE * best.distance


def _cheapest_tie(order: Sequence[int], best: int, may_be: Sequence[bool], scores: Sequence[Score]) -> int:
    """The first in the order that may be taken and that the best one does not beat."""
    ties = (index for index in order if may_be[index] and not is_better(scores[best], scores[index]))
    return next(ties, best)
