"""Slices: every example is in exactly one slice of each slicing, and memory is bounded."""

from __future__ import annotations

import numpy as np
import pytest
from edgeproof_edge.errors import InputError

from components.data.buckets import bucket_names
from components.data.examples import MISSING_INTEGER
from components.errors import DataError
from components.evaluator.counting import slices
from components.evaluator.counting.slices import (
    MISSING,
    PairedCounts,
    SliceBy,
    SliceKey,
    SliceSpec,
    check_label_slices,
    count_slices,
    group_rows,
    merge_slices,
    slices_from_json,
    slices_to_json,
    with_label_buckets,
)

LABEL, BRIGHTNESS = SliceSpec(SliceBy.LABEL), SliceSpec(SliceBy.BRIGHTNESS)


def by(feature: str, *buckets: float) -> SliceSpec:
    return SliceSpec(SliceBy.FEATURE, feature, buckets)


def sizes(spec: SliceSpec, features: dict[str, object] | None = None, **others: object) -> dict[str, int]:
    """Rows per slice of four rows."""
    arrays = {name: np.asarray(values) for name, values in (features or {}).items()}
    inputs = others.get("inputs", {"x": np.zeros((4, 2), np.float32)})
    labels = np.asarray(others.get("labels", [0, 1, 2, 0]))
    (grouping,) = group_rows([spec], labels, others.get("class_names", ()), 3, inputs, arrays)  # type: ignore[arg-type]
    return {key.value: int((grouping.rows == i).sum()) for i, key in enumerate(grouping.keys)}


def test_labels_go_by_their_names() -> None:
    assert sizes(LABEL, class_names=("cat", "dog")) == {"cat": 2, "dog": 1, "2": 1}


def test_labels_out_of_range_are_one_slice() -> None:
    assert sizes(LABEL, labels=[-1, 3, 99, 0]) == {"(out of range)": 3, "0": 1}


def test_an_edge_belongs_to_the_bucket_above_it() -> None:
    assert sizes(by("age", 18, 65), {"age": [17, 18, 64, 65]}) == {"[-inf, 18)": 1, "[18, 65)": 2, "[65, inf)": 1}


@pytest.mark.parametrize(
    ("values", "found"),
    [
        pytest.param(
            np.array([b"north", b"", b"south", b"north"], object), {"north": 2, MISSING: 1, "south": 1}, id="bytes"
        ),
        pytest.param(np.array(["north", "", "south", "north"]), {"north": 2, MISSING: 1, "south": 1}, id="text"),
        pytest.param(np.array([3, MISSING_INTEGER, 4, 3]), {"3": 2, MISSING: 1, "4": 1}, id="integers"),
        pytest.param(np.array([0.5, np.nan, 1, 0.5], np.float32), {"0.5": 2, MISSING: 1, "1": 1}, id="floats"),
    ],
)
def test_values_are_slices_and_so_is_their_absence(values: object, found: dict[str, int]) -> None:
    assert sizes(by("site"), {"site": values}) == found


@pytest.mark.parametrize("values", [np.array([1, MISSING_INTEGER, 9, 9]), np.array([1, np.nan, 9, 9])])
def test_a_missing_number_is_in_no_bucket(values: object) -> None:
    assert sizes(by("age", 5), {"age": values}) == {"[-inf, 5)": 1, MISSING: 1, "[5, inf)": 2}


def test_brightness_is_the_mean_of_the_image() -> None:
    image = np.ones((4, 2, 2, 3), np.float32) * np.array([10, 64, 130, 255], np.float32)[:, None, None, None]
    found = sizes(BRIGHTNESS, inputs={"image": image})
    assert found == {"[-inf, 64)": 1, "[64, 128)": 1, "[128, 192)": 1, "[192, inf)": 1}


def test_brightness_without_an_image_is_an_error() -> None:
    with pytest.raises(DataError, match="need one image among the inputs; found 0"):
        sizes(BRIGHTNESS)


