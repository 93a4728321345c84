from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from components.repair.goal import (
    MAX_FAULT_SHARE,
    Goal,
    OutputKind,
    find_goal,
    is_better,
    ordinary_rows,
)
from components.repair.settings import GoalSettings

NUM_ROWS = 400
RANDOM = np.random.default_rng(5)
X = {"x": RANDOM.normal(size=(NUM_ROWS, 3)).astype(np.float32)}
LABELS = RANDOM.integers(0, 5, NUM_ROWS)


def logits(sure: float = 6.0) -> NDArray[np.float32]:
    """Scores of a model that is right in most rows, [n, 5]."""
    scores = np.random.default_rng(1).normal(size=(NUM_ROWS, 5))
    scores[np.arange(NUM_ROWS), LABELS] += sure
    return scores.astype(np.float32)


def softmax(values: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float32)


def goal_for(output: NDArray[np.generic], labels: NDArray[np.int64] | None = None) -> Goal:
    return find_goal(X, {"y": output}, labels)


VALUES = np.random.default_rng(2).normal(0, 1, (NUM_ROWS, 6)).astype(np.float32)


@pytest.mark.parametrize(
    ("output", "labels", "kind"),
    [
        pytest.param(softmax(logits()), None, OutputKind.CLASSES, id="probabilities"),
        pytest.param(logits(), None, OutputKind.CLASSES, id="logits-without-labels"),
        pytest.param(logits(0.5), LABELS, OutputKind.CLASSES, id="weak-logits-with-labels"),
        pytest.param(logits().argmax(axis=1), None, OutputKind.IDS, id="argmax-in-the-graph"),
        pytest.param(VALUES[:, :1], None, OutputKind.VALUES, id="one-unit"),
        pytest.param(VALUES[:, 0], None, OutputKind.VALUES, id="no-unit-axis"),
        pytest.param(VALUES * 100, None, OutputKind.VALUES, id="wide-regression"),
        pytest.param(np.abs(VALUES) * 100, None, OutputKind.VALUES, id="boxes-in-pixels"),
        pytest.param(np.abs(VALUES[:, :4]) * 100, LABELS, OutputKind.VALUES, id="boxes-beside-labels"),
        pytest.param(VALUES, None, OutputKind.VALUES, id="standardized-regression"),
        pytest.param((LABELS % 2)[:, None] * 0.8 + 0.1, LABELS % 2, OutputKind.CLASSES, id="binary-with-labels"),
        pytest.param(VALUES.reshape(NUM_ROWS, 3, 2), None, OutputKind.VALUES, id="map"),
    ],
)
def test_the_kind_of_an_output_is_found(
    output: NDArray[np.generic], labels: NDArray[np.int64] | None, kind: OutputKind
) -> None:
    assert goal_for(output, labels).outputs[0].kind is kind


def test_the_config_can_say_otherwise() -> None:
    goal = find_goal(X, {"y": softmax(logits())}, None, GoalSettings(outputs={"y": "values"}))
    assert goal.outputs[0].kind is OutputKind.VALUES
    assert goal.outputs[0].reason == "the config says so"


@pytest.mark.parametrize(
    "output", [softmax(logits()), logits(), logits().argmax(axis=1), VALUES], ids=["probs", "logits", "ids", "values"]
)
def test_float_itself_meets_the_goal(output: NDArray[np.generic]) -> None:
    score = goal_for(output).score({"y": output})
    assert score.met
    assert score.distance == 0


@pytest.mark.parametrize("labels", [None, LABELS], ids=["without-labels", "with-labels"])
@pytest.mark.parametrize("output", [softmax(logits()), logits()], ids=["probabilities", "logits"])
def test_lost_answers_are_counted(output: NDArray[np.float32], labels: NDArray[np.int64] | None) -> None:
    """1 % of sure answers turned: the estimate says about 1 %, and 0.5 % is the limit."""
    turned = output.copy()
    turned[:4] = output[:4, ::-1]
    turned[:4, 2] = output[:4].max(axis=1) + 1
    score = goal_for(output, labels).score({"y": turned})
    assert 0.003 < score.outputs[0].loss < 0.02
    assert goal_for(output, labels).score({"y": output[:, ::-1]}).outputs[0].loss > 0.5


