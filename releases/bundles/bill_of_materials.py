"""A release as a CycloneDX 1.6 ML-BOM, for the tools that track what software is made of.

Plain JSON: the library's model card is not released. https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from edgeproof_edge.bundle import GOLDEN_FILE, LABELS_FILE, MODEL_FILE, Bundle
from edgeproof_edge.manifest import TOP1, FileEntry, Manifest, TensorEntry, VerdictSummary

from releases.archive import Release
from releases.bundles.bundle import PROVENANCE_FILE

#: The media type of a file of a release, by its ending.
_MEDIA_TYPES = {
    ".tflite": "application/vnd.tflite",
    ".json": "application/json",
    ".txt": "text/plain",
    ".npz": "application/x-npz",
}
#: Files that are data and no evidence, by CycloneDX's kinds of data.
_DATA_FILES = {GOLDEN_FILE: "dataset", LABELS_FILE: "definition"}


def bill_of_materials(release: Release, bundle: Bundle, license: str | None = None) -> str:
    """Returns the ML-BOM of a release: the model with its card, its files, and the libraries that made it.

    Args:
        release: The release.
        bundle: Its bundle.
        license: SPDX expression of the model's licence; None leaves it out, for nobody said it.
    """
    licenses = [] if license is None else [{"expression": license}]
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, f'urn:sha256:{release.bundle_sha256}')}",
        "version": 1,
        "metadata": {
            "timestamp": release.created,
            "component": _licensed(_model(release, bundle.manifest), licenses),
        },
        "components": [_licensed(file, licenses) for file in _files(bundle.manifest)] + _libraries(bundle.files),
    }
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def _licensed(component: dict[str, Any], licenses: list[dict[str, Any]]) -> dict[str, Any]:
    return {**component, "licenses": licenses} if licenses else component


def _model(release: Release, manifest: Manifest) -> dict[str, Any]:
    verdict = manifest.verdict
    return {
        "type": "machine-learning-model",
        "bom-ref": f"{release.model}@{release.version}",
        "name": release.model,
        "version": release.version,
        "hashes": [_hash(release.bundle_sha256)],
        "modelCard": {
            "modelParameters": {
                "task": "regression" if verdict.judges_errors else "classification",
                "inputs": [{"format": _format(entry)} for entry in manifest.inputs],
                "outputs": [{"format": _format(entry)} for entry in manifest.outputs],
            },
            "quantitativeAnalysis": {
                "performanceMetrics": [
                    _performance("this model", verdict, verdict.num_correct_candidate, verdict.candidate_value),
                    _performance("float model", verdict, verdict.num_correct_float, verdict.float_value),
                ]
            },
        },
        "properties": [
            {"name": "edgeproof:recipe", "value": manifest.recipe},
            {"name": "edgeproof:stack", "value": manifest.stack},
            _requirement(verdict),
        ],
    }


def _format(entry: TensorEntry) -> str:
    return f"{entry.spec.name}: {entry.spec.dtype} {list(entry.spec.shape)}"


def _performance(of: str, verdict: VerdictSummary, num_correct: int | None, value: str | None) -> dict[str, str]:
    if value is not None:
        return {"type": verdict.metric, "slice": of, "value": value}
    name = "accuracy" if verdict.metric == TOP1 else f"{verdict.metric} accuracy"
    return {"type": name, "slice": of, "value": f"{num_correct}/{verdict.num_examples}"}


def _requirement(verdict: VerdictSummary) -> dict[str, str]:
    if verdict.judges_errors:
        return {"name": "edgeproof:maximum-error-factor", "value": str(verdict.maximum_error_factor)}
    return {"name": "edgeproof:minimum-ratio", "value": str(verdict.minimum_ratio)}


def _files(manifest: Manifest) -> list[dict[str, Any]]:
    return [_file(file) for file in manifest.files]


def _file(file: FileEntry) -> dict[str, Any]:
    component: dict[str, Any] = {"type": "file", "name": file.name, "hashes": [_hash(file.sha256)]}
    media_type = _MEDIA_TYPES.get(PurePosixPath(file.name).suffix)
    if media_type is not None:
        component["mime-type"] = media_type
    if file.name == MODEL_FILE:
        component["type"] = "machine-learning-model"
    elif file.name in _DATA_FILES:
        component |= {"type": "data", "data": [{"type": _DATA_FILES[file.name], "name": file.name}]}
    return component


def _libraries(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """The libraries that the provenance names, with the licences that they declared where the model was made."""
    if PROVENANCE_FILE not in files:
        return []
    parameters = json.loads(files[PROVENANCE_FILE])["predicate"]["buildDefinition"]["internalParameters"]
    versions: Mapping[str, str] = parameters["libraryVersions"]
    licenses: Mapping[str, str] = parameters.get("libraryLicenses", {})
    return [
        _licensed(
            {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}"},
            [{"license": {"name": licenses[name]}}] if name in licenses else [],
        )
        for name, version in sorted(versions.items())
    ]


def _hash(sha256: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": sha256}