def test_an_absent_feature_is_an_error() -> None:
    with pytest.raises(DataError, match=r"slices by 'site' need a feature of that name; found \['age'\]"):
        sizes(by("site"), {"age": [1, 2, 3, 4]})


def test_buckets_of_text_are_an_error() -> None:
    with pytest.raises(DataError, match="its values are no numbers"):
        sizes(by("site", 1), {"site": np.array(["a", "b", "c", "d"])})


def test_counts_of_slices_equal_a_loop_over_rows() -> None:
    random = np.random.default_rng(2)
    sites, outcomes = random.integers(0, 5, 300), random.integers(0, 4, 300)
    clipped = random.random(300) < 0.1
    groupings = group_rows([by("site")], sites, (), 5, {"x": sites}, {"site": sites})
    found = count_slices(groupings, outcomes, clipped)
    for site in range(5):
        here = sites == site
        expected = [int(((outcomes == outcome) & here).sum()) for outcome in range(4)]
        assert found[SliceKey("site", str(site))] == PairedCounts(*expected, int((clipped & here).sum()))


def test_parts_of_slices_add_up() -> None:
    key, other = SliceKey("site", "a"), SliceKey("site", "b")
    merged = merge_slices(
        {key: PairedCounts(1, 2, 3, 4, 5)}, {key: PairedCounts(1, 1, 1, 1, 1), other: PairedCounts(1)}
    )
    assert merged == {key: PairedCounts(2, 3, 4, 5, 6), other: PairedCounts(1)}
    assert merged[key].num_examples == 14


def test_a_feature_with_endless_values_asks_for_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MAX_VALUES", 3)
    parts = {SliceKey("id", str(number)): PairedCounts(1) for number in range(4)}
    with pytest.raises(DataError, match=r"slices by 'id' are more than 3.*Give buckets in gate\.slices"):
        merge_slices(parts, {})


def test_slices_survive_json() -> None:
    specs = (LABEL, BRIGHTNESS, by("site"), by("age", 18, 65.5))
    assert slices_from_json(slices_to_json(specs)) == specs


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        '[{"by": "moon", "feature": "", "buckets": []}]',
        '[{"by": "feature", "feature": "", "buckets": []}]',
        '[{"by": "feature", "feature": "age", "buckets": [2, 1]}]',
        '[{"by": "feature", "feature": "age", "buckets": []}, {"by": "feature", "feature": "age", "buckets": [1]}]',
    ],
    ids=["no-json", "unknown", "no-feature", "falling-edges", "twice"],
)
def test_slices_that_cannot_be_meant_are_an_error(text: str) -> None:
    with pytest.raises(InputError):
        slices_from_json(text)


def test_declared_slices_are_the_explicit_buckets() -> None:
    assert by("age", 18).declared_values == bucket_names([18]) == ("[-inf, 18)", "[18, inf)")
    assert by("site").declared_values == BRIGHTNESS.declared_values == ()


def test_buckets_of_the_label_are_for_real_values() -> None:
    buckets = SliceSpec(SliceBy.LABEL, "", (2.5, 10.0))
    check_label_slices((buckets, LABEL), has_real_label=True)
    with pytest.raises(InputError, match="take no buckets where labels are classes"):
        check_label_slices((buckets,), has_real_label=False)
    labels = np.array([[1.0], [2.5], [99.0], [np.nan]], np.float32)
    assert sizes(buckets, labels=labels) == {"[-inf, 2.5)": 1, "[2.5, 10)": 1, "[10, inf)": 1, MISSING: 1}


def test_a_real_label_without_buckets_gets_the_edges_or_no_slices_at_all() -> None:
    given = SliceSpec(SliceBy.LABEL, "", (7.0,))
    assert with_label_buckets((LABEL, by("site")), (1.0, 2.0)) == (
        SliceSpec(SliceBy.LABEL, "", (1.0, 2.0)),
        by("site"),
    )
    assert with_label_buckets((given,), (1.0, 2.0)) == (given,)
    assert with_label_buckets((LABEL, by("site")), ()) == (by("site"),)
