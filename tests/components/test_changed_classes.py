"""Whoever gives classes their names refuses where the examples were made with others."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.data.examples import ExampleSpec, write_class_names
from components.errors import DataError

pytestmark = pytest.mark.tfx
SPEC = ExampleSpec(class_names=("dog", "kitten"))
CHANGED = r"only in the examples: cat; only now: kitten\. .*Run again"


@pytest.fixture
def examples(tmp_path: Path) -> Any:
    """An Examples artifact whose labels mean cat and dog."""
    from tfx.types import standard_artifacts

    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path / "examples")
    artifact.split_names = '["train", "eval"]'
    Path(artifact.uri).mkdir()
    write_class_names(artifact.uri, ("cat", "dog"))
    return artifact


def test_the_trainer_refuses(examples: Any, tmp_path: Path) -> None:
    from components.trainer.run_fn import run_fn
    from components.trainer.spec import TRAINING_SPEC_KEY, TrainingSpec

    arguments = SimpleNamespace(
        custom_config={TRAINING_SPEC_KEY: TrainingSpec(SPEC, 2, "1", module="model.py").to_json()},
        train_files=[f"{examples.uri}/Split-train/*"],
        eval_files=[f"{examples.uri}/Split-eval/*"],
        serving_model_dir=str(tmp_path / "served"),
    )
    with pytest.raises(DataError, match=CHANGED):
        run_fn(arguments)
    assert not (tmp_path / "served").exists()


def test_the_evaluator_refuses(examples: Any) -> None:
    from tfx.types import standard_artifacts

    from components.evaluator.executor import read_case

    inputs = {
        "examples": [examples],
        "float_model": [standard_artifacts.Model()],
        "tflite_model": [standard_artifacts.Model()],
    }
    with pytest.raises(DataError, match=CHANGED):
        read_case(inputs, {"example_spec": SPEC.to_json()})


def test_the_pusher_refuses(examples: Any) -> None:
    from components.pusher.executor import _draft

    nothing: Any = None
    properties = {"class_names": json.dumps(SPEC.class_names)}
    with pytest.raises(DataError, match=CHANGED):
        _draft(nothing, b"", b"", {"examples": [examples]}, properties)
