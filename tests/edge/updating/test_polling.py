"""When devices ask again: a fleet does not come back as one."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from edgeproof_edge.updating.polling import Polling


def test_a_fleet_spreads_out_and_keeps_to_its_interval() -> None:
    waits = [Polling(600.0, random.Random(device)).succeeded() for device in range(1000)]
    assert 540 <= min(waits) < 550
    assert 650 < max(waits) <= 660
    first = [Polling(600.0, random.Random(device)).first_wait() for device in range(1000)]
    assert min(first) < 1
    assert max(first) > 59


@pytest.mark.parametrize("device", range(20))
def test_waits_behind_failures_grow_to_an_hour_and_a_success_ends_them(device: int) -> None:
    polling = Polling(7200.0, random.Random(device))
    waits = [polling.failed() for _ in range(40)]
    assert 7.5 <= waits[0] <= 15
    assert all(0.99 <= later / earlier <= 4.0 for earlier, later in pairwise(waits[:8]))
    assert min(waits[9:]) >= 1800
    assert max(waits) <= 3600
    polling.succeeded()
    assert polling.failed() <= 15


def test_a_device_that_asks_every_minute_does_not_wait_longer_after_a_failure() -> None:
    polling = Polling(60.0, random.Random(1))
    assert max(polling.failed() for _ in range(20)) <= 60
