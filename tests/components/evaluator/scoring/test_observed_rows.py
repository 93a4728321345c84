"""What is observed depends on the rows alone: not on batches, workers or their order, and memory is bounded."""

from __future__ import annotations

import numpy as np
import pytest
from edgeproof_edge.tensors import TensorSpec

from components.evaluator.counting.flips import row_keys
from components.evaluator.scoring import observed_rows
from components.evaluator.scoring.observation import summarize
from components.evaluator.scoring.observed_rows import MAX_CANDIDATES, ObservedRows, Watch, observe_batch

WATCHES = {
    "int8-classes": Watch(TensorSpec("scores", (-1, 10), "int8", 1 / 256, -128), 0.5),
    "float-classes": Watch(TensorSpec("scores", (-1, 10), "float32"), 0.5),
    "values": Watch(TensorSpec("scores", (-1, 10), "float32"), None),
    "a-map-of-values": Watch(TensorSpec("scores", (-1, 2, 5), "float32"), None),
}
RANDOM = np.random.default_rng(5)
IMAGES = RANDOM.integers(0, 256, (3000, 4, 4, 1)).astype(np.float32)
SCORES = RANDOM.dirichlet(np.full(10, 0.2), 3000).astype(np.float32)
OTHER = SCORES + RANDOM.normal(0, 0.001, SCORES.shape).astype(np.float32)
KEYS = row_keys({"image": IMAGES})


def part(watch: Watch, rows: slice | np.ndarray) -> ObservedRows:
    keys = KEYS[rows]
    sample = np.flatnonzero(keys % 3 == 0)
    scores, other = (array[rows].reshape(-1, *watch.output.shape[1:]) for array in (SCORES, OTHER))
    return observe_batch(watch, keys, {"image": IMAGES[rows]}, scores, sample, other[sample])


@pytest.mark.parametrize("watch", list(WATCHES.values()), ids=list(WATCHES))
def test_batches_and_their_order_change_nothing(watch: Watch) -> None:
    whole = summarize(part(watch, slice(None)), watch, {"image": (0.0, 255.0)}, 0.5)
    order = np.random.default_rng(6).permutation(3000)
    assert any(
        not (KEYS[start : start + 7] % 3 == 0).any() for start in range(0, 3000, 7)
    )  # batches that no sample meets
    for rows, step in ((np.arange(3000), 256), (order, 700), (np.arange(3000), 7)):
        parts = [part(watch, rows[start : start + step]) for start in range(0, 3000, step)]
        for ordered in (parts, parts[::-1]):
            total = ordered[0]
            for each in ordered[1:]:
                total = total + each
            assert summarize(total, watch, {"image": (0.0, 255.0)}, 0.5) == whole
    assert whole.golden is not None
    assert whole.reference.num_examples == 3000


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observed_rows, "MAX_OBSERVED", 500)
    watch = WATCHES["int8-classes"]
    total = part(watch, slice(0, 1500)) + part(watch, slice(1500, 3000))
    assert len(total.keys) == 500
    assert total.keys.tolist() == np.sort(KEYS)[:500].tolist()
    assert len(total.candidates) <= 2 * MAX_CANDIDATES


def test_large_rows_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observed_rows, "MAX_CANDIDATE_BYTES", 10 * IMAGES[0].nbytes)
    assert len(part(WATCHES["int8-classes"], slice(None)).candidates) <= 20
