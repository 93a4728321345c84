"""Duplicates and bursts stay in one split, and the holdout stays whole."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest

from components.errors import DataError
from components.image_example_gen.splits import ScannedImage, Shares, SplitPlan, plan_splits


def _image(name: str, content: str = "", group: str = "", split: str = "all", label: int = 0) -> ScannedImage:
    content_key = sha256((content or name).encode()).hexdigest()
    group_key = sha256(group.encode()).hexdigest() if group else content_key
    return ScannedImage(f"{label}/{name}", split, label, 8, 8, 1, content_key, group_key, content_key)


def _many(number: int, split: str = "all") -> list[ScannedImage]:
    return [_image(f"{split}-{index}", split=split) for index in range(number)]


def _splits_of(plan: SplitPlan, paths: Sequence[str]) -> set[str]:
    return {name for name, images in plan.splits.items() for image in images if image.path in paths}


def test_shares_are_kept_and_the_order_of_the_input_does_not_matter() -> None:
    images = _many(5000)

    plan, again = plan_splits(images, Shares(80, 10, 10)), plan_splits(reversed(images), Shares(80, 10, 10))

    assert plan == again
    sizes = {name: len(members) for name, members in plan.splits.items()}
    assert sum(sizes.values()) == 5000
    assert sizes["train"] == pytest.approx(4000, abs=120)
    assert sizes["calibration"] == pytest.approx(500, abs=90)


def test_only_the_proportions_of_shares_count() -> None:
    keys = [str(index) for index in range(2000)]

    def share_of_train(shares: Shares) -> float:
        return sum(shares.split_of(key) == "train" for key in keys) / len(keys)

    assert share_of_train(Shares(8, 1, 1)) == pytest.approx(share_of_train(Shares(80, 10, 10)), abs=0.04)


def test_adding_images_moves_no_image_to_another_split() -> None:
    before, after = (plan_splits(_many(number), Shares()) for number in (500, 900))

    assert all(
        {image.path for image in before.splits[name]} <= {i.path for i in after.splits[name]} for name in before.splits
    )


def test_the_same_picture_under_two_names_lands_in_one_split() -> None:
    copies = [_image(f"copy-{index}", content="one picture") for index in range(20)]

    assert len(_splits_of(plan_splits(_many(200) + copies, Shares()), [image.path for image in copies])) == 1


def test_a_burst_lands_in_one_split() -> None:
    burst = [_image(f"frame-{index}", group="burst 7") for index in range(20)]

    assert len(_splits_of(plan_splits(_many(200) + burst, Shares()), [image.path for image in burst])) == 1


def test_a_picture_in_two_bursts_stays_in_the_later_split_only() -> None:
    shares = Shares()
    in_split = {shares.split_of(sha256(f"burst {n}".encode()).hexdigest()): f"burst {n}" for n in range(100)}
    twin_in_train = _image("a", content="twin", group=in_split["train"])
    twin_in_eval = _image("b", content="twin", group=in_split["eval"])

    plan = plan_splits([*_many(200), twin_in_train, twin_in_eval], shares)

    assert _splits_of(plan, ["0/a"]) == set()
    assert _splits_of(plan, ["0/b"]) == {"eval"}
    assert plan.num_dropped_duplicates == 1


def test_given_splits_hold_and_calibration_is_cut_from_train() -> None:
    plan = plan_splits(_many(900, "train") + _many(100, "eval"), Shares(80, 10, 10))

    assert len(plan.splits["eval"]) == 100
    assert len(plan.splits["calibration"]) == pytest.approx(100, abs=30)
    assert len(plan.splits["train"]) + len(plan.splits["calibration"]) == 900


def test_a_given_calibration_split_is_not_cut_again() -> None:
    plan = plan_splits(_many(90, "train") + _many(20, "calibration") + _many(10, "eval"), Shares())

    assert {name: len(images) for name, images in plan.splits.items()} == {"train": 90, "calibration": 20, "eval": 10}


def test_what_the_holdout_holds_is_dropped_elsewhere_and_counted() -> None:
    leaks = [_image("leak-1", content="eval-3", split="train"), _image("leak-2", content="eval-4", split="calibration")]
    twin = _image("leak-3", content="calibration-1", split="train")
    given = _many(90, "train") + _many(20, "calibration") + _many(10, "eval")

    plan = plan_splits([*given, *leaks, twin], Shares())

    assert plan.num_dropped_duplicates == 3
    assert {name: len(images) for name, images in plan.splits.items()} == {"train": 90, "calibration": 20, "eval": 10}


def test_a_burst_that_the_holdout_holds_is_dropped_from_train() -> None:
    images = [_image("x", group="walk", split="train"), _image("y", group="walk", split="eval")]

    plan = plan_splits([*_many(90, "train"), *_many(10, "eval"), *images], Shares())

    assert _splits_of(plan, ["0/x"]) == set()
    assert _splits_of(plan, ["0/y"]) == {"eval"}


def test_two_labels_on_one_picture_are_kept_and_told() -> None:
    images = [_image("a", content="pair", label=0), _image("b", content="pair", label=1), _image("c", content="pair")]

    plan = plan_splits([*_many(200), *images], Shares())

    assert plan.label_conflicts == (("0/a", "1/b"),)
    assert len(_splits_of(plan, ["0/a", "1/b", "0/c"])) == 1
    assert sum(len(members) for members in plan.splits.values()) == 203


def test_classes_are_mixed_inside_a_split() -> None:
    images = [_image(str(index), label=index // 300) for index in range(600)]

    labels = [image.label for image in plan_splits(images, Shares()).splits["train"]]

    assert 80 < sum(labels[: len(labels) // 2]) < 160


def test_a_split_that_comes_out_empty_is_refused() -> None:
    with pytest.raises(DataError, match=r"the calibration split came out empty: 100 images in 1 group.*data\.group_by"):
        plan_splits([_image(str(index), group="g3") for index in range(100)], Shares())


def test_a_share_of_zero_leaves_the_split_out() -> None:
    assert set(plan_splits(_many(200), Shares(0, 50, 50)).splits) == {"calibration", "eval"}
