"""The last rungs: the model that was trained for int8, then other recipes that the config allows by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from components.repair.recipes import IoType, Recipe
from components.repair.search.prepared import Prepared
from components.repair.search.proposals import IoTypes, Proposal
from components.repair.search.trials import Trials

Fallbacks = Mapping[Recipe, Callable[[], bytes]]


def fallbacks(makers: Fallbacks, prepared: Prepared, trials: Trials) -> None:
    """Tries each until the search is over."""
    for recipe, make in makers.items():
        if trials.is_over:
            return
        if recipe.activation_dtype == Recipe.INT8.activation_dtype:
            trials.make(Proposal(recipe, make, prepared.request.io_types))
        elif _may_be_float(prepared):
            trials.make(Proposal(recipe, make, IoTypes(IoType.FLOAT32, IoType.FLOAT32)))
        else:
            reason = "its inputs and outputs are float32, and another type was asked for"
            trials.skip(f"recipe {recipe.value}", reason)


def _may_be_float(prepared: Prepared) -> bool:
    asked = prepared.request.io_types
    return prepared.request.may_change_io or asked == IoTypes(IoType.FLOAT32, IoType.FLOAT32)
