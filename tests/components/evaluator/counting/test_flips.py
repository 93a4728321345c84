"""Kept flips depend on the examples alone, never on order or workers, and are few."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from components.evaluator.counting.counts import compare
from components.evaluator.counting.flips import (
    MAX_FLIPS,
    MAX_PER_CHANGE,
    MAX_SIDE,
    Flip,
    find_flips,
    keep_flips,
    row_keys,
    write_flips,
)


def flip(key: int, change: tuple[int, int, int] = (0, 0, 1), is_loss: bool = True) -> Flip:
    return Flip(key, is_loss, *change, None)


def keys(flips: tuple[Flip, ...]) -> list[int]:
    return [kept.key for kept in flips]


def test_the_order_of_parts_does_not_matter() -> None:
    draw = random.Random(1)
    every = [
        flip(draw.getrandbits(32), (draw.randrange(3), draw.randrange(3), draw.randrange(3)), draw.random() < 0.5)
        for _ in range(500)
    ]
    expected = keys(keep_flips(every))
    assert len(expected) == MAX_FLIPS
    for size in (1, 7, 100):
        draw.shuffle(every)
        kept: tuple[Flip, ...] = ()
        for start in range(0, len(every), size):
            kept = keep_flips((*kept, *keep_flips(every[start : start + size])))
        assert keys(kept) == expected


def test_losses_come_first_and_one_change_does_not_fill_the_page() -> None:
    kept = keep_flips([flip(1, is_loss=False), *(flip(10 + n) for n in range(9)), flip(99, (2, 2, 0))])
    assert keys(kept) == [10, 11, 12, 13, 99]
    assert len([k for k in kept if k.change == (0, 0, 1)]) == MAX_PER_CHANGE


def test_equal_examples_are_kept_once() -> None:
    assert keys(keep_flips([flip(5), flip(5)])) == [5]


def test_a_key_is_the_content() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(row_keys({"x": rows})[::-1], row_keys({"x": rows[::-1]}))
    assert len(set(row_keys({"x": rows}).tolist())) == 3
    assert row_keys({"x": rows}).tolist() != row_keys({"x": rows, "z": rows}).tolist()


def test_flips_are_found_and_written_with_their_images(tmp_path: Path) -> None:
    images = (np.arange(3 * 4 * 4).reshape(3, 4, 4, 1) % 256).astype(np.float32)
    scores = np.eye(2, dtype=np.float32)[[0, 1, 1]]
    other = np.eye(2, dtype=np.float32)[[0, 0, 1]]
    other[2] = np.nan
    comparison = compare(np.array([0, 1, 1]), scores, other)
    path = write_flips(find_flips(comparison, row_keys({"image": images}), {"image": images}), tmp_path)
    assert path is not None
    with np.load(path) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    assert found["input"].dtype == np.uint8
    assert sorted(zip(found["label"], found["predicted_float"], found["predicted_candidate"], strict=True)) == [
        (1, 1, -1),
        (1, 1, 0),
    ]
    assert {tuple(row.ravel()) for row in found["input"]} == {tuple(images[1].ravel()), tuple(images[2].ravel())}


def test_large_images_are_thinned_out() -> None:
    images = np.zeros((1, 1000, 500, 3), np.float32)
    scores = np.array([[1, 0]], np.float32)
    (kept,) = find_flips(compare(np.array([0]), scores, scores[:, ::-1]), row_keys({"i": images}), {"i": images})
    assert kept.image is not None
    assert max(kept.image.shape) <= MAX_SIDE
    assert kept.image.base is None or kept.image.base.nbytes == kept.image.nbytes


def test_what_is_no_image_is_listed_without_one(tmp_path: Path) -> None:
    rows = {"x": np.zeros((1, 4), np.float32)}
    scores = np.array([[1, 0]], np.float32)
    path = write_flips(find_flips(compare(np.array([0]), scores, scores[:, ::-1]), row_keys(rows), rows), tmp_path)
    assert path is not None
    with np.load(path) as arrays:
        assert set(arrays.files) == {"label", "predicted_float", "predicted_candidate"}


def test_nothing_flipped_is_no_file(tmp_path: Path) -> None:
    assert write_flips((), tmp_path) is None
