"""The rungs that leave every operator in integers: ranges, equalization, corrected biases. Each says why it was not taken."""

from __future__ import annotations

import logging

from edgeproof_edge.errors import EdgeproofError

from components.repair.cures.bias_correction import correct_biases
from components.repair.equalization import MAX_FLOAT_DIFFERENCE, equalize, largest_difference
from components.repair.range_statistics import RangeMethod, measure
from components.repair.search.candidates import Candidate
from components.repair.search.prepared import NUM_DIFFERENCE_ROWS, Prepared
from components.repair.search.proposals import BIAS_CORRECTION, CUT, EQUALIZATION, MASKS, Source, Variant
from components.repair.search.trials import Trials

_log = logging.getLogger(__name__)

#: Rows that bias correction averages over.
NUM_BIAS_ROWS = 100
PERCENTILES = (RangeMethod.P99_99, RangeMethod.P99_9)
#: What a pass over a graph may raise on one it does not understand: the ladder goes on without it.
PASS_ERRORS = (EdgeproofError, ArithmeticError, ValueError, KeyError, IndexError)


def plain(prepared: Prepared, trials: Trials) -> None:
    """The whole range of every tensor: what recipe int8 gives."""
    trials.make(prepared.int8(_ranged(prepared, prepared.base, RangeMethod.MINMAX)))


def without_faults(prepared: Prepared, trials: Trials) -> None:
    """The same of the rows that hold no fault codes."""
    if prepared.clean is prepared.base:
        trials.skip("setting fault rows aside", "no range row lies far outside the others")
        return
    trials.make(prepared.int8(_ranged(prepared, prepared.clean, RangeMethod.MINMAX)))


def without_masks(prepared: Prepared, trials: Trials) -> None:
    """The same with masks cut to what their consumers can tell apart."""
    if prepared.sound is prepared.clean:
        trials.skip(MASKS, "no softmax or maximum reads a value far below all others")
        return
    trials.make(prepared.int8(_ranged(prepared, prepared.sound, RangeMethod.MINMAX)))


def saturated(prepared: Prepared, trials: Trials) -> None:
    """Ranges cut to what the consumers of a tensor can tell apart."""
    source = _ranged(prepared, prepared.sound, RangeMethod.MINMAX, cut=True)
    if CUT not in source.steps:
        trials.skip(CUT, "no tensor is read only by operators that saturate within its range")
        return
    trials.make(prepared.int8(source))


def equalized(prepared: Prepared, trials: Trials) -> None:
    """Channels of like range, branches of like scale, offsets in biases."""
    variant = _equalized(prepared, trials)
    if variant is not None:
        trials.make(prepared.int8(_ranged(prepared, variant, RangeMethod.MINMAX, cut=True)))


def narrow_ranges(prepared: Prepared, trials: Trials) -> None:
    """Percentiles, and the range of the least squared error, of the graph as it is, cut, and equalized."""
    sound = prepared.sound
    sources = [_ranged(prepared, sound, method) for method in (*PERCENTILES, RangeMethod.MSE)]
    cut = [_ranged(prepared, sound, method, cut=True) for method in PERCENTILES]
    sources += [source for source in cut if CUT in source.steps]
    variant = next((s.variant for s in trials.sources if EQUALIZATION in s.variant.steps), None)
    if variant is not None:
        sources += [_ranged(prepared, variant, method, cut=True) for method in PERCENTILES]
    trials.make_each(prepared.int8(source) for source in sources)


def with_corrected_biases(prepared: Prepared, trials: Trials) -> None:
    """Corrected biases in the closest all-int8 model, unless that was done."""
    best = trials.best_int8(lambda candidate: not candidate.freed)
    if best is not None and not any(source.steps == (*best.steps, BIAS_CORRECTION) for source in trials.sources):
        correct(best, prepared, trials)


def correct(candidate: Candidate, prepared: Prepared, trials: Trials) -> None:
    """The same model with corrected biases; the correction is right for its ranges and float islands only."""
    source = candidate.proposal.source
    assert source is not None
    rows = prepared.first_clean(NUM_BIAS_ROWS)
    try:
        graph = correct_biases(source.variant.graph, source.variant.statistics, candidate.model, rows)
    except PASS_ERRORS as error:
        _log.exception(BIAS_CORRECTION)
        trials.skip(BIAS_CORRECTION, f"it failed: {error}")
        return
    trials.make(prepared.int8(source.with_biases(graph)))


def _ranged(prepared: Prepared, variant: Variant, method: RangeMethod, cut: bool = False) -> Source:
    return Source.ranged(variant, method, prepared.request.io_types, cut)


def _equalized(prepared: Prepared, trials: Trials) -> Variant | None:
    """The equalized graph; None where nothing can be equalized or the function would change."""
    source = prepared.sound
    try:
        graph, changes = equalize(source.graph, source.statistics)
    except PASS_ERRORS as error:
        _log.exception(EQUALIZATION)
        trials.skip(EQUALIZATION, f"it failed: {error}")
        return None
    if not changes:
        trials.skip(EQUALIZATION, "no pair of layers, stream or concatenation that it knows how to rescale")
        return None
    model = graph.pack()
    rows = prepared.first_clean(NUM_DIFFERENCE_ROWS)
    difference = float(largest_difference(prepared.request.float_model, model, rows))
    if not difference <= MAX_FLOAT_DIFFERENCE:
        trials.skip(EQUALIZATION, f"it would change the float model by {difference:.2g} of the outputs' spread")
        return None
    statistics = measure(model, prepared.clean_rows)
    return Variant(graph, statistics, (*source.steps, EQUALIZATION), tuple(changes), difference)
