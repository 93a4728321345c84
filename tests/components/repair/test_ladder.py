"""The ladder on a two-layer net, with a quantizer of a few lines in the place of TensorFlow's.

It rounds, in the float graph, every activation and weight that no float operator frees: what int8 does to a model,
without its kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeproof_edge.interpreter import TFLiteModel
from numpy.typing import NDArray

from components.errors import ConversionError
from components.repair import sensitivity
from components.repair.graph import FloatGraph
from components.repair.recipes import IoType, Recipe
from components.repair.record import search_facts
from components.repair.search.budget import BASE_SECONDS, NUM_CANDIDATES, Budget
from components.repair.search.candidates import Candidate, SearchRequest, SearchResult
from components.repair.search.choice import choose
from components.repair.search.ladder import search
from components.repair.search.trials import Trials
from components.repair.settings import AutoSettings, Caps

MODELS = Path(__file__).parents[2] / "edge" / "models"
NUM_ROWS = 600


@pytest.fixture(autouse=True)
def everything_may_be_float(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator's operators all compute in float."""
    monkeypatch.setattr("components.repair.search.trials.MAX_FLOAT_SHARE", 1.0)


def simulate_int8(
    model_with_ranges: bytes,
    *,
    activations: str,
    input_type: str,
    output_type: str,
    float_tensors: Sequence[str] = (),
) -> bytes:
    """Rounds what TensorFlow's quantizer would round; ranges are those written to the tensors."""
    assert activations == "int8"
    graph = FloatGraph.parse(model_with_ranges)
    names = [graph.name(t) for t in range(len(graph.tensors)) if graph.range_of(t) is not None]
    is_float = {p for p in range(len(graph.operators)) if touches(graph, p) & set(float_tensors)}
    for tensor, axis in sensitivity.weights(graph):
        if not set(graph.consumers(tensor)) <= is_float:
            values = graph.constant(tensor)
            assert values is not None
            graph.set_constant(tensor, sensitivity.rounded_weight(values, axis))
    for name in [name for name in names if name not in float_tensors]:
        tensor = graph.tensor(name)
        limits = graph.range_of(tensor)
        assert limits is not None
        if (tensor in graph.inputs and input_type == "float32") or (
            tensor in graph.outputs and output_type == "float32"
        ):
            continue
        graph = FloatGraph.parse(sensitivity._with_rounded_activation(graph, tensor, limits))
    return graph.pack()


def touches(graph: FloatGraph, position: int) -> set[str]:
    operator = graph.operators[position]
    return {graph.name(tensor) for tensor in (*operator.inputs, *operator.outputs) if tensor >= 0}


def dense_model() -> bytes:
    """x [1, 8] -> FULLY_CONNECTED -> SOFTMAX -> probs [1, 4]."""
    graph = FloatGraph.parse((MODELS / "float32.tflite").read_bytes())
    weight = graph.operators[0].inputs[1]
    graph.set_constant(weight, np.random.default_rng(3).normal(0, 2, graph.shape(weight)).astype(np.float32))
    return graph.pack()


MODEL = dense_model()
INPUT = TFLiteModel.load(MODEL).inputs[0].name
X = np.random.default_rng(0).normal(size=(2 * NUM_ROWS, 8)).astype(np.float32)


def request(x: NDArray[np.float32] = X, model: bytes = MODEL, **changes: object) -> SearchRequest:
    made = SearchRequest(model, {INPUT: x[::2]}, {INPUT: x[1::2]}, {INPUT: x[:100]})
    return replace(made, **changes)  # type: ignore[arg-type]


def awkward() -> tuple[bytes, NDArray[np.float32]]:
    """The same function of an input whose first column is 3000 times larger than the others."""
    graph = FloatGraph.parse(MODEL)
    weight = graph.operators[0].inputs[1]
    values = graph.constant(weight)
    assert values is not None
    values[:, 0] /= 3000
    graph.set_constant(weight, values)
    return graph.pack(), X * np.array([3000, 1, 1, 1, 1, 1, 1, 1], np.float32)


def names(result: SearchResult) -> list[str]:
    return [candidate.name for candidate in result.candidates]


def test_a_healthy_model_gets_the_first_rung_and_nothing_else() -> None:
    result = search(request(), simulate_int8)
    assert names(result) == ["int8 minmax"]
    assert result.choice.met_goal
    assert result.chosen.steps == ()
    assert result.findings == ()
    assert result.changes == ()


def test_rows_with_fault_codes_are_set_aside() -> None:
    x = X.copy()
    x[np.r_[10:16]] = -9999
    result = search(request(x), simulate_int8)
    assert names(result) == ["int8 minmax", "int8 minmax, 3 fault rows set aside"]
    assert result.choice.index == 1
    assert [finding.name for finding in result.findings] == ["outliers"]


