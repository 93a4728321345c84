"""A model that predicts a number: from a table to a signed release that says its error, and a table that is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeproof_edge.manifest import Manifest
from numpy.typing import NDArray

from tests.e2e.projects import Project

pytestmark = [pytest.mark.e2e, pytest.mark.exhaustive]

CONFIG = """
name: heater
data:
  format: csv
  path: readings
  label: milliwatts
  label_type: value
  features: {volts: {}, ohms: {}}
  shares: {train: 40, calibration: 30, eval: 30}
model: {module: model.py}
train: {epochs: 30, learning_rate: 0.01, batch_size: 32}
convert: {calibration: {min_samples: 100}}
gate: {metric: mae, max_error_factor: 1.2, slice_max_error_factor: 3, min_examples: 100, slice_min_examples: 50}
"""
MODEL = """
import tf_keras as keras
def build_model(hyperparameters):
    volts, ohms = keras.Input((1,), name="volts"), keras.Input((1,), name="ohms")
    x = keras.layers.Concatenate()([
        keras.layers.Dense(16, activation="relu")(keras.layers.Rescaling(1 / 4, -3)(volts)),
        keras.layers.Dense(16, activation="relu")(keras.layers.Rescaling(1 / 25, -2)(ohms))])
    x = keras.layers.Dense(16, activation="relu")(x)
    return keras.Model([volts, ohms], keras.layers.Rescaling(4000, 4000)(keras.layers.Dense(1)(x)))
"""


def readings(num_rows: int, seed: int) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """Ohm's law with a meter that is off by 5 %; whole milliwatts, as a cheap meter gives them."""
    random = np.random.default_rng(seed)
    volts, ohms = random.uniform(5, 20, num_rows), random.uniform(10, 100, num_rows)
    milliwatts = 1000 * volts**2 / ohms * random.normal(1, 0.05, num_rows)
    return {"volts": volts.astype(np.float32), "ohms": ohms.astype(np.float32)}, np.rint(milliwatts).astype(np.int64)


@dataclass(frozen=True)
class Published:
    """A finished run of the table."""

    project: Project
    record: dict[str, Any]
    release: Path


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    project = Project(tmp_path_factory.mktemp("heater"))
    project.config.write_text(CONFIG, encoding="utf-8")
    (project.directory / "model.py").write_text(MODEL, encoding="utf-8")
    inputs, labels = readings(1200, seed=1)
    (project.directory / "readings").mkdir()
    rows = zip(inputs["volts"], inputs["ohms"], labels, strict=True)
    lines = ["volts,ohms,milliwatts", *(f"{volts:.6f},{ohms:.6f},{label}" for volts, ohms, label in rows)]
    (project.directory / "readings" / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    exit_code, record = project.run()
    assert exit_code == 0, Path(record["gate_report"]).read_text(encoding="utf-8")
    return Published(project, record, Path(record["release"]["path"]))


def test_the_release_says_the_error_that_was_judged(published: Published) -> None:
    report = json.loads(Path(published.record["gate_report"]).read_text(encoding="utf-8"))
    whole, *slices = report["errors"]
    manifest = Manifest.from_json((published.release / "manifest.json").read_bytes())
    verdict = manifest.verdict
    assert (manifest.schema_version, verdict.metric, verdict.maximum_error_factor) == (3, "mae", "6/5")
    assert verdict.num_examples == report["expected_num_examples"] == whole["num_examples"] > 300
    assert (verdict.float_value, verdict.candidate_value) == (
        str(whole["mean_absolute_error_float"]),
        str(whole["mean_absolute_error_candidate"]),
    )
    assert manifest.labels == ()
    assert manifest.golden is not None
    assert manifest.golden.minimum_margin is None
    assert manifest.reference is not None
    assert manifest.reference.values is not None
    assert [(part["name"], part["num_examples"] > 50) for part in slices] == [("label", True)] * 4  # quarters
    rules = {rule["name"]: rule["passed"] for rule in report["verdict"]["rules"]}
    assert rules["slice_errors_kept"]
    assert report["counts"] is None


def test_people_read_the_error_and_not_a_share(published: Published) -> None:
    project = published.project
    (run,) = json.loads(project.edgeproof("runs", "--config", str(project.config), "--json").stdout)
    assert (run["metric"], run["float_accuracy"], run["verdict"]) == ("mae", None, "accepted")
    assert 0.5 < run["ratio"] <= 1.2
    listing = project.edgeproof("release", "list", str(project.config)).stdout
    assert f"mae {run['candidate_error']}, float {run['float_error']}, on " in listing
    bill = project.directory / "bom.json"
    assert project.edgeproof("release", "show", str(project.config), "1", "--ml-bom", str(bill)).returncode == 0
    card = json.loads(bill.read_text())["metadata"]["component"]["modelCard"]
    assert card["modelParameters"]["task"] == "regression"
    assert {metric["type"] for metric in card["quantitativeAnalysis"]["performanceMetrics"]} == {"mae"}


@pytest.mark.parametrize(
    ("options", "exit_code", "sentence"),
    [
        pytest.param(("--metric", "mae", "--max-error-factor", "1.3"), 0, "mean absolute error", id="mae-accepted"),
        pytest.param(
            ("--metric", "rmse", "--max-error-factor", "1", "--slice", "label", "--slice-max-error-factor", "1"),
            1,
            "times the float model's root mean squared error",
            id="rmse-refused",
        ),
    ],
)
def test_evaluate_judges_arrays_by_their_error(
    published: Published, options: tuple[str, ...], exit_code: int, sentence: str
) -> None:
    project, artifacts = published.project, Path(published.record["float_model"])
    inputs, labels = readings(700, seed=2)
    np.savez(project.directory / "holdout.npz", **inputs, y=labels.astype(np.float64))  # type: ignore[arg-type]
    files = ("--saved-model", str(artifacts), "--tflite", str(published.release / "model.tflite"))
    result = project.edgeproof("evaluate", *files, "--data", "holdout.npz", "--out", "verdict", "--json", *options)
    assert result.returncode == exit_code, result.stderr
    report = json.loads(result.stdout)
    assert sentence in report["verdict"]["sentence"]
    assert report["errors"][0]["num_examples"] == 700
    assert "Errors by slice" in (project.directory / "verdict" / "report.html").read_text() or "label" not in options


def test_a_label_that_is_no_number_is_refused_before_training(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet
    import yaml
    from edgeproof_edge.errors import InputError

    from pipeline.config import validated
    from pipeline.running.local_runner import run

    inputs, labels = readings(200, seed=3)
    values = labels.astype(np.float64)
    values[17] = np.nan
    (tmp_path / "readings").mkdir()
    table = pyarrow.table({**inputs, "milliwatts": values})
    pyarrow.parquet.write_table(table, tmp_path / "readings" / "table.parquet")
    (tmp_path / "model.py").write_text(MODEL, encoding="utf-8")
    config = yaml.safe_load(CONFIG.replace("format: csv", "format: parquet")) | {"workspace": "work"}
    with pytest.raises(InputError, match=r"the label 'milliwatts' is NaN in 1 of 200 rows.*needs a number in each"):
        run(validated(config, tmp_path), None)
    assert not (tmp_path / "work" / "artifacts" / "Trainer").exists()
