"""What a channel offers, read as its devices would: the release that most of them run, or why there is none."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from releases.errors import ReleaseError
from releases.offer import NothingOffered, OfferedModel, channel_state, read_offered
from releases.repository import Repository
from releases.trust.metadata import UntrustedError
from tests.releases.samples import MODEL, make_repository, sample

pytestmark = pytest.mark.usefixtures("no_sync")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Releases 1 to 3, `dev` at 3."""
    repository = make_repository(tmp_path)
    for text in "abc":
        repository.publish(sample(text), "dev", "test")
    return repository


def read(directory: Path, channel: str = "stable", model: str | None = "digits") -> OfferedModel | NothingOffered:
    return read_offered(str(directory / "repository"), directory / "keys", channel, model)


def sequence(found: OfferedModel | NothingOffered) -> int:
    assert isinstance(found, OfferedModel), found
    return int(found.version.partition("-")[0])


def test_the_release_is_read_with_its_model(repository: Repository, tmp_path: Path) -> None:
    found = read(tmp_path, "dev")
    assert isinstance(found, OfferedModel)
    assert (found.channel, found.version) == ("dev", repository.find("dev").version)
    assert (found.data, found.sha256) == (MODEL, sha256(MODEL).hexdigest())
    assert read(tmp_path, "dev", model=None) == found


@pytest.mark.parametrize("model", ["digits", None])
def test_an_empty_channel_and_a_missing_repository_offer_nothing(tmp_path: Path, model: str | None) -> None:
    absent = read(tmp_path, model=model)
    assert isinstance(absent, NothingOffered)
    assert "no release repository" in absent.reason
    make_repository(tmp_path)
    empty = read(tmp_path, model=model)
    assert isinstance(empty, NothingOffered)
    assert "channel stable of" in empty.reason
    assert not empty.reason.startswith(absent.reason)


def test_rollback_and_retirement_lead_to_the_release_before(repository: Repository, tmp_path: Path) -> None:
    repository.point("1", "stable", 100, "test")
    repository.point("2", "stable", 100, "test")
    assert sequence(read(tmp_path)) == 2
    repository.roll_back("stable", "test")
    repository.retire("2", "wrong labels", "test")
    assert sequence(read(tmp_path)) == 1


@pytest.mark.parametrize(
    ("rollout", "run_by_most"),
    [pytest.param(10, 1, id="a-tenth"), pytest.param(50, 2, id="half"), pytest.param(100, 2, id="all")],
)
def test_during_a_rollout_it_is_what_most_devices_run(
    repository: Repository, tmp_path: Path, rollout: int, run_by_most: int
) -> None:
    repository.point("1", "stable", 100, "test")
    repository.point("2", "stable", rollout, "test")
    assert sequence(read(tmp_path)) == run_by_most


def test_the_first_rollout_of_all_is_what_there_is(repository: Repository, tmp_path: Path) -> None:
    repository.point("1", "stable", 10, "test")
    assert sequence(read(tmp_path)) == 1


def test_a_channel_that_does_not_exist_is_an_error_that_names_those_that_do(
    repository: Repository, tmp_path: Path
) -> None:
    with pytest.raises(ReleaseError, match="no channel 'stabel'; it has dev, canary, stable"):
        read(tmp_path, "stabel")


def test_a_changed_or_missing_bundle_is_an_error(repository: Repository, tmp_path: Path) -> None:
    bundle = tmp_path / "repository" / repository.find("dev").file
    bundle.chmod(0o644)
    bundle.write_bytes(bundle.read_bytes()[:-1] + b"x")
    with pytest.raises(ReleaseError, match="was changed after publishing"):
        read(tmp_path, "dev")
    bundle.unlink()
    with pytest.raises(ReleaseError, match="is missing"):
        read(tmp_path, "dev")


def test_a_repository_of_other_keys_is_not_believed(repository: Repository, tmp_path: Path) -> None:
    other = tmp_path / "other"
    make_repository(other)
    with pytest.raises(UntrustedError, match="not what the trusted keys signed"):
        read_offered(str(tmp_path / "repository"), other / "keys", "dev", "digits")


def test_without_keys_the_repositorys_own_root_is_believed(repository: Repository, tmp_path: Path) -> None:
    found = read_offered(str(tmp_path / "repository"), tmp_path / "no-keys", "dev", "digits")
    assert sequence(found) == 3


def test_the_state_changes_with_every_move_of_the_channel_and_with_nothing_else(
    repository: Repository, tmp_path: Path
) -> None:
    def state() -> str:
        return channel_state(str(tmp_path / "repository"), tmp_path / "keys", "stable")

    repository.point("1", "stable", 100, "test")
    seen = [state()]
    repository.publish(sample("d"), "dev", "test")
    assert state() == seen[0]
    repository.point("2", "stable", 100, "test")
    seen.append(state())
    repository.roll_back("stable", "test")
    seen.append(state())  # release 1 again, and yet not what was cached before
    assert len(set(seen)) == 3


def test_the_state_of_nothing_is_new_each_time(tmp_path: Path) -> None:
    assert len({channel_state(str(tmp_path / "repository"), tmp_path / "keys", "stable") for _ in range(2)}) == 2
    make_repository(tmp_path)
    assert len({channel_state(str(tmp_path / "repository"), tmp_path / "keys", "stabel") for _ in range(2)}) == 2
