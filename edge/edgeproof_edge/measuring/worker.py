"""What runs on the device: the model on the rows that were sent, timed in turns with its float twin.

Rules, in order: 1. Rows go in as `EdgeModel` sends them: one declared batch at a time, quantized once. 2. Memory is taken before the twin
is loaded. 3. Both are timed in turns, so that whatever else the device does slows both. 4. A model that the runtime refuses is an
answer, with the reason; so is a twin that it refuses.
"""

from __future__ import annotations

import io
import os
import platform
import resource
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_edge.codes import dequantizer, quantizer, takes_one_shape
from edgeproof_edge.errors import EdgeproofError
from edgeproof_edge.interpreter import Delegation, Kernels, TFLiteModel, delegation
from edgeproof_edge.litert import open_delegate, runtime_version
from edgeproof_edge.measuring import (
    ANSWER_FILE,
    FACTS_MEMBER,
    FLOAT_FILE,
    MODEL_FILE,
    OUTPUT_PREFIX,
    REQUEST_FILE,
    ROWS_FILE,
    Facts,
    Machine,
    Request,
    Times,
)
from edgeproof_edge.measuring.hardware import device_model, read_text, temperature
from edgeproof_edge.rows import RowOrder

#: Calls that are not counted: the first ones allocate and warm caches.
NUM_WARM_UP = 5
#: Rows that the timed calls go through: what a call costs may depend on its values.
MAX_TIMED_ROWS = 32
#: At least so many calls are timed, however long they take.
MIN_RUNS = 5

Array = NDArray[Any]
Rows = Mapping[str, Array]


def main() -> None:
    """Reads the payload that this is run from, measures, and writes the answer beside it."""
    with zipfile.ZipFile(sys.argv[0]) as payload:
        names = payload.namelist()
        request = Request(**_json(payload.read(REQUEST_FILE)))
        model = payload.read(MODEL_FILE)
        twin = payload.read(FLOAT_FILE) if FLOAT_FILE in names else None
        rows = unpack_rows(payload.read(ROWS_FILE), request.dtypes)
    facts, outputs = measure(model, twin, rows, request)
    arrays = {f"{OUTPUT_PREFIX}{name}": values for name, values in outputs.items()}
    path = Path(sys.argv[1] if len(sys.argv) > 1 else ANSWER_FILE)
    text = np.frombuffer(facts.to_json().encode(), np.uint8)
    with path.open("wb") as file:
        np.savez_compressed(file, **{FACTS_MEMBER: text, **arrays})


