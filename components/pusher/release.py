"""Publishes an accepted model as an immutable, numbered release, and reads releases back.

    releases/000001-0123456789ab/    number, then the start of the SHA-256 over the hashes of model and labels
        model.tflite  labels.txt  gate_report.json  conversion_report.json
        manifest.json                what a device needs to know; written last, so a release without it is unfinished
    latest.json                      names the newest release; replacing it is the one commit point

Rules, in order: 1. A release is never overwritten and a number never given twice; numbers are taken under the store's
lock. 2. Files first, manifest next, latest.json last: readers see the old release or the new one, never a mixture. 3.
The same model again is the same release, whatever its reports say: nothing is published twice, and what a crashed run left is
completed. 4. latest.json only moves forward: a late retry of an old run must not take the fleet back. 5. A directory
holds the releases of one model.

Signatures will sit around this layout, not in it: TUF metadata names the same files by the same hashes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from edgeproof_edge.errors import InputError
from edgeproof_edge.flatbuffer import inspect
from edgeproof_edge.manifest import (
    FileEntry,
    Manifest,
    OperatorRequirement,
    RuntimeRequirements,
    TensorEntry,
    VerdictSummary,
)

from components.errors import ReleaseError
from components.pusher.store import DirectoryStore, NotStored, Store

MODEL_FILE = "model.tflite"
LABELS_FILE = "labels.txt"
GATE_REPORT_FILE = "gate_report.json"
CONVERSION_REPORT_FILE = "conversion_report.json"
MANIFEST_FILE = "manifest.json"
POINTER_FILE = "latest.json"
#: What a device runs, sorted: these files make a release what it is; the reports are its evidence.
PAYLOAD_FILES = (LABELS_FILE, MODEL_FILE)
RELEASES = "releases"

_SCHEMA_VERSION = 1
_DIGEST_CHARACTERS = 12  # for people; the manifest and latest.json carry the whole hash
_VERSION = re.compile(rf"\d{{6,}}-[0-9a-f]{{{_DIGEST_CHARACTERS}}}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Release:
    """One published release, as latest.json names it.

    Attributes:
        model_name: the model that all releases of the directory belong to.
        sequence: 1 for the first release; grows by at least 1.
        version: `sequence` with six digits, a hyphen, the first 12 hex digits of `sha256`.
        path: directory of the release, relative to the store.
        sha256: content hash, over names and SHA-256 of what a device runs: `model.tflite` and `labels.txt`.
        manifest_sha256: SHA-256 of manifest.json, which in turn has the hash of every file.
    """

    model_name: str
    sequence: int
    version: str
    path: str
    sha256: str
    manifest_sha256: str

    def to_json(self) -> bytes:
        return _json_bytes({"schema_version": _SCHEMA_VERSION, **asdict(self)})

    @classmethod
    def from_json(cls, data: bytes) -> Release:
        """Reads latest.json.

        Raises:
            ReleaseError: it is not a pointer that this version of Edgeproof wrote.
        """
        try:
            fields = json.loads(data)
            if fields.pop("schema_version") != _SCHEMA_VERSION:
                raise ValueError("unknown schema_version")
            release = cls(**fields)
            if (
                release.version != f"{release.sequence:06d}{_digest_part(release.sha256)}"
                or release.path != f"{RELEASES}/{release.version}"
            ):
                raise ValueError("its fields contradict each other")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ReleaseError(
                f"{POINTER_FILE} cannot be understood ({error}). "
                "Restore it from a backup, or delete it and publish again: it is rebuilt from the newest release."
            ) from None
        return release


@dataclass(frozen=True)
class Description:
    """What the manifest says beside the names, hashes and tensors that are read from the files.

    Attributes:
        labels: class names in the order of the output; empty where the model does not classify.
        recipe: how the model was quantized, such as int8.
        stack: name of the TFX stack that made it.
        verdict: the counts that let it pass.
    """

    labels: tuple[str, ...]
    recipe: str
    stack: str
    verdict: VerdictSummary


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes:
        num_releases: releases looked at.
        num_files: files whose SHA-256 was computed.
        problems: one sentence each; none means that everything is as it was published.
    """

    num_releases: int
    num_files: int
    problems: tuple[str, ...]


