from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeproof_edge.tensors import TensorSpec
from numpy.typing import NDArray
from PIL import Image

from components.errors import CalibrationError
from components.tflite_converter import calibration
from components.tflite_converter.calibration import (
    CalibrationPool,
    allot,
    bounded_pool,
    check_pool_size,
    draw,
    draw_stream,
    fit_pool,
    load_npz_pool,
    load_pool,
    row_digests,
    stratified_by_value,
)

IMAGE = (TensorSpec("image", (-1, 2, 2), "float32"),)
TWO_INPUTS = (TensorSpec("features", (-1, 3), "float32"), TensorSpec("tokens", (-1, 4), "int32"))


def make_pool(num_rows: int, labels: NDArray[Any] | None = None, seed: int = 0) -> CalibrationPool:
    images = np.random.default_rng(seed).random((num_rows, 2, 2), dtype=np.float32)
    return CalibrationPool({"image": images}, labels)


def drawn_images(pool: CalibrationPool, rows: tuple[int, ...]) -> set[bytes]:
    return {pool.inputs["image"][row].tobytes() for row in rows}


@pytest.mark.parametrize(
    ("available", "num_samples", "expected"),
    [
        pytest.param({"a": 50, "b": 50}, 10, {"a": 5, "b": 5}, id="equal-strata"),
        pytest.param({"a": 90, "b": 10}, 10, {"a": 9, "b": 1}, id="in-proportion"),
        pytest.param({"a": 998, "b": 1, "c": 1}, 10, {"a": 8, "b": 1, "c": 1}, id="each-gets-one"),
        pytest.param({"a": 5, "b": 3}, 100, {"a": 5, "b": 3}, id="never-more-than-there-are"),
        pytest.param({"a": 1, "b": 1, "c": 1}, 2, {"a": 1, "b": 1, "c": 0}, id="fewer-samples-than-strata"),
        pytest.param({"a": 5, "b": 3, "c": 2}, 4, {"a": 2, "b": 1, "c": 1}, id="largest-remainder"),
        pytest.param({"a": 0, "b": 4}, 2, {"a": 0, "b": 2}, id="empty-stratum"),
    ],
)
def test_samples_are_allotted_by_largest_remainder(
    available: dict[str, int], num_samples: int, expected: dict[str, int]
) -> None:
    assert allot(available, num_samples) == expected


def test_every_allotment_adds_up() -> None:
    random = np.random.default_rng(3)
    for _ in range(300):
        available = {str(k): int(n) for k, n in enumerate(random.integers(0, 40, random.integers(1, 12)))}
        wanted = min(int(random.integers(1, 200)), sum(available.values()))
        counts = allot(available, wanted)
        assert sum(counts.values()) == wanted
        assert all(0 <= counts[label] <= available[label] for label in available)
        if wanted >= len(available):
            assert all(counts[label] >= 1 for label in available if available[label])


def test_the_draw_covers_every_class_of_a_sorted_pool() -> None:
    labels = np.repeat([0, 1, 2], [400, 590, 10])
    drawn = draw(make_pool(1000, labels), 100, seed=1)
    assert {s.label: (s.num_distinct, s.num_drawn) for s in drawn.strata} == {
        "0": (400, 40),
        "1": (590, 59),
        "2": (10, 1),
    }
    assert np.bincount(labels[list(drawn.range_rows)]).tolist() == [40, 59, 1]


def test_without_labels_the_draw_is_not_the_head() -> None:
    drawn = draw(make_pool(1000), 100, seed=1)
    assert len(drawn.range_rows) == 100
    assert sum(row >= 500 for row in drawn.range_rows) > 30


