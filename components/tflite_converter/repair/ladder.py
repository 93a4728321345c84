"""Makes int8 candidates of one float model, cheapest cure first, until one meets the goal.

Rules, in order:

1. The first candidate is what recipe int8 gives, byte for byte: a model that needs no repair gets none.
2. Ranges come from the range rows, scores from the selection rows; nothing else is looked at.
3. The first candidate that meets the goal ends the search. A cheaper one that is no worse than chance allows is taken
   instead.
4. A step that does not apply, or whose file was seen before, is skipped by name. A step that fails is skipped with the
   reason; it never ends the search.
5. If nothing meets the goal, the best candidate goes on, marked: the Evaluator decides.
6. The search is bounded in candidates and in seconds. Nothing else depends on the clock.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from edgeproof_edge.errors import EdgeproofError
from edgeproof_edge.flatbuffer import Inspection, inspect, read_interface
from edgeproof_edge.interpreter import TFLiteModel
from numpy.typing import NDArray

from components.errors import ConversionError
from components.tflite_converter import agreement
from components.tflite_converter.recipes import IoType, Recipe
from components.tflite_converter.repair import diagnosis, sensitivity
from components.tflite_converter.repair.bias_correction import correct_biases
from components.tflite_converter.repair.diagnosis import Finding
from components.tflite_converter.repair.equalization import MAX_FLOAT_DIFFERENCE, Change, equalize, largest_difference
from components.tflite_converter.repair.goal import Goal, Score, find_goal, is_better, ordinary_rows
from components.tflite_converter.repair.graph import FloatGraph
from components.tflite_converter.repair.range_statistics import RangeMethod, Statistics, measure
from components.tflite_converter.repair.saturation import cut_saturated_ranges
from components.tflite_converter.repair.settings import AutoSettings
from components.tflite_converter.report import SelectionScore

_progress = logging.getLogger("edgeproof.progress")
_log = logging.getLogger(__name__)

Array = NDArray[Any]
Rows = Mapping[str, Array]

#: Tensors freed at most, each with its producer and consumers.
MAX_ISLANDS = 6
#: Items that moved the outputs by less than this share of the worst are not the cause.
MIN_ISLAND_SHARE = 0.01
#: Where more than the goal is aimed at and not reached, a loss up to this many times the smallest is as good.
AS_CLOSE = 1.25
#: Largest file, as a share of the float file, that float islands may grow to; a small model's int8 file may be larger
#: by itself, and may then grow by a tenth.
MAX_ISLAND_SIZE = 0.5
ISLAND_GROWTH = 1.1
#: Share of the operators that may compute in float: beyond it the model is a float model with int8 islands.
MAX_FLOAT_SHARE = 0.5
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

_CASTS = ("QUANTIZE", "DEQUANTIZE")
_PERCENTILES = (RangeMethod.P99_99, RangeMethod.P99_9)

STRATIFIED = "stratified calibration"
CUT = "saturated ranges cut"
EQUALIZATION = "equalization"
BIAS_CORRECTION = "bias correction"


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


@dataclass(frozen=True)
class SearchRequest:
    """What to search in.

    Attributes:
        float_model: The float .tflite.
        range_rows: Inputs ``[n, ...]`` by name that set ranges.
        selection_rows: Inputs that select; no row stands in both.
        head_rows: The first rows of the pool, as they came: what calibration without drawing would have seen.
        labels: Class ids of the selection rows, or None.
        input_type: Wanted type of real-valued inputs.
        output_type: Wanted type of real-valued outputs.
        may_change_io: Whether a float island may reach an input or output, which is float32 then.
        may_use_islands: Whether an operator may stay float.
        settings: Goal and bounds.
    """

    float_model: bytes
    range_rows: Rows
    selection_rows: Rows
    head_rows: Rows = field(default_factory=dict)
    labels: Array | None = None
    input_type: IoType = IoType.INT8
    output_type: IoType = IoType.INT8
    may_change_io: bool = True
    may_use_islands: bool = True
    settings: AutoSettings = field(default_factory=AutoSettings)


@dataclass(frozen=True)
class Candidate:
    """A model that was made, loaded and scored.

    Attributes:
        name: Unique within the search.
        recipe: How it stores weights and activations.
        steps: The cures in it, in order.
        ranges: Method that set the ranges; "" where the recipe has none.
        model: The file.
        input_type: Of real-valued inputs.
        output_type: Of real-valued outputs.
        float_operators: Names of operators that compute in float.
        score: Against the goal.
        agreement: The same in counts, for people.
        seconds: Wall time of making, loading and scoring it.
        freed: Tensors that stay float in it.
    """

    name: str
    recipe: Recipe
    steps: tuple[str, ...]
    ranges: str
    model: bytes = field(repr=False)
    input_type: IoType
    output_type: IoType
    float_operators: tuple[str, ...]
    score: Score
    agreement: SelectionScore
    seconds: float
    freed: tuple[str, ...] = ()

    @property
    def cost(self) -> tuple[bool, int]:
        """What orders candidates beside the rung they stand on: int8 first, fewer float islands first."""
        return self.recipe is not Recipe.INT8, len(self.freed)


@dataclass(frozen=True)
class Skipped:
    """A step that was not taken, or gave nothing."""

    step: str
    reason: str


@dataclass(frozen=True)
class Choice:
    """Which candidate goes on.

    Attributes:
        index: Its position.
        met_goal: Whether it meets the goal, or is no worse than one that does.
        reason: Why it was chosen.
    """

    index: int
    met_goal: bool
    reason: str


@dataclass(frozen=True)
class SearchResult:
    """Everything a search found.

    Attributes:
        goal: What was asked of each output.
        findings: What is awkward about the model or the data.
        candidates: In the order in which they were made.
        choice: Which of them goes on, and why.
        changes: What equalization changed, if it was tried.
        largest_logit_difference: Largest difference of an output before and after equalization, relative to the
            output's spread; None where nothing was changed.
        skipped: Steps that do not apply, or failed.
        outside: Share of the selection rows' values outside the range that the range rows set, by tensor.
    """

    goal: Goal
    findings: tuple[Finding, ...]
    candidates: tuple[Candidate, ...]
    choice: Choice
    changes: tuple[Change, ...]
    largest_logit_difference: float | None
    skipped: tuple[Skipped, ...]
    outside: Mapping[str, float]

    @property
    def chosen(self) -> Candidate:
        """The candidate that goes on."""
        return self.candidates[self.choice.index]


@dataclass(frozen=True)
class _Variant:
    """A float graph that computes the wanted function, and what runs through it."""

    graph: FloatGraph
    statistics: Statistics
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Proposal:
    """A candidate to make."""

    steps: tuple[str, ...]
    ranges: str
    make: Callable[[], bytes]
    input_type: IoType
    output_type: IoType
    recipe: Recipe = Recipe.INT8
    variant: _Variant | None = None
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    freed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How the report calls it."""
        return ", ".join([" ".join([self.recipe.value, self.ranges]).strip(), *self.steps])


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


