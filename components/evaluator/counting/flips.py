"""Examples that the candidate answers otherwise than the float model: a few, for people to look at.

Which ones are kept depends on the examples alone: losses first, then the smallest hash of the content, at most
:data:`MAX_PER_CHANGE` of one kind of change. So neither workers nor order matter, and memory is bounded.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.evaluator.counting.counts import Comparison

FLIPS_FILE = "flipped.npz"
#: Examples kept, and of them with the same label and the same two answers.
MAX_FLIPS = 24
MAX_PER_CHANGE = 4
#: Longest side of a kept image, in pixels; larger ones are thinned out.
MAX_SIDE = 160


@dataclass(frozen=True, eq=False)
class Flip:
    """One example; a class of -1 stands for an output that is not finite."""

    key: int
    is_loss: bool
    label: int
    predicted_float: int
    predicted_candidate: int
    image: NDArray[Any] | None

    @property
    def change(self) -> tuple[int, int, int]:
        """Label and both answers."""
        return self.label, self.predicted_float, self.predicted_candidate


def row_keys(inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.uint64]:
    """A 64-bit hash of every row's content (BLAKE2b), ``[n]``: the same for the same example, wherever it lies."""
    arrays = [np.ascontiguousarray(inputs[name]) for name in sorted(inputs)]
    digests = b"".join(_digest([array[row] for array in arrays]) for row in range(len(arrays[0])))
    return np.frombuffer(digests, np.dtype("<u8"))


def _digest(parts: Sequence[NDArray[Any]]) -> bytes:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part.tobytes())
    return digest.digest()


def find_flips(
    comparison: Comparison, keys: NDArray[np.uint64], inputs: Mapping[str, NDArray[Any]]
) -> tuple[Flip, ...]:
    """The flips of one batch that may be kept.

    Args:
        comparison: Both models' answers.
        keys: Hashes of the rows, ``[n]``.
        inputs: Raw tensors ``[n, ...]``; a single image is kept with the flip.
    """
    of_float = np.where(comparison.finite_float, comparison.predicted_float, -1)
    of_candidate = np.where(comparison.finite_candidate, comparison.predicted_candidate, -1)
    images = _images(inputs)
    flips = (
        Flip(
            int(keys[row]),
            bool(comparison.right_float[row] and not comparison.right_candidate[row]),
            int(comparison.labels[row]),
            int(of_float[row]),
            int(of_candidate[row]),
            None if images is None else images[row],
        )
        for row in np.flatnonzero(of_float != of_candidate).tolist()
    )
    return tuple(  # a view would keep the whole batch in memory
        flip if flip.image is None else replace(flip, image=flip.image.copy()) for flip in keep_flips(flips)
    )


def _images(inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any] | None:
    array = next(iter(inputs.values()))
    if len(inputs) != 1 or array.ndim != 4 or array.shape[3] not in (1, 3):
        return None
    step = -(-max(array.shape[1:3]) // MAX_SIDE)
    return array[:, ::step, ::step, :]


def keep_flips(flips: Iterable[Flip]) -> tuple[Flip, ...]:
    """The ones to keep of several parts, in order; equal examples once."""
    kept: dict[int, Flip] = {}
    of_change: Counter[tuple[int, int, int]] = Counter()
    for flip in sorted(flips, key=lambda flip: (not flip.is_loss, flip.key, flip.change)):
        if len(kept) == MAX_FLIPS:
            break
        if flip.key not in kept and of_change[flip.change] < MAX_PER_CHANGE:
            kept[flip.key] = flip
            of_change[flip.change] += 1
    return tuple(kept.values())


def write_flips(flips: Sequence[Flip], directory: Path) -> Path | None:
    """Writes ``flipped.npz``: ``label``, ``predicted_float``, ``predicted_candidate`` int64 ``[k]`` and, for images,
    ``input`` ``[k, h, w, c]``; nothing where nothing flipped.
    """
    if not flips:
        return None
    arrays = {
        name: np.array([getattr(flip, name) for flip in flips], np.int64)
        for name in ("label", "predicted_float", "predicted_candidate")
    }
    images = [flip.image for flip in flips if flip.image is not None]
    if len(images) == len(flips):
        arrays["input"] = _compact(np.stack(images))
    path = directory / FLIPS_FILE
    directory.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return path


def _compact(images: NDArray[Any]) -> NDArray[Any]:
    """Pixels 0..255 as bytes, anything else as it is."""
    as_bytes = np.clip(np.nan_to_num(images), 0, 255).astype(np.uint8)
    return as_bytes if np.array_equal(as_bytes, images) else images