def test_the_order_of_the_pool_does_not_matter() -> None:
    labels = np.arange(600) % 7
    pool = make_pool(600, labels)
    order = np.random.default_rng(9).permutation(600)
    shuffled = CalibrationPool(pool.take(order), labels[order])
    first, second = draw(pool, 50, seed=4), draw(shuffled, 50, seed=4)
    assert first.sha256 == second.sha256
    np.testing.assert_array_equal(
        pool.inputs["image"][list(first.range_rows)], shuffled.inputs["image"][list(second.range_rows)]
    )
    assert drawn_images(pool, first.selection_rows) == drawn_images(shuffled, second.selection_rows)


def test_another_seed_draws_other_rows_and_leaves_the_cut() -> None:
    pool = make_pool(600)
    first, second = draw(pool, 50, seed=4), draw(pool, 50, seed=5)
    assert first.sha256 != second.sha256
    assert first.selection_rows == second.selection_rows


def test_range_and_selection_part_share_no_content() -> None:
    images = make_pool(300).inputs["image"]
    pool = CalibrationPool({"image": np.concatenate([images, images])}, np.arange(600) % 5)
    drawn = draw(pool, 500, seed=0)
    assert drawn.num_distinct == 300
    assert len(drawn.range_rows) == len(drawn_images(pool, drawn.range_rows))
    assert not drawn_images(pool, drawn.range_rows) & drawn_images(pool, drawn.selection_rows)
    assert any("300 distinct examples among 600" in warning for warning in drawn.warnings)


def test_a_class_with_one_row_sets_ranges() -> None:
    labels = np.zeros(501, np.int64)
    labels[77] = 1
    drawn = draw(make_pool(501, labels), 20, seed=0)
    assert 77 in drawn.range_rows


def test_an_input_that_never_changes_is_a_warning() -> None:
    images = make_pool(10).inputs["image"]
    pool = CalibrationPool({"image": images, "dead": np.zeros((10, 3), np.float32)})
    assert [w for w in draw(pool, 5, seed=0).warnings if "'dead' is 0.0 in every row" in w]


def test_no_samples_cannot_be_asked_for() -> None:
    with pytest.raises(CalibrationError, match="num_samples is 0"):
        draw(make_pool(10), 0, seed=0)


def test_a_small_pool_is_refused_with_both_numbers_and_the_remedy() -> None:
    pool = CalibrationPool({"image": np.zeros((120, 2, 2), np.float32)}, source="calibration split 'calibration'")
    with pytest.raises(CalibrationError) as refusal:
        check_pool_size(pool, 500)
    assert str(refusal.value) == (
        "calibration split 'calibration' has 120 examples; int8 calibration needs 500. "
        "Add examples, or lower convert.calibration.min_samples in the config (--min-samples on the command line)."
    )
    check_pool_size(pool, 120)


@pytest.mark.parametrize(
    ("inputs", "specs", "message"),
    [
        pytest.param({}, IMAGE, "is empty", id="no-arrays"),
        pytest.param({"x": np.zeros((0, 2, 2))}, IMAGE, "is empty", id="no-rows"),
        pytest.param({"x": np.float32(1)}, IMAGE, r"wants shape \['n', 2, 2\]; found \[\]", id="a-scalar"),
        pytest.param({"x": np.zeros((5, 2, 3))}, IMAGE, r"wants shape \['n', 2, 2\]; found \[5, 2, 3\]", id="shape"),
        pytest.param({"x": np.array([["a"]])}, (TensorSpec("x", (-1, 1), "float32"),), "wants float32", id="strings"),
        pytest.param({"x": np.zeros((5, 3))}, TWO_INPUTS, r"\['features', 'tokens'\].*found \['x'\]", id="names"),
        pytest.param(
            {"features": np.zeros((5, 3)), "tokens": np.full((5, 4), 0.5)},
            TWO_INPUTS,
            "'tokens' wants int32",
            id="dtype",
        ),
        pytest.param(
            {"features": np.zeros((5, 3)), "tokens": np.zeros((4, 4), np.int64)},
            TWO_INPUTS,
            "features: 5, tokens: 4",
            id="lengths",
        ),
    ],
)
def test_a_pool_that_does_not_fit_is_refused(
    inputs: dict[str, NDArray[Any]], specs: tuple[TensorSpec, ...], message: str
) -> None:
    with pytest.raises(CalibrationError, match=message):
        fit_pool(CalibrationPool(inputs), specs)