def test_an_input_of_awkward_scales_ends_in_float_islands() -> None:
    model, x = awkward()
    result = search(request(x, model), simulate_int8)
    assert result.choice.met_goal
    assert result.chosen.steps[-1].startswith("float islands: ")
    assert result.chosen.proposal.io_types.inputs is IoType.FLOAT32
    assert "input scale" in [finding.name for finding in result.findings]


def test_a_float_model_is_no_int8_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.repair.search.trials.MAX_FLOAT_SHARE", 0.5)
    model, x = awkward()
    result = search(request(x, model), simulate_int8)
    assert not result.choice.met_goal
    assert any("would compute in float" in skipped.reason for skipped in result.skipped)


def test_types_that_were_asked_for_are_kept() -> None:
    model, x = awkward()
    result = search(request(x, model, may_change_io=False), simulate_int8)
    assert not result.choice.met_goal
    assert {candidate.proposal.io_types.inputs for candidate in result.candidates} == {IoType.INT8}
    assert any("was asked for" in skipped.reason for skipped in result.skipped)


def test_nothing_that_meets_the_goal_leaves_the_best() -> None:
    model, x = awkward()
    result = search(request(x, model, may_change_io=False), simulate_int8)
    best = min(candidate.score.distance for candidate in result.candidates)
    assert result.chosen.score.distance <= 1.5 * best
    assert "nothing met the goal" in result.choice.reason


def stubborn(model_with_ranges: bytes, **options: object) -> bytes:
    """Leaves nothing in float."""
    return simulate_int8(model_with_ranges, **{**options, "float_tensors": ()})  # type: ignore[arg-type]


def test_fallbacks_compete_only_where_they_are_allowed() -> None:
    model, x = awkward()
    result = search(request(x, model), stubborn)
    assert not result.choice.met_goal
    assert {candidate.recipe for candidate in result.candidates} == {Recipe.INT8}
    result = search(request(x, model), stubborn, {Recipe.FLOAT16: lambda: model})
    assert (result.chosen.recipe, result.chosen.steps) == (Recipe.FLOAT16, ())
    kept = search(request(x, model, may_change_io=False), stubborn, {Recipe.FLOAT16: lambda: model})
    assert Recipe.FLOAT16 not in {candidate.recipe for candidate in kept.candidates}


def test_float_islands_that_were_not_needed_are_taken_back() -> None:
    model, x = awkward()
    result = search(request(x, model), simulate_int8)
    fewest = min(len(candidate.freed) for candidate in result.candidates if candidate.score.met)
    assert len(result.chosen.freed) == fewest


@pytest.mark.parametrize(
    ("caps", "num_candidates", "reason"),
    [
        pytest.param(
            Caps(max_candidates=2),
            2,
            "stopped after 2 candidates, as many as allowed, before bias correction",
            id="candidates",
        ),
        pytest.param(Caps(max_seconds=1e-9), 1, "before setting fault rows aside, cut masks", id="seconds"),
    ],
)
def test_the_search_is_bounded(caps: Caps, num_candidates: int, reason: str) -> None:
    model, x = awkward()
    result = search(request(x, model, settings=AutoSettings(caps=caps)), simulate_int8)
    assert len(result.candidates) == num_candidates
    assert reason in result.skipped[-1].reason
    assert result.skipped[-1].reason.endswith("goes on")


def test_what_fails_is_skipped_by_name() -> None:
    def sometimes(model_with_ranges: bytes, **options: object) -> bytes:
        raise RuntimeError("the quantizer\nsays no")

    with pytest.raises(ConversionError, match=r"not one int8 model.*int8 minmax: the quantizer says no"):
        search(request(), sometimes)


def test_a_broken_candidate_does_not_end_the_search() -> None:
    calls = []

    def first_fails(model_with_ranges: bytes, **options: object) -> bytes:
        calls.append(1)
        return b"" if len(calls) == 1 else simulate_int8(model_with_ranges, **options)  # type: ignore[arg-type]

    result = search(request(), first_fails)
    assert result.choice.met_goal
    assert result.skipped[0].step == "int8 minmax"


def test_steps_that_do_not_apply_are_skipped_by_name() -> None:
    model, x = awkward()
    skipped = {skipped.step for skipped in search(request(x, model), simulate_int8).skipped}
    assert {"setting fault rows aside", "saturated ranges cut"} <= skipped


def test_the_same_request_gives_the_same_bytes() -> None:
    model, x = awkward()
    first, second = (search(request(x, model), simulate_int8) for _ in range(2))
    assert [c.model for c in first.candidates] == [c.model for c in second.candidates]
    assert first.choice == second.choice


def changed(candidate: Candidate, **flags: bool) -> Candidate:
    outputs = tuple(replace(output, **flags) for output in candidate.score.outputs)  # type: ignore[arg-type]
    return replace(candidate, score=replace(candidate.score, outputs=outputs))


