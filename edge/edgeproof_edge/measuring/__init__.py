"""Measuring a model on the device that is to run it: what is sent there, and what comes back.

Rules, in order: 1. The code that runs there is this package itself, sent along: the numerics that judged the model, whatever is installed
there beside Python, NumPy and a runtime. 2. A device is left as it was: everything lies in one directory, which goes with the
process, however that ends (`supervisor`). 3. What comes back is what happened there: outputs, times, memory, delegation.

`request.json`, `model.tflite`, `rows.npz` and, where there is one, `float.tflite` go there in one file beside the code; `answer.npz` comes
back.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

REQUEST_FILE = "request.json"
MODEL_FILE = "model.tflite"
FLOAT_FILE = "float.tflite"
ROWS_FILE = "rows.npz"
ANSWER_FILE = "answer.npz"
#: The member of `answer.npz` that holds `Facts` as bytes of JSON; outputs are `output:<name>`.
FACTS_MEMBER = "facts"
OUTPUT_PREFIX = "output:"


@dataclass(frozen=True)
class Request:
    """How the model is to be run there.

    Attributes:
        dtypes: Type of every input; rows travel in a smaller one where that loses nothing.
        order: What rows are to one another, a `RowOrder`.
        kernels: What computes where no delegate does, a `Kernels`.
        num_threads: Threads of one invoke.
        delegate: Shared library of a delegate there; None for none.
        require_delegate: Whether to refuse where it (or XNNPACK, without one) computes nothing.
        num_runs: Measured calls of each model.
        max_seconds: Measuring ends after so long with fewer calls.
    """

    dtypes: dict[str, str]
    order: str = "auto"
    kernels: str = "xnnpack"
    num_threads: int = 1
    delegate: str | None = None
    require_delegate: bool = False
    num_runs: int = 200
    max_seconds: float = 30.0

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Times:
    """Milliseconds of one call with one declared batch, quantizing and dequantizing included."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    max_ms: float
    num_runs: int


@dataclass(frozen=True)
class Machine:
    """What ran the model.

    Attributes:
        model: Kind of device, as in "Raspberry Pi 4 Model B Rev 1.4"; None where it does not say.
        system: As in "Linux 6.1.21-v8+".
        processor: As in "aarch64".
        num_processors: That a process may use.
        python: Version.
        runtime: Name and version, as in "ai-edge-litert 2.3.0".
    """

    model: str | None
    system: str
    processor: str
    num_processors: int
    python: str
    runtime: str


@dataclass(frozen=True)
class Facts:
    """What was seen there.

    Attributes:
        machine: What ran the model.
        refusal: Why the runtime there does not run the model; empty where it does. Nothing below is known then.
        times: Of the model.
        float_times: Of its float twin, measured in turns with it; None where there is none, or it does not run there.
        float_refusal: Why the twin does not run there; empty where it does.
        first_call_ms: Of the first call after loading.
        load_ms: Of loading.
        declared_batch: Examples of one call.
        memory_mb: Peak of the process that ran the model, with Python and NumPy; None where the system does not tell.
        model_memory_mb: What loading and running the model added to it; None likewise.
        delegate: What was asked to compute.
        partitions: Pieces of the graph that it runs; None where the runtime does not tell.
        delegated_fraction: Share of the operators that it computes; None likewise.
        builtin_operators: Operators left to built-in kernels.
        temperature_c: Of the hottest sensor after measuring; None where there is none.
    """

    machine: Machine
    refusal: str = ""
    times: Times | None = None
    float_times: Times | None = None
    float_refusal: str = ""
    first_call_ms: float | None = None
    load_ms: float | None = None
    declared_batch: int = 1
    memory_mb: float | None = None
    model_memory_mb: float | None = None
    delegate: str = ""
    partitions: int | None = None
    delegated_fraction: float | None = None
    builtin_operators: tuple[str, ...] = ()
    temperature_c: float | None = None

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Facts:
        """Reads what `to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError: It is something else.
        """
        content = json.loads(text)
        times = {name: Times(**content[name]) for name in ("times", "float_times") if content[name] is not None}
        operators = tuple(content["builtin_operators"])
        return cls(**{**content, **times, "machine": Machine(**content["machine"]), "builtin_operators": operators})
