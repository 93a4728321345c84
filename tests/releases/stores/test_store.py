"""The directory store: never overwrites, is atomic, locks, and explains a disk that is full or read-only."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from edgeproof_edge.errors import SurroundingsError

from releases.errors import ReleaseError
from releases.stores.protocol import AlreadyStored, NotStored
from releases.stores.store import Abilities, DirectoryStore

_NOBODY = 65534


class _WithoutLinkAndFlock(DirectoryStore):
    """A store on a file system such as exFAT over FUSE."""

    def probe(self) -> Abilities:
        super().probe()
        return Abilities(has_link=False, has_flock=False)


@pytest.fixture(params=[DirectoryStore, _WithoutLinkAndFlock], ids=["link-and-flock", "neither-link-nor-flock"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DirectoryStore:
    made = request.param(tmp_path / "releases")
    assert isinstance(made, DirectoryStore)
    return made


def test_what_was_created_is_read_back(store: DirectoryStore) -> None:
    with store.lock():
        store.create("a/b/model.tflite", b"bytes")
    assert store.read("a/b/model.tflite") == b"bytes"


def test_creating_the_same_bytes_again_changes_nothing(store: DirectoryStore, tmp_path: Path) -> None:
    with store.lock():
        store.create("file", b"same")
        before = (tmp_path / "releases/file").stat()
        store.create("file", b"same")
    after = (tmp_path / "releases/file").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_create_never_overwrites(store: DirectoryStore) -> None:
    with store.lock():
        store.create("file", b"first")
        with pytest.raises(AlreadyStored, match="never overwritten"):
            store.create("file", b"second")
    assert store.read("file") == b"first"


def test_create_does_not_overwrite_a_file_that_appears_at_the_last_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(tmp_path)
    link = os.link

    def link_after_someone_else(source: Path, target: Path) -> None:
        target.write_bytes(b"theirs")
        link(source, target)

    with store.lock():
        monkeypatch.setattr(os, "link", link_after_someone_else)
        with pytest.raises(AlreadyStored):
            store.create("file", b"ours")
    assert store.read("file") == b"theirs"


def test_replace_swaps_the_content(store: DirectoryStore) -> None:
    with store.lock():
        store.replace("latest.json", b"1")
        store.replace("latest.json", b"2")
    assert store.read("latest.json") == b"2"


def test_list_gives_sorted_names_without_the_stores_own_files(store: DirectoryStore) -> None:
    assert store.list("a") == ()
    with store.lock():
        for name in ("c", "b"):
            store.create(f"a/{name}", b"")
        (Path(store.location) / "a/.hidden").touch()
    assert store.list("a") == ("b", "c")


def test_reading_what_is_not_there_is_a_named_error(store: DirectoryStore) -> None:
    with pytest.raises(NotStored, match=r"no file latest\.json"):
        store.read("latest.json")


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../outside", "a/../../outside", ".lock"], ids=repr)
def test_names_that_leave_the_store_or_hide_are_refused(store: DirectoryStore, path: str) -> None:
    with pytest.raises(ReleaseError, match="relative names"):
        store.read(path)


def test_writing_needs_the_lock(store: DirectoryStore) -> None:
    with pytest.raises(RuntimeError, match="needs the lock"):
        store.create("file", b"")
    with pytest.raises(RuntimeError, match="needs the lock"):
        store.replace("file", b"")


def test_the_lock_is_not_taken_twice_by_one_object(store: DirectoryStore) -> None:
    with store.lock(), pytest.raises(RuntimeError, match="already holds"), store.lock():
        pass


def test_the_lock_keeps_a_second_writer_waiting_and_says_so(
    store: DirectoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "edgeproof.progress")
    events: list[str] = []

    def second_writer() -> None:
        with type(store)(store.location).lock():
            events.append("second in")

    with store.lock():
        thread = threading.Thread(target=second_writer)
        thread.start()
        deadline = time.monotonic() + 10
        while not caplog.messages and time.monotonic() < deadline:
            time.sleep(0.01)
        events.append("first out")
    thread.join(10)
    assert events == ["first out", "second in"]
    assert caplog.messages == [
        f"waiting for process {os.getpid()} on {socket.gethostname()}, which is publishing to {store.location}"
    ]


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from releases.stores.store import DirectoryStore\n"
        "with DirectoryStore(sys.argv[1]).lock():\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    with DirectoryStore(tmp_path).lock():
        pass


def test_without_flock_the_lock_of_a_dead_process_is_explained(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / ".lock-held").write_text(json.dumps({"host": socket.gethostname(), "pid": gone.pid}))
    with (
        pytest.raises(SurroundingsError, match=rf"process {gone.pid}, which is gone.*delete .*\.lock-held"),
        _WithoutLinkAndFlock(tmp_path).lock(),
    ):
        pass


def test_the_next_lock_holder_removes_what_a_killed_writer_left(store: DirectoryStore, tmp_path: Path) -> None:
    root = tmp_path / "releases"
    for leftover in (root / ".staging/4711-1", root / ".probe-old/first", root / ".probe-new/first"):
        leftover.parent.mkdir(parents=True)
        leftover.write_bytes(b"half")
    os.utime(root / ".probe-old", (0, 0))
    with store.lock():
        pass
    assert list((root / ".staging").iterdir()) == []
    assert [path.name for path in root.glob(".probe-*")] == [".probe-new"]


def test_probe_tells_what_the_file_system_honors(tmp_path: Path) -> None:
    assert DirectoryStore(tmp_path).probe() == Abilities(has_link=True, has_flock=True)


def _raise(code: int) -> Any:
    def call(*_arguments: Any) -> None:
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize(
    ("module", "function", "replacement", "expected"),
    [
        pytest.param(os, "link", _raise(errno.EPERM), Abilities(False, True), id="link-is-not-permitted"),
        pytest.param(
            os, "link", lambda _source, target: target.write_bytes(b""), Abilities(False, True), id="link-overwrites"
        ),
        pytest.param(fcntl, "flock", _raise(errno.ENOLCK), Abilities(True, False), id="flock-is-not-supported"),
        pytest.param(fcntl, "flock", lambda *_: None, Abilities(True, False), id="flock-lets-everybody-in"),
    ],
)
def test_probe_does_not_trust_a_file_system_that_says_no_or_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, function: str, replacement: Any, expected: Abilities
) -> None:
    monkeypatch.setattr(module, function, replacement)
    store = DirectoryStore(tmp_path)
    assert store.probe() == expected
    with store.lock():
        store.create("file", b"whole")
        with pytest.raises(AlreadyStored):
            store.create("file", b"other")
    assert store.read("file") == b"whole"


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        pytest.param(errno.ENOSPC, "Free some space", id="disk-full"),
        pytest.param(errno.EROFS, "write access", id="read-only-file-system"),
        pytest.param(errno.EIO, "working disk", id="broken-disk"),
    ],
)
def test_a_disk_that_fails_is_explained_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    store = DirectoryStore(tmp_path)
    with store.lock():
        store.replace("latest.json", b"old")
        monkeypatch.setattr(os, "fsync", _raise(code))
        with pytest.raises(SurroundingsError, match=rf"{os.strerror(code)}.*{advice}"):
            store.create("file", b"new")
        with pytest.raises(SurroundingsError, match=advice):
            store.replace("latest.json", b"new")
    assert not (tmp_path / "file").exists()
    assert store.read("latest.json") == b"old"
    assert list((tmp_path / ".staging").iterdir()) == []


def test_a_read_only_directory_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    monkeypatch.chdir(tmp_path)  # the temporary directory's parents may be closed to the user that root becomes below
    is_root = os.geteuid() == 0
    if is_root:
        tmp_path.chmod(0o755)
        os.seteuid(_NOBODY)  # root may write anywhere
    try:
        with pytest.raises(
            SurroundingsError, match=r"cannot write to closed: Permission denied\. Give this user write access"
        ):
            with DirectoryStore("closed").lock():
                pass
    finally:
        if is_root:
            os.seteuid(0)
    assert list((tmp_path / "closed").iterdir()) == []


def test_a_file_in_the_place_of_the_directory_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ReleaseError, match="a file is in its place"), DirectoryStore(tmp_path / "file").lock():
        pass


def test_removing_needs_the_lock_and_what_is_not_there_is_fine(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    with pytest.raises(RuntimeError, match="lock"):
        store.remove("metadata/1.archive.json")
    with store.lock():
        store.create("metadata/1.archive.json", b"1")
        store.remove("metadata/1.archive.json")
        store.remove("metadata/1.archive.json")
        assert store.list("metadata") == ()
