"""Pictures reach the model as training saw them: turned, sized, or refused."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from edgeproof_edge.errors import InputError
from edgeproof_edge.manifest import Manifest, TensorEntry
from edgeproof_edge.manifest.entries import RESIZES as NAMED_RESIZES
from edgeproof_edge.runtime.pictures import RESIZES, Picture, PictureRules, picture_rules, upright
from edgeproof_edge.tensors import TensorSpec
from PIL import ExifTags, Image, ImageOps

RANDOM = np.random.default_rng(4)


def _encoded(pixels: np.ndarray, kind: str = "PNG", orientation: int | None = None) -> bytes:
    content = io.BytesIO()
    exif = Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    image.save(content, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    return content.getvalue()


def _pixels(height: int = 6, width: int = 4, channels: int = 3) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width, channels)).astype(np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_exif_says(orientation: int) -> None:
    pixels = _pixels()
    encoded = _encoded(pixels, orientation=orientation)
    picture = Picture.read(encoded)
    assert picture.orientation == orientation
    with Image.open(io.BytesIO(encoded)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(upright(picture.pixels, picture.orientation), expected)


def test_a_picture_of_the_right_size_goes_in_as_it_is() -> None:
    for channels in (1, 3):
        pixels = _pixels(channels=channels)
        rules = PictureRules(6, 4, channels, None)
        np.testing.assert_array_equal(rules.prepare(Picture.read(_encoded(pixels))), pixels)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        pytest.param(_pixels(7, 4), "7 x 4 pixels; the model takes 6 x 4", id="another-size"),
        pytest.param(_pixels(channels=1), "has 1 channel; the model takes 3", id="gray"),
        pytest.param(_pixels(channels=4), "has 4 channels; the model takes 3", id="transparent"),
    ],
)
def test_a_picture_that_training_would_have_refused_is_refused(pixels: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PictureRules(6, 4, 3, None).prepare(Picture.read(_encoded(pixels)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "no PNG", id="empty"),
        pytest.param(b"<html>", "no PNG", id="html"),
        pytest.param(_encoded(_pixels(50, 50))[:3000], "cut off|decode", id="cut-off"),
        pytest.param(_encoded(_pixels(200, 200), "JPEG")[:3000], "cut off|decode", id="a-jpeg-cut-off"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Picture.read(data)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        Picture.read(tmp_path / "none.png")


def test_every_way_that_a_manifest_can_name_is_known() -> None:
    assert set(RESIZES) == set(NAMED_RESIZES)


@pytest.mark.parametrize("shape", [(1, 8), (1, 8, 8), (1, 8, 8, 12)])
def test_what_is_no_picture_has_no_rules(shape: tuple[int, ...]) -> None:
    manifest = SimpleNamespace(inputs=(TensorEntry(TensorSpec("x", shape, "int8")),))
    assert picture_rules(cast(Manifest, manifest)) is None


def test_the_rules_are_those_of_the_manifest() -> None:
    entry = TensorEntry(TensorSpec("image", (-1, 32, 48, 3), "int8"), "NHWC", (0.0, 255.0), resize="area")
    rules = picture_rules(cast(Manifest, SimpleNamespace(inputs=(entry,))))
    assert rules == PictureRules(32, 48, 3, "area")
    assert rules is not None
    assert rules.prepare(Picture(_pixels(100, 90))).shape == (32, 48, 3)


@pytest.mark.tfx
@pytest.mark.parametrize("method", RESIZES)
@pytest.mark.parametrize(
    ("old", "new"),
    [((97, 61), (32, 32)), ((20, 30), (64, 48)), ((64, 64), (32, 32)), ((33, 1), (7, 5)), ((9, 9), (9, 4))],
)
def test_resizing_is_what_training_does(method: str, old: tuple[int, int], new: tuple[int, int]) -> None:
    import tensorflow as tf

    pixels = _pixels(*old)
    expected = tf.image.resize(pixels, new, method=method).numpy()
    np.testing.assert_allclose(RESIZES[method](pixels, new), expected, atol=2e-3)


@pytest.mark.tfx
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_decoding_is_what_training_does(kind: str) -> None:
    import tensorflow as tf

    smooth = np.cumsum(RANDOM.normal(0, 3, (80, 100, 3)), axis=0) + 128
    encoded = _encoded(np.clip(smooth, 0, 255).astype(np.uint8), kind)
    expected: Any = tf.io.decode_image(encoded, channels=3, expand_animations=False).numpy()
    difference = np.abs(Picture.read(encoded).pixels.astype(int) - expected)
    assert difference.max() <= (0 if kind == "PNG" else 8)  # TensorFlow's transform of JPEG is faster and coarser
    assert difference.mean() <= (0 if kind == "PNG" else 1.5)