def unpack_rows(content: bytes, dtypes: Mapping[str, str]) -> dict[str, Array]:
    """The rows in the types of the model's inputs."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name].astype(dtype, copy=False) for name, dtype in dtypes.items()}


def measure(model: bytes, twin: bytes | None, rows: Rows, request: Request) -> tuple[Facts, dict[str, Array]]:
    """Runs a model on rows and times it.

    Args:
        model: Its bytes.
        twin: Those of its float twin, if there is one.
        rows: Inputs by name, batch first, in real-world units.
        request: How to run it.

    Returns:
        What was seen, and the outputs by name, batch first, in real-world units; none where the runtime refuses the model.
    """
    memory_before = _current_memory()
    _forget_peak()
    try:
        started = time.perf_counter()
        caller = _Caller(_load(model, request))
        load_ms = 1000 * (time.perf_counter() - started)
        share = _checked_delegation(caller, request)
        started = time.perf_counter()
        caller.call(caller.batch(rows, 0))
        first_ms = 1000 * (time.perf_counter() - started)
        caller.model.restart()
        outputs = caller.answers(rows)
    except EdgeproofError as error:
        return Facts(machine_facts(), refusal=str(error)), {}
    memory = _peak_memory()
    other, refusal = _open_twin(twin, rows, request)
    times = _times([each for each in (caller, other) if each is not None], rows, request)
    facts = Facts(
        machine=machine_facts(),
        times=times[0],
        float_times=times[1] if other is not None else None,
        float_refusal=refusal,
        first_call_ms=round(first_ms, 4),
        load_ms=round(load_ms, 4),
        declared_batch=caller.model.declared_batch,
        memory_mb=memory,
        model_memory_mb=None if memory is None or memory_before is None else round(max(0.0, memory - memory_before), 3),
        delegate=_delegate_name(request),
        partitions=None if share is None else share.partitions,
        delegated_fraction=None if share is None else round(share.delegated_fraction, 6),
        builtin_operators=() if share is None else share.builtin_operators,
        temperature_c=temperature(),
    )
    return facts, outputs


class _Caller:
    """One model, called with one declared batch as `EdgeModel` calls it."""

    def __init__(self, model: TFLiteModel) -> None:
        self.model = model
        self._quantizers = [(spec.name, quantizer(spec)) for spec in model.inputs]
        self._dequantizers = [(spec.name, dequantizer(spec)) for spec in model.outputs]
        self._is_simple = all(takes_one_shape(spec) for spec in model.inputs)

    def batch(self, rows: Rows, index: int) -> dict[str, Array]:
        """The rows of one call."""
        size = self.model.declared_batch
        return {spec.name: rows[spec.name][index * size : (index + 1) * size] for spec in self.model.inputs}

    def call(self, batch: Rows) -> dict[str, Array]:
        """Outputs by name."""
        is_whole = all(len(array) == self.model.declared_batch for array in batch.values())
        if not is_whole or not self._is_simple or any(array.dtype.char not in "fB" for array in batch.values()):
            return self.model.predict(batch)
        raw = self.model.invoke_codes([quantize(batch[name]) for name, quantize in self._quantizers])
        return {name: transform(codes) for (name, transform), codes in zip(self._dequantizers, raw, strict=True)}

    def answers(self, rows: Rows) -> dict[str, Array]:
        """Outputs of all rows."""
        num_calls = -(-len(next(iter(rows.values()))) // self.model.declared_batch)
        parts = [self.call(self.batch(rows, index)) for index in range(num_calls)]
        return {spec.name: np.concatenate([part[spec.name] for part in parts]) for spec in self.model.outputs}


def _load(content: bytes, request: Request) -> TFLiteModel:
    delegates = [open_delegate(request.delegate, {})] if request.delegate else []
    return TFLiteModel.load(
        content, Kernels(request.kernels), request.num_threads, RowOrder(request.order), delegates=delegates
    )


def _open_twin(content: bytes | None, rows: Rows, request: Request) -> tuple[_Caller | None, str]:
    """The float twin under the same kernels, without the delegate where that takes integers only."""
    if content is None:
        return None, ""
    try:
        twin = _Caller(_load(content, request))
        twin.call(twin.batch(rows, 0))
    except (EdgeproofError, KeyError) as error:
        return None, str(error)
    return twin, ""


def _times(callers: list[_Caller], rows: Rows, request: Request) -> list[Times]:
    num_batches = max(1, min(MAX_TIMED_ROWS, len(next(iter(rows.values()))) // callers[0].model.declared_batch))
    batches = [[caller.batch(rows, index) for index in range(num_batches)] for caller in callers]
    samples: list[list[float]] = [[] for _ in callers]
    ends = time.monotonic() + request.max_seconds
    for run in range(NUM_WARM_UP + request.num_runs):
        for caller, own, kept in zip(callers, batches, samples, strict=True):
            milliseconds = _timed(caller.call, own[run % num_batches])
            if run >= NUM_WARM_UP:
                kept.append(milliseconds)
        if time.monotonic() > ends and len(samples[0]) >= MIN_RUNS:
            break
    return [_summary(kept) for kept in samples]


def _timed(call: Callable[[Rows], Any], batch: Rows) -> float:
    started = time.perf_counter()
    call(batch)
    return 1000 * (time.perf_counter() - started)


def _summary(milliseconds: list[float]) -> Times:
    p50, p90, p99 = (round(float(share), 5) for share in np.percentile(milliseconds, (50, 90, 99)))
    return Times(p50, p90, p99, round(float(np.mean(milliseconds)), 5), round(max(milliseconds), 5), len(milliseconds))


def _checked_delegation(caller: _Caller, request: Request) -> Delegation | None:
    share = delegation(caller.model)
    if request.require_delegate and (share is None or not share.partitions):
        raise EdgeproofError(
            f"{_delegate_name(request)} computes {'an unknown share' if share is None else 'none'} of the operators under "
            f"{runtime_version()}, and it is required. Check the delegate's driver, or do not require it."
        )
    return share


def _delegate_name(request: Request) -> str:
    return Path(request.delegate).name if request.delegate else request.kernels


def machine_facts() -> Machine:
    """What this is."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return Machine(
        model=device_model(),
        system=f"{platform.system()} {platform.release()}",
        processor=platform.machine(),
        num_processors=len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1,
        python=platform.python_version(),
        runtime=runtime_version(),
    )


def _current_memory() -> float | None:
    """Megabytes of this process now; None where the system does not tell."""
    return _status("VmRSS:")


def _peak_memory() -> float | None:
    peak = _status("VmHWM:")
    if peak is not None:
        return peak
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kilobytes / 1000, 3) if kilobytes else None


def _status(field: str) -> float | None:
    for line in (read_text(Path("/proc/self/status")) or "").splitlines():
        if line.startswith(field):
            return round(int(line.split()[1]) * 1024 / 1e6, 3)
    return None


def _forget_peak() -> None:
    """The peak so far is that of reading the files; where it cannot be forgotten, it stays in the figure."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def _json(content: bytes) -> dict[str, Any]:
    import json

    return dict(json.loads(content))
