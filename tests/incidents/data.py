"""Rows to train, calibrate and judge the incidents on: the embedded digits, enlarged and moved, and synthetic tables.

Rules: 1. Everything is seeded. 2. The holdout shares no original digit with what trains or calibrates. 3. A pool is in
capture order: its rows stand as a device would have recorded them, so its head need not look like its tail.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import examples

Array = NDArray[Any]

DIGITS_FILE = Path(examples.__file__).parent / "digits" / "digits.npz"
#: Original digits kept for the holdout; the other 1,397 train and calibrate.
NUM_HOLDOUT_DIGITS = 400
#: Value of the brightest pixel in the file.
MAX_PIXEL = 16.0
NUM_TRAIN, NUM_POOL, NUM_HOLDOUT = 4000, 1500, 2000


@dataclass(frozen=True)
class Incident:
    """A float model, the data it meets, and why plain int8 breaks it.

    Attributes:
        name: Of the generator.
        saved_model: Directory of the SavedModel; its signature is ``edge``.
        pool_x: Calibration pool in capture order, arrays ``[n, ...]`` by input name.
        pool_y: Class, or true values, of each pool row, or None.
        holdout_x: Rows no one has seen, as ``pool_x``.
        holdout_y: True values by output name: integer classes ``[m]``, or real values shaped like the output.
        cause: What breaks int8, in one line.
    """

    name: str
    saved_model: Path
    pool_x: dict[str, Array]
    pool_y: Array | None
    holdout_x: dict[str, Array]
    holdout_y: dict[str, Array]
    cause: str


@dataclass(frozen=True)
class Rows:
    """Inputs ``[n, ...]`` and what belongs to them."""

    x: Array
    y: Array


@dataclass(frozen=True)
class Parts:
    """The same kind of rows three times: to train, as calibration pool, and as holdout."""

    train: Rows
    pool: Rows
    holdout: Rows


@lru_cache(maxsize=1)
def _originals() -> tuple[Rows, Rows]:
    """The 8x8 digits, 0..1, in a fixed random order: those that train and calibrate, and those of the holdout."""
    with np.load(DIGITS_FILE, allow_pickle=False) as archive:
        order = np.random.default_rng(11).permutation(len(archive["labels"]))
        images, labels = archive["images"][order] / MAX_PIXEL, archive["labels"][order].astype(np.int64)
    return Rows(images[NUM_HOLDOUT_DIGITS:], labels[NUM_HOLDOUT_DIGITS:]), Rows(
        images[:NUM_HOLDOUT_DIGITS], labels[:NUM_HOLDOUT_DIGITS]
    )


def _enlargement(size: int) -> Array:
    """Matrix [size, 8] of linear interpolation with half-pixel centers."""
    position = np.clip((np.arange(size) + 0.5) * 8 / size - 0.5, 0, 7)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(8)[None, :]))


def _varied(originals: Rows, num_rows: int, size: int, canvas: int, seed: int) -> Rows:
    """Digits of ``size`` pixels at random places of a dark canvas, with other ink and some noise.

    Returns:
        Images ``[n, canvas, canvas, 1]`` float32 in about 0..1.3, and classes.
    """
    random = np.random.default_rng(seed)
    picked = np.arange(num_rows) % len(originals.y)
    matrix = _enlargement(size)
    digits = np.einsum("si,nij,tj->nst", matrix, originals.x[picked], matrix, optimize=True)
    digits *= random.uniform(0.8, 1.2, (num_rows, 1, 1))
    corners = random.integers(0, canvas - size + 1, (num_rows, 2))
    images = np.zeros((num_rows, canvas, canvas))
    rows, columns = corners[:, :1] + np.arange(size), corners[:, 1:] + np.arange(size)
    images[np.arange(num_rows)[:, None, None], rows[:, :, None], columns[:, None, :]] = digits
    images += random.normal(0, 0.02, images.shape)
    return Rows(np.maximum(images, 0)[..., None].astype(np.float32), originals.y[picked])


@lru_cache(maxsize=1)
def digit_images() -> Parts:
    """Digits as images ``[n, 16, 16, 1]``, moved by up to one pixel; the pool's classes come in random order."""
    learned, unseen = _originals()
    return Parts(
        _varied(learned, NUM_TRAIN, 14, 16, seed=1),
        _varied(learned, NUM_POOL, 14, 16, seed=2),
        _varied(unseen, NUM_HOLDOUT, 14, 16, seed=3),
    )


