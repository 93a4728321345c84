"""Data that changes between two runs: what is released is what is there, down to the name of a class.

The runs happen in this process, because importing TFX for each of them would take longer than the rest.
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.manifest import Manifest
from PIL import Image

from pipeline.config_file import load_config
from pipeline.running import local_runner
from tests.e2e.projects import Project

pytestmark = [pytest.mark.e2e, pytest.mark.exhaustive]

CONFIG = """
name: digits
workspace: work
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
#: Pictures of one brightness; those of dusk lie in the folder ``dark`` at first.
LEVELS = {"bright": 200, "dark": 20, "gray": 110, "dusk": 62}
FOLDERS = {"bright": "bright", "dark": "dark", "gray": "gray", "dusk": "dark"}
OLD = 1_500_000_000_000_000_000  # ns: every file has one time, as after `tar x` or `cp -p`


def picture(name: str, seed: int) -> Image.Image:
    """One brightness all over; or ``sky``, whose upper half is bright, and ``sea``, whose lower half is."""
    noise = np.random.default_rng([seed, *name.encode()]).integers(-15, 16, (6, 6))
    pixels = LEVELS[name] + noise if name in LEVELS else 50 + noise
    if name not in LEVELS:
        pixels[slice(3) if name == "sky" else slice(3, 6)] += 150
    return Image.fromarray(pixels.astype(np.uint8))


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


def make(directory: Path) -> Project:
    """The config and the model; pictures are the test's."""
    (directory / "config.yaml").write_text(CONFIG, encoding="utf-8")
    (directory / "model.py").write_text(MODEL, encoding="utf-8")
    return Project(directory)


def run(project: Project) -> Run:
    record = local_runner.run(load_config(project.config))
    assert record.release is not None, "refused"
    return Run({node.name: node.state for node in record.nodes}, Path(record.release.path))


def rename_a_class(images: Path) -> dict[str, str]:
    (images / "bright").rename(images / "white")
    return {"bright": "white", "dark": "dark", "gray": "gray", "dusk": "dark"}


def swap_two_classes(images: Path) -> dict[str, str]:
    (images / "white").rename(images / "x")
    (images / "dark").rename(images / "white")
    (images / "x").rename(images / "dark")
    return {"bright": "dark", "dark": "white", "gray": "gray", "dusk": "white"}


def move_images(images: Path) -> dict[str, str]:
    """As a mislabelled batch is mended: files go to another folder, and keep names, sizes and times."""
    for path in sorted((images / "white").glob("dusk*")):
        path.rename(images / "gray" / path.name)
    return {"bright": "dark", "dark": "white", "gray": "gray", "dusk": "gray"}


def test_a_device_reads_the_names_of_today(tmp_path: Path) -> None:
    """Cats stay cats: each change keeps the number of files, their bytes and their times, all that TFX looks at."""
    project = make(tmp_path)
    for name, folder in FOLDERS.items():
        for seed in range(160):
            write(tmp_path / "images" / folder / f"{name}{seed:03d}.bmp", picture(name, seed))
    first = run(project)
    assert {name: first.answers(name) for name in LEVELS} == FOLDERS

    for change in (rename_a_class, swap_two_classes, move_images):
        names = change(tmp_path / "images")
        changed = run(project)
        assert changed.states["ImageExampleGen"] == "complete", change.__name__
        assert {name: changed.answers(name) for name in LEVELS} == names, change.__name__


def write_turned(path: Path, image: Image.Image) -> None:
    """As a camera that is held on its side writes it: the pixels lie, and the file says how to set them upright."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees, clockwise
    path.parent.mkdir(parents=True, exist_ok=True)
    image.transpose(Image.Transpose.ROTATE_90).save(path, "PNG", exif=exif)


def test_photos_on_their_side_are_learned_upright(tmp_path: Path) -> None:
    """Half of them lie: a sky on its side is bright on the left, as a sea on its other side would be."""
    project = make(tmp_path)
    for name in ("sky", "sea"):
        for seed in range(160):
            writer = write_turned if seed % 2 else write
            writer(tmp_path / "images" / name / f"{seed:03d}.{'png' if seed % 2 else 'bmp'}", picture(name, seed))
    checked = json.loads(project.edgeproof("check", str(project.config), "--json").stdout)
    assert any("EXIF orientation: 160 of" in finding for finding in checked["findings"])

    released = run(project)
    assert {name: released.answers(name) for name in ("sky", "sea")} == {"sky": "sky", "sea": "sea"}
    manifest: Any = json.loads((released.release / "manifest.json").read_text())
    assert (manifest["schema_version"], manifest["inputs"][0]["orientation"]) == (4, "upright")
    report = json.loads((released.release / "gate_report.json").read_text())
    assert report["counts"]["num_correct_float"] == report["counts"]["num_examples"]
