"""A table as people export it: words, gaps and a mark at the beginning, from CSV to a release that a device can use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.projects import Project

pytestmark = pytest.mark.e2e

CONFIG = """
name: pumps
data:
  format: csv
  path: readings
  label: state
  class_names: [ok, worn, broken]
  shares: {train: 40, calibration: 30, eval: 30}
  features:
    pressure: {default: 5}
    starts: {}
    site: {dtype: string}
model: {module: model.py}
train: {epochs: 12, learning_rate: 0.01}
convert: {calibration: {min_samples: 100}}
gate: {min_examples: 100, slices: [{feature: site_text}]}
"""
MODEL = """
import tf_keras as keras
L = keras.layers
def build_model(hyperparameters, data):
    pressure, starts = L.Input((1,), name="pressure"), L.Input((1,), name="starts")
    site = L.Input((1,), name="site", dtype="int32")
    def scaled(name, column):
        known = data.features[name]
        return L.Normalization(mean=known.mean, variance=known.variance)(column)
    words = L.Flatten()(L.Embedding(len(data.features["site"].vocabulary) + 1, 4)(site))
    columns = [L.Dense(8, activation="relu")(scaled("pressure", pressure)),
               L.Dense(8, activation="relu")(scaled("starts", starts)), words]
    return keras.Model([pressure, starts, site], L.Dense(3, activation="softmax")(L.Dense(16, activation="relu")(L.Concatenate()(columns))))
"""
STATES = ("ok", "worn", "broken")
SITES = ("Werk Süd", "north", "east")


def write_table(path: Path) -> None:
    random = np.random.default_rng(1)
    lines = ["serial,pressure,starts,site,note,state"]
    for number in range(1500):
        state = number % 3
        pressure = "" if number % 40 == 7 else f"{random.normal(5 - 2 * state, 0.3):.3f}"
        note = '"first line\nsecond line, with comma"' if number % 100 == 9 else "fine"
        lines.append(
            f"{3_000_000_000 + number},{pressure},{1000 + 500 * state},{SITES[number % 3]},{note},{STATES[state]}"
        )
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")


@pytest.mark.exhaustive
def test_a_table_with_words_and_gaps_becomes_a_release(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.config.write_text(CONFIG, encoding="utf-8")
    (tmp_path / "model.py").write_text(MODEL, encoding="utf-8")
    write_table(tmp_path / "readings" / "pumps.csv")

    checked = project.edgeproof("check", str(project.config))
    assert checked.returncode == 0, checked.stderr
    assert "missing values: 'pressure' has no value in 38 places" in checked.stdout
    exit_code, record = project.run()

    assert exit_code == 0, record
    manifest = json.loads((Path(record["release"]["path"]) / "manifest.json").read_text(encoding="utf-8"))
    categories = {entry["name"].split(":")[0]: entry["categories"] for entry in manifest["inputs"]}
    assert manifest["labels"] == list(STATES)
    assert categories == {"pressure": [], "starts": [], "site": sorted(SITES)}
    report = json.loads(Path(record["gate_report"]).read_text(encoding="utf-8"))
    assert {part["value"] for part in report["slices"] if part["name"] == "site_text"} == set(SITES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param("pressure: {}", "'pressure' has no value in 38 of 1,500 rows (line 9 of pumps.csv;", id="gaps"),
        pytest.param(
            "note: {}",
            "'note' is no number in 1,500 of 1,500 rows (line 2 of pumps.csv: 'fine';",
            id="words",
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_check_says_what_a_table_cannot_be_used_for(tmp_path: Path, change: str, message: str) -> None:
    project = Project(tmp_path)
    project.config.write_text(CONFIG.replace("pressure: {default: 5}", change), encoding="utf-8")
    (tmp_path / "model.py").write_text(MODEL, encoding="utf-8")
    write_table(tmp_path / "readings" / "pumps.csv")

    checked = project.edgeproof("check", str(project.config))

    assert checked.returncode == 2
    assert message in checked.stderr
    assert "Next:" in checked.stderr