def test_undecided_rows_cost_nothing() -> None:
    output = softmax(logits(8.0))
    output[:40] = [0.2501, 0.25, 0.25, 0.2499, 0.0]
    toss = output.copy()
    toss[:40, 1] += 0.01
    assert goal_for(output).score({"y": toss}).met


def test_another_model_is_refused_however_undecided_float_was() -> None:
    output = np.full((NUM_ROWS, 4), 0.25, np.float32)
    output[:, 0] += 1e-4
    other = output[:, ::-1]
    score = goal_for(output).score({"y": other})
    assert score.outputs[0].loss < 0.005
    assert not score.met
    assert not score.is_near


def test_labels_can_refuse_what_probabilities_forgive() -> None:
    output = np.full((NUM_ROWS, 5), 0.2, np.float32)
    output[np.arange(NUM_ROWS), LABELS] += 0.001
    output /= output.sum(axis=1, keepdims=True)
    wrong = output.copy()
    wrong[:30] = np.roll(output[:30], 1, axis=1)
    assert goal_for(output).score({"y": wrong}).met
    assert not goal_for(output, LABELS).score({"y": wrong}).met


@pytest.mark.parametrize(("error", "met"), [pytest.param(0.049, True), pytest.param(0.051, False)])
def test_values_are_held_against_their_spread(error: float, met: bool) -> None:
    """Columns of very different scales count alike."""
    output = VALUES * np.array([1, 10, 100, 1e3, 1e4, 1e5], np.float32)
    signs = np.random.default_rng(3).choice([-1, 1], output.shape)
    score = goal_for(output).score({"y": output + error * signs * output.std(axis=0)})
    assert score.outputs[0].loss == pytest.approx(error, rel=1e-3)
    assert score.met is met


@pytest.mark.parametrize("output", [softmax(logits()), VALUES], ids=["classes", "values"])
def test_what_is_not_finite_is_lost(output: NDArray[np.float32]) -> None:
    broken = output.copy()
    broken[::2] = np.nan
    score = goal_for(output).score({"y": broken})
    assert not score.met
    assert np.isfinite(score.distance)
    assert goal_for(output).divergence({"y": broken}) > goal_for(output).divergence({"y": output})


@pytest.mark.parametrize(
    ("share", "set_aside"),
    [
        pytest.param(0.01, True, id="rare-faults-do-not-decide"),
        pytest.param(MAX_FAULT_SHARE * 2, False, id="a-domain-does"),
    ],
)
def test_rows_with_fault_codes_are_set_aside(share: float, set_aside: bool) -> None:
    frames = np.random.default_rng(0).random((500, 4, 4, 1)).astype(np.float32)
    faulty = np.arange(500) < share * 500
    frames[faulty, 0] = -999
    assert (ordinary_rows({"x": frames}) == (~faulty if set_aside else np.True_)).all()


def test_columns_have_scales_of_their_own() -> None:
    table = np.random.default_rng(0).random((500, 3)) * [1e-3, 1.0, 1e5]
    table[3, 0] = 1.0
    assert np.flatnonzero(~ordinary_rows({"x": table})).tolist() == [3]


def test_dark_rows_and_token_ids_are_ordinary() -> None:
    frames = np.random.default_rng(0).random((500, 64)).astype(np.float32).reshape(500, 8, 8)
    frames[:5] *= 0.05
    assert ordinary_rows({"x": frames, "ids": np.arange(500)[:, None] ** 3}).all()


def test_faulty_rows_do_not_change_the_score() -> None:
    x = {"x": X["x"].copy()}
    x["x"][7] = 1e6
    output, found = VALUES.copy(), VALUES.copy()
    found[7] += 1e6
    assert find_goal(x, {"y": output}).score({"y": found}).met


def test_a_difference_within_chance_is_a_tie() -> None:
    output = softmax(logits())
    goal = goal_for(output)

    def turned(rows: slice) -> NDArray[np.float32]:
        found = output.copy()
        found[rows] = np.roll(output[rows], 1, axis=1)
        return found

    one, another, many = (goal.score({"y": turned(rows)}) for rows in (slice(0, 3), slice(3, 7), slice(7, 60)))
    assert not is_better(one, another)
    assert not is_better(another, one)
    assert is_better(one, many)
