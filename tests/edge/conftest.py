"""What the tests of a device share: a world of a repository, a server and a device."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeproof_edge.updating.updater import Subscription, Updater

from tests.edge.world import World
from tests.releases.samples import Replies, make_repository, open_repository, sample, serving


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world to copy: releases 1 and 2, `stable` at 1, a device that runs 1."""
    directory = tmp_path_factory.mktemp("world")
    repository = make_repository(directory)
    repository.publish(sample("a"), "dev", "test")
    repository.point("1", "stable", 100, "test")
    with serving(directory / "repository") as url:
        subscription = Subscription(url, "digits", "stable", "d0")
        assert Updater(directory / "device", subscription, repository.anchor).update().is_new
    repository.publish(sample("b"), "dev", "test")
    return directory


@pytest.fixture
def world(prepared: Path, tmp_path: Path) -> Iterator[World]:
    directory = tmp_path / "world"
    shutil.copytree(prepared, directory, symlinks=True)
    repository = open_repository(directory)
    replies = Replies()
    with serving(directory / "repository", replies) as url:
        world = World(directory, repository, replies, url, {})
        world.old_files["timestamp"] = world.file("metadata/timestamp.json")
        repository.point("2", "stable", 100, "test")
        yield world