def content_sha256(digests: Mapping[str, str]) -> str:
    """Returns the hash that names a release.

    Args:
        digests: SHA-256 in hex by file name; only what a device runs counts, because reports carry times.

    Returns:
        SHA-256 over one line `<digest>  <name>` per file: what `sha256sum labels.txt model.tflite | sha256sum` computes.
    """
    return sha256(
        "".join(f"{digests[name]}  {name}\n" for name in PAYLOAD_FILES if name in digests).encode()
    ).hexdigest()


def read_class_names(text: str) -> tuple[str, ...]:
    """Reads the JSON list of class names that crosses TFX.

    Raises:
        ReleaseError: it is not a list of one-line strings.
    """
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) and name and "\n" not in name for name in names):
        raise ReleaseError(
            "class_names must be a JSON list of names without line breaks, in the order of the outputs; "
            f"found {text[:80]!r}."
        )
    return tuple(names)


def labels_text(class_names: Sequence[str]) -> bytes:
    """Returns labels.txt: one name per line, line n (from 0) names output n."""
    return "".join(f"{name}\n" for name in class_names).encode()


def open_store(destination: str) -> DirectoryStore:
    """Opens the store at `destination`, a directory that need not exist yet.

    Raises:
        ReleaseError: the destination is empty or an address.
    """
    if not destination or "://" in destination:
        raise ReleaseError(
            f"releases go to a directory; {destination!r} is none. Set the destination to a local or mounted directory."
        )
    return DirectoryStore(Path(destination))


def read_latest(store: Store) -> Release | None:
    """Returns the newest release, None where nothing has been published.

    Raises:
        ReleaseError: latest.json is damaged.
    """
    try:
        return Release.from_json(store.read(POINTER_FILE))
    except NotStored:
        return None


def publish(store: Store, model_name: str, files: Mapping[str, bytes], description: Description) -> Release:
    """Publishes `files` as the next release, or returns the release that already holds this model and its labels.

    Args:
        store: where to publish.
        model_name: the model these are releases of.
        files: content by file name; holds `model.tflite`, and not the manifest, which is written here.
        description: what the manifest says beside names and hashes.

    Returns:
        The release that holds the files. It is not the newest one when a newer one was published since.

    Raises:
        AlreadyStored: a file of an earlier release was changed after publishing.
        ReleaseError: a name is unusable, or the directory belongs to another model or is damaged.
        SurroundingsError: disk full, not writable, and the like; readers still see the release before.
    """
    _check_names(model_name, files)
    draft = _draft(model_name, files, description)
    digest = _content(draft)
    with store.lock():
        latest = read_latest(store)
        # Where latest.json is missing, it named the newest finished release, or was about to when the publisher died.
        known = latest or _newest_finished(store)
        _refuse_other_model(store, known, model_name)
        version = _version_for(store, digest, latest, files)
        release = _write(store, files, replace(draft, version=version, sequence=_sequence(version)))
        _move_pointer(store, latest, release if known is None or known.sequence < release.sequence else known)
        _refuse_other_manifest(store, latest, release)
    return release


def list_releases(store: Store) -> tuple[Release, ...]:
    """Returns all published releases, oldest first.

    What a crashed run left is not among them: a release counts once latest.json has reached its number.

    Raises:
        ReleaseError: latest.json or a manifest is damaged.
    """
    latest = read_latest(store)
    if latest is None:
        return ()
    found = (_finished(store, version) for version in _versions(store, latest.sequence))
    return tuple(release for release in found if release is not None)


def verify(store: Store) -> Verification:
    """Compares every file of every published release with its manifest, and the newest manifest with latest.json.

    Raises:
        ReleaseError: latest.json cannot be understood.
    """
    latest = read_latest(store)
    if latest is None:
        return Verification(0, 0, ())
    versions = _versions(store, latest.sequence)
    found = [_look_at(store, version, latest) for version in versions]
    problems = [problem for look in found for problem in look.problems]
    if latest.version not in versions:
        problems.append(f"{POINTER_FILE} names {latest.path}, which is not there")
    return Verification(
        sum(look.num_releases for look in found), sum(look.num_files for look in found), tuple(problems)
    )


