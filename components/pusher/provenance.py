"""Where a release comes from: an in-toto Statement v1 with a SLSA Provenance v1 predicate.

It is plain JSON that sigstore, GitHub, Kyverno and other tools read; its hash is in the signed bundle's manifest. It
names artifacts by their numbers in ML Metadata and by hashes, never by a path of the machine that built it.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, https://slsa.dev/spec/v1.0/provenance
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:edgeproof:pipeline:1"
#: Prefix of an artifact's number in the pipeline's ML Metadata.
ARTIFACT_URI = "urn:edgeproof:artifact"
BUILDER_ID = "urn:edgeproof:pusher"
#: Why the run was started, as whoever started it says; a property of the Pusher would take it out of the cache for each reason.
REASON_VARIABLE = "EDGEPROOF_RUN_REASON"
#: Key of the trigger that started the run; told in the same way.
TRIGGER_VARIABLE = "EDGEPROOF_RUN_TRIGGER_KEY"
#: Span of the data that the run is for; told in the same way.
SPAN_VARIABLE = "EDGEPROOF_RUN_DATA_SPAN"

#: Some distributions declare the whole text of their licence where its name belongs.
_LONGEST_NAME = 80


@dataclass(frozen=True)
class Material:
    """Something that went into the model.

    Attributes:
        name: What it is, such as "examples".
        digest: Hashes of it, by name; empty where none is known, and then facts has its ``artifact_id``.
        facts: What else is known: span, version, number in ML Metadata.
    """

    name: str
    digest: Mapping[str, str]
    facts: Mapping[str, str | int]


@dataclass(frozen=True)
class Commit:
    """The commit that was checked out; ``is_changed`` where files differed from it."""

    sha: str
    is_changed: bool


@dataclass(frozen=True)
class Build:
    """How the model was made.

    Attributes:
        model: Name of the model.
        recipe: How it was quantized.
        materials: What it was made from.
        code_version: Hash of the sources and libraries that ran.
        library_versions: Versions by name.
        library_licenses: Licences by name, as the installed distributions declare them.
        git_commit: Commit of the directory that the pipeline ran in; None outside of one.
        artifact_ids: Numbers in ML Metadata, by what they are.
        reason: Why the run was started; empty where nobody said.
        trigger_key: Of the trigger that started it; empty where none did.
        data_span: Of the data that the run is for; empty where its data has no spans. What was read is among the materials.
    """

    model: str
    recipe: str
    materials: tuple[Material, ...]
    code_version: str
    library_versions: Mapping[str, str]
    git_commit: Commit | None
    artifact_ids: Mapping[str, int]
    library_licenses: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    trigger_key: str = ""
    data_span: str = ""


def statement(files: Mapping[str, bytes], byproducts: tuple[str, ...], build: Build) -> bytes:
    """Returns provenance.intoto.json.

    Args:
        files: The release's files, by name.
        byproducts: Names of those that are evidence; the others are the subject.
        build: How the model was made.
    """
    materials = [_material(material) for material in build.materials]
    if build.git_commit:
        source: dict[str, Any] = {"name": "source", "digest": {"gitCommit": build.git_commit.sha}}
        materials.append(source | ({"annotations": {"changed": True}} if build.git_commit.is_changed else {}))
    content = {
        "_type": STATEMENT_TYPE,
        "subject": [_descriptor(name, files[name]) for name in sorted(files) if name not in byproducts],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"model": build.model, "recipe": build.recipe},
                "internalParameters": {
                    "codeVersion": build.code_version,
                    "libraryVersions": dict(build.library_versions),
                    "libraryLicenses": dict(build.library_licenses),
                    "artifactIds": dict(build.artifact_ids),
                    **({"reason": build.reason} if build.reason else {}),
                    **({"triggerKey": build.trigger_key} if build.trigger_key else {}),
                    **({"dataSpan": build.data_span} if build.data_span else {}),
                },
                "resolvedDependencies": materials,
            },
            "runDetails": {
                "builder": {"id": BUILDER_ID},
                "byproducts": [_descriptor(name, files[name]) for name in sorted(byproducts) if name in files],
            },
        },
    }
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def installed_licenses(names: Iterable[str]) -> dict[str, str]:
    """The licence of each distribution of that name that is installed and declares one: an SPDX expression, or what its owner calls it."""
    declared = {name: _declared_license(name) for name in names}
    return {name: license for name, license in declared.items() if license}


def _declared_license(name: str) -> str | None:
    try:
        declared = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    if "License-Expression" in declared:
        return str(declared["License-Expression"])
    classifiers = [text for text in declared.get_all("Classifier") or [] if text.startswith("License :: ")]
    if classifiers:
        return str(classifiers[0]).rpartition(" :: ")[2]
    text = " ".join(str(declared["License"]).split()) if "License" in declared else ""
    return text if 0 < len(text) < _LONGEST_NAME else None


def git_commit(directory: Path) -> Commit | None:
    """The commit checked out in ``directory``; None where git knows none."""
    try:
        commit = _git(directory, "rev-parse", "HEAD")
        is_changed = bool(_git(directory, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None
    return Commit(commit, is_changed)


def _git(directory: Path, *arguments: str) -> str:
    command = ["git", "-C", str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def _descriptor(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": sha256(data).hexdigest()}}


def _material(material: Material) -> dict[str, Any]:
    """A resource descriptor: it must have a digest or an address, and says nothing of what it does not know."""
    descriptor: dict[str, Any] = {"name": material.name, "annotations": dict(material.facts)}
    if material.digest:
        descriptor["digest"] = dict(material.digest)
    else:
        descriptor["uri"] = f"{ARTIFACT_URI}:{material.facts['artifact_id']}"
    return descriptor
