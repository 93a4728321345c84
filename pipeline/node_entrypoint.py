"""The command of a pod: runs one node of a compiled pipeline, or all of them one after the other.

Rules, in order: 1. A node that is not done ends the pod with another code than 0 and the reason; one that is not to run is skipped with
0. 2. What passes by (a bucket or ML Metadata away, a server's 5xx) is tried again here: not every Kubeflow starts a pod again for an exit
code. 3. The same run's finished nodes are not done again. 4. SIGTERM ends the node within seconds, recorded as failed and not as running.
5. The process ends without the interpreter's own clean-up, in which libraries of remote file systems abort.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeproof_edge.errors import EdgeproofError, InputError, SurroundingsError

from pipeline.errors import ConfigError, RunError
from pipeline.mlmd import MetadataLocation, NodeRun, RunPurpose, RunStore
from pipeline.running.failures import causes_of

if TYPE_CHECKING:
    from pipeline.history.run_record import NodeUsage

_logger = logging.getLogger("edgeproof.pod")

METADATA_VARIABLE = "EDGEPROOF_METADATA"
PASSWORD_VARIABLE = "EDGEPROOF_METADATA_PASSWORD"
#: What Kubeflow tells every pod about its own ML Metadata.
_KUBEFLOW_HOST, _KUBEFLOW_PORT = "METADATA_GRPC_SERVICE_HOST", "METADATA_GRPC_SERVICE_PORT"
#: Seconds before the next try of something that passes by.
WAITS_VARIABLE = "EDGEPROOF_RETRY_SECONDS"
DEFAULT_WAITS = "5 20 60 180"
#: Words of the libraries' errors about servers that are away or overloaded.
_PASSING = (
    *("unavailable", "timed out", "timeout", "connection refused", "connection reset", "could not connect"),
    *("temporarily", "service unavailable", "internal server error", "bad gateway", "slow down", "too many requests"),
    *("endpointconnectionerror", "connectionerror", "broken pipe", "does not answer", "server has gone away"),
)
_EXIT_USAGE, _EXIT_TERMINATED = 2, 143


def metadata_location() -> MetadataLocation:
    """ML Metadata as the pod's environment names it: an address, or Kubeflow's own.

    Raises:
        ConfigError: It names none.
    """
    environment = os.environ
    url = environment.get(METADATA_VARIABLE)
    if not url and environment.get(_KUBEFLOW_HOST):
        url = f"grpc://{environment[_KUBEFLOW_HOST]}:{environment.get(_KUBEFLOW_PORT, '8080')}"
    if not url:
        raise ConfigError(
            f"nothing says where ML Metadata is: set {METADATA_VARIABLE} (mysql://, postgresql://, grpc:// or sqlite:///file), or give "
            f"kubeflow.metadata in the config. Kubeflow's own comes with its ConfigMap as {_KUBEFLOW_HOST}."
        )
    return MetadataLocation(url, environment.get(PASSWORD_VARIABLE, ""))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what the arguments ask for; returns the exit code."""
    asked = _parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    from components.compat import quiet_libraries

    quiet_libraries()
    try:
        location = metadata_location()
        _end_at_sigterm(location, asked.run_id, asked.node)
        for node, usage in _run(asked, location):
            _logger.info("%s: %s after %.1f s%s", node.name, node.state, node.seconds, _cost(usage))
    except EdgeproofError as error:
        return _told(error)
    except Exception as error:
        _logger.exception("the node failed")
        return _told(RunError(f"{type(error).__name__}: {error}"))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.node_entrypoint", allow_abbrev=False)
    parser.add_argument(
        "--ir", required=True, help="The node's part of the compiled pipeline, as the compiler writes it."
    )
    parser.add_argument("--node", help="The node's id; without it, all nodes of --ir run one after the other.")
    parser.add_argument(
        "--run-id", required=True, help="The run: the same in all its pods, and when a pod is started again."
    )
    parser.add_argument("--schedule-time", default="", help="When the schedule fired.")
    parser.add_argument("--reason", default="", help="Why the run was started.")
    parser.add_argument("--trigger-key", default="", help="Which trigger started it.")
    parser.add_argument(
        "--data-span", default="", help="Which span of the data it is for; by default the one that is read."
    )
    parser.add_argument(
        "--data-section", default="", help="The config's section data, for the node that reads the data."
    )
    parser.add_argument("--executor-input", default="", help="Kubeflow's description of the task's outputs.")
    return parser


