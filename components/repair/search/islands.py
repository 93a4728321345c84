"""The rung that leaves tensors in float, worst first, and takes back each that was not needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgeproof_edge.interpreter import TFLiteModel

from components.repair import sensitivity
from components.repair.goal import find_goal
from components.repair.graph import FloatGraph
from components.repair.recipes import IoType
from components.repair.search.candidates import Candidate
from components.repair.search.prepared import Prepared, count
from components.repair.search.proposals import EQUALIZATION, IoTypes, Source
from components.repair.search.rungs import correct
from components.repair.search.trials import Trials

#: Tensors freed at most, each with its producer and consumers.
MAX_ISLANDS = 6
#: Items that moved the outputs by less than this share of the worst are not the cause.
MIN_ISLAND_SHARE = 0.01


def float_islands(prepared: Prepared, trials: Trials) -> None:
    """Islands in the best equalized model, then in the best of all."""
    if not prepared.request.may_use_islands:
        trials.skip("float islands", "float operators are not allowed")
        return
    for source in _sources(trials):
        if not trials.is_over:
            _free_culprits(source, prepared, trials)


def with_corrected_biases(prepared: Prepared, trials: Trials) -> None:
    """Corrected biases in the closest model with float islands."""
    best = trials.best_int8(lambda candidate: bool(candidate.freed))
    if best is not None:
        correct(best, prepared, trials)


def _sources(trials: Trials) -> list[Source]:
    best = trials.best_int8(lambda candidate: not candidate.freed)
    equalized = trials.best_int8(lambda candidate: not candidate.freed and EQUALIZATION in candidate.steps)
    candidates = [equalized, *([best] if best is not equalized else [])]
    return [c.proposal.source for c in candidates if c is not None and c.proposal.source is not None]


def _free_culprits(source: Source, prepared: Prepared, trials: Trials) -> None:
    """Frees one tensor after the other, worst first; then takes back each that was not needed."""
    freed: tuple[str, ...] = ()
    for item in _culprits(source, prepared):
        tensors = [t for t in sensitivity.tensors_to_free(source.variant.graph, item) if t not in freed]
        if not tensors:
            continue
        wider = _freed(source, (*freed, *tensors), prepared)
        if wider is None:
            reason = "it would change an input or output type that was asked for"
            trials.skip(f"float island {item.tensor}", reason)
            continue
        outcome = trials.make(prepared.int8(wider))
        if isinstance(outcome, Candidate):
            freed = wider.freed
            if outcome.score.is_ample:
                _take_back(source, freed, prepared, trials)
        if trials.is_over:
            return


def _take_back(source: Source, freed: Sequence[str], prepared: Prepared, trials: Trials) -> None:
    """Tries without each of the tensors that were freed before the last, as long as the goal is met."""
    needed = tuple(freed)
    for tensor in freed[:-1]:
        fewer = _freed(source, tuple(name for name in needed if name != tensor), prepared)
        if fewer is None or trials.limit_reached:
            continue
        outcome = trials.make(prepared.int8(fewer))
        if isinstance(outcome, Candidate) and outcome.score.is_ample:
            needed = fewer.freed


def _freed(source: Source, freed: tuple[str, ...], prepared: Prepared) -> Source | None:
    """The source with these tensors in float; None where that changes a type that was asked for."""
    io_types = _io_types(source.variant.graph, freed, prepared.request.io_types)
    if io_types != prepared.request.io_types and not prepared.request.may_change_io:
        return None
    names = ", ".join(prepared.tensor_names.get(name, name) for name in freed)
    return replace(source, steps=(*source.steps, f"float islands: {names}"), freed=freed, io_types=io_types)


def _io_types(graph: FloatGraph, freed: Sequence[str], io_types: IoTypes) -> IoTypes:
    """The types of inputs and outputs with which these tensors are free."""
    tensors = {graph.tensor(name) for name in freed}
    return IoTypes(
        IoType.FLOAT32 if tensors & set(graph.inputs) else io_types.inputs,
        IoType.FLOAT32 if tensors & set(graph.outputs) else io_types.outputs,
    )


def _culprits(source: Source, prepared: Prepared) -> Sequence[sensitivity.Item]:
    graph = source.variant.graph
    rows = prepared.first_clean(sensitivity.num_probe_rows(graph, count(prepared.clean_rows)))
    reference = TFLiteModel.load(graph.pack()).predict(rows)
    kinds = {output.name: output.kind.value for output in prepared.goal.outputs}
    goal = find_goal(rows, reference, None, replace(prepared.request.settings.goal, outputs=kinds))
    ranked = sensitivity.rank(graph, source.limits, source.variant.statistics, rows, goal)
    worst = ranked[0].divergence if ranked else 0.0
    return [item for item in ranked if item.divergence > MIN_ISLAND_SHARE * worst][:MAX_ISLANDS]
