"""The rung that leaves tensors in float, worst first, and takes back each that was not needed.

Where no int8 file loads because a scale is too large for the runtime, the tensor in front of that operator is the worst.
A front end that no 256 codes can hold is one island, not one for each of its tensors. Then come the tensors that moved
the outputs most when each was rounded alone, added to those before as long as the goal is not met.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from components.repair import sensitivity
from components.repair.cures.float_front import float_front
from components.repair.cures.saturation import cut_saturated_ranges
from components.repair.goal import find_goal, rows_to_score
from components.repair.graph import FloatGraph
from components.repair.range_statistics import RangeMethod
from components.repair.recipes import IoType
from components.repair.running import predict
from components.repair.search.candidates import Candidate
from components.repair.search.prepared import Prepared, count
from components.repair.search.proposals import CUT, EQUALIZATION, IoTypes, Source
from components.repair.search.rungs import correct
from components.repair.search.trials import Trials

#: Islands tried at most; what an island before holds already does not count.
MAX_ISLANDS = 8
#: Models that are tried with islands where none without loads.
MAX_REFUSED_SOURCES = 2
#: Items that moved the outputs by less than this share of the worst are not the cause, unless they moved them by more than
#: this many times the limit: where one tensor ruins everything, what is second looks small beside it.
MIN_ISLAND_SHARE = 0.01
MIN_DIVERGENCE = 0.02
#: Rows among which those that rank are chosen, as a multiple of them: a rare class is to be among them.
ROWS_OFFERED = 4


@dataclass(frozen=True)
class Island:
    """Tensors that are freed together.

    Attributes:
        name: As people know it.
        tensors: Their names.
        is_front: Whether it is the block at the inputs.
    """

    name: str
    tensors: tuple[str, ...]
    is_front: bool = False


def float_islands(prepared: Prepared, trials: Trials) -> None:
    """Islands in the best equalized model, then in the best of all; in one that does not load where none does."""
    if not prepared.request.may_use_islands:
        trials.skip("float islands", "float operators are not allowed")
        return
    for source in _sources(trials):
        if not trials.is_over and not trials.has_met:
            _free(source, prepared, trials)


def with_other_ranges(prepared: Prepared, trials: Trials) -> None:
    """The closest model with float islands by other ranges: what cut the outliers of a tensor that is float now cuts others, too."""
    best = trials.best_int8(lambda candidate: bool(candidate.freed))
    source = best.proposal.source if best is not None else None
    if source is None or trials.has_met:
        return
    for method in (RangeMethod.MINMAX, RangeMethod.MSE):
        if method.value != source.ranges:
            whole = source.variant.statistics.ranges(method)
            limits = cut_saturated_ranges(source.variant.graph, whole) if CUT in source.steps else whole
            trials.make_each([prepared.int8(replace(source, limits=limits, ranges=method.value))])


def with_corrected_biases(prepared: Prepared, trials: Trials) -> None:
    """Corrected biases in the closest model with float islands."""
    best = trials.best_int8(lambda candidate: bool(candidate.freed))
    if best is not None:
        correct(best, prepared, trials)


def _sources(trials: Trials) -> list[Source]:
    best = trials.best_int8(lambda candidate: not candidate.freed)
    equalized = trials.best_int8(lambda candidate: not candidate.freed and EQUALIZATION in candidate.steps)
    made = [c.proposal.source for c in (equalized, best) if c is not None and c.proposal.source is not None]
    if made:
        return list(dict.fromkeys(made))
    refused = [source for source in trials.sources if not source.freed]
    return sorted(refused, key=lambda source: -len(source.steps))[:MAX_REFUSED_SOURCES]


def _free(source: Source, prepared: Prepared, trials: Trials) -> None:
    """Frees one island after the other, worst first; then takes back each that was not needed."""
    freed: tuple[Island, ...] = ()
    best: Candidate | None = None
    num_tried = 0
    for island in _islands(source, prepared, trials):
        wanted = _allowed(source.variant.graph, island, prepared)
        if not wanted.tensors:
            trials.skip(f"float island {island.name}", "it would change an input or output type that was asked for")
            continue
        if set(wanted.tensors) <= {tensor for other in freed for tensor in other.tensors}:
            continue
        if num_tried == MAX_ISLANDS:
            return
        num_tried += 1
        outcome = trials.make(prepared.int8(_with_islands(source, (*freed, wanted), prepared)))
        if not isinstance(outcome, Candidate):
            if outcome.does_not_load and best is None:  # more may be needed until the first file loads
                freed = (*freed, wanted)
            continue
        freed, best = (*freed, wanted), outcome
        if outcome.score.is_safe:
            _take_back(source, freed, prepared, trials)
            return
        if trials.limit_reached:
            return


def _take_back(source: Source, freed: Sequence[Island], prepared: Prepared, trials: Trials) -> None:
    """Tries without each of the islands that were freed before the last, as long as the goal is met."""
    needed = tuple(freed)
    for island in freed[:-1]:
        fewer = tuple(other for other in needed if other is not island)
        if trials.limit_reached:
            return
        outcome = trials.make(prepared.int8(_with_islands(source, fewer, prepared)))
        if isinstance(outcome, Candidate) and outcome.score.is_safe:
            needed = fewer


def _islands(source: Source, prepared: Prepared, trials: Trials) -> Iterator[Island]:
    graph = source.variant.graph
    tensors = _too_coarse(source, trials)
    if tensors:
        yield Island(_named(tensors, prepared), tensors)
    front = float_front(graph)
    if front:
        yield Island(
            f"the front end of {len(front)} tensors up to {_named(front[-1:], prepared)}", front, is_front=True
        )
    for item in _culprits(source, prepared):
        tensors = sensitivity.tensors_to_free(graph, item)
        yield Island(_named(tensors, prepared), tensors)


def _too_coarse(source: Source, trials: Trials) -> tuple[str, ...]:
    """What the operators read whose scale the runtime refuses in the file of this source."""
    graph = source.variant.graph
    outputs = [n for s in trials.skipped if s.proposal and s.proposal.source is source for n in s.overflowing]
    known = {graph.name(tensor): tensor for tensor in range(len(graph.tensors))}
    producers = [graph.producer(known[name]) for name in outputs if name in known]
    read = [graph.operators[p].inputs[0] for p in producers if p is not None]
    return tuple(dict.fromkeys(graph.name(tensor) for tensor in read))


def _named(tensors: Sequence[str], prepared: Prepared) -> str:
    return ", ".join(prepared.tensor_names.get(name, name) for name in tensors)


def _allowed(graph: FloatGraph, island: Island, prepared: Prepared) -> Island:
    """The island without inputs and outputs whose types were asked for."""
    if prepared.request.may_change_io:
        return island
    asked, doors = prepared.request.io_types, {IoType.INT8, IoType.UINT8}
    kept = {graph.name(t) for t in graph.inputs if asked.inputs in doors}
    kept |= {graph.name(t) for t in graph.outputs if asked.outputs in doors}
    return replace(island, tensors=tuple(name for name in island.tensors if name not in kept))


def _with_islands(source: Source, islands: Sequence[Island], prepared: Prepared) -> Source:
    """The source with these tensors in float."""
    freed = tuple(dict.fromkeys(tensor for island in islands for tensor in island.tensors))
    return replace(
        source,
        steps=(*source.steps, f"float islands: {', '.join(island.name for island in islands)}"),
        freed=freed,
        has_float_front=any(island.is_front for island in islands),
        io_types=_io_types(source.variant.graph, freed, prepared.request.io_types),
    )


def _io_types(graph: FloatGraph, freed: Sequence[str], io_types: IoTypes) -> IoTypes:
    """The types of inputs and outputs with which these tensors are free."""
    tensors = {graph.tensor(name) for name in freed}
    return IoTypes(
        IoType.FLOAT32 if tensors & set(graph.inputs) else io_types.inputs,
        IoType.FLOAT32 if tensors & set(graph.outputs) else io_types.outputs,
    )


def _culprits(source: Source, prepared: Prepared) -> Sequence[sensitivity.Item]:
    graph = source.variant.graph
    num_rows = sensitivity.num_probe_rows(graph, count(prepared.clean_rows))
    offered = prepared.first_clean(ROWS_OFFERED * num_rows)
    answers = predict(graph.pack(), offered)
    chosen = rows_to_score(answers, num_rows)
    rows, reference = ({name: array[chosen] for name, array in arrays.items()} for arrays in (offered, answers))
    kinds = {output.name: output.kind.value for output in prepared.goal.outputs}
    goal = find_goal(rows, reference, None, replace(prepared.request.settings.goal, outputs=kinds))
    ranked = sensitivity.rank(graph, source.limits, source.variant.statistics, rows, goal)
    worst = ranked[0].divergence if ranked else 0.0
    least = min(MIN_ISLAND_SHARE * worst, MIN_DIVERGENCE)
    return [item for item in ranked if item.divergence > least]
