"""Which files are images of which class."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from components.errors import DataError
from components.image_example_gen.folders import Listing, class_folder_pattern, is_hidden, list_images


def _list(
    paths: Sequence[str], pattern: str = "*/*", folders: Sequence[str] = (), class_names: Sequence[str] = ()
) -> Listing:
    return list_images({"all": paths}, {"all": pattern}, {"all": folders}, class_names)


def test_without_class_names_the_classes_are_the_sorted_folders() -> None:
    listing = _list(["dog/1.png", "cat/2.png", "cat/1.png"])

    assert listing.class_names == ("cat", "dog")
    assert [(image.path, image.label) for image in listing.images] == [
        ("cat/1.png", 0),
        ("cat/2.png", 0),
        ("dog/1.png", 1),
    ]


def test_class_names_give_the_order_of_the_labels() -> None:
    listing = _list(["dog/1.png", "cat/1.png"], class_names=["dog", "cat"])

    assert {image.path: image.label for image in listing.images} == {"dog/1.png": 0, "cat/1.png": 1}


@pytest.mark.parametrize(
    ("pattern", "class_folders", "path"),
    [
        pytest.param("*/*", "*", "cat/1.png", id="class-file"),
        pytest.param("train/*/*", "train/*", "train/cat/1.png", id="a-split-folder-first"),
        pytest.param("*/*/*", "*", "cat/burst/1.png", id="bursts-below-the-class"),
        pytest.param("span-1/v2/*/*.png", "span-1/v2/*", "span-1/v2/cat/1.png", id="a-span-and-a-version-first"),
    ],
)
def test_the_first_wildcard_part_is_the_class(pattern: str, class_folders: str, path: str) -> None:
    assert class_folder_pattern(pattern) == class_folders
    assert _list([path], pattern).class_names == ("cat",)


@pytest.mark.parametrize("pattern", ["*", "*.png", "images/*", "cat/1.png"])
def test_a_pattern_without_a_label_folder_is_refused(pattern: str) -> None:
    with pytest.raises(DataError, match=r"no folder part for the label.*\*/\*"):
        class_folder_pattern(pattern)


@pytest.mark.parametrize(
    "path", ["cat/.DS_Store", "cat/Thumbs.db", ".cache/1.png", "__MACOSX/1.png", "cat/desktop.ini"]
)
def test_what_a_desktop_leaves_behind_is_no_image(path: str) -> None:
    assert is_hidden(path)
    assert [image.path for image in _list(["cat/1.png", path]).images] == ["cat/1.png"]


@pytest.mark.parametrize(
    ("paths", "folders", "class_names", "message"),
    [
        pytest.param([], [], [], "no file matches the all pattern", id="an-empty-folder"),
        pytest.param(["cat/.DS_Store"], [], [], "no file matches", id="hidden-files-only"),
        pytest.param(["cat/1.png", "cow/1.png"], [], ["cat"], "not in data.class_names: 'cow'", id="an-unknown-folder"),
        pytest.param(["cat/1.png"], ["cat"], ["cat", "dog"], "have no image: 'dog'", id="a-named-class-without-files"),
        pytest.param(["cat/1.png"], ["cat", "dog"], [], "have no image: 'dog'", id="an-empty-class-folder"),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused(
    paths: list[str], folders: list[str], class_names: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        _list(paths, folders=folders, class_names=class_names)