def losing(candidate: Candidate, loss: float, rows: Sequence[float]) -> Candidate:
    """The candidate with a loss of which single rows tell little: chance may have done it."""
    outputs = [replace(output, loss=loss, met=False, rows=np.array(rows)) for output in candidate.score.outputs]
    return replace(candidate, score=replace(candidate.score, outputs=tuple(outputs)))


def freeing(candidate: Candidate, *tensors: str) -> Candidate:
    assert candidate.proposal.source is not None
    source = replace(candidate.proposal.source, freed=tensors)
    return replace(candidate, proposal=replace(candidate.proposal, source=source))


def test_a_tie_goes_to_the_cheaper() -> None:
    (candidate,) = search(request(), simulate_int8).candidates
    near = changed(candidate, met=False, is_ample=False)
    assert choose([near, candidate]).index == 0
    assert choose([near, candidate]).met_goal
    far = changed(near, is_near=False)
    assert choose([far, candidate]).index == 1
    assert not choose([far]).met_goal
    only_met = changed(far, met=True)
    assert choose([far, only_met]).index == 1
    assert choose([far, only_met]).met_goal
    assert choose([far, freeing(candidate, "a", "b"), freeing(candidate, "a")]).index == 2


@pytest.mark.parametrize(("share", "chosen"), [pytest.param(0.7, 0, id="as good"), pytest.param(0.9, 1, id="worse")])
def test_more_float_islands_are_not_paid_for_a_loss_that_is_as_good(share: float, chosen: int) -> None:
    (candidate,) = search(request(), simulate_int8).candidates
    limit = candidate.score.outputs[0].limit
    few = changed(freeing(losing(candidate, share * limit, [share]), "a"), met=True, is_ample=False, is_safe=False)
    more = changed(freeing(losing(candidate, 0.58 * limit, [0.58]), "a", "b"), met=True, is_ample=False, is_safe=True)
    assert choose([few, more]).index == chosen


def test_where_none_meets_the_goal_a_cheaper_one_goes_only_if_it_is_nearly_as_close() -> None:
    (candidate,) = search(request(), simulate_int8).candidates
    limit = candidate.score.outputs[0].limit
    closest = freeing(losing(candidate, 1.2 * limit, [0.0, 2.4]), "a")
    assert choose([losing(candidate, 1.8 * limit, [3.6, 0.0]), closest]).index == 1
    assert choose([losing(candidate, 1.4 * limit, [2.8, 0.0]), closest]).index == 0


def test_the_record_says_everything() -> None:
    model, x = awkward()
    result = search(request(x, model), simulate_int8)
    facts = search_facts(result)
    assert [c.name for c in facts.candidates] == names(result)
    assert [c.chosen for c in facts.candidates].count(True) == 1
    (chosen,) = [c for c in facts.candidates if c.chosen]
    assert chosen.why_chosen == result.choice.reason
    assert chosen.met_goal
    assert facts.goal.num_rows == NUM_ROWS
    assert facts.input_type is IoType.FLOAT32


def test_islands_need_no_candidate_that_loads() -> None:
    """As for a table whose columns differ by 1e9: the runtime refuses every file whose input is not float."""
    model, x = awkward()

    def refused(model_with_ranges: bytes, *, float_tensors: Sequence[str] = (), **options: Any) -> bytes:
        made = simulate_int8(model_with_ranges, float_tensors=float_tensors, **options)
        return made if float_tensors else without_kernels(made)

    result = search(request(x, model), refused)
    assert result.choice.met_goal
    assert result.chosen.freed
    assert all(candidate.freed for candidate in result.candidates)


def without_kernels(model: bytes) -> bytes:
    """A readable file that no runtime loads: an operator of a version that does not exist."""
    graph = FloatGraph.parse(model)
    graph.set_kind(0, graph.kind(0), 99, graph.options(0))
    return graph.pack()


def test_float_operators_come_only_where_no_integer_model_meets_the_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "components.repair.goal.scores.AMPLE_SHARE", 0.0
    )  # every candidate but float itself just meets it
    result = search(request(), simulate_int8)
    assert result.choice.met_goal
    assert len(result.candidates) > 1
    assert all(not candidate.freed for candidate in result.candidates)
    assert result.chosen.score.distance == min(c.score.distance for c in result.candidates if c.score.met)


def test_two_candidates_of_one_name_are_told_apart() -> None:
    model, x = awkward()
    result = search(request(x, model), simulate_int8)
    assert len(set(names(result))) == len(result.candidates)
    assert Trials(request(x, model), result.goal, {})._free_name("int8 minmax") == "int8 minmax"


def test_the_budget_is_processor_time_and_grows_with_the_model() -> None:
    budget = Budget(None)
    assert budget.limit == BASE_SECONDS
    budget.saw_candidate(10.0)
    assert budget.limit == 10.0 * NUM_CANDIDATES
    assert Budget(5.0).limit == 5.0
    assert budget.spent < 1.0