def test_labels_must_be_as_many_as_rows() -> None:
    with pytest.raises(CalibrationError, match="image: 5, labels: 4"):
        fit_pool(make_pool(5, np.arange(4)), IMAGE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_input_and_row(value: float) -> None:
    pool = make_pool(20)
    pool.inputs["image"][[7, 9], 0, 1] = value
    with pytest.raises(
        CalibrationError, match="input 'image' holds NaN or infinite values in 2 of 20 rows, first in row 7"
    ):
        fit_pool(pool, IMAGE)


def test_pixels_are_cast_and_the_cast_is_noted() -> None:
    pool = fit_pool(CalibrationPool({"x": np.full((3, 2, 2), 200, np.uint8)}), IMAGE)
    assert pool.inputs["image"].dtype == np.float32
    assert pool.inputs["image"].max() == 200.0
    assert pool.notes == ("input 'image': uint8 values were cast to float32, not scaled",)


@pytest.mark.parametrize(
    ("labels", "num_strata"),
    [
        pytest.param(np.arange(20) % 4, 4, id="integers"),
        pytest.param((np.arange(20) % 4).reshape(-1, 1), 4, id="a-column"),
        pytest.param((np.arange(20) % 4).astype(np.float32), 4, id="whole-floats"),
        pytest.param(np.array(["cat", "dog"] * 10), 2, id="names"),
        pytest.param(np.linspace(0, 1, 20), 1, id="regression-targets"),
        pytest.param(np.eye(20), 1, id="a-matrix"),
    ],
)
def test_labels_stratify_where_they_are_classes(labels: NDArray[Any], num_strata: int) -> None:
    pool = fit_pool(make_pool(20, labels), IMAGE)
    assert len(draw(pool, 20, seed=0).strata) == num_strata
    assert (pool.truth is not None) == (num_strata == 1)


def test_an_npz_with_x_and_y_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "pool.npz", x=np.zeros((6, 2, 2), np.uint8), y=np.arange(6), extra=np.zeros(3))
    pool = load_npz_pool(tmp_path / "pool.npz", IMAGE)
    assert pool.inputs["image"].shape == (6, 2, 2)
    assert pool.labels is not None
    assert pool.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert any("ignored: extra" in note for note in pool.notes)


def test_an_npz_with_one_array_per_input_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "pool.npz", tokens=np.ones((6, 4), np.int64), features=np.zeros((6, 3)))
    pool = load_npz_pool(tmp_path / "pool.npz", TWO_INPUTS)
    assert (pool.inputs["tokens"].dtype, pool.inputs["features"].dtype, pool.labels) == (np.int32, np.float32, None)


def test_an_input_named_y_is_no_label(tmp_path: Path) -> None:
    np.savez(tmp_path / "pool.npz", y=np.ones((6, 2)))
    pool = load_npz_pool(tmp_path / "pool.npz", (TensorSpec("y", (-1, 2), "float32"),))
    assert pool.labels is None


@pytest.mark.parametrize(
    ("arrays", "specs", "message"),
    [
        pytest.param({"images": np.zeros((6, 2, 2))}, IMAGE, "'x' or 'image'; found arrays: images", id="other-name"),
        pytest.param({"y": np.zeros(6)}, IMAGE, "found arrays: y", id="labels-only"),
        pytest.param({}, IMAGE, "found arrays: none", id="nothing"),
        pytest.param(
            {"x": np.zeros((6, 3))}, TWO_INPUTS, r"per model input \(features, tokens\); found arrays: x", id="two"
        ),
    ],
)
def test_an_npz_without_the_wanted_arrays_is_refused(
    tmp_path: Path, arrays: dict[str, NDArray[Any]], specs: tuple[TensorSpec, ...], message: str
) -> None:
    path = tmp_path / "pool.npz"
    np.savez(path, **arrays)
    with pytest.raises(CalibrationError, match=message) as refusal:
        load_npz_pool(path, specs)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"hello"], ids=["empty", "zip", "text"])
