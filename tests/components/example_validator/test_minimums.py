"""Too small a split becomes one sentence with a way out that this data can go."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from components.example_validator.minimums import (
    Minimum,
    minimums_from_json,
    minimums_to_json,
    shortage_message,
    suggested_shares,
)

_BOTH = {
    "calibration": Minimum(500, "convert.calibration.min_samples"),
    "eval": Minimum(500, "gate.min_examples"),
}
_ONLY_EVAL = {"eval": _BOTH["eval"]}
_SHORT = {"train": 2241, "calibration": 262, "eval": 297}


def _counts(train: int, calibration: int, evaluation: int) -> dict[str, int]:
    return {"train": train, "calibration": calibration, "eval": evaluation}


def test_one_sentence_names_both_splits_their_keys_and_shares_that_reach_both() -> None:
    assert shortage_message(_SHORT, _BOTH, cut_by_shares=True) == (
        "too few examples: split calibration holds 262 (convert.calibration.min_samples needs 500) and split eval holds 297 "
        "(gate.min_examples needs 500); add data, set data.shares: {train: 60, calibration: 20, eval: 20}, "
        "or lower convert.calibration.min_samples and gate.min_examples."
    )


def test_splits_that_a_person_made_get_no_shares() -> None:
    assert shortage_message({**_SHORT, "eval": 500}, _BOTH, cut_by_shares=False) == (
        "too few examples: split calibration holds 262 (convert.calibration.min_samples needs 500); add data, "
        "or lower convert.calibration.min_samples."
    )


@pytest.mark.parametrize(
    ("num_examples", "minimums"),
    [
        pytest.param(_counts(4000, 500, 500), _BOTH, id="exactly-enough"),
        pytest.param(_counts(2241, 262, 500), _ONLY_EVAL, id="a-recipe-without-calibration"),
        pytest.param({"train": 2241, "eval": 500}, _BOTH, id="no-count-of-calibration"),
        pytest.param({}, _BOTH, id="no-counts"),
    ],
)
def test_nothing_is_refused(num_examples: Mapping[str, int], minimums: Mapping[str, Minimum]) -> None:
    assert shortage_message(num_examples, minimums, cut_by_shares=True) is None


@pytest.mark.parametrize(
    ("num_examples", "minimums", "shares"),
    [
        pytest.param(_SHORT, _BOTH, (60, 20, 20), id="both-short"),
        pytest.param(_counts(2240, 280, 280), _ONLY_EVAL, (70, 10, 20), id="calibration-keeps-its-share"),
        pytest.param(_counts(1500, 300, 1200), _BOTH, (40, 20, 40), id="a-large-holdout-stays-large"),
        pytest.param(_counts(100, 200, 1700), _BOTH, (40, 30, 30), id="unless-training-would-get-nothing"),
        pytest.param(_counts(0, 400, 1600), _BOTH, (0, 30, 70), id="nothing-is-trained"),
        pytest.param({"calibration": 400, "eval": 650}, _BOTH, None, id="nothing-is-trained-and-half-is-a-coin-toss"),
        pytest.param(_counts(900, 100, 100), _BOTH, None, id="too-little-for-any-shares"),
        pytest.param(_counts(1440, 180, 180), {**_BOTH, "eval": Minimum(5000, "k")}, None, id="more-than-there-is"),
    ],
)
def test_suggested_shares(
    num_examples: Mapping[str, int], minimums: Mapping[str, Minimum], shares: tuple[int, int, int] | None
) -> None:
    found = suggested_shares(num_examples, minimums)

    assert (found and tuple(found.values())) == shares
    assert found is None or sum(found.values()) == 100


def test_minimums_survive_json() -> None:
    assert minimums_from_json(minimums_to_json(_BOTH)) == _BOTH
