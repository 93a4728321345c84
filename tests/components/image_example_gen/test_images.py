"""What an image file is: decodable or not, its size, and the key of its content."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from components.image_example_gen.images import ImageFacts, examine_image


def _encode(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _gradient(mode: str = "L", size: tuple[int, int] = (7, 5)) -> Image.Image:
    image = Image.new("L", size)
    image.putdata([(index * 11) % 256 for index in range(size[0] * size[1])])
    return image.convert(mode)


def _key(encoded: bytes) -> str:
    facts = examine_image(encoded)
    assert isinstance(facts, ImageFacts), facts
    return facts.content_key


@pytest.mark.parametrize(
    ("mode", "file_format", "channels"),
    [
        pytest.param("L", "PNG", 1, id="gray-png"),
        pytest.param("RGB", "PNG", 3, id="color-png"),
        pytest.param("RGBA", "PNG", 4, id="png-with-alpha"),
        pytest.param("P", "PNG", 3, id="a-palette-counts-as-color"),
        pytest.param("1", "PNG", 1, id="black-and-white-counts-as-gray"),
        pytest.param("L", "JPEG", 1, id="gray-jpeg"),
        pytest.param("RGB", "JPEG", 3, id="color-jpeg"),
    ],
)
def test_an_image_tells_its_height_width_and_channels(mode: str, file_format: str, channels: int) -> None:
    facts = examine_image(_encode(_gradient(mode), file_format))

    assert isinstance(facts, ImageFacts)
    assert (facts.height, facts.width, facts.channels) == (5, 7, channels)


def test_the_same_pixels_have_one_key_however_they_are_compressed() -> None:
    assert _key(_encode(_gradient(), compress_level=0)) == _key(_encode(_gradient(), compress_level=9))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(_gradient().point(lambda value: 255 - value), id="other-pixels"),
        pytest.param(_gradient(size=(5, 7)), id="same-bytes-in-another-shape"),
        pytest.param(_gradient("RGB"), id="another-mode"),
    ],
)
def test_other_pixels_size_or_mode_have_another_key(other: Image.Image) -> None:
    assert _key(_encode(other)) != _key(_encode(_gradient()))


def test_two_palettes_with_equal_indices_are_two_pictures() -> None:
    red, blue = (Image.new("P", (4, 4), 1) for _ in range(2))
    red.putpalette([0, 0, 0, 255, 0, 0])
    blue.putpalette([0, 0, 0, 0, 0, 255])

    assert _key(_encode(red)) != _key(_encode(blue))


def test_exif_rotation_is_ignored_as_the_decoder_of_the_model_ignores_it() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6

    assert _key(_encode(_gradient("RGB"), "JPEG", exif=exif)) == _key(_encode(_gradient("RGB"), "JPEG"))


_PNG = _encode(_gradient(size=(64, 64)))


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        pytest.param(b"", "empty", id="empty-file"),
        pytest.param(_PNG[: len(_PNG) // 2], "does not decode", id="truncated-png"),
        pytest.param(_encode(_gradient(size=(64, 64)), "JPEG")[:-200], "does not decode", id="truncated-jpeg"),
        pytest.param(_PNG[:60] + b"\xff\x00\xff" + _PNG[63:], "does not decode", id="flipped-bytes-in-a-png"),
        pytest.param(_encode(_gradient(), "GIF"), "a GIF", id="a-gif-is-no-input"),
        pytest.param(b"<!DOCTYPE html><html>", "HTML", id="an-error-page"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull", id="a-git-lfs-pointer"),
        pytest.param(b"just text", "something else", id="text"),
    ],
)
def test_a_bad_file_is_a_reason_and_not_an_exception(encoded: bytes, reason: str) -> None:
    found = examine_image(encoded)

    assert isinstance(found, str)
    assert reason in found
