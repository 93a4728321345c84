"""What every tier needs: quiet libraries, and a ``sys.argv`` that TFX's executors can parse."""

from __future__ import annotations

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
