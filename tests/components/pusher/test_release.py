"""Releases: immutable, numbered, whole or not there at all; crashes, crowds and tampering included."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from edgeproof_edge.errors import InputError, ModelFileError, SurroundingsError
from edgeproof_edge.manifest import Manifest, VerdictSummary

from components.errors import ReleaseError
from components.pusher.release import (
    Description,
    Release,
    labels_text,
    list_releases,
    open_store,
    publish,
    published_state,
    read_class_names,
    read_latest,
    verify,
)
from components.pusher.store import AlreadyStored, DirectoryStore

_MODEL_PATH = Path(__file__).parents[2] / "edge/models/int8.tflite"
_MODEL = _MODEL_PATH.read_bytes()
_CHILD = Path(__file__).with_name("publish_in_child.py")
_DESCRIPTION = Description(("cat", "dog"), "int8", "tfx116", VerdictSummary(10_000, 9400, 9300, "97/100"))


def _content(text: str) -> dict[str, bytes]:
    return {"model.tflite": _MODEL, "gate_report.json": b"{}", "labels.txt": f"cat\ndog\n{text}\n".encode()}


def _publish(store: DirectoryStore, text: str) -> Release:
    return publish(store, "digits", _content(text), _DESCRIPTION)


def _numbers(store: DirectoryStore) -> list[int]:
    return [release.sequence for release in list_releases(store)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "published"


@pytest.fixture
def store(root: Path) -> DirectoryStore:
    return DirectoryStore(root)


# --- What a release is ---------------------------------------------------------------------------------------------


def test_a_release_is_a_directory_that_a_person_can_read(store: DirectoryStore, root: Path) -> None:
    release = _publish(store, "first")
    assert re.fullmatch(r"releases/000001-[0-9a-f]{12}", release.path)
    assert sorted(os.listdir(root / release.path)) == [
        "gate_report.json",
        "labels.txt",
        "manifest.json",
        "model.tflite",
    ]
    assert (root / release.path / "model.tflite").read_bytes() == _MODEL
    assert read_latest(store) == release
    assert json.loads((root / "latest.json").read_text())["version"] == release.version


def test_the_content_hash_is_what_sha256sum_prints(store: DirectoryStore, root: Path) -> None:
    release = _publish(store, "first")
    command = ["sha256sum", "labels.txt", "model.tflite"]
    lines = subprocess.run(command, cwd=root / release.path, stdout=subprocess.PIPE, check=True).stdout
    assert release.sha256 == hashlib.sha256(lines).hexdigest()
    assert release.version == f"000001-{release.sha256[:12]}"


def test_the_same_model_with_other_reports_is_the_same_release(store: DirectoryStore, root: Path) -> None:
    first = _publish(store, "first")
    again = publish(store, "digits", {**_content("first"), "gate_report.json": b'{"seconds": 2}'}, _DESCRIPTION)
    assert again == first
    assert (root / first.path / "gate_report.json").read_bytes() == b"{}"


def test_a_crashed_release_with_other_reports_is_numbered_past(store: DirectoryStore, root: Path) -> None:
    crashed = _publish(store, "first")
    (root / crashed.path / "manifest.json").unlink()
    (root / "latest.json").unlink()
    again = publish(store, "digits", {**_content("first"), "gate_report.json": b'{"seconds": 2}'}, _DESCRIPTION)
    assert again.sequence == 2
    assert verify(store).problems == ()


def test_the_manifest_tells_what_a_device_needs(store: DirectoryStore, root: Path) -> None:
    release = _publish(store, "first")
    data = (root / release.path / "manifest.json").read_bytes()
    manifest = Manifest.from_json(data)
    assert (manifest.model_name, manifest.sequence, manifest.version) == ("digits", 1, release.version)
    assert manifest.file("model.tflite").sha256 == hashlib.sha256(_MODEL).hexdigest()
    assert manifest.inputs[0].spec.dtype == "int8"
    assert manifest.inputs[0].spec.is_quantized
    assert manifest.labels == ("cat", "dog")
    assert manifest.verdict == VerdictSummary(10_000, 9400, 9300, "97/100")
    assert manifest.runtime.operators
    assert release.manifest_sha256 == hashlib.sha256(data).hexdigest()


def test_numbers_grow_and_latest_follows(store: DirectoryStore) -> None:
    releases = [_publish(store, text) for text in ("a", "b", "c")]
    assert [release.sequence for release in releases] == [1, 2, 3]
    assert list_releases(store) == tuple(releases)
    assert read_latest(store) == releases[-1]
    assert verify(store).problems == ()
    assert (verify(store).num_releases, verify(store).num_files) == (3, 9)


def test_the_same_content_again_is_the_same_release(store: DirectoryStore, root: Path) -> None:
    first = _publish(store, "a")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("[!.]*") if path.is_file()}
    assert _publish(store, "a") == first
    assert {path: path.stat().st_mtime_ns for path in root.rglob("[!.]*") if path.is_file()} == before


def test_a_late_retry_of_an_old_release_does_not_take_the_fleet_back(store: DirectoryStore) -> None:
    first, second = _publish(store, "a"), _publish(store, "b")
    assert _publish(store, "a") == first
    assert read_latest(store) == second
    assert _numbers(store) == [1, 2]


def test_nothing_is_published_in_an_empty_directory(store: DirectoryStore, root: Path) -> None:
    assert read_latest(store) is None
    assert list_releases(store) == ()
    assert verify(store).problems == ()
    assert not root.exists()


def test_a_release_round_trips_through_json(store: DirectoryStore) -> None:
    release = _publish(store, "a")
    assert Release.from_json(release.to_json()) == release


# --- Refusals before anything is written ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "files", "error", "message"),
    [
        pytest.param(" ", _content("a"), ReleaseError, "name of its model", id="no-model-name"),
        pytest.param("digits", {"labels.txt": b""}, ReleaseError, r"needs model\.tflite", id="no-model-file"),
        pytest.param(
            "digits", {**_content("a"), "../up": b""}, ReleaseError, r"'\.\./up' cannot be", id="path-as-name"
        ),
        pytest.param(
            "digits", {**_content("a"), "manifest.json": b""}, ReleaseError, "and not manifest", id="manifest-given"
        ),
        pytest.param("digits", {"model.tflite": b"<html>"}, ModelFileError, "HTML", id="model-is-no-tflite"),
    ],
)
def test_what_cannot_be_a_release_is_refused_before_anything_is_written(
    store: DirectoryStore, root: Path, name: str, files: dict[str, bytes], error: type[InputError], message: str
) -> None:
    with pytest.raises(error, match=message):
        publish(store, name, files, _DESCRIPTION)
    assert not root.exists()


def test_a_directory_holds_the_releases_of_one_model(store: DirectoryStore) -> None:
    _publish(store, "a")
    with pytest.raises(ReleaseError, match="holds releases of 'digits'; 'keywords' needs a directory of its own"):
        publish(store, "keywords", _content("b"), _DESCRIPTION)
    assert _numbers(store) == [1]


@pytest.mark.parametrize("destination", ["", "gs://bucket/models", "https://example.org"], ids=repr)
def test_a_destination_is_a_directory(destination: str) -> None:
    with pytest.raises(ReleaseError, match="releases go to a directory"):
        open_store(destination)


@pytest.mark.parametrize("text", ["", "cat,dog", '"cat"', "[1]", '["a\\nb"]', '[""]', "null"], ids=repr)
def test_class_names_are_a_json_list_of_lines(text: str) -> None:
    with pytest.raises(ReleaseError, match="class_names must be a JSON list"):
        read_class_names(text)


def test_labels_have_one_line_per_output() -> None:
    assert labels_text(read_class_names('["Katze", "H\\u00fcndin"]')) == "Katze\nHündin\n".encode()


# --- Tampering and damage ---------------------------------------------------------------------------------------------


def test_verify_names_every_file_that_differs(store: DirectoryStore, root: Path) -> None:
    release = _publish(store, "a")
    (root / release.path / "model.tflite").write_bytes(b"other")
    (root / release.path / "labels.txt").unlink()
    (root / release.path / "extra.bin").touch()
    problems = verify(store).problems
    assert [re.split(" ", problem, maxsplit=1)[0].rsplit("/")[-1] for problem in problems] == [
        "labels.txt",
        "extra.bin",
        "model.tflite",
    ]
    assert "has SHA-256" in problems[2]


def test_verify_notices_a_manifest_that_was_rewritten_to_fit(store: DirectoryStore, root: Path) -> None:
    release = _publish(store, "a")
    path = root / release.path / "manifest.json"
    path.write_text(path.read_text().replace("9300", "9400"))
    assert verify(store).problems == (f"{release.path}/manifest.json is not the one that latest.json names",)
    with pytest.raises(ReleaseError, match=r"not the one that latest\.json names"):
        _publish(store, "a")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        pytest.param(lambda path: path.write_text("{"), "is damaged", id="manifest-cut"),
        pytest.param(lambda path: path.unlink(), r"manifest\.json is missing", id="manifest-gone"),
        pytest.param(lambda path: shutil.rmtree(path.parent), "which is not there", id="release-gone"),
    ],
)
def test_verify_reports_a_damaged_release(store: DirectoryStore, root: Path, damage: object, problem: str) -> None:
    release = _publish(store, "a")
    assert callable(damage)
    damage(root / release.path / "manifest.json")
    (found,) = verify(store).problems
    assert re.search(problem, found)


def test_a_published_file_that_was_changed_is_not_overwritten(store: DirectoryStore, root: Path) -> None:
    release = _publish(store, "a")
    (root / release.path / "model.tflite").write_bytes(b"other")
    with pytest.raises(AlreadyStored, match=r"model\.tflite exists with other bytes"):
        _publish(store, "a")
    assert (root / release.path / "model.tflite").read_bytes() == b"other"


def test_a_published_file_that_was_deleted_comes_back(store: DirectoryStore, root: Path) -> None:
    release = _publish(store, "a")
    (root / release.path / "model.tflite").unlink()
    assert _publish(store, "a") == release
    assert verify(store).problems == ()


def test_a_lost_pointer_is_repaired_to_the_newest_release(store: DirectoryStore, root: Path) -> None:
    _publish(store, "a")
    second = _publish(store, "b")
    (root / "latest.json").unlink()
    _publish(store, "a")
    assert read_latest(store) == second


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema_version": 1}', '{"schema_version": 2}'],
    ids=["empty", "list", "no-keys", "keys-missing", "newer-schema"],
)
def test_a_damaged_pointer_is_a_clear_error_and_stays(store: DirectoryStore, root: Path, text: str) -> None:
    _publish(store, "a")
    (root / "latest.json").write_text(text)
    with pytest.raises(ReleaseError, match=r"latest\.json cannot be understood"):
        _publish(store, "b")
    assert (root / "latest.json").read_text() == text


def test_a_pointer_that_contradicts_itself_is_refused(store: DirectoryStore) -> None:
    fields = json.loads(_publish(store, "a").to_json())
    with pytest.raises(ReleaseError, match="contradict"):
        Release.from_json(json.dumps({**fields, "path": "../elsewhere"}).encode())


# --- Crashes, full disks, crowds ------------------------------------------------------------------------------------


def _child(*arguments: object) -> list[str]:
    return [sys.executable, "-W", "ignore", str(_CHILD), *map(str, arguments)]


@pytest.mark.parametrize("num_before", [0, 1], ids=["first-release", "second-release"])
def test_a_publisher_killed_at_any_operation_leaves_the_old_state_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_before: int
) -> None:
    monkeypatch.setattr(
        os, "fsync", lambda _descriptor: None
    )  # hundreds of releases; a kill loses nothing that was not synced
    base, out = tmp_path / "base", tmp_path / "out"
    out.mkdir()
    old = _publish(DirectoryStore(base), "old") if num_before else None
    subprocess.run(_child("crash", base, out, _MODEL_PATH), check=True)
    roots = sorted(out.iterdir(), key=lambda root: int(root.name))
    *killed, survivor = (DirectoryStore(root) for root in roots)
    seen = []
    for store in killed:
        latest = read_latest(store)
        seen.append("old" if latest == old else "new")
        assert _numbers(store) == list(range(1, (latest.sequence if latest else 0) + 1))
        assert verify(store).problems == ()
        _complete_by_running_again(store, num_before + 1)
        assert verify(store).problems == ()
    assert len(killed) > 30
    assert seen == sorted(seen, reverse=True)  # old until the commit point, new from there on
    assert set(seen) == {"old", "new"}
    assert verify(survivor).problems == ()


def _complete_by_running_again(store: DirectoryStore, sequence: int) -> None:
    other = Path(f"{store.location}-other")
    if Path(store.location).exists():
        shutil.copytree(store.location, other)
    assert _publish(store, "new").sequence == sequence
    assert _numbers(store) == list(range(1, sequence + 1))
    assert list((Path(store.location) / ".staging").iterdir()) == []
    # Someone else's release first: the unfinished one is numbered past and never shows.
    store = DirectoryStore(other)
    theirs = _publish(store, "theirs")
    assert read_latest(store) == theirs
    assert verify(store).problems == ()
    assert _publish(store, "new").sequence in (sequence, sequence + 1, sequence + 2)
    assert verify(store).problems == ()
    shutil.rmtree(other)


def test_an_unfinished_release_behind_the_newest_is_numbered_past(
    store: DirectoryStore, root: Path, tmp_path: Path
) -> None:
    unfinished = root / _publish(DirectoryStore(tmp_path / "elsewhere"), "b").path
    unfinished.mkdir(parents=True)
    (unfinished / "model.tflite").write_bytes(_MODEL)
    assert _publish(store, "a").sequence == 2
    late = _publish(store, "b")
    assert late.sequence == 3
    assert read_latest(store) == late
    assert _numbers(store) == [2, 3]


class _FullStore(DirectoryStore):
    """A store whose disk has room for a number of files."""

    def __init__(self, root: Path, room: int) -> None:
        super().__init__(root)
        self._room = room

    def create(self, path: str, data: bytes) -> None:
        self._take_room()
        super().create(path, data)

    def replace(self, path: str, data: bytes) -> None:
        self._take_room()
        super().replace(path, data)

    def _take_room(self) -> None:
        with self._explaining("write to"):
            if self._room == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._room -= 1


@pytest.mark.parametrize("room", range(5))
def test_a_full_disk_leaves_the_release_before_and_is_explained(store: DirectoryStore, root: Path, room: int) -> None:
    old = _publish(store, "old")
    with pytest.raises(SurroundingsError, match=r"No space left on device\. Free some space"):
        _publish(_FullStore(root, room), "new")
    assert read_latest(store) == old
    assert list_releases(store) == (old,)
    assert verify(store).problems == ()
    assert _publish(store, "new").sequence == 2


def test_six_publishers_at_once_lose_nothing(store: DirectoryStore, root: Path) -> None:
    children = [subprocess.Popen(_child("many", root, _MODEL_PATH, name, 10)) for name in "abcdef"]
    seen = []
    while any(child.poll() is None for child in children):
        latest = read_latest(store)
        if latest is not None:
            seen.append(latest.sequence)
            assert hashlib.sha256(store.read(f"{latest.path}/manifest.json")).hexdigest() == latest.manifest_sha256
    assert [child.returncode for child in children] == [0] * 6
    assert seen == sorted(seen)
    assert _numbers(store) == list(range(1, 61))
    assert len({release.sha256 for release in list_releases(store)}) == 60
    assert verify(store).problems == ()


# --- What the cache sees --------------------------------------------------------------------------------------------


def test_the_published_state_changes_when_the_destination_does(store: DirectoryStore, root: Path) -> None:
    states = [published_state(str(root))]
    release = _publish(store, "a")
    states.append(published_state(str(root)))
    assert published_state(str(root)) == states[-1]
    (root / release.path / "model.tflite").unlink()
    states.append(published_state(str(root)))
    _publish(store, "b")
    states.append(published_state(str(root)))
    assert len(set(states)) == 4
    shutil.rmtree(root)
    assert published_state(str(root)) not in states  # wiped: no state that a Pusher may have seen before it published
