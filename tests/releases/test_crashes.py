"""Killed anywhere, or run many times at once, publishing leaves the old state or the new one, and a rerun completes.

The default tier kills publishing at every 10th operation; `-m exhaustive` kills at every single one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from edgeproof_edge.updating.updater import Subscription, Updater

from releases.stores.store import DirectoryStore
from releases.trust.metadata import MissingRepositoryError
from releases.verification import verify
from tests.releases.release_in_child import VERBS
from tests.releases.samples import make_repository, open_repository, sample, serving

pytestmark = pytest.mark.usefixtures("no_sync")

CHILD = Path(__file__).parent / "release_in_child.py"
ROOT = Path(__file__).parents[2]
#: What a child imports; never this process's whole path, on which TensorFlow's imports leave another package named tests.
SOURCES = os.pathsep.join([str(ROOT), str(ROOT / "edge")])

#: Verb -> the release that a device on `stable` runs before and after it.
OUTCOMES = {
    "publish": (1, 4),
    "promote": (1, 2),
    "rollback": (2, 1),
    "refresh": (1, 1),
    "retire": (1, 1),
    "prune": (1, 1),
    "rotate-root": (1, 1),
    "rotate-targets": (1, 1),
    "rotate-online": (1, 1),
    "rotate-stable": (1, 1),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Releases 1 to 3, `stable` at 1, `dev` at 3, and a device that runs 1."""
    directory = tmp_path_factory.mktemp("prepared")
    repository = make_repository(directory)
    for text in "abc":
        repository.publish(sample(text), "dev", "test")
    repository.point("1", "stable", 100, "test")
    _update(directory)
    return directory


def _update(directory: Path) -> int:
    """Lets the device update over HTTP; returns the number of the release that it runs then."""
    root = open_repository(directory).anchor
    with serving(directory / "repository") as url:
        installed = Updater(directory / "device", Subscription(url, "digits", "stable", "d0"), root).update().installed
    assert installed is not None
    return int(installed.version[:6])


def _kill_everywhere(verb: str, base: Path, out: Path, step: int) -> list[Path]:
    arguments = ["crash", verb, str(base), str(out), str(step)]
    environment = {**os.environ, "PYTHONPATH": SOURCES}
    done = subprocess.run(
        [sys.executable, str(CHILD), *arguments], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return sorted(out.iterdir(), key=lambda path: int(path.name))


def _holds(verb: str, prepared: Path, tmp_path: Path, step: int) -> None:
    base = tmp_path / "base"
    shutil.copytree(prepared, base, symlinks=True)
    before, after = OUTCOMES[verb]
    if before == 2:
        open_repository(base).point("2", "stable", 100, "test")
        assert _update(base) == 2
    crashed = _kill_everywhere(verb, base, tmp_path / "crashed", step)
    assert len(crashed) > 20 // step
    seen = []
    for directory in crashed:
        seen.append(_update(directory))
        VERBS[verb](directory)
        assert _update(directory) == after, f"rerun after operation {directory.name}"
        found = verify(DirectoryStore(directory / "repository"), open_repository(directory).anchor)
        assert found.problems == (), f"operation {directory.name}"
        shutil.rmtree(directory)
    assert set(seen) <= {before, after}
    assert seen == sorted(seen, key=[before, after].index)  # old up to the commit point, new from there on


def test_killed_at_some_operations_of_publishing_devices_see_the_old_state_or_the_new_one(
    prepared: Path, tmp_path: Path
) -> None:
    _holds("publish", prepared, tmp_path, 10)


@pytest.mark.exhaustive
@pytest.mark.parametrize("verb", OUTCOMES)
def test_killed_at_every_operation_devices_see_the_old_state_or_the_new_one(
    verb: str, prepared: Path, tmp_path: Path
) -> None:
    _holds(verb, prepared, tmp_path, 1)


@pytest.mark.exhaustive
def test_a_making_that_was_killed_anywhere_is_completed(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    crashed = _kill_everywhere("init", tmp_path / "base", tmp_path / "crashed", 1)
    assert len(crashed) > 50
    for directory in crashed:
        VERBS["init"](directory)
        repository = open_repository(directory)
        assert repository.listing().channels == ("dev", "canary", "stable")
        repository.publish(sample("a"), "stable", "test")
        assert _update(directory) == 1
        shutil.rmtree(directory)


def _publish_at_once(location: str, keys: Path, writers: int, count: int, environment: dict[str, str]) -> None:
    arguments = [sys.executable, str(CHILD), "publish", location, str(keys)]
    environment = {**os.environ, **environment, "PYTHONPATH": SOURCES}
    children = [
        subprocess.Popen([*arguments, f"w{number}", str(count)], stderr=subprocess.PIPE, text=True, env=environment)
        for number in range(writers)
    ]
    for child in children:
        _, stderr = child.communicate()
        assert child.returncode == 0, stderr


@pytest.mark.parametrize(
    ("writers", "count"),
    [pytest.param(2, 3, id="2x3"), pytest.param(6, 10, id="6x10", marks=pytest.mark.exhaustive)],
)
def test_publishers_at_once_lose_nothing_on_a_directory(writers: int, count: int, tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    _publish_at_once(str(tmp_path / "repository"), tmp_path / "keys", writers, count, {})
    found = repository.listing().releases
    assert [release.sequence for release in found] == list(range(1, writers * count + 1))
    assert len({release.content_sha256 for release in found}) == writers * count
    assert verify(repository.store, repository.anchor).problems == ()


@pytest.mark.parametrize(
    ("writers", "count"),
    [pytest.param(2, 2, id="2x2"), pytest.param(4, 8, id="4x8")],
)
@pytest.mark.exhaustive
def test_publishers_at_once_lose_nothing_on_a_bucket(
    writers: int, count: int, s3_endpoint: str, s3_login: dict[str, str], tmp_path: Path
) -> None:
    import fsspec

    from releases.stores.bucket import BucketStore
    from releases.trust.initialization import initialize
    from releases.trust.keys import KeyRing

    fsspec.filesystem("s3", endpoint_url=s3_endpoint).mkdir(f"releases-{writers}")
    address = f"s3://releases-{writers}/digits"
    repository = initialize(BucketStore(address), KeyRing.create(tmp_path / "keys"))
    _publish_at_once(address, tmp_path / "keys", writers, count, s3_login)
    found = repository.listing().releases
    assert [release.sequence for release in found] == list(range(1, writers * count + 1))
    assert len({release.content_sha256 for release in found}) == writers * count
    assert repository.load().is_stamped
    assert verify(repository.store, repository.anchor).problems == ()


def test_nothing_is_a_repository_before_its_commit_point(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    (tmp_path / "repository/metadata/timestamp.json").unlink()
    with pytest.raises(MissingRepositoryError, match="release init"):
        repository.listing()
