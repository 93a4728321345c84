"""What ``edgeproof check`` says of a real-valued label before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.errors import ModelError
from pipeline.config import validated

pytestmark = pytest.mark.tfx


def export(directory: Path, num_units: int) -> Path:
    """A SavedModel that gives ``num_units`` numbers per row of ``x`` [n, 2]."""
    import tensorflow as tf

    module = tf.Module()
    module.weights = tf.Variable(tf.ones([2, num_units]))
    signature = [tf.TensorSpec([None, 2], tf.float32, name="x")]
    module.edge = tf.function(lambda x: {"y": tf.linalg.matmul(x, module.weights)}, input_signature=signature)
    tf.saved_model.save(module, str(directory), signatures={"edge": module.edge})
    return directory


@pytest.mark.parametrize(("num_units", "is_good"), [(1, True), (3, False)], ids=["one-number", "three-numbers"])
def test_a_saved_model_gives_one_number_where_the_label_is_one(tmp_path: Path, num_units: int, is_good: bool) -> None:
    from pipeline.preflight import check

    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.csv").write_text("x,price\n" + "".join(f"{number},2.5\n" for number in range(80)))
    config = validated(
        {
            "name": "prices",
            "workspace": "work",
            "data": {"format": "csv", "path": "rows", "label": "price", "label_type": "value", "features": {"x": {}}},
            "model": {"saved_model": str(export(tmp_path / "exported", num_units))},
            "convert": {"calibration": {"min_samples": 1}},
            "gate": {"metric": "mae", "min_examples": 1},
        },
        tmp_path,
    )
    if is_good:
        assert f"data: csv under {tmp_path / 'rows'}, real-valued label 'price'" in check(config)
    else:
        with pytest.raises(ModelError, match=r"has shape \(3,\), but data\.label_type is value: 'price' is one real"):
            check(config)
