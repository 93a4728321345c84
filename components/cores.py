"""How many cores this process may use: its affinity, and no more than its control group's quota."""

from __future__ import annotations

import math
import os
from pathlib import Path

_QUOTA_FILE = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """At least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    allowed = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min(allowed, _quota(allowed)))


def _quota(without: int) -> int:
    """Whole cores of the control group's quota; ``without`` where there is none."""
    try:
        quota, period = _QUOTA_FILE.read_text().split()
        return without if quota == "max" else math.ceil(int(quota) / int(period))
    except (OSError, ValueError):
        return without
