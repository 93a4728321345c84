"""What one image file is: whether it decodes, its size, and the key under which its duplicates are found.

Pixels are the identity, not bytes: a PNG written again by another tool is the same picture, and must land in the same
split. EXIF orientation is ignored, as TensorFlow's decoder and a device's camera path ignore it.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

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
        return "is empty (0 bytes)"
    try:
        # verify() checks the PNG chunk sums, which decoding skips; it leaves the image unusable, hence the second open.
        with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as image:
            image.verify()
        with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as image:
            image.load()
            return _facts(image)
    except UnidentifiedImageError:
        return f"is no PNG or JPEG: it looks like {_what_it_looks_like(encoded)}"
    except MemoryError:
        raise
    except Exception as problem:  # Pillow raises half a dozen types on damaged bytes; each means: this file is bad.
        return f"does not decode: {str(problem) or type(problem).__name__}"


def _facts(image: Image.Image) -> ImageFacts:
    plain = _without_palette(image)
    digest = hashlib.sha256(f"{plain.mode} {plain.width}x{plain.height} ".encode())
    digest.update(plain.tobytes())
    return ImageFacts(plain.height, plain.width, len(plain.getbands()), digest.hexdigest())


def _without_palette(image: Image.Image) -> Image.Image:
    """The image in a mode whose bytes are its colors: the same palette index means another color in another file."""
    if image.mode == "P":
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    return image.convert("L") if image.mode == "1" else image


def _what_it_looks_like(encoded: bytes) -> str:
    for beginning, name in _KNOWN_BEGINNINGS:
        if encoded.startswith(beginning):
            return name
    if encoded.startswith((b"\x89PNG", b"\xff\xd8")):
        return "a PNG or JPEG with a damaged header"
    return f"something else (first bytes {encoded[:8]!r})"