class _Ladder:
    def __init__(
        self, request: SearchRequest, quantize: Quantizer, fallbacks: Mapping[Recipe, Callable[[], bytes]]
    ) -> None:
        self._request = request
        self._quantize = quantize
        self._fallbacks = fallbacks
        self._started = time.perf_counter()
        self._candidates: list[Candidate] = []
        self._proposals: dict[str, _Proposal] = {}
        self._skipped: list[Skipped] = []
        self._seen: dict[str, str] = {}
        self._changes: tuple[Change, ...] = ()
        self._largest_difference: float | None = None

    def climb(self) -> SearchResult:
        graph = FloatGraph.parse(self._request.float_model)
        request = self._request = _affordable(self._request, graph)
        self._base = _Variant(graph, measure(request.float_model, request.range_rows))
        self._reference = TFLiteModel.load(request.float_model).predict(request.selection_rows)
        self._goal = find_goal(request.selection_rows, self._reference, request.labels, request.settings.goal)
        self._spoken = _spoken_names(graph, request.float_model)
        self._clean_rows = _ordinary(request.range_rows)
        self._clean = self._without_faults()
        selection = self._measure_first(self._request.selection_rows)
        findings = self._diagnose(selection)
        for proposal in self._rungs():
            self._try(proposal)
            if (self._is_done and not proposal.freed) or self._is_capped():
                break  # after a float island that meets the goal the rung goes on, to take back what was not needed
        if not self._candidates:
            reasons = "; ".join(f"{skipped.step}: {skipped.reason}" for skipped in self._skipped[:3])
            raise ConversionError(
                f"not one int8 model could be made and loaded. {reasons}. "
                "Convert with recipe float32 or float16, or run `edgeproof inspect` on float.tflite."
            )
        choice = choose(self._candidates)
        return SearchResult(
            self._goal,
            findings,
            tuple(self._candidates),
            choice,
            self._changes,
            self._largest_difference,
            tuple(self._skipped),
            self._base.statistics.outside(selection),
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

    def _rungs(self) -> Iterator[_Proposal]:
        yield self._ranged(self._base, RangeMethod.MINMAX)
        clean = self._clean
        if clean is self._base:
            self._skip("setting fault rows aside", "no range row lies far outside the others")
        else:
            yield self._ranged(clean, RangeMethod.MINMAX)
        for method in (*_PERCENTILES, RangeMethod.MSE):
            yield self._ranged(clean, method)
        yield from self._cut_rungs(clean)
        yield from self._equalized_rungs(clean)
        yield from self._bias_rung()
        yield from self._island_rungs()
        if not self._is_done:
            yield from self._bias_rung(has_islands=True)
        if not self._is_done:
            yield from self._fallback_rungs()

    def _ranged(self, variant: _Variant, method: RangeMethod, cut: bool = False) -> _Proposal:
        """The variant with ranges by a method, cut where consumers saturate if that is wanted and changes any."""
        whole = variant.statistics.ranges(method)
        limits = cut_saturated_ranges(variant.graph, whole) if cut else whole
        steps = (*variant.steps, *([CUT] if limits != whole else []))
        return self._int8(variant, limits, method.value, steps)

    def _cut_rungs(self, variant: _Variant) -> Iterator[_Proposal]:
        proposals = [self._ranged(variant, method, cut=True) for method in (RangeMethod.MINMAX, *_PERCENTILES)]
        if not any(CUT in proposal.steps for proposal in proposals):
            self._skip(CUT, "no tensor is read only by operators that saturate within its range")
            return
        yield from (proposal for proposal in proposals if CUT in proposal.steps)

    def _without_faults(self) -> _Variant:
        """The same graph with ranges from the rows that hold no fault codes; itself where all rows are sound."""
        num_rows, num_clean = _num_rows(self._request.range_rows), _num_rows(self._clean_rows)
        if num_clean == num_rows:
            return self._base
        statistics = measure(self._request.float_model, self._clean_rows)
        return _Variant(self._base.graph, statistics, (f"{num_rows - num_clean} fault rows set aside",))

    def _equalized_rungs(self, source: _Variant) -> Iterator[_Proposal]:
        equalized = self._equalized(source)
        if equalized is None:
            return
        for method in (RangeMethod.MINMAX, *_PERCENTILES):
            yield self._ranged(equalized, method, cut=True)

    def _equalized(self, source: _Variant) -> _Variant | None:
        """The equalized graph; None where nothing can be equalized or the function would change."""
        try:
            graph, changes = equalize(source.graph, source.statistics)
        except (EdgeproofError, ArithmeticError, ValueError, KeyError, IndexError) as error:
            _log.exception(EQUALIZATION)
            self._skip(EQUALIZATION, f"it failed: {error}")
            return None
        if not changes:
            self._skip(EQUALIZATION, "no pair of layers, stream or concatenation that it knows how to rescale")
            return None
        model = graph.pack()
        rows = _first(self._clean_rows, NUM_DIFFERENCE_ROWS)
        difference = float(largest_difference(self._request.float_model, model, rows))
        if not difference <= MAX_FLOAT_DIFFERENCE:
            self._skip(EQUALIZATION, f"it would change the float model by {difference:.2g} of the outputs' spread")
            return None
        self._changes, self._largest_difference = tuple(changes), difference
        return _Variant(graph, measure(model, self._clean_rows), (*source.steps, EQUALIZATION))

    def _bias_rung(self, has_islands: bool = False) -> Iterator[_Proposal]:
        """Corrected biases for the best model; the correction is right for its ranges and float islands only."""
        best = self._best_int8(has_islands=has_islands)
        if best is None:
            return
        source = self._proposals[best.name]
        assert source.variant is not None
        rows = _first(self._clean_rows, NUM_BIAS_ROWS)
        try:
            graph = correct_biases(source.variant.graph, source.variant.statistics, best.model, rows)
        except (EdgeproofError, ArithmeticError, ValueError, KeyError, IndexError) as error:
            _log.exception(BIAS_CORRECTION)
            self._skip(BIAS_CORRECTION, f"it failed: {error}")
            return
        variant, io_types = replace(source.variant, graph=graph), (best.input_type, best.output_type)
        steps = (*source.steps, BIAS_CORRECTION)
        yield self._int8(variant, source.limits, source.ranges, steps, source.freed, io_types)

    def _island_rungs(self) -> Iterator[_Proposal]:
        """Islands in the best equalized model, then in the best of all."""
        if not self._request.may_use_islands:
            self._skip("float islands", "float operators are not allowed")
            return
        bases = [self._best_int8(EQUALIZATION), self._best_int8()]
        for name in dict.fromkeys(base.name for base in bases if base is not None):
            if not self._is_done:
                yield from self._islands_in(self._proposals[name])

    def _islands_in(self, source: _Proposal) -> Iterator[_Proposal]:
        """Frees one tensor after the other, worst first; then takes back each that was not needed."""
        assert source.variant is not None
        freed: list[str] = []
        for item in self._culprits(source):
            tensors = [t for t in sensitivity.tensors_to_free(source.variant.graph, item) if t not in freed]
            if not tensors:
                continue
            proposal = self._freed(source, [*freed, *tensors])
            if proposal is None:
                self._skip(f"float island {item.tensor}", "it would change an input or output type that was asked for")
                continue
            yield proposal
            if self._was_made(proposal):
                freed += tensors
            if self._is_done:
                break
        if self._is_done:
            yield from self._pruned(source, freed)

    def _pruned(self, source: _Proposal, freed: Sequence[str]) -> Iterator[_Proposal]:
        """Without each of the tensors that were freed before the last, as long as the goal is met."""
        needed = list(freed)
        for tensor in freed[:-1]:
            fewer = [name for name in needed if name != tensor]
            proposal = self._freed(source, fewer)
            if proposal is None:
                continue
            yield proposal
            if self._was_made(proposal) and self._candidates[-1].score.is_ample:
                needed = fewer

    def _freed(self, source: _Proposal, freed: Sequence[str]) -> _Proposal | None:
        """The proposal with these tensors in float; None where that changes a type that was asked for."""
        assert source.variant is not None
        asked = (self._request.input_type, self._request.output_type)
        io_types = _io_types(source.variant.graph, freed, asked)
        if io_types != asked and not self._request.may_change_io:
            return None
        steps = (*source.steps, f"float islands: {', '.join(self._spoken.get(name, name) for name in freed)}")
        return self._int8(source.variant, source.limits, source.ranges, steps, freed, io_types)

    def _culprits(self, source: _Proposal) -> Sequence[sensitivity.Item]:
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

    def _fallback_rungs(self) -> Iterator[_Proposal]:
        for recipe, make in self._fallbacks.items():
            if recipe is Recipe.INT8_QAT:
                yield _Proposal((), "", make, self._request.input_type, self._request.output_type, recipe)
                continue
            asked = {self._request.input_type, self._request.output_type}
            if not self._request.may_change_io and asked != {IoType.FLOAT32}:
                self._skip(
                    f"recipe {recipe.value}", "its inputs and outputs are float32, and another type was asked for"
                )
                continue
            yield _Proposal((), "", make, IoType.FLOAT32, IoType.FLOAT32, recipe)

    # One candidate

    def _int8(
        self,
        variant: _Variant,
        limits: Mapping[str, tuple[float, float]],
        ranges: str,
        steps: tuple[str, ...],
        float_tensors: Sequence[str] = (),
        io_types: tuple[IoType, IoType] | None = None,
    ) -> _Proposal:
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
        return _Proposal(steps, ranges, make, input_type, output_type, Recipe.INT8, variant, limits, freed)

    def _try(self, proposal: _Proposal) -> None:
        started = time.perf_counter()
        try:
            model = proposal.make()
            digest = hashlib.sha256(model).hexdigest()
            if digest in self._seen:
                self._skip(proposal.name, f"the file is the same as that of {self._seen[digest]!r}")
                return
            inspection = inspect(model)
            if reason := self._refusal(proposal, inspection):
                self._skip(proposal.name, reason)
                return
            found = TFLiteModel.load(model).predict(self._request.selection_rows)
        except (EdgeproofError, RuntimeError, ValueError) as error:
            self._skip(proposal.name, " ".join(str(error).split())[:300])
            return
        self._seen[digest] = proposal.name
        self._proposals[proposal.name] = proposal
        candidate = Candidate(
            name=proposal.name,
            recipe=proposal.recipe,
            steps=(*([STRATIFIED] if proposal.recipe.needs_calibration else []), *proposal.steps),
            ranges=proposal.ranges,
            model=model,
            input_type=proposal.input_type,
            output_type=proposal.output_type,
            float_operators=inspection.float_operators,
            score=self._goal.score(found),
            agreement=agreement.compare(self._reference, found, self._request.labels),
            seconds=time.perf_counter() - started,
            freed=proposal.freed,
        )
        self._candidates.append(candidate)
        self._report(candidate)

    def _refusal(self, proposal: _Proposal, inspection: Inspection) -> str:
        """Why a model with float islands is not worth having; "" where it is."""
        if not proposal.freed:
            return ""
        allowed = max(MAX_ISLAND_SIZE * len(self._request.float_model), ISLAND_GROWTH * len(self._candidates[0].model))
        if inspection.size_bytes > allowed:
            return f"{inspection.size_bytes} bytes; float islands may take {allowed:.0f}"
        num_computing = sum(use.count for use in inspection.operators if use.name not in _CASTS)
        if inspection.num_float_operators > MAX_FLOAT_SHARE * num_computing:
            return f"{inspection.num_float_operators} of {num_computing} operators would compute in float"
        return ""

    def _report(self, candidate: Candidate) -> None:
        worst = max(output.distance for output in candidate.score.outputs)
        verdict = "meets the goal" if candidate.score.met else f"{worst:.1f} times the allowed loss"
        step = (len(self._candidates), self._request.settings.caps.max_candidates)
        _progress.info("%s: %s", candidate.name, verdict, extra={"step": step})

    @property
    def _is_done(self) -> bool:
        return any(candidate.score.is_ample for candidate in self._candidates)

    def _is_capped(self) -> bool:
        caps = self._request.settings.caps
        if len(self._candidates) >= caps.max_candidates:
            self._skip("the rest", f"{caps.max_candidates} candidates were made, as many as allowed")
            return True
        if time.perf_counter() - self._started > caps.max_seconds:
            self._skip("the rest", f"{caps.max_seconds:.0f} seconds were over")
            return True
        return False

    def _was_made(self, proposal: _Proposal) -> bool:
        return bool(self._candidates) and self._candidates[-1].name == proposal.name

    def _best_int8(self, step: str = "", has_islands: bool = False) -> Candidate | None:
        """The closest int8 model without corrected biases, of those with a certain step or of all."""
        made = [
            candidate
            for candidate in self._candidates
            if candidate.recipe is Recipe.INT8
            and bool(candidate.freed) is has_islands
            and BIAS_CORRECTION not in candidate.steps
            and (not step or step in candidate.steps)
        ]
        return min(made, key=lambda candidate: candidate.score.distance) if made else None

    def _skip(self, step: str, reason: str) -> None:
        self._skipped.append(Skipped(step, reason.rstrip(".")))


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