def test_a_file_that_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pool.npz"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=r"cannot be read as \.npz"):
        load_npz_pool(path, IMAGE)


def test_a_missing_npz_a_bare_array_and_pickles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="does not exist"):
        load_npz_pool(tmp_path / "none.npz", IMAGE)
    np.save(tmp_path / "bare.npy", np.zeros((6, 2, 2)))
    with pytest.raises(CalibrationError, match="bare array"):
        load_npz_pool(tmp_path / "bare.npy", IMAGE)
    np.savez(tmp_path / "pickle.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(CalibrationError, match="plain arrays"):
        load_npz_pool(tmp_path / "pickle.npz", IMAGE)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_that_is_larger_than_a_pool_is_thinned_as_a_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Callable[..., None]
) -> None:
    monkeypatch.setattr(calibration, "MAX_POOL_BYTES", 1600)
    whole = make_pool(1000, np.arange(1000))
    path = tmp_path / "pool.npz"
    save(path, x=whole.inputs["image"], y=whole.labels, tens=np.arange(1000) // 10, spare=np.zeros(3))
    pool = load_npz_pool(path, IMAGE, ("tens",), min_rows=50)
    assert (pool.num_rows, pool.num_offered, pool.source) == (100, 1000, f"calibration file {path}")
    assert pool.notes == ("arrays of pool.npz that are no model input were ignored: spare",)
    assert pool.labels is not None
    np.testing.assert_array_equal(whole.inputs["image"][pool.labels], pool.inputs["image"])
    np.testing.assert_array_equal(pool.labels // 10, pool.groups["tens"])
    save(path, x=whole.inputs["image"], y=np.arange(999))
    with pytest.raises(CalibrationError, match=r"different lengths \(x: 1000, y: 999\)"):
        load_npz_pool(path, IMAGE)


def test_a_long_stream_is_thinned_whatever_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MAX_POOL_ROWS", 100)
    whole = make_pool(1000, np.arange(1000))
    assert whole.labels is not None

    def stream(order: NDArray[np.int64]) -> CalibrationPool:
        assert whole.labels is not None
        parts = np.array_split(order, 37)
        return bounded_pool(((whole.take(part), whole.labels[part], {}) for part in parts), "the stream", 10)

    first = stream(np.arange(1000))
    second = stream(np.random.default_rng(1).permutation(1000))
    assert (first.num_rows, first.num_offered) == (100, 1000)
    np.testing.assert_array_equal(first.inputs["image"], second.inputs["image"])
    assert first.labels is not None
    np.testing.assert_array_equal(whole.inputs["image"][first.labels], first.inputs["image"])
    assert any("1000 examples; 100 of them" in warning for warning in draw(first, 10, 0).warnings)


def test_large_rows_bound_the_pool_but_never_below_the_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MAX_POOL_BYTES", 160)
    batches = [(make_pool(50, seed=n).inputs, None, {}) for n in range(4)]
    assert bounded_pool(batches, "the stream", 2).num_rows == 10
    assert bounded_pool(batches, "the stream", 25).num_rows == 25


def test_an_empty_stream_gives_an_empty_pool() -> None:
    pool = bounded_pool([], "the stream")
    assert (pool.num_rows, pool.num_offered) == (0, 0)


def test_digests_tell_types_and_names_apart() -> None:
    zeros = np.zeros((1, 4), np.float32)
    digests = [
        row_digests({"a": zeros})[0],
        row_digests({"b": zeros})[0],
        row_digests({"a": zeros.astype(np.int32)})[0],
        row_digests({"a": zeros.reshape(1, 2, 2)})[0],
    ]
    assert len(set(digests)) == 4


def test_a_rare_domain_sets_ranges_when_the_draw_is_stratified_by_it() -> None:
    pool = make_pool(1000, np.arange(1000) % 2)
    night = np.where(np.arange(1000) % 250 == 0, "night", "day")
    strata = {stratum.label: stratum for stratum in draw(replace(pool, groups={"domain": night}), 20, 3).strata}
    assert set(strata) == {"0, domain day", "0, domain night", "1, domain day"}
    assert strata["0, domain night"].num_distinct == 4
    assert strata["0, domain night"].num_drawn >= 1


def test_an_npz_is_stratified_by_an_array_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "pool.npz"
    np.savez(path, x=np.zeros((6, 2, 2), np.float32), domain=np.array(["day"] * 5 + ["night"]))
    pool = load_npz_pool(path, IMAGE, ("domain",))
    assert pool.groups["domain"].tolist() == ["day"] * 5 + ["night"]
    assert pool.notes == ()
    with pytest.raises(CalibrationError, match="no array 'season' to stratify by"):
        load_npz_pool(path, IMAGE, ("season",))


def test_groups_of_a_stream_stay_with_their_rows() -> None:
    pool = make_pool(50)
    groups = {"number": np.arange(50)}
    read = bounded_pool([(pool.inputs, None, groups)], "the stream")
    np.testing.assert_array_equal(pool.inputs["image"][read.groups["number"]], read.inputs["image"])


def test_real_valued_labels_stratify_by_tenths_and_never_as_classes() -> None:
    prices = np.arange(1000.0, dtype=np.float32)  # whole numbers, as class ids are
    pool = fit_pool(stratified_by_value(make_pool(1000, prices), "price"), IMAGE)
    assert pool.labels is None
    strata = draw(pool, 100, seed=1).strata
    assert len(strata) == 10
    assert {stratum.num_drawn for stratum in strata} == {10}
    assert "price [-inf, 100)" in {stratum.label for stratum in strata}


def test_a_stream_is_cut_in_its_order() -> None:
    pool = make_pool(100)
    drawn = draw_stream(pool, 30, seed=1)
    assert drawn.range_rows == tuple(range(30))
    assert drawn.selection_rows == tuple(range(50, 100))
    assert "taken for a stream" in drawn.warnings[0]
    with pytest.raises(CalibrationError, match="num_samples is 0"):
        draw_stream(pool, 0, seed=1)


def test_a_folder_of_pictures_is_a_pool(tmp_path: Path) -> None:
    for name, level in (("cat", 10), ("dog", 200)):
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.new("L", (3, 2), level + number).save(tmp_path / name / f"{number}.png")
    spec = TensorSpec("image", (-1, 2, 3, 1), "float32")
    pool = load_pool(tmp_path, (spec,))
    assert pool.inputs["image"].dtype == np.float32
    assert pool.num_rows == 8
    assert pool.labels is not None
    assert sorted(zip(pool.labels.tolist(), pool.inputs["image"][:, 0, 0, 0].tolist(), strict=True)) == [
        *((0, 10.0 + number) for number in range(4)),
        *((1, 200.0 + number) for number in range(4)),
    ]
    with pytest.raises(CalibrationError, match=r"only an \.npz file has such arrays"):
        load_pool(tmp_path, (spec,), ("domain",))


def test_rows_of_a_rare_label_that_set_no_range_are_spared() -> None:
    labels = (np.arange(2000) % 100 == 0).astype(np.int64)
    drawn = draw(fit_pool(make_pool(2000, labels), IMAGE), 200, seed=0)
    assert len(drawn.spare_rows) == 10 - sum(labels[list(drawn.range_rows)])
    assert all(labels[row] == 1 for row in drawn.spare_rows)
    assert not set(drawn.spare_rows) & {*drawn.range_rows, *drawn.selection_rows}
    assert draw(fit_pool(make_pool(2000, np.arange(2000) % 4), IMAGE), 200, seed=0).spare_rows == ()
