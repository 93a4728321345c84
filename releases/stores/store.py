"""Keeps releases in a directory, so that a reader never sees half a file and a crash never loses a whole one.

Rules, in order: 1. ``create`` never overwrites: equal bytes again change nothing, other bytes are an error. 2. A file
appears whole or not at all: bytes go to .staging, are synced, and only then get their name (link(2) for ``create``,
rename(2) for ``replace``). 3. What a verb has returned from outlives a power cut: the file is synced first, then the
directories above it. 4. One writer at a time: writing needs the lock, and the kernel frees the lock of a process that
dies. 5. What a killed writer left in .staging is removed by the next lock holder.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from edgeproof_edge.durable_files import sync_directory
from edgeproof_edge.errors import SurroundingsError
from edgeproof_edge.progress import progress

from releases.errors import ReleaseError
from releases.stores.files import staged
from releases.stores.protocol import AlreadyStored, CommitProtocol, Locked, NotStored

_LOCK = ".lock"
_LOCK_WITHOUT_FLOCK = ".lock-held"
_STAGING = ".staging"
_PROBE_PREFIX = ".probe-"
_PROBE_LIFETIME_S = 3600.0  # a probe takes milliseconds; an older one belongs to a process that was killed
_POLL_S = 0.2

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@dataclass(frozen=True)
class Abilities:
    """What the file system under a store honors.

    Attributes:
        has_link: Link(2) works and refuses to overwrite. Without it ``create`` looks first and renames; the lock makes
            that safe.
        has_flock: Flock(2) keeps a second holder out. Without it the lock is a file made with O_EXCL, which outlives a
            killed holder.
    """

    has_link: bool
    has_flock: bool


class Store(Protocol):
    """The verbs that publishing needs. Paths are relative, with forward slashes. One object serves one thread."""

    @property
    def location(self) -> str:
        """Where the store is, for messages."""

    def read(self, path: str) -> bytes:
        """Returns the bytes of one file. Raises NotStored when there is none."""

    def create(self, path: str, data: bytes) -> None:
        """Writes a new file durably. Needs the lock. Raises AlreadyStored when the file exists with other bytes."""

    def replace(self, path: str, data: bytes) -> None:
        """Puts ``data`` in the place of a file in one atomic, durable step. Needs the lock."""

    def list(self, path: str) -> tuple[str, ...]:
        """Returns the sorted names of the files and directories in a directory, none when it does not exist."""

    def remove(self, path: str) -> None:
        """Removes one file; none of that name is fine. Needs the lock."""

    @property
    def protocol(self) -> CommitProtocol:
        """How writers are ordered; see ``releases.stores.protocol``."""

    def check(self) -> None:
        """Tries out that a second ``create`` is refused; raises SurroundingsError where it is not."""

    def lock(self) -> AbstractContextManager[None]:
        """Waits until this is the only writer."""


class DirectoryStore:
    """A store in a local or mounted directory, which is made when first written to."""

    def __init__(self, root: Path | str) -> None:
        self._root = Path(root)
        self._abilities: Abilities | None = None
        self._is_locked = False

    @property
    def location(self) -> str:
        return str(self._root)

    def read(self, path: str) -> bytes:
        """Returns the bytes of one file.

        Raises:
            NotStored: There is no such file.
            SurroundingsError: The file cannot be read.
        """
        file = self._file(path)
        with self._explaining(f"read {path} in"):
            try:
                return file.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                raise NotStored(f"{self._root} has no file {path}. Is this a release repository?") from None

    def create(self, path: str, data: bytes) -> None:
        """Writes a new file that nothing will ever overwrite; the same bytes again change nothing.

        Raises:
            AlreadyStored: The file exists with other bytes; it was left as it is.
            SurroundingsError: The disk is full, the directory is not writable, and the like.
        """
        file = self._file(path)
        abilities = self._abilities_under_lock()
        with self._explaining(f"write {path} in"):
            if not file.exists():
                self._make_directory(file.parent)
                with self._staged(data) as staged_file:
                    self._name_once(staged_file, file, abilities)
            self._refuse_other_bytes(file, path, data)
            self._sync_up_from(file.parent)

    def replace(self, path: str, data: bytes) -> None:
        """Swaps a file's content in one step: readers get the old bytes or the new ones.

        Raises:
            SurroundingsError: The disk is full, the directory is not writable, and the like.
        """
        file = self._file(path)
        self._abilities_under_lock()
        with self._explaining(f"replace {path} in"):
            self._make_directory(file.parent)
            with self._staged(data) as staged_file:
                os.replace(staged_file, file)
            self._sync_up_from(file.parent)

    def list(self, path: str) -> tuple[str, ...]:
        """Returns the sorted names in a directory, none when it does not exist; without the store's own dot files."""
        directory = self._file(path)
        with self._explaining(f"list {path} in"):
            try:
                return tuple(sorted(name for name in os.listdir(directory) if not name.startswith(".")))
            except FileNotFoundError:
                return ()

    def remove(self, path: str) -> None:
        """Removes one file; none of that name is fine.

        Raises:
            SurroundingsError: The directory is not writable, and the like.
        """
        file = self._file(path)
        self._abilities_under_lock()
        with self._explaining(f"remove {path} in"):
            file.unlink(missing_ok=True)

    @property
    def protocol(self) -> CommitProtocol:
        return Locked()

    def check(self) -> None:
        """Tries to write.

        Raises:
            SurroundingsError: Nothing can be written here.
        """
        self.probe()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Waits until this is the only writer, saying so, and removes what a killed writer left behind.

        Raises:
            SurroundingsError: The directory cannot be written to, or a dead process left its lock (only without flock).
            RuntimeError: This object already holds the lock.
        """
        if self._is_locked:
            raise RuntimeError("this store object already holds its lock")
        if self._abilities is None:
            self._abilities = self.probe()
        with self._flock() if self._abilities.has_flock else self._exclusive_file():
            self._is_locked = True
            try:
                self._sweep()
                yield
            finally:
                self._is_locked = False

    def probe(self) -> Abilities:
        """Tries link(2) and flock(2) in a scratch directory inside the store.

        exFAT and some FUSE mounts have no link; some network mounts take a second flock without a word.

        Raises:
            SurroundingsError: Nothing can be written here.
        """
        with self._explaining("write to"):
            self._make_directory(self._root)
            with tempfile.TemporaryDirectory(prefix=_PROBE_PREFIX, dir=self._root) as scratch:
                return Abilities(
                    has_link=_link_refuses_to_overwrite(Path(scratch)), has_flock=_flock_keeps_out(Path(scratch))
                )

    def _file(self, path: str) -> Path:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or any(part.startswith(".") for part in parts):
            raise ReleaseError(
                f"{path!r} cannot be a name in a release directory: use relative names without leading dots."
            )
        return self._root.joinpath(*parts)

    def _abilities_under_lock(self) -> Abilities:
        if not self._is_locked or self._abilities is None:
            raise RuntimeError("writing needs the lock: with store.lock(): ...")
        return self._abilities

    @contextmanager
    def _staged(self, data: bytes) -> Iterator[Path]:
        """Yields a synced file with ``data``, named by nothing that a reader looks at; removes that name afterwards."""
        self._make_directory(self._root / _STAGING)
        with staged(self._root / _STAGING, data) as file:
            yield file

    def _name_once(self, source: Path, file: Path, abilities: Abilities) -> None:
        if not abilities.has_link:
            os.rename(source, file)  # only the lock holder creates, and it has just seen that there is no such file
            return
        with suppress(FileExistsError):  # put there by hand since the look; its bytes are compared next
            os.link(source, file)

    def _refuse_other_bytes(self, file: Path, path: str, data: bytes) -> None:
        if file.read_bytes() != data:
            raise AlreadyStored(
                f"{self._root / path} exists with other bytes, and a published file is never overwritten. "
                "Find out who changed it; to publish again, restore the file or use another destination."
            )

    def _make_directory(self, directory: Path) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ReleaseError(
                f"{directory} cannot be made: a file is in its place. Choose another destination directory."
            ) from None

    def _sync_up_from(self, directory: Path) -> None:
        """Syncs every directory from ``directory`` to the one above the root: any of their entries may be new."""
        above = (directory, *directory.parents)
        for each in above[: above.index(self._root) + 2]:
            sync_directory(each)

    def _sweep(self) -> None:
        with self._explaining("clean up"):
            for leftover in self._root.glob(f"{_STAGING}/*"):
                leftover.unlink(missing_ok=True)
            for probe in self._root.glob(f"{_PROBE_PREFIX}*"):
                if _age_s(probe) > _PROBE_LIFETIME_S:
                    shutil.rmtree(probe, ignore_errors=True)

    @contextmanager
    def _flock(self) -> Iterator[None]:
        with self._explaining("lock"):
            descriptor = os.open(self._root / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            with self._explaining("lock"):
                self._wait_for_flock(descriptor)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, _this_process(), 0)
            yield
        finally:
            os.close(descriptor)  # frees the lock, as does the kernel when this process is killed

    def _wait_for_flock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._announce_waiting(_LOCK)
            fcntl.flock(descriptor, fcntl.LOCK_EX)

    @contextmanager
    def _exclusive_file(self) -> Iterator[None]:
        file = self._root / _LOCK_WITHOUT_FLOCK
        with self._explaining("lock"):
            self._wait_for_exclusive_file(file)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)

    def _wait_for_exclusive_file(self, file: Path) -> None:
        is_announced = False
        while True:
            try:
                with file.open("xb") as stream:
                    stream.write(_this_process())
                return
            except FileExistsError:
                self._refuse_lock_of_the_dead(file)
            if not is_announced:
                self._announce_waiting(_LOCK_WITHOUT_FLOCK)
                is_announced = True
            time.sleep(_POLL_S)

    def _refuse_lock_of_the_dead(self, file: Path) -> None:
        host, pid = _holder(file)
        if host == socket.gethostname() and pid is not None and not _is_alive(pid):
            raise SurroundingsError(
                f"{self._root} is locked by process {pid}, which is gone; this file system has no flock to free it. "
                f"Make sure that no other publisher runs, delete {file} and run again."
            )

    def _announce_waiting(self, lock_file: str) -> None:
        host, pid = _holder(self._root / lock_file)
        who = f"process {pid} on {host}" if pid is not None else "another publisher"
        progress.info("waiting for %s, which is publishing to %s", who, self._root)

    @contextmanager
    def _explaining(self, action: str) -> Iterator[None]:
        """Turns an OSError into the sentence a person needs: what failed, where, what to do."""
        try:
            yield
        except OSError as error:
            raise SurroundingsError(f"cannot {action} {self._root}: {error.strerror}. {_way_out(error)}") from error


def _way_out(error: OSError) -> str:
    if error.errno in _FULL:
        step = "Free some space or choose another destination"
    elif error.errno in _FORBIDDEN:
        step = "Give this user write access or choose another destination"
    else:
        step = "Check that the destination is a directory on a working disk"
    return f"{step}, then run again; no published release was lost."


def _link_refuses_to_overwrite(scratch: Path) -> bool:
    first, second = scratch / "first", scratch / "second"
    first.write_bytes(b"1")
    try:
        os.link(first, second)
    except OSError:
        return False
    try:
        os.link(first, second)
    except FileExistsError:
        return True
    except OSError:
        return False
    return False


def _flock_keeps_out(scratch: Path) -> bool:
    with (scratch / "lock").open("wb") as holder, (scratch / "lock").open("wb") as latecomer:
        try:
            fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            fcntl.flock(latecomer, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _this_process() -> bytes:
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode()


def _holder(file: Path) -> tuple[str | None, int | None]:
    """Returns host and process id written in a lock file, (None, None) while it is being written or gone."""
    try:
        content = json.loads(file.read_bytes())
        return str(content["host"]), int(content["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