def _told(error: EdgeproofError) -> int:
    print(f"error: {error}", file=sys.stderr, flush=True)
    return int(error.exit_code)


def _cost(usage: NodeUsage | None) -> str:
    """What a node cost, imports of its own among it, in the units in which pods ask for memory."""
    if usage is None:
        return ""
    return f", {usage.cpu_seconds:.1f} s of processor time, {usage.peak_bytes / 1e9:.2f} GB of memory at most"


def _run(asked: argparse.Namespace, location: MetadataLocation) -> Iterator[tuple[NodeRun, NodeUsage | None]]:
    from components.compat import skip_autograph_conversion
    from pipeline.config.data import DataConfig
    from pipeline.kubeflow.node_ir import decode
    from pipeline.running import launching
    from pipeline.running.usage import measured
    from pipeline.running.world import DataPlace

    _logger.info("TFX is loaded, after %.1f s of processor time", time.process_time())
    skip_autograph_conversion()
    sys.argv = sys.argv[:1]  # TFX's executors parse it as Beam's flags
    ir = launching.bound(decode(asked.ir), asked.run_id)
    section = DataConfig.model_validate_json(asked.data_section) if asked.data_section else None
    data = DataPlace(section, Path(tempfile.gettempdir())) if section is not None else None
    purpose = RunPurpose(asked.reason, asked.trigger_key, asked.schedule_time, asked.data_span)
    _patiently(partial(RunStore(location).begin, asked.run_id, purpose))
    for node_id in [asked.node] if asked.node else launching.node_ids(ir):
        with measured() as meter:
            node = _patiently(partial(launching.launch, ir, node_id, location, data))
        yield node, meter.usage
        if node.state == launching.SKIPPED:
            continue
        if not node.is_done:
            raise RunError(f"{node_id} ended as {node.state}: its inputs cannot be found, or the log above says why")
        if node_id == "Evaluator":
            from pipeline.kubeflow.shown import show_evaluation
            from pipeline.kubeflow.verdict import verdict_line

            verdict = show_evaluation(node, asked.executor_input)
            print(verdict_line(verdict), flush=True)


def _patiently(work: Callable[[], Any]) -> Any:
    """Does it again where what failed passes by."""
    waits = [float(wait) for wait in os.environ.get(WAITS_VARIABLE, DEFAULT_WAITS).split()]
    for wait in waits:
        try:
            return work()
        except Exception as error:
            if not is_passing(error):
                raise
            _logger.warning("%s: %s; trying again in %.0f s", type(error).__name__, error, wait)
            time.sleep(wait)
    return work()


def is_passing(error: BaseException) -> bool:
    """Whether an error may be gone in a minute: a server that does not answer, not a mistake of data, model or config."""
    if isinstance(error, InputError):
        return False
    causes = causes_of(error)
    # A RunError is of the surroundings, too, and says with its words whether it may pass.
    if any(isinstance(cause, (ConnectionError, TimeoutError)) or type(cause) is SurroundingsError for cause in causes):
        return True
    texts = [f"{type(cause).__name__} {cause}".lower() for cause in causes]
    return any(word in text for word in _PASSING for text in texts)


def _end_at_sigterm(location: MetadataLocation, run_id: str, node: str | None) -> None:
    """A pod that is stopped has seconds; the main thread may be deep in a library that never looks at signals, so another one ends it."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGTERM, _heard)

    def wait() -> None:
        while os.read(reading, 1) != bytes([signal.SIGTERM]):
            pass
        _logger.warning("stopped by SIGTERM")
        try:
            RunStore(location).fail_running(run_id, node)
        finally:
            _leave(_EXIT_TERMINATED)

    threading.Thread(target=wait, daemon=True, name="sigterm").start()


def _heard(number: int, frame: Any) -> None:
    """Nothing: the other thread reads it, whatever the main one is at."""


def _leave(exit_code: int) -> None:
    """Ends the process at once: child processes too, and without clean-ups of libraries, which may abort."""
    for child in _children():
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            continue
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def _children() -> list[int]:
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(number) for number in text.split()]


if __name__ == "__main__":
    try:
        code = main()
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else _EXIT_USAGE
    _leave(code)
