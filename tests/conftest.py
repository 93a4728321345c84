"""What every tier needs: quiet libraries, a ``sys.argv`` that TFX's executors can parse, and a fair division among workers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from components.compat import quiet_libraries

quiet_libraries()


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Among workers, a file stays whole, and so do all e2e tests: they share runs. They come first, as the longest."""
    if not hasattr(config, "workerinput"):
        return
    for item in items:
        is_run = item.get_closest_marker("e2e") is not None
        item.add_marker(pytest.mark.xdist_group("e2e" if is_run else item.path.stem))
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)


@pytest.fixture(autouse=True)
def _plain_arguments() -> Iterator[None]:
    """TFX's Beam executors parse ``sys.argv`` as flags and stop at pytest's ``-v``."""
    arguments, sys.argv = sys.argv, sys.argv[:1]
    yield
    sys.argv = arguments


@pytest.fixture
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves writes to the kernel: on a busy disk, syncing is most of what a repository's tests would wait for."""

    def fsync(descriptor: int) -> None:
        assert descriptor >= 0

    monkeypatch.setattr(os, "fsync", fsync)
