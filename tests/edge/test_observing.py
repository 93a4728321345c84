"""What a device counts is what the holdout's reference counted, so that the two compare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.observing import bin_counts, confidence, input_statistics
from edgeproof_edge.runtime import EdgeModel

from components.evaluator.scoring.observation import confidence as confidence_of_the_gate
from tests.edge.bundles import MODELS, golden_draft, rows_for, unpacked

RANDOM = np.random.default_rng(6)


@pytest.mark.parametrize(
    "scores",
    [
        pytest.param(RANDOM.normal(0, 5, (200, 7)), id="logits"),
        pytest.param(RANDOM.dirichlet(np.ones(7), 200), id="probabilities"),
        pytest.param(RANDOM.normal(0, 5, (200, 1)), id="one-logit"),
        pytest.param(RANDOM.uniform(0, 1, (200, 1)), id="one-probability"),
    ],
)
def test_a_device_is_as_sure_as_the_gate(scores: np.ndarray) -> None:
    np.testing.assert_allclose(confidence(scores), confidence_of_the_gate(scores), rtol=1e-12)


def test_counts_of_a_device_add_up_to_the_reference_of_the_same_rows(tmp_path: Path) -> None:
    model = EdgeModel.open(unpacked(tmp_path, golden_draft()))
    reference = model.manifest.reference
    assert reference is not None
    assert reference.confidence is not None
    rows = rows_for(TFLiteModel.load(MODELS / "int8.tflite"), 200)["x"]  # what the reference was made of
    sure = np.concatenate([model.confidence(model.predict(row[None])["scores"]) for row in rows])
    assert bin_counts(sure, reference.confidence.edges) == list(reference.confidence.counts)
    statistics = input_statistics(rows)
    for histogram in reference.inputs:
        assert bin_counts(statistics[histogram.statistic], histogram.edges) == list(histogram.counts)
