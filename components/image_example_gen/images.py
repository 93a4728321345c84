"""What one image file is: whether it decodes, its size, and the key under which its duplicates are found.

Pixels are the identity, not bytes: a PNG written again by another tool is the same picture, and must land in the same
split. Size and pixels are those of the picture as a person sees it: a camera that was held on its side notes in the EXIF
orientation how to turn the stored pixels, and Pillow's ``exif_transpose``, OpenCV and Android's ImageDecoder turn them.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from PIL import ExifTags, Image, ImageMode, UnidentifiedImageError

#: Bad files that a message names; the rest are counted.
BAD_IMAGES_NAMED = 5
#: What is read. Only the first two are stored as they are; the others become PNG, because TensorFlow does not decode them
#: on every stack, and gzip would not help a BMP.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
_DECODED_BY_TENSORFLOW = {"PNG", "JPEG", "MPO"}
_PNG_BEGINNING = b"\x89PNG\r\n\x1a\n"
_CHUNK_OVERHEAD = 12
#: EXIF orientation -> what makes the picture upright (CIPA DC-008, tag 0x0112).
_TURNS: Mapping[int, Image.Transpose | None] = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {5, 6, 7, 8}
_EMPTY = "is empty (0 bytes)"
#: How a file that is no image usually begins, and what to call it in a message.
_KNOWN_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", "a GIF"),
    (b"BM", "a damaged BMP"),
    (b"RIFF", "a damaged WebP, or another RIFF file"),
    (b"II*\x00", "a damaged TIFF"),
    (b"MM\x00*", "a damaged TIFF"),
    (b"\x00\x00\x00", "a HEIC, AVIF or video file"),
    (b"version https://git-lfs", "a git-lfs pointer, not the image itself (run: git lfs pull)"),
    (b"<", "HTML, XML or SVG text"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip archive"),
)


@dataclass(frozen=True)
class ImageFacts:
    """What decoding one image tells.

    Attributes:
        height: Rows of the upright picture.
        width: Its columns.
        channels: Its channels.
        content_key: Hex key of its pixels.
        orientation: EXIF orientation, 1 to 8: how the stored pixels have to be turned; 1 is not at all.
        is_stored_as_it_is: Whether an example can hold the file's bytes; otherwise :func:`stored_bytes` makes a PNG.
    """

    height: int
    width: int
    channels: int
    content_key: str
    orientation: int = 1
    is_stored_as_it_is: bool = True


class ImageSize(NamedTuple):
    """Height and width in pixels, and channels, as the examples will have them."""

    height: int
    width: int
    channels: int

    def __str__(self) -> str:
        return f"{self.height} x {self.width} x {self.channels}"


class ImageHeader(NamedTuple):
    """What the header alone tells; see :class:`ImageFacts`."""

    size: ImageSize
    orientation: int


@dataclass(frozen=True)
class BadImage:
    """A file that cannot be ingested, and why; ``path`` is relative to the input folder."""

    path: str
    reason: str


def examine_image(encoded: bytes) -> ImageFacts | str:
    """Decodes one image fully.

    Args:
        encoded: The file's bytes.

    Returns:
        The facts, or the reason why the file cannot be used: bad images are data, so that one run names them all.
    """
    if not encoded:
        return _EMPTY
    try:
        with _open(io.BytesIO(encoded)) as image:
            damage = _png_damage(encoded)
            if damage:
                return f"does not decode: {damage}"
            image.load()
            return _facts(image)
    except MemoryError:
        raise
    except Exception as problem:  # Pillow raises half a dozen types on damaged bytes; each means: this file is bad.
        return _reason(problem, encoded)


def stored_bytes(encoded: bytes) -> bytes:
    """A picture of a format that TensorFlow does not decode, as an upright PNG of the same pixels."""
    with _open(io.BytesIO(encoded)) as image:
        image.load()
        content = io.BytesIO()
        _upright(_without_palette(image), orientation_of(image)).save(content, "PNG", compress_level=1)
        return content.getvalue()


def _png_damage(encoded: bytes) -> str:
    """What is wrong with a PNG's chunks, whose sums decoders do not check; nothing for other formats.

    Chunks by the PNG specification, section 5.3: length, type, data, CRC-32 of type and data; the last is IEND.
    """
    if not encoded.startswith(_PNG_BEGINNING):
        return ""
    position, kind = len(_PNG_BEGINNING), b""
    while kind != b"IEND":
        if position + _CHUNK_OVERHEAD > len(encoded):
            return "the file ends before its last chunk"
        (length,) = struct.unpack_from(">I", encoded, position)
        kind, end = encoded[position + 4 : position + 8], position + 8 + length
        if end + 4 > len(encoded):
            return "the file ends before its last chunk"
        if zlib.crc32(encoded[position + 4 : end]) != struct.unpack_from(">I", encoded, end)[0]:
            return f"the checksum of a {kind.decode('ascii', 'replace')} chunk does not fit"
        position = end + 4
    return ""


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where the file has none, or one that means nothing."""
    if image.format == "TIFF" or "exif" not in image.info:
        return 1  # Pillow turns a TIFF itself as it loads
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block does not make a picture unusable
        return 1
    return value if value in _TURNS else 1


