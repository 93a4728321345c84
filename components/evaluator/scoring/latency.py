"""Times two .tflite files on this host, in turns, so that whatever else the host does slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from edgeproof_edge.errors import EdgeproofError
from numpy.typing import NDArray

if TYPE_CHECKING:
    from edgeproof_edge.interpreter import TFLiteModel

#: Runs that are not counted: the first ones allocate and warm caches.
NUM_WARM_UP = 5
#: Runs of each model; the median of 50 moved by less than 2 % from one measurement to the next on a quiet host.
NUM_RUNS = 50


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one invoke with one example, one thread, on the host that ran the gate."""

    name: str
    median_ms: float
    p90_ms: float
    num_runs: int

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


def measure_latencies(files: Mapping[str, Path]) -> tuple[Latency, ...]:
    """Milliseconds of one example through each file, one thread, quantizing and dequantizing included.

    Args:
        files: .tflite files by the name that the report gives them.

    Returns:
        One figure per file; none at all where a file cannot be loaded or run.
    """
    from edgeproof_edge.interpreter import TFLiteModel

    try:
        models = {name: TFLiteModel.load(path) for name, path in files.items()}
        rows = {name: _one_example(model) for name, model in models.items()}
        samples: dict[str, list[float]] = {name: [] for name in models}
        for run in range(NUM_WARM_UP + NUM_RUNS):
            for name, model in models.items():
                start = time.perf_counter()
                model.predict(rows[name])
                if run >= NUM_WARM_UP:
                    samples[name].append(1000 * (time.perf_counter() - start))
    except EdgeproofError:
        return ()
    return tuple(_summary(name, found) for name, found in samples.items())


def _one_example(model: TFLiteModel) -> dict[str, NDArray[Any]]:
    return {
        spec.name: np.zeros(
            [1, *(1 if size == -1 else size for size in spec.shape[1:])],
            np.float32 if spec.is_quantized else spec.dtype,
        )
        for spec in model.inputs
    }


def _summary(name: str, samples: list[float]) -> Latency:
    p90 = statistics.quantiles(samples, n=10)[-1]
    return Latency(name, round(statistics.median(samples), 4), round(p90, 4), len(samples))
