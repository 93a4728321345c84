"""A picture as training saw it: decoded, turned upright, sized and typed as the manifest says, or refused.

A device that prepares pictures differently than training did is the commonest cause of a bad score in the field. Rules,
in order: 1. Pixels are 0 to 255, in the model's channels: a picture with others is refused, never converted. 2. What EXIF
says of the orientation is applied: training saw pictures upright, where the manifest says so because it turned them, and
elsewhere because none had to be turned. 3. A picture of another size is
resized in the way that the manifest names, which is TensorFlow's `tf.image.resize`, or refused where it names none. A known
rest: TensorFlow decodes JPEG by a faster transform than Pillow, and pixels differ by about one level of 255.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_edge.errors import InputError, SurroundingsError
from edgeproof_edge.manifest import Manifest

Array = NDArray[Any]
Pixels = NDArray[np.uint8]

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
#: A photo of 100 megapixels; more is a bomb.
_MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class Picture:
    """A picture, decoded.

    Attributes:
        pixels: uint8 `[height, width, channels]`, as stored.
        orientation: What EXIF says, 1 to 8; 1 where it says nothing.
        name: What messages call it.
    """

    pixels: Pixels
    orientation: int = 1
    name: str = "the picture"

    @classmethod
    def read(cls, source: Path | bytes, name: str | None = None) -> Picture:
        """Decodes a file, or its bytes.

        Raises:
            InputError: It cannot be read, or is no picture.
            SurroundingsError: Pillow is not installed.
        """
        image_module = _pillow()
        label = name or (str(source) if isinstance(source, Path) else "the picture")
        try:
            encoded = source if isinstance(source, bytes) else source.read_bytes()
            with image_module.open(io.BytesIO(encoded), formats=_FORMATS) as image:
                if image.width * image.height > _MAX_PIXELS:
                    raise InputError(f"{label} has {image.width} x {image.height} pixels: too many for a device.")
                orientation = 1 if image.format == "TIFF" else int(image.getexif().get(0x0112, 1) or 1)
                converted = image if image.mode in _MODES.values() else image.convert(_plain_mode(image))
                pixels = np.asarray(converted, np.uint8)
        except InputError:
            raise
        except OSError as error:
            reason = error.strerror or "it is no PNG, JPEG, WebP, BMP or TIFF, or is cut off"
            raise InputError(f"{label} cannot be read: {reason}.") from error
        except Exception as error:  # Pillow raises half a dozen types on damaged bytes
            raise InputError(f"{label} does not decode: {error}.") from error
        return cls(
            pixels if pixels.ndim == 3 else pixels[..., None], orientation if 1 <= orientation <= 8 else 1, label
        )


@dataclass(frozen=True)
class PictureRules:
    """How a model takes pictures.

    Attributes:
        height: Rows; None where any will do.
        width: Columns, likewise.
        channels: Channels.
        resize: How pictures of another size are resized: "bilinear", "area", "nearest"; None where they are refused.
    """

    height: int | None
    width: int | None
    channels: int
    resize: str | None

    def prepare(self, picture: Picture) -> Array:
        """Pixels as the model takes them: `[height, width, channels]`, uint8, or float32 where they were resized.

        Raises:
            InputError: The picture has other channels, or another size and the manifest names no way to resize.
        """
        pixels = upright(picture.pixels, picture.orientation)
        height, width, channels = pixels.shape
        if channels != self.channels:
            raise InputError(
                f"{picture.name} has {channels} channel{'s' if channels > 1 else ''}; the model takes {self.channels}. "
                f"Save it as {_MODES.get(self.channels, 'another mode')}: training converted no channels either."
            )
        wanted = (self.height or height, self.width or width)
        if (height, width) == wanted:
            return np.ascontiguousarray(pixels)
        if self.resize is None:
            raise InputError(
                f"{picture.name} has {height} x {width} pixels; the model takes {wanted[0]} x {wanted[1]}, and its release "
                "names no way to resize. Crop or resize it as the training data was."
            )
        return RESIZES[self.resize](pixels, wanted)


def picture_rules(manifest: Manifest) -> PictureRules | None:
    """How a release takes pictures; None where its only input is none."""
    if len(manifest.inputs) != 1:
        return None
    entry = manifest.inputs[0]
    shape = entry.spec.shape
    if len(shape) != 4 or shape[3] not in _MODES:
        return None
    return PictureRules(
        height=shape[1] if shape[1] > 0 else None,
        width=shape[2] if shape[2] > 0 else None,
        channels=shape[3],
        resize=entry.resize,
    )


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Stored pixels as a person sees them (EXIF, CIPA DC-008, tag 0x0112)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def _bilinear(pixels: Pixels, size: tuple[int, int]) -> Array:
    """Half-pixel centers, no antialiasing."""
    values = pixels.astype(np.float32)
    for axis in (0, 1):
        below, above, share = _neighbors(values.shape[axis], size[axis])
        share = share.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        low = values.take(below, axis)
        values = low + (values.take(above, axis) - low) * share
    return values


def _neighbors(old: int, new: int) -> tuple[Array, Array, Array]:
    positions = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * np.float32(old / new) - np.float32(0.5)
    lower = np.floor(positions)
    below = np.maximum(lower, 0).astype(np.intp)
    above = np.minimum(lower + 1, old - 1).astype(np.intp)
    return below, above, (positions - lower).astype(np.float32)


def _nearest(pixels: Pixels, size: tuple[int, int]) -> Array:
    rows, columns = (
        np.minimum(
            np.floor((np.arange(new, dtype=np.float32) + np.float32(0.5)) * np.float32(old / new)).astype(np.intp),
            old - 1,
        )
        for old, new in zip(pixels.shape, size, strict=False)
    )
    picked: Array = pixels[rows][:, columns].astype(np.float32)
    return picked


def _area(pixels: Pixels, size: tuple[int, int]) -> Array:
    """Every new pixel is the mean of what it covers."""
    rows, columns = (_shares(old, new) for old, new in zip(pixels.shape, size, strict=False))
    summed = np.einsum("ih,hwc->iwc", rows, pixels.astype(np.float64), optimize=True)
    means: Array = np.einsum("jw,iwc->ijc", columns, summed, optimize=True).astype(np.float32)
    return means


def _shares(old: int, new: int) -> Array:
    """How much of each old pixel lies in each new one, `[new, old]`; rows add up to 1."""
    scale = old / new
    starts = np.arange(new)[:, None] * scale
    pixels = np.arange(old)[None, :]
    covered = np.minimum(pixels + 1, starts + scale) - np.maximum(pixels, starts)
    shares: Array = np.clip(covered, 0.0, None) / scale
    return shares


RESIZES: Mapping[str, Callable[[Pixels, tuple[int, int]], Array]] = {
    "bilinear": _bilinear,
    "nearest": _nearest,
    "area": _area,
}


def _plain_mode(image: Any) -> str:
    """What a palette or a 16-bit picture becomes; TensorFlow's decoder does the same."""
    if image.mode in ("1", "I", "I;16", "F"):
        return "L"
    return "RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB"


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise SurroundingsError(
            "pictures need Pillow, which is not installed. Run: pip install 'edgeproof-edge[images]'."
        ) from error
    return Image
