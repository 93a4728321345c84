"""The only file that turns an artifact's URI into bytes or a local path.

A URI is a path of this machine or an address (``gs://``, ``s3://``, ``az://``). ``pathlib`` makes ``gs:/b/x`` of ``gs://b/x`` without a
word, so nobody else makes a ``Path`` of one. Rules, in order: 1. A path is used as it is, and costs no import. 2. An address is opened by
TFX's fileio: Google Cloud Storage by TensorFlow, other buckets by ``components.bucket_filesystem``. 3. What libraries can only read from a
directory (SavedModels, records) is copied here first and removed after. 4. A directory is uploaded when all of it was written, not before.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from edgeproof_edge.addresses import is_address
from edgeproof_edge.errors import EdgeproofError, SurroundingsError

from components import files

_SCRATCH_PREFIX = "edgeproof-"


def join(uri: str, *parts: str) -> str:
    """The URI of what lies under another."""
    return "/".join([uri.rstrip("/"), *(part.strip("/") for part in parts)])


def name_of(uri: str) -> str:
    """The last part of a URI."""
    return uri.rstrip("/").rpartition("/")[2]


def parent_of(uri: str) -> str:
    """The URI of the directory around."""
    return uri.rstrip("/").rpartition("/")[0]


def local_path(uri: str) -> Path:
    """The path of a URI of this machine, such as an input's of :func:`local_inputs`.

    Raises:
        ValueError: It is an address.
    """
    if is_address(uri):
        raise ValueError(f"{uri} is an address, and no path of this machine")
    return Path(uri)


def exists(uri: str) -> bool:
    """Whether there is a file or a directory."""
    return files.exists(uri)


def read_bytes(uri: str) -> bytes:
    """The bytes of a file.

    Raises:
        FileNotFoundError: There is none.
    """
    if is_address(uri) and not files.exists(uri):
        raise FileNotFoundError(uri)
    return files.read_bytes(uri)


def read_bytes_if_there(uri: str) -> bytes | None:
    """The bytes of a file, or None where there is none."""
    try:
        return read_bytes(uri)
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_bytes(uri: str, data: bytes) -> None:
    """Writes a file; directories around it are made."""
    files.make_folder(parent_of(uri))
    files.write_bytes(uri, data)


def check_writable(uri: str) -> None:
    """Writes a file under an address and removes it again: before a day of training, not after.

    Raises:
        SurroundingsError: The bucket does not answer, or refuses; a path of this machine is not looked at.
    """
    if not is_address(uri):
        return
    probe = join(uri, f".probe-{uuid4().hex}")
    try:
        write_bytes(probe, b"")
        files.remove(probe)
    except EdgeproofError:
        raise
    except Exception as error:  # each cloud's library has its own errors
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SurroundingsError(
            f"{uri} cannot be written: {reason[:300]}. Check the address, the login and the permissions."
        ) from error


def remove_tree(uri: str) -> None:
    """Removes a directory and what is in it, where it is there."""
    if exists(uri):
        files.remove_folder(uri)


def list_files(uri: str) -> list[str]:
    """URIs of the files right under a directory, sorted; hidden ones are left out. Empty where there is no directory."""
    if not is_address(uri):
        return sorted(str(path) for path in Path(uri).glob("*") if not path.name.startswith("."))
    names = (name.rstrip("/") for name in files.list_folder(uri)) if exists(uri) else ()
    return sorted(join(uri, name) for name in names if name and not name.startswith("."))


def matching_files(pattern: str) -> list[str]:
    """URIs that match a glob pattern, sorted."""
    return files.glob(pattern)


@contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """A path at which the file or directory can be read; a path of this machine is that path, and nothing is copied."""
    if not is_address(uri):
        yield Path(uri)
        return
    with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX) as directory:
        copied = Path(directory) / name_of(uri)
        _download(uri, copied)
        yield copied


@contextmanager
def local_copies(uris: Sequence[str]) -> Iterator[list[str]]:
    """Paths at which the files can be read, in the same order."""
    with ExitStack() as stack:
        yield [str(stack.enter_context(local_copy(uri))) for uri in uris]


@contextmanager
def local_output(uri: str) -> Iterator[Path]:
    """A directory to write into, which is at ``uri`` when the block ends; nothing is there where it ends with an error."""
    if not is_address(uri):
        Path(uri).mkdir(parents=True, exist_ok=True)
        yield Path(uri)
        return
    with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX) as directory:
        yield Path(directory)
        upload(Path(directory), uri)


@contextmanager
def scratch_directory(uri: str) -> Iterator[str]:
    """The URI of a new directory under ``uri``, hidden, in which workers leave what crosses from them to here; it goes with the block."""
    directory = join(uri, f".scratch-{uuid4().hex}")
    if not is_address(uri):
        Path(directory).mkdir(parents=True)
    try:
        yield directory
    finally:
        remove_tree(directory)


@contextmanager
def local_inputs(inputs: Mapping[str, list[Any]], names: Collection[str]) -> Iterator[dict[str, list[Any]]]:
    """The inputs of a node, of which the named ones can be read as local directories; their other properties stay."""
    with ExitStack() as stack:

        def localized(artifact: Any) -> Any:
            if not is_address(artifact.uri):
                return artifact
            mirrored = copy.deepcopy(artifact)
            mirrored.uri = str(stack.enter_context(local_copy(artifact.uri)))
            return mirrored

        yield {
            name: [localized(artifact) for artifact in artifacts] if name in names else artifacts
            for name, artifacts in inputs.items()
        }


def upload(directory: Path, uri: str) -> None:
    """Copies a local directory to ``uri``."""
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            write_bytes(join(uri, path.relative_to(directory).as_posix()), path.read_bytes())


def _download(uri: str, target: Path) -> None:
    if not files.is_folder(uri):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(read_bytes(uri))
        return
    target.mkdir(parents=True, exist_ok=True)
    for folder, names in files.walk(uri):
        below = target / folder[len(uri) :].strip("/")
        below.mkdir(parents=True, exist_ok=True)
        for name in names:
            (below / name).write_bytes(read_bytes(join(folder, name)))
