"""How a model is measured on a device: numbers of rows and calls, time, delegates."""

from __future__ import annotations

from dataclasses import dataclass

#: Rows that run there: enough for the answers of every class of a small model, and seconds on a slow device.
DEFAULT_NUM_ROWS = 100
DEFAULT_NUM_RUNS = 200
#: Seconds until a measurement ends, whatever it has.
DEFAULT_SECONDS = 300


@dataclass(frozen=True)
class Options:
    """How it is measured; see :class:`edgeproof_edge.measuring.Request`."""

    num_rows: int = DEFAULT_NUM_ROWS
    num_runs: int = DEFAULT_NUM_RUNS
    seconds: float = DEFAULT_SECONDS
    kernels: str = "xnnpack"
    num_threads: int = 1
    delegate: str | None = None
    require_delegate: bool = False