def published_state(destination: str) -> str:
    """Returns a digest of what latest.json names and of the files that are there; before the first release, a new value each time.

    Nobody reads it: as a parameter of the Pusher it keeps the TFX cache from calling a model published after its
    directory was wiped.

    Raises:
        ReleaseError: the destination is not a directory's path, or latest.json is damaged.
    """
    store = open_store(destination)
    latest = read_latest(store)
    if (
        latest is None
    ):  # "nothing" may be what a cached Pusher saw before it published, and the directory was wiped since
        return uuid4().hex
    state = latest.to_json() + "\n".join(store.list(latest.path)).encode()
    return sha256(state).hexdigest()


def _check_names(model_name: str, files: Mapping[str, bytes]) -> None:
    if not model_name.strip():
        raise ReleaseError("a release needs the name of its model, and it is empty; set it in the config.")
    if MODEL_FILE not in files:
        raise ReleaseError(f"a release needs {MODEL_FILE}; found {sorted(files)}.")
    unusable = [name for name in files if name == MANIFEST_FILE or not _FILE_NAME.fullmatch(name)]
    if unusable:
        raise ReleaseError(
            f"{unusable[0]!r} cannot be a file of a release: "
            f"use letters, digits, '_', '-' and '.', and not {MANIFEST_FILE}."
        )


def _draft(model_name: str, files: Mapping[str, bytes], description: Description) -> Manifest:
    """Returns the manifest as for a first release: whatever is wrong with it shows before anything is written."""
    inspection = inspect(files[MODEL_FILE])
    operators = sorted({(use.name, use.version) for use in inspection.operators})
    return Manifest(
        model_name=model_name,
        sequence=1,
        version="draft",
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        files=tuple(FileEntry(name, sha256(files[name]).hexdigest(), len(files[name])) for name in sorted(files)),
        inputs=tuple(TensorEntry(spec) for spec in inspection.inputs),
        outputs=tuple(TensorEntry(spec) for spec in inspection.outputs),
        labels=description.labels,
        recipe=description.recipe,
        stack=description.stack,
        runtime=RuntimeRequirements(
            inspection.minimum_runtime, tuple(OperatorRequirement(*operator) for operator in operators)
        ),
        verdict=description.verdict,
    )


def _refuse_other_model(store: Store, known: Release | None, model_name: str) -> None:
    if known is not None and known.model_name != model_name:
        raise ReleaseError(
            f"{store.location} holds releases of {known.model_name!r}; {model_name!r} needs a directory of its own. "
            "Change the destination or the name of the model."
        )


def _version_for(store: Store, digest: str, latest: Release | None, files: Mapping[str, bytes]) -> str:
    """Returns the version that this content has already, is completed under, or gets now."""
    reached = 0 if latest is None else latest.sequence
    versions = _versions(store)
    for version in versions:
        if version.endswith(_digest_part(digest)):
            finished = _finished(store, version)
            if finished is not None and finished.sha256 == digest:
                return version
            # An unfinished release behind latest.json is numbered past: completed there, no reader would come to it.
            if finished is None and _sequence(version) > reached and _can_complete(store, version, files):
                return version
    newest = max([reached, *(_sequence(version) for version in versions)])
    return f"{newest + 1:06d}{_digest_part(digest)}"


def _can_complete(store: Store, version: str, files: Mapping[str, bytes]) -> bool:
    """Whether everything that a crashed publisher left under `version` is part of `files`."""
    directory = f"{RELEASES}/{version}"
    return all(store.read(f"{directory}/{name}") == files.get(name) for name in store.list(directory))


def _write(store: Store, files: Mapping[str, bytes], manifest: Manifest) -> Release:
    """Writes what is missing: files first, then the manifest; a finished release only proves that its model is unchanged."""
    directory = f"{RELEASES}/{manifest.version}"
    finished = _finished(store, manifest.version)
    for name in sorted(files if finished is None else files.keys() & set(PAYLOAD_FILES)):
        store.create(f"{directory}/{name}", files[name])
    if finished is not None:
        return finished
    data = manifest.to_json().encode()
    store.create(f"{directory}/{MANIFEST_FILE}", data)
    return _release(manifest, data)


