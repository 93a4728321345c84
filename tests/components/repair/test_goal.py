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
    rows_to_score,
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


@pytest.mark.parametrize(
    ("num_lost", "met"), [pytest.param(20, False, id="most"), pytest.param(6, True, id="no-more-than-chance")]
)
def test_a_class_of_which_most_is_gone_is_lost_however_undecided_float_was(num_lost: int, met: bool) -> None:
    answers = np.arange(NUM_ROWS) % 4
    output = softmax(np.eye(5, dtype=np.float32)[answers] * 8)
    output[:30] = [0.16, 0.16, 0.16, 0.25, 0.27]
    changed = output.copy()
    changed[:num_lost] = [0.16, 0.16, 0.16, 0.27, 0.25]
    score = goal_for(output).score({"y": changed})
    assert score.outputs[0].loss < 0.005
    assert score.met is met


def test_of_scores_of_their_own_the_closer_candidate_is_better_where_both_lost_the_same_labels() -> None:
    """A pitch tracker's 360 sigmoids: seven answers of 250 that changed say little of which model is closer."""
    random, rows = np.random.default_rng(7), np.arange(9)
    labels = random.integers(0, 40, NUM_ROWS)
    output = np.clip(np.eye(40)[labels] * 0.5 + random.uniform(0, 0.2, (NUM_ROWS, 40)), 0, 1).astype(np.float32)
    output[rows, labels[rows]], output[rows, labels[rows] - 1] = 0.30, 0.29
    goal, scores = goal_for(output, labels), []
    for noise in (0.0005, 0.002):
        candidate = np.clip(output + random.normal(0, noise, output.shape), 0, 1)
        candidate[rows, labels[rows]] = 0.27
        scores.append(goal.score({"y": candidate.astype(np.float32)}))
    near, far = scores
    assert near.outputs[0].num_lost == far.outputs[0].num_lost == 9
    assert not near.met
    assert near.order < far.order


def test_the_divergence_of_scores_of_their_own_is_that_of_their_loss() -> None:
    """Rounding a score of 0.0001 to nothing moves its logarithm far, and no answer."""
    scores, labels = sigmoids()
    tiny = np.where(scores < 0.05, 1e-4, scores).astype(np.float32)
    goal = goal_for(tiny, labels)
    without_tiny = np.where(tiny < 0.05, 0, tiny)
    moved = np.where(tiny < 0.05, tiny, tiny * 0.97)
    assert goal.divergence({"y": without_tiny}) < goal.divergence({"y": moved})


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


