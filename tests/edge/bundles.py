"""Releases with golden vectors and reference histograms, unpacked as on a device. No test itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from edgeproof_edge.bundle import unpack_to
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.manifest import VerdictSummary

from components.evaluator.scoring.observation import observe
from releases.bundles.bundle import Description, Draft, InputMeaning, build, draft

MODELS = Path(__file__).parent / "models"
CREATED = "2026-11-21T09:00:00Z"
VERDICT = VerdictSummary(10_000, 9400, 9300, "97/100")
VALUE_RANGE = (-3.0, 3.0)


def rows_for(model: TFLiteModel, num_rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random rows that fit a model: real values, and token ids of 0 or 1 where it takes integers."""
    random = np.random.default_rng(seed)
    shapes = {spec.name: (num_rows, *(max(1, size) for size in spec.shape[1:])) for spec in model.inputs}
    return {
        spec.name: random.integers(0, 2, shapes[spec.name]).astype(spec.dtype)
        if spec.dtype in ("int32", "int64") and not spec.is_quantized
        else random.normal(size=shapes[spec.name]).astype(np.float32)
        for spec in model.inputs
    }


def golden_draft(file: str = "int8.tflite", text: str = "", labels: tuple[str, ...] | None = None) -> Draft:
    """A draft that differs from others by `text`, with 32 golden rows where the model allows so many."""
    content = (MODELS / file).read_bytes()
    model = TFLiteModel.load(content)
    observation = observe(content, [rows_for(model, 200)], {spec.name: VALUE_RANGE for spec in model.inputs})
    names = labels or tuple(f"class {index}" for index in range(model.outputs[0].shape[-1]))
    files = {
        "model.tflite": content,
        "gate_report.json": b"{}",
        "labels.txt": "".join(f"{n}\n" for n in names).encode(),
    }
    meanings = {spec.name: InputMeaning(None, VALUE_RANGE) for spec in model.inputs}
    if text:
        files["note.txt"] = text.encode()
        files["labels.txt"] += text.encode()
    return draft("digits", files, Description(names, "int8", "tfx116", VERDICT, meanings, observation))


def unpacked(directory: Path, release: Draft, sequence: int = 1) -> Path:
    """The files of a release in `directory`/<sequence>."""
    target = directory / str(sequence)
    target.mkdir(parents=True)
    archive = directory / f"{sequence}.tar"
    archive.write_bytes(build(release, sequence, f"{sequence:06d}-{release.content_sha256[:12]}", CREATED))
    unpack_to(archive, target)
    archive.unlink()
    return target


def draft_of(content: bytes) -> Draft:
    """A draft of any model, without golden vectors."""
    return draft("digits", {"model.tflite": content}, Description((), "int8", "tfx116", VERDICT, {}))
