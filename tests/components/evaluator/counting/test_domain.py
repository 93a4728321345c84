"""Values that a quantized input cuts off are counted by example."""

from __future__ import annotations

import numpy as np
import pytest
from edgeproof_edge.tensors import TensorSpec

from components.evaluator.counting.domain import clipped_rows, representable_range

DARK = TensorSpec("image", (-1, 10, 10, 1), "int8", scale=0.5, zero_point=-128)  # holds 0..127.5
IDS = TensorSpec("ids", (-1, 4), "int32")


def test_the_range_follows_from_scale_and_zero_point() -> None:
    assert representable_range(DARK) == (0.0, 127.5)


@pytest.mark.parametrize(
    ("bright_pixels", "is_clipped"),
    [pytest.param(0, False, id="none"), pytest.param(1, False, id="one-percent"), pytest.param(2, True, id="more")],
)
def test_a_row_is_clipped_when_more_than_one_percent_lies_beyond(bright_pixels: int, is_clipped: bool) -> None:
    image = np.full((1, 100), 100.0)
    image[0, :bright_pixels] = 200.0
    assert clipped_rows({"image": image.reshape(1, 10, 10, 1)}, [DARK]).tolist() == [is_clipped]


def test_half_a_step_is_rounding_and_not_clipping() -> None:
    assert not clipped_rows({"image": np.full((1, 10, 10, 1), 127.7)}, [DARK]).any()


def test_inputs_without_codes_clip_nothing() -> None:
    assert not clipped_rows({"ids": np.full((3, 4), 2**30)}, [IDS]).any()
