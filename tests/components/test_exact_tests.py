"""Exact tests on paired counts: equal to their definition, and the level holds for all classes together."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from components.exact_tests import FAMILY_LEVEL, PairedLoss, beyond_chance, sign_test


@pytest.mark.parametrize(
    ("losses", "gains", "chance"),
    [
        pytest.param(0, 0, 1.0, id="no-pairs"),
        pytest.param(0, 7, 1.0, id="only-gains"),
        pytest.param(10, 0, 1 / 1024, id="ten-of-ten"),
        pytest.param(3, 1, 5 / 16, id="three-of-four"),
        pytest.param(1, 1, 3 / 4, id="one-each"),
    ],
)
def test_the_chance_is_the_tail_of_tossed_coins(losses: int, gains: int, chance: float) -> None:
    assert sign_test(losses, gains) == pytest.approx(chance)


def test_many_pairs_agree_with_the_exact_sum() -> None:
    exact = Fraction(sum(math.comb(2001, k) for k in range(1100, 2002)), 2**2001)
    assert sign_test(1100, 901) == pytest.approx(float(exact), rel=1e-9)


def test_one_class_of_ten_examples_is_found_among_a_hundred() -> None:
    losses = [PairedLoss(10, 0), *(PairedLoss(2, 1) for _ in range(99))]
    assert beyond_chance(losses) == (True, *[False] * 99)


def test_the_level_holds_for_all_classes_of_a_model_that_is_as_good() -> None:
    random = np.random.default_rng(3)
    num_false = 0
    for _ in range(500):
        losses = random.binomial(30, 0.5, 40)
        num_false += any(beyond_chance([PairedLoss(int(loss), 30 - int(loss)) for loss in losses]))
    assert num_false / 500 <= FAMILY_LEVEL + 3 * math.sqrt(0.01 / 500)
