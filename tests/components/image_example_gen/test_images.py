"""What an image file is: decodable or not, its size, and the key of its content."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from components.image_example_gen.images import (
    ImageFacts,
    ImageHeader,
    ImageSize,
    examine_header,
    examine_image,
    other_size_message,
    stored_bytes,
)


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


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def test_a_picture_on_its_side_is_the_upright_picture() -> None:
    sideways = _gradient("RGB").transpose(Image.Transpose.ROTATE_90)
    turned = examine_image(_encode(sideways, exif=_exif(6)))

    assert isinstance(turned, ImageFacts)
    assert (turned.height, turned.width, turned.orientation) == (5, 7, 6)
    assert turned.content_key == _key(_encode(_gradient("RGB")))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_the_header_tells_that_a_picture_lies_on_its_side(tmp_path: Path, file_format: str) -> None:
    file = tmp_path / "image"
    file.write_bytes(_encode(_gradient("RGB"), file_format, exif=_exif(8)))
    header = examine_header(file)

    assert isinstance(header, ImageHeader)
    assert header.size == (7, 5, 3)


def test_an_orientation_that_means_nothing_turns_nothing() -> None:
    assert _key(_encode(_gradient("RGB"), exif=_exif(77))) == _key(_encode(_gradient("RGB")))


@pytest.mark.parametrize("file_format", ["BMP", "TIFF", "WEBP"])
def test_a_format_that_tensorflow_does_not_decode_is_stored_as_png(file_format: str) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    encoded = _encode(_gradient("RGB"), file_format, **options)
    facts = examine_image(encoded)

    assert isinstance(facts, ImageFacts)
    assert not facts.is_stored_as_it_is
    stored = stored_bytes(encoded)
    assert stored.startswith(b"\x89PNG")
    assert _key(stored) == facts.content_key == _key(_encode(_gradient("RGB")))


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


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "I;16"])
def test_the_header_tells_the_size_that_decoding_finds(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(_encode(Image.new(mode, (7, 5))))
    facts = examine_image(file.read_bytes())

    assert isinstance(facts, ImageFacts)
    assert examine_header(file) == ((5, 7, facts.channels), 1)


def test_a_palette_with_transparency_has_four_channels_in_the_header_too(tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(_encode(_gradient("P"), transparency=0))

    assert examine_header(file) == ((5, 7, 4), 1)


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(b"", id="empty-file"),
        pytest.param(_PNG[:20], id="half-a-png-header"),
        pytest.param(_encode(_gradient(), "JPEG")[:12], id="half-a-jpeg-header"),
        pytest.param(_encode(_gradient(), "GIF"), id="a-gif"),
        pytest.param(b"labels by Ann", id="text"),
    ],
)
def test_the_header_is_refused_for_the_reason_for_which_the_image_is(tmp_path: Path, encoded: bytes) -> None:
    (tmp_path / "file").write_bytes(encoded)

    found = examine_header(tmp_path / "file")

    assert isinstance(found, str)
    assert found == examine_image(encoded)


def test_a_folder_and_a_missing_file_have_no_header(tmp_path: Path) -> None:
    assert examine_header(tmp_path) == "is a folder"
    assert str(examine_header(tmp_path / "gone.png")).startswith("cannot be read: ")


_SIZES = [("a.png", ImageSize(8, 8, 1)), ("b.png", ImageSize(9, 8, 1)), ("c.png", ImageSize(9, 8, 3))]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        pytest.param({}, "", id="no-limit"),
        pytest.param({"width": 8}, "", id="all-keep-it"),
        pytest.param(
            {"height": 8, "width": 8},
            "2 of 3 files have another size (height x width x channels) than data.image says, 8 x 8 x any: the first is "
            "b.png, 9 x 8 x 1. Set data.image.height and data.image.width to the size of the images, or data.image.resize "
            "to have them resized (the device must then resize in the same way).",
            id="height",
        ),
        pytest.param(
            {"channels": 1},
            "1 of 3 files has another size (height x width x channels) than data.image says, any x any x 1: the first is "
            "c.png, 9 x 8 x 3. Set data.image.channels, or convert the files: data.image.resize converts no channels.",
            id="channels",
        ),
    ],
)
def test_images_of_another_size_are_counted_and_the_first_is_named(limits: dict[str, int], message: str) -> None:
    assert other_size_message(_SIZES, limits, "3 files") == message
