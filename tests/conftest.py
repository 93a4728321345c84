"""What every tier needs: quiet libraries, a ``sys.argv`` that TFX's executors can parse, and a fair division among workers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.compat import quiet_libraries

quiet_libraries()


#: Whole runs that several files of e2e tests look at.
SHARED_RUNS = ("first_run", "tuned")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Among workers, a file stays whole, and so do files that share a run. E2e tests come first, as the longest."""
    if not hasattr(config, "workerinput"):
        return
    fixtures: dict[Path, set[str]] = {}
    for item in items:
        fixtures.setdefault(item.path, set()).update(getattr(item, "fixturenames", ()))
    for item in items:
        shared = next((run for run in SHARED_RUNS if run in fixtures[item.path]), item.path.stem)
        item.add_marker(pytest.mark.xdist_group(shared))
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)


@pytest.fixture(autouse=True)
def _plain_arguments() -> Iterator[None]:
    """TFX's Beam executors parse ``sys.argv`` as flags and stop at pytest's ``-v``."""
    arguments, sys.argv = sys.argv, sys.argv[:1]
    yield
    sys.argv = arguments


@pytest.fixture(autouse=True)
def _no_modules_of_other_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The folder of a model module stays on the path of its process."""
    yield
    base = str(tmp_path_factory.getbasetemp())
    sys.path[:] = [entry for entry in sys.path if not entry.startswith(base)]


@pytest.fixture
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves writes to the kernel: on a busy disk, syncing is most of what a repository's tests would wait for."""

    def fsync(descriptor: int) -> None:
        assert descriptor >= 0

    monkeypatch.setattr(os, "fsync", fsync)
