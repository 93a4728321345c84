"""What one image file is: whether it decodes, its size, and the key under which its duplicates are found.

Pixels are the identity, not bytes: a PNG written again by another tool is the same picture, and must land in the same
split. EXIF orientation is ignored, as TensorFlow's decoder and a device's camera path ignore it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from PIL import Image, ImageMode, UnidentifiedImageError

#: Bad files that a message names; the rest are counted.
BAD_IMAGES_NAMED = 5
_EMPTY = "is empty (0 bytes)"
#: How a file that is no PNG or JPEG usually begins, and what to call it in a message.
_KNOWN_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"RIFF", "a WebP or another RIFF file"),
    (b"II*\x00", "a TIFF"),
    (b"MM\x00*", "a TIFF"),
    (b"\x00\x00\x00", "a HEIC, AVIF or video file"),
    (b"version https://git-lfs", "a git-lfs pointer, not the image itself (run: git lfs pull)"),
    (b"<", "HTML, XML or SVG text"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip archive"),
)


@dataclass(frozen=True)
class ImageFacts:
    """What decoding one image tells: its size in pixels, its channels, and the hex key of its content."""

    height: int
    width: int
    channels: int
    content_key: str


class ImageSize(NamedTuple):
    """Height and width in pixels, and channels, as the examples will have them."""

    height: int
    width: int
    channels: int

    def __str__(self) -> str:
        return f"{self.height} x {self.width} x {self.channels}"


@dataclass(frozen=True)
class BadImage:
    """A file that cannot be ingested, and why; ``path`` is relative to the input folder."""

    path: str
    reason: str


def examine_image(encoded: bytes) -> ImageFacts | str:
    """Decodes one PNG or JPEG fully.

    Args:
        encoded: The file's bytes.

    Returns:
        The facts, or the reason why the file cannot be used: bad images are data, so that one run names them all.
    """
    if not encoded:
        return _EMPTY
    try:
        # verify() checks the PNG chunk sums, which decoding skips; it leaves the image unusable, hence the second open.
        with _open(io.BytesIO(encoded)) as image:
            image.verify()
        with _open(io.BytesIO(encoded)) as image:
            image.load()
            return _facts(image)
    except MemoryError:
        raise
    except Exception as problem:  # Pillow raises half a dozen types on damaged bytes; each means: this file is bad.
        return _reason(problem, encoded)


def examine_header(path: Path) -> ImageSize | str:
    """Reads no more than the header of a PNG or JPEG, so damage behind it is not seen.

    Returns:
        The size that :func:`examine_image` would find, or the reason why it would refuse the file.
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


def _header_of(file: IO[bytes], beginning: bytes) -> ImageSize | str:
    try:
        with _open(file) as image:
            return ImageSize(image.height, image.width, len(ImageMode.getmode(_plain_mode(image)).bands))
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
        "Nothing was ingested. Replace or delete them, then run again."
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
    return Image.open(file, formats=("PNG", "JPEG"))


def _reason(problem: Exception, beginning: bytes) -> str:
    if isinstance(problem, UnidentifiedImageError):
        return f"is no PNG or JPEG: it looks like {_what_it_looks_like(beginning)}"
    return f"does not decode: {str(problem) or type(problem).__name__}"


def _facts(image: Image.Image) -> ImageFacts:
    plain = _without_palette(image)
    digest = hashlib.sha256(f"{plain.mode} {plain.width}x{plain.height} ".encode())
    digest.update(plain.tobytes())
    return ImageFacts(plain.height, plain.width, len(plain.getbands()), digest.hexdigest())


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