@lru_cache(maxsize=1)
def digit_vectors() -> Parts:
    """Digits as vectors ``[n, 64]`` with other ink and noise, not moved."""
    learned, unseen = _originals()

    def vectors(originals: Rows, num_rows: int, seed: int) -> Rows:
        rows = _varied(originals, num_rows, 8, 8, seed)
        return Rows(rows.x.reshape(num_rows, 64), rows.y)

    return Parts(vectors(learned, NUM_TRAIN, 4), vectors(learned, NUM_POOL, 5), vectors(unseen, NUM_HOLDOUT, 6))


@dataclass(frozen=True)
class Located:
    """Images ``[n, 20, 20, 1]``, the digits' classes ``[n]`` and their boxes ``[n, 4]``: left, top, width, height."""

    x: Array
    y: Array
    boxes: Array


#: Pixels of the sensor per pixel of the canvas that the located digits are drawn on.
SENSOR_PIXELS = 24.0


def located_digits(num_rows: int, seed: int, unseen: bool) -> Located:
    """Digits somewhere on a canvas of 20x20, with their boxes in pixels of the sensor, 0..480."""
    rows = _varied(_originals()[int(unseen)], num_rows, 14, 20, seed)
    ink = rows.x[..., 0] > 0.25
    across, down = ink.any(axis=1), ink.any(axis=2)
    left, top = across.argmax(axis=1), down.argmax(axis=1)
    right, bottom = 20 - across[:, ::-1].argmax(axis=1), 20 - down[:, ::-1].argmax(axis=1)
    boxes = np.stack([left, top, right - left, bottom - top], axis=1) * SENSOR_PIXELS
    return Located(rows.x, rows.y, boxes.astype(np.float32))


def photographed(images: Array, is_night: NDArray[np.bool_]) -> Array:
    """Digits as a camera sees them on paper, standardized to -1..1: ink on bright paper by day, faint chalk by night."""
    night = is_night.reshape(-1, 1, 1, 1)
    return np.where(night, -1.0 + 0.7 * images, 1.0 - 0.7 * images).astype(np.float32)


def clusters(num_rows: int, num_columns: int, num_classes: int, seed: int) -> Rows:
    """A table ``[n, columns]`` of standardized readings: two clouds per class; the clouds do not depend on the seed."""
    centers = np.random.default_rng(21).normal(0, 1.6, (num_classes, 2, num_columns))
    random = np.random.default_rng(seed)
    classes, clouds = random.integers(0, num_classes, num_rows), random.integers(0, 2, num_rows)
    readings = centers[classes, clouds] + random.normal(0, 1.0, (num_rows, num_columns))
    return Rows(readings.astype(np.float32), classes.astype(np.int64))


def wear(num_rows: int, seed: int) -> Rows:
    """Vibration spectra ``[n, 8]`` and the hours ``[n, 1]``, 0..500, that the machine has left, known to +-1."""
    frozen = np.random.default_rng(31)
    along, across = frozen.normal(0, 0.45, (8, 1)), frozen.normal(0, 0.45, (8, 1))
    random = np.random.default_rng(seed)
    spectra = random.normal(0, 1, (num_rows, 8))
    level = spectra @ along + 0.5 * np.maximum(spectra @ across, 0)
    hours = 500 / (1 + np.exp(-level)) + random.normal(0, 1, level.shape)
    return Rows(spectra.astype(np.float32), np.clip(hours, 0, 500).astype(np.float32))


NUM_WORDS, WORDS_PER_TEXT, NUM_TOPICS = 2000, 24, 8
#: Words from this id on belong to no topic and are so rare that training never meets them.
FIRST_RARE_WORD = 1900


def texts(num_rows: int, seed: int, rare_every: int) -> Rows:
    """Texts ``[n, 24]`` int32 of word ids and their topics; from row 100 on every ``rare_every``-th (0: none) holds one rare word."""
    random = np.random.default_rng(seed)
    topics = random.integers(0, NUM_TOPICS, num_rows)
    of_topic = topics[:, None] + NUM_TOPICS * random.integers(0, 100, (num_rows, WORDS_PER_TEXT))
    filler = random.integers(NUM_TOPICS * 100, FIRST_RARE_WORD, (num_rows, WORDS_PER_TEXT))
    words = np.where(random.random((num_rows, WORDS_PER_TEXT)) < 0.25, of_topic, filler)
    if rare_every:
        rows = np.arange(100, num_rows, rare_every)
        words[rows, random.integers(0, WORDS_PER_TEXT, len(rows))] = random.integers(
            FIRST_RARE_WORD, NUM_WORDS, len(rows)
        )
    return Rows(words.astype(np.int32), topics.astype(np.int64))
