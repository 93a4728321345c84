"""A release as one file: a tar archive that the same content always packs into the same bytes.

Rules, in order: 1. Names, bytes and nothing else: no times, owners or modes, names sorted, so that a bundle can be named
by its hash. 2. Reading trusts nothing: a header must be, byte for byte, the one that `pack` writes for its name and
size. So there are only plain files in order, no name twice, and no extension (sparse, pax, GNU) that would make a small
archive a large file. 3. A bundle is what its manifest says: every file of the manifest is there with its size, which the
headers tell before any content is read, and its hash; no other file is. 4. A device unpacks piece by piece: a model of
100 MB needs no 100 MB of memory.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from edgeproof_edge.durable_files import sync_directory
from edgeproof_edge.errors import InputError
from edgeproof_edge.manifest import FileEntry, Manifest

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.tflite"
LABELS_FILE = "labels.txt"
GOLDEN_FILE = "golden.npz"
#: What a device runs, sorted: these files make a release what it is; everything else is evidence.
PAYLOAD_FILES = (LABELS_FILE, MODEL_FILE)

#: Far above any edge model; keeps a hostile archive from filling a disk.
MAX_BUNDLE_BYTES = 2 * 2**30
#: A manifest of 100,000 labels is a few megabytes; it is read as a whole.
MAX_MANIFEST_BYTES = 16 * 2**20

_BLOCK = 512
_RECORD = 20 * _BLOCK
_PIECE = 2**20
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class BundleError(InputError):
    """A bundle is damaged, or is not what its manifest says."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its manifest, and every file's bytes by name, the manifest's own included."""

    manifest: Manifest
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class _Member:
    """A file of an archive: its name, its size, and where its bytes start."""

    name: str
    size_bytes: int
    offset: int


def pack(files: Mapping[str, bytes]) -> bytes:
    """Returns the USTAR archive of `files`: equal files are equal bytes.

    Raises:
        BundleError: A name is no plain file name.
    """
    parts: list[bytes] = []
    for name in sorted(files):
        _check_name(name)
        parts += [_header(name, len(files[name])), files[name], bytes(-len(files[name]) % _BLOCK)]
    parts.append(bytes(2 * _BLOCK))
    return b"".join((*parts, bytes(-sum(map(len, parts)) % _RECORD)))


def unpack(data: bytes) -> dict[str, bytes]:
    """Returns the files of an archive, by name; nothing is written anywhere.

    Raises:
        BundleError: It is no archive, or not one that `pack` writes.
    """
    stream = io.BytesIO(data)
    return {
        member.name: data[member.offset : member.offset + member.size_bytes] for member in _members(stream, len(data))
    }


def open_bundle(data: bytes) -> Bundle:
    """Opens a bundle and holds every file against the manifest.

    Raises:
        BundleError: Damaged, incomplete, or not what the manifest says.
    """
    stream = io.BytesIO(data)
    members = _members(stream, len(data))
    manifest = _manifest_among(stream, members)
    files = {member.name: b"".join(_pieces(stream, member)) for member in members}
    for entry in manifest.files:
        _check_digest(entry, sha256(files[entry.name]).hexdigest())
    return Bundle(manifest, files)


