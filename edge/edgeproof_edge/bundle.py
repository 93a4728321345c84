"""A release as one file: a tar archive that the same content always packs into the same bytes.

Rules, in order: 1. Names, bytes and nothing else: no times, owners or modes, names sorted, so that a bundle can be named
by its hash. 2. Reading trusts nothing: only regular files with plain names, no name twice, a bounded size. 3. A bundle
is what its manifest says: every file of the manifest is there with its hash, and no other file is.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from edgeproof_edge.errors import InputError
from edgeproof_edge.manifest import Manifest

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.tflite"
LABELS_FILE = "labels.txt"
GOLDEN_FILE = "golden.npz"
#: What a device runs, sorted: these files make a release what it is; everything else is evidence.
PAYLOAD_FILES = (LABELS_FILE, MODEL_FILE)

#: Far above any edge model; keeps a hostile archive from filling a disk.
MAX_BUNDLE_BYTES = 2 * 2**30

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class BundleError(InputError):
    """A bundle is damaged, or is not what its manifest says."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its manifest, and every file's bytes by name, the manifest's own included."""

    manifest: Manifest
    files: Mapping[str, bytes]


def pack(files: Mapping[str, bytes]) -> bytes:
    """Returns the USTAR archive of `files`: equal files are equal bytes.

    Raises:
        BundleError: A name is no plain file name.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            _check_name(name)
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(files[name]))
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """Returns the files of an archive, by name; nothing is written anywhere.

    Raises:
        BundleError: It is no archive, or holds something else than plain files.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise BundleError(f"a bundle of {len(data)} bytes is beyond the limit of {MAX_BUNDLE_BYTES}.")
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for entry in archive:
                _check_name(entry.name)
                stream = archive.extractfile(entry) if entry.isreg() else None
                if stream is None or entry.name in files:
                    raise BundleError(f"{entry.name!r} in the bundle is no plain file, or is there twice.")
                files[entry.name] = stream.read()
    except tarfile.TarError as error:
        raise BundleError(f"the bundle is no tar archive: {error}. Publish the release again.") from error
    return files


def open_bundle(data: bytes) -> Bundle:
    """Opens a bundle and holds every file against the manifest.

    Raises:
        BundleError: Damaged, incomplete, or not what the manifest says.
    """
    files = unpack(data)
    if MANIFEST_FILE not in files:
        raise BundleError(f"the bundle has no {MANIFEST_FILE}; found {sorted(files)}. Publish the release again.")
    try:
        manifest = Manifest.from_json(files[MANIFEST_FILE])
    except InputError as error:
        raise BundleError(f"the bundle's {error}") from error
    _check_files(manifest, files)
    return Bundle(manifest, files)


def content_sha256(digests: Mapping[str, str]) -> str:
    """Returns the hash that tells one model from another, whatever the reports beside it say.

    Args:
        digests: SHA-256 in hex by file name; only what a device runs counts.

    Returns:
        SHA-256 over one line `<digest>  <name>` per file: what `sha256sum labels.txt model.tflite | sha256sum` computes.
    """
    lines = [f"{digests[name]}  {name}\n" for name in PAYLOAD_FILES if name in digests]
    return sha256("".join(lines).encode()).hexdigest()


def _check_name(name: str) -> None:
    if not _FILE_NAME.fullmatch(name) or len(name) > 100:  # USTAR cuts names at 100 bytes
        raise BundleError(f"{name!r} cannot be a file of a bundle: use letters, digits, '_', '-' and '.'.")


def _check_files(manifest: Manifest, files: Mapping[str, bytes]) -> None:
    wanted = {entry.name: entry for entry in manifest.files}
    found = set(files) - {MANIFEST_FILE}
    if found != set(wanted):
        differing = sorted(found.symmetric_difference(wanted))
        raise BundleError(f"the bundle and its manifest differ in {differing}. Publish the release again.")
    for name, entry in wanted.items():
        digest = sha256(files[name]).hexdigest()
        if digest != entry.sha256 or len(files[name]) != entry.size_bytes:
            raise BundleError(f"{name} in the bundle has SHA-256 {digest}; its manifest says {entry.sha256}.")