def sigmoids(num_classes: int = 40) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores of their own, one of which is high, as a pitch tracker gives them; most columns hardly ever move."""
    random = np.random.default_rng(6)
    labels = random.integers(0, num_classes // 2, NUM_ROWS)
    distance = np.abs(np.arange(num_classes)[None] - labels[:, None])
    logits_of_own = 3.0 - 2.5 * distance + random.normal(0, 0.3, (NUM_ROWS, num_classes))
    return (1 / (1 + np.exp(-logits_of_own))).astype(np.float32), labels


def test_scores_of_their_own_with_labels_are_no_toss_up() -> None:
    scores, labels = sigmoids()
    goal = goal_for(scores, labels)
    assert goal.outputs[0].kind is OutputKind.CLASSES
    wrong = scores.copy()
    wrong[:40] = np.roll(scores[:40], 3, axis=1)
    assert goal.score({"y": wrong}).outputs[0].loss > 0.05


def test_labels_that_were_lost_decide_between_equals() -> None:
    output = np.full((NUM_ROWS, 5), 0.2, np.float32)
    output[np.arange(NUM_ROWS), LABELS] += 0.001
    output /= output.sum(axis=1, keepdims=True)
    goal = goal_for(output, LABELS)
    few, many = output.copy(), output.copy()
    few[:1], many[:2] = np.roll(output[:1], 1, axis=1), np.roll(output[:2], 1, axis=1)
    fewer, more = goal.score({"y": few}), goal.score({"y": many})
    assert fewer.distance == more.distance == 0
    assert fewer.order < more.order
    assert is_better(fewer, more)
    assert not is_better(more, fewer)


def test_rounding_scores_to_the_codes_of_an_int8_output_meets_the_goal() -> None:
    scores, _ = sigmoids()
    scores[:, 30:] *= 1e-3  # columns that are as good as dead
    goal = goal_for(scores)
    assert goal.outputs[0].kind is OutputKind.VALUES
    assert goal.score({"y": (np.rint(scores * 256) / 256).astype(np.float32)}).is_ample


@pytest.mark.parametrize("is_last", [True, False], ids=["boxes-in-columns", "boxes-in-rows"])
def test_a_part_that_is_gone_is_not_averaged_away(is_last: bool) -> None:
    """Boxes of 0..640 pixels beside scores of 0..1: rounding to one scale leaves the boxes whole and no score."""
    random = np.random.default_rng(7)
    boxes, scores = random.uniform(0, 640, (NUM_ROWS, 50, 4)), random.random((NUM_ROWS, 50, 2))
    head = np.concatenate([boxes, scores], axis=2)
    output = np.asarray(head if is_last else head.transpose(0, 2, 1), np.float32)
    goal = goal_for(output)
    rounded = np.rint(output / 2.5) * 2.5
    score = goal.score({"y": rounded.astype(np.float32)}).outputs[0]
    assert not score.met
    assert "columns 4-5" in score.worst_part
    assert len(goal.outputs[0].parts) == 2
    assert goal.score({"y": output}).is_ample


def test_a_rare_class_weighs_as_much_as_the_common_one() -> None:
    """One alarm in 50 rows, all lost: 2 % of the rows, half of what the model is for."""
    alarms = (np.arange(NUM_ROWS) % 50 == 0)[:, None] * np.float32(0.98) + np.float32(0.01)
    labels = (alarms[:, 0] > 0.5).astype(np.int64)
    goal = goal_for(alarms, labels)
    dead = goal.score({"y": np.full_like(alarms, 0.01)}).outputs[0]
    assert dead.loss > 0.1
    assert dead.is_useless
    false = alarms.copy()
    false[1:4] = 0.9
    assert not goal.score({"y": false}).met


def test_rows_of_a_rare_class_are_among_those_that_score() -> None:
    scores = np.full((5000, 1), 0.01, np.float32)
    scores[4000::100] = 0.9
    rows = rows_to_score({"alarm": scores}, 1000)
    assert len(rows) == 1000
    assert set(range(4000, 5000, 100)) <= set(rows.tolist())
    assert rows_to_score({"alarm": scores[:900]}, 1000).tolist() == list(range(900))


@pytest.mark.parametrize(
    ("own_error", "limit"),
    [
        pytest.param(0.1, 0.0174, id="an-accurate-model-has-a-strict-goal"),
        pytest.param(0.6, 0.05, id="the-given-limit-stays"),
        pytest.param(0.0, 0.05, id="floats-own-outputs-are-no-truth"),
        pytest.param(3.0, 0.05, id="other-numbers-are-no-truth"),
    ],
)
def test_true_values_tell_how_close_is_close_enough(own_error: float, limit: float) -> None:
    output = VALUES[:, :1]
    truth = output + own_error * output.std() * np.random.default_rng(8).normal(size=output.shape)
    (goal,) = find_goal(X, {"y": output}, truth).outputs
    assert goal.limit == pytest.approx(limit, rel=0.1)


@pytest.mark.parametrize("output", [softmax(logits()), logits(), VALUES], ids=["probs", "logits", "values"])
def test_outputs_that_are_not_finite_diverge_by_a_bounded_number(output: NDArray[np.float32]) -> None:
    goal = goal_for(output)
    assert np.isfinite(goal.divergence({"y": np.full_like(output, -np.inf)}))


def test_an_output_that_is_worse_than_its_mean_is_useless() -> None:
    goal = goal_for(VALUES)
    assert goal.score({"y": np.zeros_like(VALUES) + 5}).outputs[0].is_useless
    assert not goal.score({"y": VALUES * 0.9}).outputs[0].is_useless