def unpack_to(archive: Path, directory: Path) -> Manifest:
    """Unpacks a bundle into an empty directory, piece by piece, and syncs every file.

    Returns:
        Its manifest; every file was held against it.

    Raises:
        BundleError: Damaged, incomplete, or not what the manifest says; the directory then holds a part.
        OSError: The disk is full or not writable.
    """
    with archive.open("rb") as stream:
        members = _members(stream, archive.stat().st_size)
        manifest = _manifest_among(stream, members)
        entries = {entry.name: entry for entry in manifest.files}
        for member in members:
            digest = _write_member(stream, member, directory / member.name)
            if member.name in entries:
                _check_digest(entries[member.name], digest)
    sync_directory(directory)
    return manifest


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex, read piece by piece.

    Raises:
        OSError: It cannot be read.
    """
    digest = sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def content_sha256(digests: Mapping[str, str]) -> str:
    """Returns the hash that tells one model from another, whatever the reports beside it say.

    Args:
        digests: SHA-256 in hex by file name; only what a device runs counts.

    Returns:
        SHA-256 over one line `<digest>  <name>` per file: what `sha256sum labels.txt model.tflite | sha256sum` computes.
    """
    lines = [f"{digests[name]}  {name}\n" for name in PAYLOAD_FILES if name in digests]
    return sha256("".join(lines).encode()).hexdigest()


def _members(stream: BinaryIO, size_bytes: int) -> tuple[_Member, ...]:
    """The files of an archive, from their headers alone."""
    if size_bytes > MAX_BUNDLE_BYTES:
        raise BundleError(f"a bundle of {size_bytes} bytes is beyond the limit of {MAX_BUNDLE_BYTES}.")
    members: list[_Member] = []
    stream.seek(0)
    while any(header := stream.read(_BLOCK)):
        member = _member(header, stream.tell())
        if member.offset + member.size_bytes > size_bytes:
            raise BundleError(f"the bundle is cut off in {member.name!r}: it has {size_bytes} bytes.")
        if members and member.name <= members[-1].name:
            raise BundleError(f"{member.name!r} in the bundle is there twice, or not in the order of names.")
        members.append(member)
        stream.seek(member.offset + -(-member.size_bytes // _BLOCK) * _BLOCK)
    if len(header) != _BLOCK or any(any(piece) for piece in iter(lambda: stream.read(_PIECE), b"")):
        raise BundleError("the bundle is no archive that Edgeproof packed: it does not end in empty blocks.")
    return tuple(members)


def _member(header: bytes, offset: int) -> _Member:
    """Reads a header; refuses every one that `pack` would not write."""
    name = header[:100].rstrip(b"\0").decode("ascii", errors="replace")
    _check_name(name)
    try:
        size_bytes = int(header[124:135], 8)
    except ValueError:
        size_bytes = -1
    if size_bytes < 0 or header != _header(name, size_bytes):
        raise BundleError(f"{name!r} in the bundle is no plain file as Edgeproof packs it. Publish the release again.")
    return _Member(name, size_bytes, offset)


def _header(name: str, size_bytes: int) -> bytes:
    """A USTAR header, spelled out: Python's own differ between its versions, and a bundle is named by its hash."""
    before = name.encode("ascii").ljust(100, b"\0") + b"0000644\0" + 2 * b"0000000\0"
    before += b"%011o\0" % size_bytes + b"00000000000\0"
    after = b"0".ljust(101, b"\0") + b"ustar\x0000"
    checksum = sum(before) + sum(b" " * 8) + sum(after)
    return (before + b"%06o\0 " % checksum + after).ljust(_BLOCK, b"\0")


def _manifest_among(stream: BinaryIO, members: tuple[_Member, ...]) -> Manifest:
    """Reads the manifest, and holds names and sizes against it."""
    by_name = {member.name: member for member in members}
    if MANIFEST_FILE not in by_name:
        raise BundleError(f"the bundle has no {MANIFEST_FILE}; found {sorted(by_name)}. Publish the release again.")
    own = by_name.pop(MANIFEST_FILE)
    if own.size_bytes > MAX_MANIFEST_BYTES:
        raise BundleError(f"the bundle's {MANIFEST_FILE} has {own.size_bytes} bytes; {MAX_MANIFEST_BYTES} are allowed.")
    try:
        manifest = Manifest.from_json(b"".join(_pieces(stream, own)))
    except InputError as error:
        raise BundleError(f"the bundle's {error}") from error
    wanted = {entry.name: entry.size_bytes for entry in manifest.files}
    differing = sorted(
        name
        for name in set(by_name) | set(wanted)
        if name not in by_name or by_name[name].size_bytes != wanted.get(name)
    )
    if differing:
        raise BundleError(f"the bundle and its manifest differ in {differing}. Publish the release again.")
    return manifest


def _pieces(stream: BinaryIO, member: _Member) -> Iterator[bytes]:
    stream.seek(member.offset)
    left = member.size_bytes
    while left and (piece := stream.read(min(left, _PIECE))):
        left -= len(piece)
        yield piece


def _write_member(stream: BinaryIO, member: _Member, path: Path) -> str:
    """Writes a file and syncs it; returns the SHA-256 of what was written."""
    digest = sha256()
    with path.open("xb") as target:
        for piece in _pieces(stream, member):
            digest.update(piece)
            target.write(piece)
        target.flush()
        os.fsync(target.fileno())
    return digest.hexdigest()


def _check_name(name: str) -> None:
    if not _FILE_NAME.fullmatch(name) or len(name) > 100:  # USTAR cuts names at 100 bytes
        raise BundleError(f"{name!r} cannot be a file of a bundle: use letters, digits, '_', '-' and '.'.")


def _check_digest(entry: FileEntry, digest: str) -> None:
    if digest != entry.sha256:
        raise BundleError(f"{entry.name} in the bundle has SHA-256 {digest}; its manifest says {entry.sha256}.")
