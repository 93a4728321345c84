"""Reads flipped.npz: examples that the candidate answers otherwise than the float model, as pictures for the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.data.npz import read_arrays
from components.errors import DataError

#: Pictures on the page: a person looks at a dozen, and each may take some 30 kB.
MAX_PICTURES = 24
_ANSWERS = ("label", "predicted_float", "predicted_candidate")


@dataclass(frozen=True)
class FlippedExample:
    """One example: names of its label and of both answers, and its picture as a data URI, where it is an image."""

    label: str
    float_answer: str
    candidate_answer: str
    is_loss: bool
    picture: str | None
    width: int = 0
    height: int = 0


def read_flipped(file: Path, class_names: Sequence[str]) -> tuple[FlippedExample, ...]:
    """At most :data:`MAX_PICTURES` examples in the file's order; none where there is no file.

    Args:
        file: ``label``, ``predicted_float``, ``predicted_candidate`` integers ``[k]`` (-1: not finite) and, for images, ``input``
            ``[k, h, w, 1 or 3]`` with pixels 0..255.
        class_names: By label; the numbers themselves where they do not reach.

    Raises:
        DataError: The file is damaged.
    """
    if not file.is_file():
        return ()
    arrays = read_arrays(file, "file of flipped examples", DataError)
    missing = [name for name in _ANSWERS if name not in arrays]
    if missing or len({len(arrays[name]) for name in arrays}) != 1:
        raise DataError(f"{file} needs arrays {', '.join(_ANSWERS)} of one length; found {sorted(arrays)}.")
    pictures = arrays.get("input")
    return tuple(
        _example(
            [int(arrays[name][row]) for name in _ANSWERS], None if pictures is None else pictures[row], class_names
        )
        for row in range(min(len(arrays["label"]), MAX_PICTURES))
    )


def _example(answers: list[int], pixels: NDArray[Any] | None, class_names: Sequence[str]) -> FlippedExample:
    label, of_float, of_candidate = answers
    is_image = pixels is not None and pixels.ndim == 3 and pixels.shape[2] in (1, 3)
    return FlippedExample(
        label=class_name(label, class_names),
        float_answer=class_name(of_float, class_names),
        candidate_answer=class_name(of_candidate, class_names),
        is_loss=of_float == label and of_candidate != label,
        picture=_data_uri(pixels) if pixels is not None and is_image else None,
        width=pixels.shape[1] if pixels is not None and is_image else 0,
        height=pixels.shape[0] if pixels is not None and is_image else 0,
    )


def class_name(number: int, class_names: Sequence[str]) -> str:
    """The name of a class, or its number where it has none."""
    if number < 0:
        return "not finite"
    return class_names[number] if number < len(class_names) else str(number)


def _data_uri(pixels: NDArray[Any]) -> str:
    from PIL import Image

    finite = np.nan_to_num(np.asarray(pixels, np.float64), nan=0.0, posinf=255.0, neginf=0.0)
    as_bytes = np.clip(np.rint(finite), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(as_bytes[:, :, 0] if as_bytes.shape[2] == 1 else as_bytes).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
