"""What every tier needs: quiet libraries, and a ``sys.argv`` that TFX's executors can parse."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from components.compat import quiet_libraries

quiet_libraries()


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
