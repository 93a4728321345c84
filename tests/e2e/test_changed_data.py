"""Data that changes between two runs: what is released is what is there, down to the name of a class."""

from __future__ import annotations

import io
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.manifest import Manifest
from PIL import Image

from tests.e2e.projects import Project

pytestmark = [pytest.mark.e2e, pytest.mark.exhaustive]

CONFIG = """
name: digits
data:
  format: image_folder
  path: images
  image: {height: 6, width: 6, channels: 1}
  shares: {train: 40, calibration: 30, eval: 30}
model: {module: model.py}
train: {epochs: 60, batch_size: 32, learning_rate: 0.01}
convert: {calibration: {min_samples: 60}}
gate: {min_examples: 60}
"""
MODEL = """
import tf_keras as keras
def build_model(hyperparameters, data):
    return keras.Sequential([keras.Input((6, 6, 1), name="image"), keras.layers.Rescaling(1 / 127.5, -1), keras.layers.Flatten(),
                             keras.layers.Dense(32, activation="relu"), keras.layers.Dense(16, activation="relu"),
                             keras.layers.Dense(len(data.class_names), activation="softmax")])
"""
LEVELS = {"bright": 200, "dark": 20, "gray": 110}
OLD = 1_500_000_000_000_000_000  # ns: every file has one time, as after `tar x` or `cp -p`


def picture(name: str, seed: int) -> Image.Image:
    noise = np.random.default_rng([seed, *name.encode()]).integers(-15, 16, (6, 6))
    return Image.fromarray((LEVELS[name] + noise).astype(np.uint8))


def write(path: Path, image: Image.Image) -> None:
    """An uncompressed file of one size and one time, so that nothing but its name and content tells it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    image.save(content, "BMP")
    path.write_bytes(content.getvalue())
    os.utime(path, ns=(OLD, OLD))


@dataclass(frozen=True)
class Run:
    """A finished run: node -> state, and the release."""

    states: dict[str, str]
    release: Path

    def answers(self, name: str) -> str:
        """The label that a device reads for pictures of ``name`` that no run has seen."""
        manifest = Manifest.from_json((self.release / "manifest.json").read_bytes())
        labels = (self.release / "labels.txt").read_text(encoding="utf-8").split()
        assert tuple(labels) == manifest.labels
        pixels = np.stack([np.asarray(picture(name, 10_000 + seed), np.float32)[..., None] for seed in range(20)])
        model = TFLiteModel.load(self.release / "model.tflite")
        (scores,) = model.predict({model.inputs[0].name: pixels}).values()
        winners = [labels[index] for index in np.argmax(scores, axis=1)]
        return max(set(winners), key=winners.count)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "model.py").write_text(MODEL, encoding="utf-8")
    for name in LEVELS:
        for seed in range(160):
            write(tmp_path / "images" / name / f"{seed:03d}.bmp", picture(name, seed))
    return Project(tmp_path)


def run(project: Project) -> Run:
    exit_code, record = project.run()
    assert exit_code == 0, record
    return Run({node["name"]: node["state"] for node in record["nodes"]}, Path(record["release"]["path"]))


def rename_a_class(images: Path) -> dict[str, str]:
    (images / "bright").rename(images / "white")
    return {"bright": "white", "dark": "dark", "gray": "gray"}


def swap_two_classes(images: Path) -> dict[str, str]:
    (images / "white").rename(images / "x")
    (images / "dark").rename(images / "white")
    (images / "x").rename(images / "dark")
    return {"bright": "dark", "dark": "white", "gray": "gray"}


def exchange_all_images(images: Path) -> dict[str, str]:
    """Exchanges the images of two classes one by one, keeping every name, size and time."""
    for path in sorted((images / "white").iterdir()):
        other = images / "dark" / path.name
        shutil.copy2(path, images.parent / "x")
        shutil.copy2(other, path)
        shutil.copy2(images.parent / "x", other)
    return {"bright": "white", "dark": "dark", "gray": "gray"}


def test_a_device_reads_the_names_of_today(project: Project) -> None:
    """Cats stay cats: each change keeps the number of files, their bytes and their times, all that TFX looks at."""
    first = run(project)
    assert {name: first.answers(name) for name in LEVELS} == {name: name for name in LEVELS}
    assert run(project).states["ImageExampleGen"] == "cached"

    for change in (rename_a_class, swap_two_classes, exchange_all_images):
        names = change(project.directory / "images")
        changed = run(project)
        # Swapped one by one, the two classes hold again what they held after the rename: those very records are served.
        again = change is exchange_all_images
        assert changed.states["ImageExampleGen"] == ("cached" if again else "complete"), change.__name__
        assert {name: changed.answers(name) for name in LEVELS} == names, change.__name__

    turn_some_pictures(project.directory / "images")
    checked = json.loads(project.edgeproof("check", str(project.config), "--json").stdout)
    assert any("EXIF orientation: 3 of" in finding for finding in checked["findings"])
    manifest: Any = json.loads((run(project).release / "manifest.json").read_text())
    assert (manifest["schema_version"], manifest["inputs"][0]["orientation"]) == (4, "upright")


def turn_some_pictures(images: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, folder in (("bright", "white"), ("dark", "dark"), ("gray", "gray")):
        content = io.BytesIO()
        picture(name, 900).save(content, "PNG", exif=exif)
        (images / folder / "turned.png").write_bytes(content.getvalue())
