"""Whether the gateway is well: its loop has shown itself within a minute, and the model that it answers with is on the volume.

Run as `python3 -I -S healthcheck.py`, every few seconds for years: it imports nothing but `os`, `sys` and `time`, and loads no model (a
hundredth of a second, where a second runtime would take half a second and 90 MB). `/healthz` says the same to who asks over HTTP.
"""

import os
import sys
import time

#: As `/healthz` (edgeproof_edge.serving.server.MAX_HEARTBEAT_AGE); a test holds both together.
MAX_HEARTBEAT_AGE = 60.0


def problem(home: str, now: float) -> str:
    """Why the gateway is not well; empty where it is.

    Args:
        home: The device's directory.
        now: Seconds since the epoch.
    """
    model = os.path.join(home, "current", "model.tflite")
    if not os.path.isfile(model):  # noqa: PTH113 - pathlib costs more than the rest
        return f"{model} is not there"
    try:
        age = now - os.stat(os.path.join(home, "heartbeat")).st_mtime  # noqa: PTH116
    except OSError as error:
        return f"the loop has not started: {error}"
    return "" if age < MAX_HEARTBEAT_AGE else f"the loop has not shown itself for {age:.0f} s"


if __name__ == "__main__":
    reason = problem(os.environ.get("EDGEPROOF_HOME", "/var/lib/edgeproof"), time.time())
    print(reason or "ok")
    sys.exit(1 if reason else 0)
