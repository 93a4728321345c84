"""A release as a CycloneDX 1.6 ML-BOM, for the tools that track what software is made of.

Plain JSON: the library's model card is not released. https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from edgeproof_edge.bundle import Bundle
from edgeproof_edge.manifest import TOP1, Manifest, TensorEntry, VerdictSummary

from releases.archive import Release
from releases.bundle import MODEL_FILE, PROVENANCE_FILE


def bill_of_materials(release: Release, bundle: Bundle) -> str:
    """Returns the ML-BOM of a release: the model with its card, its files, and the libraries that made it."""
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, f'urn:sha256:{release.bundle_sha256}')}",
        "version": 1,
        "metadata": {"timestamp": release.created, "component": _model(release, bundle.manifest)},
        "components": _files(bundle.manifest) + _libraries(bundle.files),
    }
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


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
    return [
        {"type": "data" if file.name != MODEL_FILE else "file", "name": file.name, "hashes": [_hash(file.sha256)]}
        for file in manifest.files
    ]


def _libraries(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """The libraries that the provenance names."""
    if PROVENANCE_FILE not in files:
        return []
    definition = json.loads(files[PROVENANCE_FILE])["predicate"]["buildDefinition"]
    versions: Mapping[str, str] = definition["internalParameters"]["libraryVersions"]
    return [
        {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}"}
        for name, version in sorted(versions.items())
    ]


def _hash(sha256: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": sha256}
