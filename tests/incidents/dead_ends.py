"""Models for which a search once had no way on, built from formulas and drawn weights: nothing is trained, so each takes a second.

What the float model answers is the truth; a regression's truth has noise of its own on top, so that float has an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.incidents.data import Array, Incident

NUM_POOL, NUM_HOLDOUT = 1000, 1500
LOWEST_FLOAT = -3.4028235e38

Edge = Callable[..., dict[str, Any]]


def _export(directory: Path, edge: Edge, shapes: dict[str, Sequence[int]], batch: int | None = None) -> Path:
    """Exports a function of raw tensors as signature ``edge``."""
    import tensorflow as tf

    specs = [tf.TensorSpec([batch, *shape], tf.float32, name=name) for name, shape in shapes.items()]
    tf.saved_model.save(tf.Module(), str(directory), signatures={"edge": tf.function(edge, input_signature=specs)})
    return directory


def _answers(edge: Edge, x: dict[str, Array]) -> dict[str, Array]:
    """What the float model gives, row by row classes where an output is a vector of scores."""
    return {name: np.asarray(values) for name, values in edge(*x.values()).items()}


def _classifier(
    name: str, directory: Path, edge: Edge, pool: dict[str, Array], holdout: dict[str, Array], cause: str
) -> Incident:
    saved_model = _export(directory / name, edge, {key: array.shape[1:] for key, array in pool.items()})
    truth = {key: scores.argmax(axis=1) for key, scores in _answers(edge, holdout).items()}
    return Incident(name, saved_model, pool, None, holdout, truth, cause)


def padded_maximum(directory: Path) -> Incident:
    """A maximum over windows that are padded with the lowest float32, as converters from PyTorch write it."""
    import tensorflow as tf

    random = np.random.default_rng(96)
    kernels = [tf.constant(random.normal(0, 0.5, shape), tf.float32) for shape in ((3, 3, 1, 8), (3, 3, 8, 12))]
    dense = tf.constant(random.normal(0, 1, (12, 5)), tf.float32)

    def features(image: Any) -> Any:
        x = image
        for kernel in kernels:
            x = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME")) - 0.5
            x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=LOWEST_FLOAT)
            x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        return tf.reduce_mean(x, [1, 2])

    def edge(image: Any) -> dict[str, Any]:
        return {"probs": tf.nn.softmax(3 * tf.matmul(features(image) - center, dense))}

    def rows(count: int, seed: int) -> dict[str, Array]:
        draw = np.random.default_rng(seed)
        contrast = draw.uniform(0.3, 1.5, (count, 1, 1, 1))
        return {"image": (contrast * draw.normal(0, 1, (count, 12, 12, 1))).astype(np.float32)}

    center = tf.reduce_mean(features(rows(NUM_POOL, 1)["image"]), axis=0)  # without it, one class takes nearly all rows
    cause = "a maximum padded with the lowest float32"
    return _classifier("padded_maximum", directory, edge, rows(NUM_POOL, 1), rows(NUM_HOLDOUT, 2), cause)


def masked_attention(directory: Path) -> Incident:
    """Attention over steps of which some are absent: their scores get -1e9."""
    import tensorflow as tf

    random = np.random.default_rng(22)
    query, value = (tf.constant(random.normal(0, 0.6, shape), tf.float32) for shape in ((6, 1), (6, 8)))
    dense = tf.constant(random.normal(0, 1, (8, 4)), tf.float32)

    def edge(steps: Any, present: Any) -> dict[str, Any]:
        scores = tf.reshape(tf.matmul(tf.reshape(steps, [-1, 6]), query), [-1, 10])
        weights = tf.nn.softmax(2 * scores + (1.0 - present) * -1e9)
        values = tf.reshape(tf.nn.tanh(tf.matmul(tf.reshape(steps, [-1, 6]), value)), [-1, 10, 8])
        seen = tf.reduce_sum(values * tf.reshape(weights, [-1, 10, 1]), axis=1)
        return {"probs": tf.nn.softmax(4 * tf.matmul(seen, dense))}

    def rows(count: int, seed: int) -> dict[str, Array]:
        draw = np.random.default_rng(seed)
        present = draw.random((count, 10)) < 0.7
        present[:, 0] = True
        return {"steps": draw.normal(0, 1, (count, 10, 6)).astype(np.float32), "present": present.astype(np.float32)}

    cause = "an attention mask of -1e9"
    return _classifier("masked_attention", directory, edge, rows(NUM_POOL, 3), rows(NUM_HOLDOUT, 4), cause)


def spectrogram(directory: Path) -> Incident:
    """Sound of which the graph makes a logarithmic spectrum, quiet and loud: no 256 codes hold a power."""
    import tensorflow as tf

    random = np.random.default_rng(23)
    hidden = tf.constant(random.normal(0, 0.3, (33, 24)), tf.float32)
    dense = tf.constant(random.normal(0, 0.6, (24, 5)), tf.float32)
    angles = 2 * np.pi * np.outer(np.arange(64), np.arange(33)) / 64
    bank = tf.constant(np.concatenate([np.cos(angles), np.sin(angles)], axis=1), tf.float32)

    def edge(wave: Any) -> dict[str, Any]:
        parts = tf.matmul(wave, bank)
        power = tf.square(parts[:, :33]) + tf.square(parts[:, 33:])
        level = tf.math.log(tf.sqrt(power) + 1e-5)
        level = level - tf.reduce_mean(level, axis=1, keepdims=True)
        return {"probs": tf.nn.softmax(tf.matmul(tf.nn.relu(tf.matmul(level, hidden)), dense))}

    def rows(count: int, seed: int) -> dict[str, Array]:
        draw = np.random.default_rng(seed)
        gain = np.exp(draw.normal(-3, 1.5, (count, 1)))
        frequency = draw.uniform(0.05, 2.5, (count, 1))
        wave = np.sin(frequency * np.arange(64)) + 0.1 * draw.normal(size=(count, 64))
        return {"wave": (gain * wave).astype(np.float32)}

    cause = "power and logarithm of sound inside the graph"
    return _classifier("spectrogram", directory, edge, rows(NUM_POOL, 5), rows(NUM_HOLDOUT, 6), cause)


def far_columns(directory: Path) -> Incident:
    """A table whose columns differ by nine orders of magnitude: the runtime refuses the scale of the first layer."""
    import tensorflow as tf

    random = np.random.default_rng(24)
    scales = np.array([1e-3, 1, 1, 10, 1e6, 1, 0.1, 1], np.float32)
    first = tf.constant(random.normal(0, 0.7, (8, 48)) / scales[:, None], tf.float32)
    second, third = (tf.constant(random.normal(0, 0.25, shape), tf.float32) for shape in ((48, 64), (64, 4)))

    def edge(row: Any) -> dict[str, Any]:
        x = tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(row, first)), second))
        return {"probs": tf.nn.softmax(2 * tf.matmul(x, third))}

    def rows(count: int, seed: int) -> dict[str, Array]:
        return {"row": (scales * np.random.default_rng(seed).normal(size=(count, 8))).astype(np.float32)}

    cause = "columns that differ by a factor of 1e9"
    return _classifier("far_columns", directory, edge, rows(NUM_POOL, 7), rows(NUM_HOLDOUT, 8), cause)


def far_from_zero(directory: Path) -> Incident:
    """A pressure around 1013 from raw counts of some 500,000: int8 ranges hold 0, so both are a handful of codes."""
    import tensorflow as tf

    random = np.random.default_rng(25)
    mean, width = np.array([519888, 415148, 27], np.float32), np.array([9000, 5200, 6], np.float32)
    first, second, third = (
        tf.constant(random.normal(0, scale, shape), tf.float32)
        for scale, shape in ((0.8, (3, 32)), (0.25, (32, 32)), (0.25, (32, 1)))
    )

    def edge(raw: Any) -> dict[str, Any]:
        x = tf.nn.relu(tf.matmul((raw - mean) / width, first))
        return {"pressure": 8.0 * tf.matmul(tf.nn.relu(tf.matmul(x, second)), third) + 1013.25}

    def rows(count: int, seed: int) -> dict[str, Array]:
        return {"raw": (mean + width * np.random.default_rng(seed).normal(size=(count, 3))).astype(np.float32)}

    pool, holdout = rows(NUM_POOL, 9), rows(NUM_HOLDOUT, 10)
    exact = [_answers(edge, part)["pressure"] for part in (pool, holdout)]
    noise = 0.15 * float(exact[0].std())
    truth = [values + np.random.default_rng(11).normal(0, noise, values.shape).astype(np.float32) for values in exact]
    return Incident(
        "far_from_zero",
        _export(directory / "far_from_zero", edge, {"raw": (3,)}),
        pool,
        truth[0],
        holdout,
        {"pressure": truth[1]},
        "an input of 500,000 +- 9,000 and an output of 1013 +- 8 in five operators",
    )


def detector_head(directory: Path) -> Incident:
    """Boxes in pixels and scores of 0 to 1 in one output [6, anchors], as one-stage detectors have it."""
    import tensorflow as tf

    random = np.random.default_rng(26)
    kernel = tf.constant(random.normal(0, 0.4, (3, 3, 3, 16)), tf.float32)
    boxes, scores = (tf.constant(random.normal(0, 0.6, (16, width)), tf.float32) for width in (4, 2))

    def edge(image: Any) -> dict[str, Any]:
        x = tf.reshape(tf.nn.relu(tf.nn.conv2d(image, kernel, 2, "SAME")), [-1, 16])
        places = tf.reshape(320.0 + 60.0 * tf.matmul(x, boxes), [-1, 36, 4])
        sure = tf.reshape(tf.nn.sigmoid(tf.matmul(x, scores)), [-1, 36, 2])
        return {"head": tf.transpose(tf.concat([places, sure], axis=2), [0, 2, 1])}

    def rows(count: int, seed: int) -> dict[str, Array]:
        return {"image": np.random.default_rng(seed).normal(0, 1, (count, 12, 12, 3)).astype(np.float32)}

    pool, holdout = rows(600, 12), rows(600, 13)
    saved_model = _export(directory / "detector_head", edge, {"image": (12, 12, 3)})
    cause = "boxes of 0..640 and scores of 0..1 in one output"
    noise = np.array([2, 2, 2, 2, 0.02, 0.02], np.float32)[:, None]  # people draw boxes by hand
    (truth,) = _answers(edge, holdout).values()
    truth = truth + noise * np.random.default_rng(14).normal(size=truth.shape).astype(np.float32)
    return Incident("detector_head", saved_model, pool, None, holdout, {"head": truth}, cause)


def rare_alarm(directory: Path) -> Incident:
    """One window in 60 holds a faint oscillation on a signal that drifts far: an int8 input has steps as large as the alarm."""
    import tensorflow as tf

    high_pass = tf.constant(np.array([1, -4, 6, -4, 1], np.float32).reshape(5, 1, 1))

    def edge(window: Any) -> dict[str, Any]:
        rough = tf.abs(tf.nn.conv1d(window / 100.0, high_pass, 1, "VALID"))
        level = tf.reduce_max(tf.reshape(rough, [-1, 44]), axis=1, keepdims=True)
        return {"alarm": tf.nn.sigmoid(30.0 * (level - 0.35))}

    def rows(count: int, seed: int) -> tuple[dict[str, Array], Array]:
        draw = np.random.default_rng(seed)
        alarms = (np.arange(count) % 60 == 7).astype(np.int64)
        steps = np.arange(48)
        drift = draw.normal(0, 250, (count, 1)) + draw.normal(0, 60, (count, 1)) * np.sin(steps / 15)
        faint = alarms[:, None] * draw.uniform(3.0, 4.5, (count, 1)) * np.cos(np.pi * steps)
        return {"window": (drift + draw.normal(0, 0.5, (count, 48)) + faint).astype(np.float32)[..., None]}, alarms

    (pool, labels), (holdout, truth) = rows(3000, 14), rows(3000, 15)
    saved_model = _export(directory / "rare_alarm", edge, {"window": (48, 1)})
    return Incident(
        "rare_alarm", saved_model, pool, labels, holdout, {"alarm": truth}, "a rare, faint signal on a large drift"
    )


GENERATORS: Sequence[Callable[[Path], Incident]] = (
    padded_maximum,
    masked_attention,
    spectrogram,
    far_columns,
    far_from_zero,
    detector_head,
    rare_alarm,
)
DEAD_ENDS = {generator.__name__: generator for generator in GENERATORS}
