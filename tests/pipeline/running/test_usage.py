"""What a step costs, measured on steps whose cost is known."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from pipeline.running.usage import measured

MEBIBYTE = 2**20
TAKE = f"import time; data = bytearray(300 * {MEBIBYTE}); print('ready', flush=True); input()"


PEAKS = f"""
from pipeline.running.usage import measured
before = b"x" * (400 * {MEBIBYTE})
del before
with measured() as small:
    pass
with measured() as large:
    data = b"x" * (400 * {MEBIBYTE})
    del data
print(small.usage.peak_bytes, large.usage.peak_bytes)
"""


def test_the_peak_is_that_of_the_step_and_not_of_one_before() -> None:
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    small, large = map(int, done.stdout.split())
    assert 350 * MEBIBYTE < large - small < 500 * MEBIBYTE


def test_memory_of_a_child_counts_while_it_lives() -> None:
    with measured() as meter:
        child = subprocess.Popen([sys.executable, "-c", TAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        meter.look()
        child.communicate(b"\n")
    with measured() as alone:
        pass
    assert meter.usage is not None
    assert alone.usage is not None
    assert meter.usage.peak_bytes - alone.usage.peak_bytes > 250 * MEBIBYTE


@pytest.mark.parametrize("in_child", [False, True], ids=["here", "in-a-child"])
def test_processor_time_is_that_of_the_step(in_child: bool) -> None:
    with measured() as meter:
        if in_child:
            code = "import time\nwhile time.process_time() < 1: pass"
            subprocess.run([sys.executable, "-c", code], check=True)
        else:
            until = time.process_time() + 1
            while time.process_time() < until:
                pass
    assert meter.usage is not None
    assert 0.9 <= meter.usage.cpu_seconds < 3


def test_a_step_that_raises_is_measured_too() -> None:
    with pytest.raises(ValueError, match="no"), measured() as meter:
        raise ValueError("no")
    assert meter.usage is not None