def examine_header(path: Path) -> ImageHeader | str:
    """Reads no more than the header of an image, so damage behind it is not seen.

    Returns:
        The size and orientation that :func:`examine_image` would find, or the reason why it would refuse the file.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(32)
            file.seek(0)
            return _header_of(file, beginning) if beginning else _EMPTY
    except IsADirectoryError:
        return "is a folder"
    except OSError as problem:
        return f"cannot be read: {problem}"


def _header_of(file: IO[bytes], beginning: bytes) -> ImageHeader | str:
    try:
        with _open(file) as image:
            return ImageHeader(_size_of(image), orientation_of(image))
    except MemoryError:
        raise
    except Exception as problem:  # As in examine_image.
        return _reason(problem, beginning)


def bad_images_message(bad: Sequence[BadImage], num_bad: int, among: str) -> str:
    """One paragraph that names the first bad files with their reasons and counts the rest.

    Args:
        bad: The first bad files.
        num_bad: How many there are.
        among: Which files were looked into, such as "120 files under photos".
    """
    named = "; ".join(f"{image.path}: {image.reason}" for image in bad[:BAD_IMAGES_NAMED])
    rest = f"; and {num_bad - BAD_IMAGES_NAMED:,} more" if num_bad > BAD_IMAGES_NAMED else ""
    return (
        f"{num_bad:,} of {among} cannot be ingested: {named}{rest}. "
        'Nothing was ingested. Replace or delete them, or name what is no data in data.ignore, such as ["*.txt", masks]; then run again.'
    )


def other_size_message(sizes: Iterable[tuple[str, ImageSize]], limits: Mapping[str, int], among: str) -> str:
    """Names the first image that is not of the size in ``data.image`` and counts them; nothing where all are.

    Args:
        sizes: (path, size) of each image.
        limits: Dimension (a field of :class:`ImageSize`) -> the only value that it may have; others are free.
        among: Which files were looked into, such as "120 files under photos".
    """
    others = [(path, size) for path, size in sizes if any(getattr(size, name) != limits[name] for name in limits)]
    if not others:
        return ""
    path, first = others[0]
    wanted = " x ".join(str(limits.get(name, "any")) for name in ImageSize._fields)
    differing = {name for _, size in others for name in limits if getattr(size, name) != limits[name]}
    advice = []
    if differing & {"height", "width"}:
        advice.append(
            "Set data.image.height and data.image.width to the size of the images, or data.image.resize to have them "
            "resized (the device must then resize in the same way)."
        )
    if "channels" in differing:
        advice.append("Set data.image.channels, or convert the files: data.image.resize converts no channels.")
    return (
        f"{len(others):,} of {among} {'has' if len(others) == 1 else 'have'} another size "
        f"(height x width x channels) than data.image says, {wanted}: "
        f"the first is {path}, {first}. {' '.join(advice)}"
    )


def _open(file: IO[bytes]) -> Image.Image:
    return Image.open(file, formats=_FORMATS)


def _reason(problem: Exception, beginning: bytes) -> str:
    if isinstance(problem, UnidentifiedImageError):
        return f"is no PNG, JPEG, WebP, BMP or TIFF: it looks like {_what_it_looks_like(beginning)}"
    return f"does not decode: {str(problem) or type(problem).__name__}"


def _facts(image: Image.Image) -> ImageFacts:
    orientation = orientation_of(image)
    is_stored_as_it_is = image.format in _DECODED_BY_TENSORFLOW
    plain = _upright(_without_palette(image), orientation)
    digest = hashlib.sha256(f"{plain.mode} {plain.width}x{plain.height} ".encode())
    digest.update(plain.tobytes())
    turned = orientation if is_stored_as_it_is else 1
    channels = len(plain.getbands())
    return ImageFacts(plain.height, plain.width, channels, digest.hexdigest(), turned, is_stored_as_it_is)


def _size_of(image: Image.Image) -> ImageSize:
    channels = len(ImageMode.getmode(_plain_mode(image)).bands)
    size = (image.width, image.height) if orientation_of(image) in _SIDEWAYS else (image.height, image.width)
    return ImageSize(*size, channels)


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS[orientation]
    return image if turn is None else image.transpose(turn)


def _without_palette(image: Image.Image) -> Image.Image:
    """The image in a mode whose bytes are its colors: the same palette index means another color in another file."""
    mode = _plain_mode(image)
    return image if image.mode == mode else image.convert(mode)


def _plain_mode(image: Image.Image) -> str:
    """The mode of the image without its palette; the header tells it."""
    if image.mode == "P":
        return "RGBA" if "transparency" in image.info else "RGB"
    return "L" if image.mode == "1" else image.mode


def _what_it_looks_like(encoded: bytes) -> str:
    for beginning, name in _KNOWN_BEGINNINGS:
        if encoded.startswith(beginning):
            return name
    if encoded.startswith((b"\x89PNG", b"\xff\xd8")):
        return "a PNG or JPEG with a damaged header"
    return f"something else (first bytes {encoded[:8]!r})"
