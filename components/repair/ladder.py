"""The ladder of cures for one float model, cheapest first, climbed until an int8 candidate meets the goal.

Rules, in order:

1. The first candidate is what recipe int8 gives, byte for byte: a model that needs no repair gets none.
2. Ranges come from the range rows, scores from the selection rows; nothing else is looked at.
3. The first candidate that meets the goal ends the search. A cheaper one that is no worse than chance allows is taken
   instead (candidates.choose).
4. A step that does not apply is skipped by name. A step that fails is skipped with the reason; it never ends the search.
5. If nothing meets the goal, the best candidate goes on, marked: the Evaluator decides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from edgeproof_edge.errors import EdgeproofError
from edgeproof_edge.flatbuffer import read_interface
from edgeproof_edge.interpreter import TFLiteModel

from components.errors import ConversionError
from components.repair import diagnosis, sensitivity
from components.repair.bias_correction import correct_biases
from components.repair.candidates import Array, Rows, SearchRequest, SearchResult, choose
from components.repair.diagnosis import Finding
from components.repair.equalization import MAX_FLOAT_DIFFERENCE, Change, equalize, largest_difference
from components.repair.goal import find_goal, ordinary_rows
from components.repair.graph import FloatGraph
from components.repair.range_statistics import RangeMethod, Statistics, measure
from components.repair.recipes import IoType, Recipe
from components.repair.saturation import cut_saturated_ranges
from components.repair.trials import BIAS_CORRECTION, Proposal, Trials, Variant

_log = logging.getLogger(__name__)

#: Tensors freed at most, each with its producer and consumers.
MAX_ISLANDS = 6
#: Items that moved the outputs by less than this share of the worst are not the cause.
MIN_ISLAND_SHARE = 0.01
#: Rows that bias correction averages over.
NUM_BIAS_ROWS = 100
#: Rows on which the float function before and after equalization is compared.
NUM_DIFFERENCE_ROWS = 100
#: Rows whose activations are held against the ranges, and multiply-adds they may cost: a second of one core.
MAX_DIAGNOSIS_ROWS = 200
MIN_DIAGNOSIS_ROWS = 32
DIAGNOSIS_BUDGET = 1e9
#: Multiply-adds that scoring a candidate may cost, a fraction of a second; but with fewer rows chance decides.
SCORE_BUDGET = 2e10
MIN_SCORE_ROWS = 250

_PERCENTILES = (RangeMethod.P99_99, RangeMethod.P99_9)

CUT = "saturated ranges cut"
EQUALIZATION = "equalization"


class Quantizer(Protocol):
    """``private_tensorflow.quantize_flatbuffer``: float model with ranges written into it -> integer model."""

    def __call__(
        self,
        model_with_ranges: bytes,
        *,
        activations: str,
        input_type: str,
        output_type: str,
        float_tensors: Sequence[str] = (),
    ) -> bytes: ...


def search(
    request: SearchRequest, quantize: Quantizer, fallbacks: Mapping[Recipe, Callable[[], bytes]] | None = None
) -> SearchResult:
    """Climbs the ladder.

    Args:
        request: Model, rows, goal and bounds.
        quantize: Makes an integer model of a float one whose tensors carry ranges.
        fallbacks: Other recipes that may compete where int8 does not meet the goal, and what makes them.

    Raises:
        ConversionError: Not one candidate could be made and loaded.
        CalibrationError: An activation is not finite on the calibration rows.
    """
    return _Ladder(request, quantize, fallbacks or {}).climb()


class _Ladder:
    def __init__(
        self, request: SearchRequest, quantize: Quantizer, fallbacks: Mapping[Recipe, Callable[[], bytes]]
    ) -> None:
        self._request = request
        self._quantize = quantize
        self._fallbacks = fallbacks
        self._changes: tuple[Change, ...] = ()
        self._largest_difference: float | None = None

    def climb(self) -> SearchResult:
        graph = FloatGraph.parse(self._request.float_model)
        request = self._request = _affordable(self._request, graph)
        reference = TFLiteModel.load(request.float_model).predict(request.selection_rows)
        self._goal = find_goal(request.selection_rows, reference, request.labels, request.settings.goal)
        self._trials = Trials(request, self._goal, reference)
        self._base = Variant(graph, measure(request.float_model, request.range_rows))
        self._spoken = _spoken_names(graph, request.float_model)
        self._clean_rows = _ordinary(request.range_rows)
        self._clean = self._without_faults()
        selection = self._measure_first(self._request.selection_rows)
        findings = self._diagnose(selection)
        for proposal in self._rungs():
            self._trials.run(proposal)
            if (self._trials.is_done and not proposal.freed) or self._trials.is_capped():
                break  # after a float island that meets the goal the rung goes on, to take back what was not needed
        candidates, skipped = tuple(self._trials.candidates), tuple(self._trials.skipped)
        if not candidates:
            reasons = "; ".join(f"{one.step}: {one.reason}" for one in skipped[:3])
            raise ConversionError(
                f"not one int8 model could be made and loaded. {reasons}. "
                "Convert with recipe float32 or float16, or run `edgeproof inspect` on float.tflite."
            )
        return SearchResult(
            goal=self._goal,
            findings=findings,
            candidates=candidates,
            choice=choose(candidates),
            changes=self._changes,
            largest_logit_difference=self._largest_difference,
            skipped=skipped,
            outside=self._base.statistics.outside(selection),
        )

    def _measure_first(self, rows: Rows) -> Statistics:
        """Measures as many of these rows as a diagnosis may cost."""
        limits = (DIAGNOSIS_BUDGET, MIN_DIAGNOSIS_ROWS, MAX_DIAGNOSIS_ROWS)
        num_rows = sensitivity.affordable_rows(self._base.graph, _num_rows(self._request.selection_rows), *limits)
        return measure(self._request.float_model, _first(rows, num_rows))

    def _diagnose(self, selection: Statistics) -> tuple[Finding, ...]:
        head = self._measure_first(self._request.head_rows) if self._request.head_rows else None
        sound = None if self._clean is self._base else self._clean.statistics
        return diagnosis.diagnose(self._base.graph, self._base.statistics, selection, head, sound)

    # Rungs, cheapest first

    def _rungs(self) -> Iterator[Proposal]:
        yield self._ranged(self._base, RangeMethod.MINMAX)
        clean = self._clean
        if clean is self._base:
            self._trials.skip("setting fault rows aside", "no range row lies far outside the others")
        else:
            yield self._ranged(clean, RangeMethod.MINMAX)
        for method in (*_PERCENTILES, RangeMethod.MSE):
            yield self._ranged(clean, method)
        yield from self._cut_rungs(clean)
        yield from self._equalized_rungs(clean)
        yield from self._bias_rung()
        yield from self._island_rungs()
        if not self._trials.is_done:
            yield from self._bias_rung(has_islands=True)
        if not self._trials.is_done:
            yield from self._fallback_rungs()

    def _ranged(self, variant: Variant, method: RangeMethod, cut: bool = False) -> Proposal:
        """The variant with ranges by a method, cut where consumers saturate if that is wanted and changes any."""
        whole = variant.statistics.ranges(method)
        limits = cut_saturated_ranges(variant.graph, whole) if cut else whole
        steps = (*variant.steps, *([CUT] if limits != whole else []))
        return self._int8(variant, limits, method.value, steps)

    def _cut_rungs(self, variant: Variant) -> Iterator[Proposal]:
        proposals = [self._ranged(variant, method, cut=True) for method in (RangeMethod.MINMAX, *_PERCENTILES)]
        if not any(CUT in proposal.steps for proposal in proposals):
            self._trials.skip(CUT, "no tensor is read only by operators that saturate within its range")
            return
        yield from (proposal for proposal in proposals if CUT in proposal.steps)

    def _without_faults(self) -> Variant:
        """The same graph with ranges from the rows that hold no fault codes; itself where all rows are sound."""
        num_rows, num_clean = _num_rows(self._request.range_rows), _num_rows(self._clean_rows)
        if num_clean == num_rows:
            return self._base
        statistics = measure(self._request.float_model, self._clean_rows)
        return Variant(self._base.graph, statistics, (f"{num_rows - num_clean} fault rows set aside",))

    def _equalized_rungs(self, source: Variant) -> Iterator[Proposal]:
        equalized = self._equalized(source)
        if equalized is None:
            return
        for method in (RangeMethod.MINMAX, *_PERCENTILES):
            yield self._ranged(equalized, method, cut=True)

    def _equalized(self, source: Variant) -> Variant | None:
        """The equalized graph; None where nothing can be equalized or the function would change."""
        try:
            graph, changes = equalize(source.graph, source.statistics)
        except (EdgeproofError, ArithmeticError, ValueError, KeyError, IndexError) as error:
            _log.exception(EQUALIZATION)
            self._trials.skip(EQUALIZATION, f"it failed: {error}")
            return None
        if not changes:
            self._trials.skip(EQUALIZATION, "no pair of layers, stream or concatenation that it knows how to rescale")
            return None
        model = graph.pack()
        rows = _first(self._clean_rows, NUM_DIFFERENCE_ROWS)
        difference = float(largest_difference(self._request.float_model, model, rows))
        if not difference <= MAX_FLOAT_DIFFERENCE:
            self._trials.skip(
                EQUALIZATION, f"it would change the float model by {difference:.2g} of the outputs' spread"
            )
            return None
        self._changes, self._largest_difference = tuple(changes), difference
        return Variant(graph, measure(model, self._clean_rows), (*source.steps, EQUALIZATION))

    def _bias_rung(self, has_islands: bool = False) -> Iterator[Proposal]:
        """Corrected biases for the best model; the correction is right for its ranges and float islands only."""
        best = self._trials.best_int8(has_islands=has_islands)
        if best is None:
            return
        source = self._trials.proposal_of(best)
        assert source.variant is not None
        rows = _first(self._clean_rows, NUM_BIAS_ROWS)
        try:
            graph = correct_biases(source.variant.graph, source.variant.statistics, best.model, rows)
        except (EdgeproofError, ArithmeticError, ValueError, KeyError, IndexError) as error:
            _log.exception(BIAS_CORRECTION)
            self._trials.skip(BIAS_CORRECTION, f"it failed: {error}")
            return
        variant, io_types = replace(source.variant, graph=graph), (best.input_type, best.output_type)
        steps = (*source.steps, BIAS_CORRECTION)
        yield self._int8(variant, source.limits, source.ranges, steps, source.freed, io_types)

    def _island_rungs(self) -> Iterator[Proposal]:
        """Islands in the best equalized model, then in the best of all."""
        if not self._request.may_use_islands:
            self._trials.skip("float islands", "float operators are not allowed")
            return
        best, equalized = self._trials.best_int8(), self._trials.best_int8(EQUALIZATION)
        bases = [equalized, *([best] if best is not equalized else [])]
        for base in bases:
            if base is not None and not self._trials.is_done:
                yield from self._islands_in(self._trials.proposal_of(base))

    def _islands_in(self, source: Proposal) -> Iterator[Proposal]:
        """Frees one tensor after the other, worst first; then takes back each that was not needed."""
        assert source.variant is not None
        freed: list[str] = []
        for item in self._culprits(source):
            tensors = [t for t in sensitivity.tensors_to_free(source.variant.graph, item) if t not in freed]
            if not tensors:
                continue
            proposal = self._freed(source, [*freed, *tensors])
            if proposal is None:
                self._trials.skip(
                    f"float island {item.tensor}", "it would change an input or output type that was asked for"
                )
                continue
            yield proposal
            if self._trials.was_made(proposal):
                freed += tensors
            if self._trials.is_done:
                break
        if self._trials.is_done:
            yield from self._pruned(source, freed)

    def _pruned(self, source: Proposal, freed: Sequence[str]) -> Iterator[Proposal]:
        """Without each of the tensors that were freed before the last, as long as the goal is met."""
        needed = list(freed)
        for tensor in freed[:-1]:
            fewer = [name for name in needed if name != tensor]
            proposal = self._freed(source, fewer)
            if proposal is None:
                continue
            yield proposal
            if self._trials.was_made(proposal) and self._trials.candidates[-1].score.is_ample:
                needed = fewer

    def _freed(self, source: Proposal, freed: Sequence[str]) -> Proposal | None:
        """The proposal with these tensors in float; None where that changes a type that was asked for."""
        assert source.variant is not None
        asked = (self._request.input_type, self._request.output_type)
        io_types = _io_types(source.variant.graph, freed, asked)
        if io_types != asked and not self._request.may_change_io:
            return None
        steps = (*source.steps, f"float islands: {', '.join(self._spoken.get(name, name) for name in freed)}")
        return self._int8(source.variant, source.limits, source.ranges, steps, freed, io_types)

    def _culprits(self, source: Proposal) -> Sequence[sensitivity.Item]:
        assert source.variant is not None
        graph = source.variant.graph
        rows = _first(self._clean_rows, sensitivity.num_probe_rows(graph, _num_rows(self._clean_rows)))
        reference = TFLiteModel.load(graph.pack()).predict(rows)
        settings = replace(self._request.settings.goal, outputs={o.name: o.kind.value for o in self._goal.outputs})
        goal = find_goal(rows, reference, None, settings)
        ranked = sensitivity.rank(graph, source.limits, source.variant.statistics, rows, goal)
        worst = ranked[0].divergence if ranked else 0.0
        culprits = [item for item in ranked if item.divergence > MIN_ISLAND_SHARE * worst]
        return culprits[:MAX_ISLANDS]

    def _fallback_rungs(self) -> Iterator[Proposal]:
        for recipe, make in self._fallbacks.items():
            if recipe is Recipe.INT8_QAT:
                yield Proposal((), "", make, self._request.input_type, self._request.output_type, recipe)
                continue
            asked = {self._request.input_type, self._request.output_type}
            if not self._request.may_change_io and asked != {IoType.FLOAT32}:
                self._trials.skip(
                    f"recipe {recipe.value}", "its inputs and outputs are float32, and another type was asked for"
                )
                continue
            yield Proposal((), "", make, IoType.FLOAT32, IoType.FLOAT32, recipe)

    def _int8(
        self,
        variant: Variant,
        limits: Mapping[str, tuple[float, float]],
        ranges: str,
        steps: tuple[str, ...],
        float_tensors: Sequence[str] = (),
        io_types: tuple[IoType, IoType] | None = None,
    ) -> Proposal:
        input_type, output_type = io_types or (self._request.input_type, self._request.output_type)

        def make() -> bytes:
            return self._quantize(
                with_ranges(variant.graph, limits),
                activations="int8",
                input_type=input_type.value,
                output_type=output_type.value,
                float_tensors=tuple(float_tensors),
            )

        freed = tuple(float_tensors)
        return Proposal(steps, ranges, make, input_type, output_type, Recipe.INT8, variant, limits, freed)


def with_ranges(graph: FloatGraph, limits: Mapping[str, tuple[float, float]]) -> bytes:
    """The float model with ranges written to its tensors; the graph is left as it is."""
    ranged = graph.copy()
    ranged.set_ranges(limits)
    return ranged.pack()


def _spoken_names(graph: FloatGraph, float_model: bytes) -> dict[str, str]:
    """Tensors as people know them: inputs and outputs by their public names, others by the first layer in theirs."""
    interface = read_interface(float_model)
    names = {name: name.split(";")[0] for name in map(graph.name, range(len(graph.tensors)))}
    for side, bounds in (("input", interface.inputs), ("output", interface.outputs)):
        names.update({graph.name(bound.tensor_index): f"{side} {bound.spec.name}" for bound in bounds})
    return names


def _io_types(graph: FloatGraph, freed: Sequence[str], io_types: tuple[IoType, IoType]) -> tuple[IoType, IoType]:
    """The types of inputs and outputs with which these tensors are free."""
    tensors = {graph.tensor(name) for name in freed}
    return (
        IoType.FLOAT32 if tensors & set(graph.inputs) else io_types[0],
        IoType.FLOAT32 if tensors & set(graph.outputs) else io_types[1],
    )


def _first(rows: Rows, count: int) -> dict[str, Array]:
    return {name: array[:count] for name, array in rows.items()}


def _affordable(request: SearchRequest, graph: FloatGraph) -> SearchRequest:
    """The request with as many selection rows as can be run for every candidate."""
    num_rows = _num_rows(request.selection_rows)
    kept = sensitivity.affordable_rows(graph, num_rows, SCORE_BUDGET, MIN_SCORE_ROWS, num_rows)
    labels = None if request.labels is None else request.labels[:kept]
    return replace(request, selection_rows=_first(request.selection_rows, kept), labels=labels)


def _ordinary(rows: Rows) -> Rows:
    keep = ordinary_rows(rows)
    return rows if keep.all() else {name: array[keep] for name, array in rows.items()}


def _num_rows(rows: Rows) -> int:
    return len(next(iter(rows.values()), np.empty(0)))