def _move_pointer(store: Store, latest: Release | None, newest: Release) -> None:
    if latest is None or latest.sequence < newest.sequence:
        store.replace(POINTER_FILE, newest.to_json())


def _refuse_other_manifest(store: Store, latest: Release | None, release: Release) -> None:
    if latest is not None and latest.sequence == release.sequence and latest != release:
        raise ReleaseError(
            f"{release.path}/{MANIFEST_FILE} in {store.location} is not the one that {POINTER_FILE} names. "
            "Find out who changed it; to publish again, restore it or use another destination."
        )


def _newest_finished(store: Store) -> Release | None:
    found = (_finished(store, version) for version in reversed(_versions(store)))
    return next((release for release in found if release is not None), None)


def _finished(store: Store, version: str) -> Release | None:
    """Returns the release in a directory, None when the directory has no manifest yet."""
    try:
        data = store.read(f"{RELEASES}/{version}/{MANIFEST_FILE}")
    except NotStored:
        return None
    return _release(_read_manifest(store, version, data), data)


def _read_manifest(store: Store, version: str, data: bytes) -> Manifest:
    try:
        manifest = Manifest.from_json(data)
    except InputError as error:
        raise ReleaseError(f"release {version} in {store.location} is damaged. {error}") from None
    if manifest.version != version or manifest.sequence != _sequence(version):
        raise ReleaseError(
            f"release {version} in {store.location} holds the manifest of {manifest.version}. "
            "Give the directory its own name back."
        )
    return manifest


def _versions(store: Store, newest: int | None = None) -> list[str]:
    """Returns the directories of releases, finished or not, in the order of their numbers, up to number `newest`."""
    versions = sorted((name for name in store.list(RELEASES) if _VERSION.fullmatch(name)), key=_sequence)
    return [version for version in versions if newest is None or _sequence(version) <= newest]


def _sequence(version: str) -> int:
    return int(version.split("-")[0])


def _digest_part(digest: str) -> str:
    return f"-{digest[:_DIGEST_CHARACTERS]}"


def _content(manifest: Manifest) -> str:
    return content_sha256({entry.name: entry.sha256 for entry in manifest.files})


def _release(manifest: Manifest, data: bytes) -> Release:
    return Release(
        model_name=manifest.model_name,
        sequence=manifest.sequence,
        version=manifest.version,
        path=f"{RELEASES}/{manifest.version}",
        sha256=_content(manifest),
        manifest_sha256=sha256(data).hexdigest(),
    )


def _look_at(store: Store, version: str, latest: Release) -> Verification:
    """Verifies one directory; one without a manifest is what a crashed run left, unless latest.json names it."""
    directory = f"{RELEASES}/{version}"
    try:
        data = store.read(f"{directory}/{MANIFEST_FILE}")
        manifest = _read_manifest(store, version, data)
    except NotStored:
        return Verification(0, 0, (f"{directory}/{MANIFEST_FILE} is missing",) if version == latest.version else ())
    except ReleaseError as error:
        return Verification(1, 0, (str(error),))
    problems = _differences(store, directory, manifest)
    release = _release(manifest, data)
    if not version.endswith(_digest_part(release.sha256)):
        problems.append(f"{directory}/{MANIFEST_FILE} describes other content: its files hash to {release.sha256}")
    if version == latest.version and release != latest:
        problems.append(f"{directory}/{MANIFEST_FILE} is not the one that {POINTER_FILE} names")
    return Verification(1, len(manifest.files), tuple(problems))


def _differences(store: Store, directory: str, manifest: Manifest) -> list[str]:
    found = {name for name in store.list(directory) if name != MANIFEST_FILE}
    known = {entry.name: entry for entry in manifest.files}
    problems = [f"{directory}/{name} is missing" for name in sorted(known.keys() - found)]
    problems += [f"{directory}/{name} is not in the manifest" for name in sorted(found - known.keys())]
    for name in sorted(known.keys() & found):
        digest = sha256(store.read(f"{directory}/{name}")).hexdigest()
        if digest != known[name].sha256:
            problems.append(f"{directory}/{name} has SHA-256 {digest}; published was {known[name].sha256}")
    return problems


def _json_bytes(content: Mapping[str, object]) -> bytes:
    return (json.dumps(content, sort_keys=True, indent=2) + "\n").encode()
