"""What every rung of the ladder starts from; frozen: a rung reads it and asks the trials to make candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from edgeproof_edge.flatbuffer import read_interface
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.rows import Feeding

from components.repair import agreement, diagnosis, sensitivity
from components.repair.cures.masks import cut_masks
from components.repair.diagnosis import Finding
from components.repair.equalization import MAX_FLOAT_DIFFERENCE, largest_difference
from components.repair.goal import Goal, find_goal, ordinary_rows, rows_to_score
from components.repair.graph import FloatGraph
from components.repair.range_statistics import Statistics, measure
from components.repair.running import predict
from components.repair.search.candidates import Array, Rows, SearchRequest
from components.repair.search.proposals import MASKS, Proposal, Quantizer, Source, Variant, int8

#: Rows whose activations are held against the ranges, and multiply-adds they may cost: a second of one core.
MAX_DIAGNOSIS_ROWS = 200
MIN_DIAGNOSIS_ROWS = 32
DIAGNOSIS_BUDGET = 1e9
#: Multiply-adds that scoring a candidate may cost, a fraction of a second; but with fewer rows chance decides.
SCORE_BUDGET = 2e10
MIN_SCORE_ROWS = 250
#: Rows on which the float function before and after a change of the graph is compared.
NUM_DIFFERENCE_ROWS = 100


@dataclass(frozen=True)
class Prepared:
    """One model, measured.

    Attributes:
        request: With as many selection rows as can be run for every candidate.
        quantize: Makes an integer model of a float one whose tensors carry ranges.
        reference: The float model's outputs on the selection rows.
        goal: What a candidate must keep.
        base: The float model, measured on all range rows.
        clean: The same, measured on the range rows without fault codes; ``base`` where all are sound.
        sound: ``clean`` with masks cut to what their consumers can tell apart, measured again; ``clean`` where it has none.
        clean_rows: The range rows without fault codes.
        tensor_names: Tensors as people know them, each name once.
    """

    request: SearchRequest
    quantize: Quantizer
    reference: Mapping[str, Array] = field(repr=False)
    goal: Goal
    base: Variant
    clean: Variant
    sound: Variant
    clean_rows: Rows = field(repr=False)
    tensor_names: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, request: SearchRequest, quantize: Quantizer) -> Prepared:
        """Runs the float model on selection rows and range rows."""
        graph = FloatGraph.parse(request.float_model)
        request, reference = _with_chosen_rows(_affordable(request, graph))
        clean_rows = _ordinary(request.range_rows)
        base = Variant(graph, measure(request.float_model, request.range_rows))
        clean = _without_faults(base, request, clean_rows)
        return cls(
            request=request,
            quantize=quantize,
            reference=reference,
            goal=find_goal(request.selection_rows, reference, request.labels, request.settings.goal),
            base=base,
            clean=clean,
            sound=_without_masks(clean, request, clean_rows),
            clean_rows=clean_rows,
            tensor_names=_known_names(graph, request.float_model),
        )

    def int8(self, source: Source) -> Proposal:
        """The int8 file of a source."""
        return int8(source, self.quantize)

    def first_clean(self, count: int) -> dict[str, Array]:
        """The first range rows without fault codes."""
        return first(self.clean_rows, count)

    def measure_selection(self) -> Statistics:
        """What the activations hold on as many selection rows as a diagnosis may cost."""
        return self._measure_first(self.request.selection_rows)

    def diagnose(self, selection: Statistics) -> tuple[Finding, ...]:
        """What is awkward about the model or the data."""
        head = self._measure_first(self.request.head_rows) if self.request.head_rows else None
        sound = None if self.clean is self.base else self.clean.statistics
        return diagnosis.diagnose(self.base.graph, self.base.statistics, selection, head, sound)

    def _measure_first(self, rows: Rows) -> Statistics:
        limits = (DIAGNOSIS_BUDGET, MIN_DIAGNOSIS_ROWS, MAX_DIAGNOSIS_ROWS)
        num_rows = sensitivity.affordable_rows(self.base.graph, count(self.request.selection_rows), *limits)
        return measure(self.request.float_model, first(rows, num_rows))


def first(rows: Rows, num_rows: int) -> dict[str, Array]:
    """The first rows of every input."""
    return {name: array[:num_rows] for name, array in rows.items()}


def count(rows: Rows) -> int:
    """How many rows there are."""
    return len(next(iter(rows.values()), np.empty(0)))


def _without_faults(base: Variant, request: SearchRequest, clean_rows: Rows) -> Variant:
    num_rows, num_clean = count(request.range_rows), count(clean_rows)
    if num_clean == num_rows:
        return base
    statistics = measure(request.float_model, clean_rows)
    return Variant(base.graph, statistics, (f"{num_rows - num_clean} fault rows set aside",))


def _without_masks(clean: Variant, request: SearchRequest, rows: Rows) -> Variant:
    graph, names = cut_masks(clean.graph, clean.statistics)
    if not names:
        return clean
    model = graph.pack()
    difference = float(largest_difference(request.float_model, model, first(rows, NUM_DIFFERENCE_ROWS)))
    if not difference <= MAX_FLOAT_DIFFERENCE:
        return clean
    return Variant(graph, measure(model, rows), (*clean.steps, MASKS), difference=difference)


def _ordinary(rows: Rows) -> Rows:
    keep = ordinary_rows(rows)
    return rows if keep.all() else {name: array[keep] for name, array in rows.items()}


def _affordable(request: SearchRequest, graph: FloatGraph) -> SearchRequest:
    """The request with as many selection rows as can be run for every candidate."""
    num_rows = count(request.selection_rows)
    kept = sensitivity.affordable_rows(graph, num_rows, SCORE_BUDGET, MIN_SCORE_ROWS, num_rows)
    labels = None if request.labels is None else request.labels[:kept]
    return replace(request, selection_rows=first(request.selection_rows, kept), labels=labels)


def _with_chosen_rows(request: SearchRequest) -> tuple[SearchRequest, dict[str, Array]]:
    """The request with the rows that score, and float's outputs on them: those of rare classes among them."""
    reference = predict(request.float_model, request.selection_rows)
    is_stream = TFLiteModel.load(request.float_model).find_feeding(request.selection_rows) is Feeding.STREAM
    chosen = np.arange(min(count(request.selection_rows), agreement.MAX_ROWS))  # a stream's rows stand in their order
    if not is_stream:
        chosen = rows_to_score(reference, agreement.MAX_ROWS)
    if len(chosen) == count(request.selection_rows):
        return request, reference
    rows = {name: array[chosen] for name, array in request.selection_rows.items()}
    labels = None if request.labels is None else request.labels[chosen]
    changed = replace(request, selection_rows=rows, labels=labels)
    return changed, {name: array[chosen] for name, array in reference.items()}


def _known_names(graph: FloatGraph, float_model: bytes) -> dict[str, str]:
    """Inputs and outputs by their public names, others by the first layer in theirs, or in full where two share it."""
    interface = read_interface(float_model)
    public = {
        graph.name(bound.tensor_index): f"{side} {bound.spec.name}"
        for side, bounds in (("input", interface.inputs), ("output", interface.outputs))
        for bound in bounds
    }
    names = [graph.name(tensor) for tensor in range(len(graph.tensors)) if not graph.is_constant(tensor)]
    layers = [name.split(";")[0] for name in names]
    return {
        name: public.get(name, layer if layers.count(layer) == 1 else name)
        for name, layer in zip(names, layers, strict=True)
    }
