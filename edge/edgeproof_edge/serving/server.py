"""The HTTP server of a device.

    GET  /            a page that shows the model and takes a picture to try it
    POST /v1/predict  a picture (any image type, or application/octet-stream), a .npy array (application/x-npy), or
                      {"inputs": {name: rows}} (application/json); `?top=5`, `?outputs=1` for the raw outputs
    GET  /v1/model    what runs here, as JSON
    GET  /healthz     200 where a model answers and the loop is alive, else 503
    GET  /metrics     for Prometheus

Rules, in order: 1. What a caller sent wrong is a 400 with the reason, what the model failed at a 500, counted against the
release. 2. Bodies have a bound, and a caller who does not send what was announced is let go. 3. It listens on the machine
itself unless told otherwise: there is no authentication here.
"""

from __future__ import annotations

import io
import json
import logging
import math
import time
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from edgeproof_edge.agent.enrollment import HEARTBEAT_FILE
from edgeproof_edge.agent.loop import TICK_SECONDS, Agent
from edgeproof_edge.errors import InputError, SurroundingsError
from edgeproof_edge.runtime import EdgeModel
from edgeproof_edge.runtime.pictures import Picture
from edgeproof_edge.serving.metrics import metrics_text
from edgeproof_edge.serving.page import page

MAX_BODY_BYTES = 32 * 2**20
#: Longest silence of a caller.
CALLER_SECONDS = 30.0
#: A loop that has not shown itself for that long hangs.
MAX_HEARTBEAT_AGE = 30 * TICK_SECONDS
MAX_ROWS = 10_000

log = logging.getLogger("edgeproof.serve")


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body would wait 40 ms for the ACK of its headers
    server_version = "edgeproof-edge"
    sys_version = ""
    timeout = CALLER_SECONDS
    agent: Agent

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/":
            self._send(HTTPStatus.OK, page(self.agent), "text/html; charset=utf-8")
        elif path == "/healthz":
            self._health()
        elif path == "/metrics":
            self._send(HTTPStatus.OK, metrics_text(self.agent), "text/plain; version=0.0.4; charset=utf-8")
        elif path == "/v1/model":
            self._model()
        else:
            self._refuse(HTTPStatus.NOT_FOUND, f"there is nothing at {path}; see /, /v1/model, /healthz, /metrics.")

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        if url.path != "/v1/predict":
            self._refuse(
                HTTPStatus.NOT_FOUND, f"there is nothing at {url.path}; send pictures or arrays to /v1/predict."
            )
            return
        body = self._body()
        if body is None:
            return
        live = self.agent.live
        if live is None:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "there is no model on this device yet.")
            return
        try:
            content = _predicted(live.model, body, self.headers.get_content_type(), parse_qs(url.query))
        except InputError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except Exception as error:
            self.agent.num_calls += 1
            self.agent.failed()
            log.exception("the model failed")
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"the model failed: {error}")
        else:
            self.agent.num_calls += 1
            self._send_json(HTTPStatus.OK, content)

    def log_message(self, format: str, *arguments: object) -> None:
        log.debug(format, *arguments)

    def _body(self) -> bytes | None:
        """The request's body; None where it was refused."""
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "say the Content-Length of the body.")
        elif int(length) > MAX_BODY_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body of {length} bytes; {MAX_BODY_BYTES} are taken.")
        else:
            body = self.rfile.read(int(length))
            if len(body) == int(length):
                return body
            self.close_connection = True
        return None

    def _health(self) -> None:
        problem = health_problem(self.agent)
        status = HTTPStatus.OK if problem is None else HTTPStatus.SERVICE_UNAVAILABLE
        live = self.agent.live
        self._send_json(
            status,
            {
                "status": "ok" if problem is None else "unhealthy",
                "problem": problem,
                "version": None if live is None else live.model.version,
                "num_calls": self.agent.num_calls,
                "num_failures": self.agent.num_failures,
            },
        )

    def _model(self) -> None:
        if self.agent.live is None:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "there is no model on this device yet.")
            return
        self._send_json(HTTPStatus.OK, model_json(self.agent.live.model))

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self.close_connection = True  # the rest of the body was not read
        self._send_json(status, {"error": reason})

    def _send_json(self, status: HTTPStatus, content: Any) -> None:
        self._send(status, json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n", "application/json")

    def _send(self, status: HTTPStatus, text: str, kind: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)


class DeviceServer(ThreadingHTTPServer):
    """Its threads end with the process."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up is no error of the device."""
        log.debug("a caller hung up", exc_info=True)


def make_server(agent: Agent, host: str, port: int) -> DeviceServer:
    """A server that is ready; `serve_forever` runs it.

    Raises:
        SurroundingsError: The port is taken, or may not be used.
    """
    handler = type("DeviceHandler", (Handler,), {"agent": agent})
    try:
        return DeviceServer((host, port), handler)
    except (OSError, OverflowError) as error:
        raise SurroundingsError(f"{host}:{port} cannot be served: {error}. Give another --port, or --host.") from error


def health_problem(agent: Agent) -> str | None:
    """Why a device is not well; None where it is."""
    if agent.live is None:
        return "there is no model on this device yet"
    if agent.live.model.damage is not None:
        return agent.live.model.damage
    if not (agent.live.model.directory / "model.tflite").is_file():
        return f"{agent.live.model.directory} is gone"
    try:
        age = time.time() - (agent.home / HEARTBEAT_FILE).stat().st_mtime
    except OSError:
        return "the loop has not started"
    return None if age < MAX_HEARTBEAT_AGE else f"the loop has not shown itself for {age:.0f} s"


def model_json(model: EdgeModel) -> dict[str, Any]:
    """What runs, for programs."""
    return {
        "model": model.manifest.model_name,
        "version": model.version,
        "created": model.manifest.created,
        "recipe": model.manifest.recipe,
        "runtime": model.runtime,
        "delegation": asdict(model.delegation),
        "inputs": [asdict(spec) for spec in model.inputs],
        "outputs": [asdict(spec) for spec in model.outputs],
        "labels": list(model.manifest.labels),
    }


def _predicted(model: EdgeModel, body: bytes, kind: str, query: dict[str, list[str]]) -> dict[str, Any]:
    outputs = model.predict(_inputs(model, body, kind))
    content: dict[str, Any] = {"model": model.manifest.model_name, "version": model.version}
    if model.manifest.judged_output is not None:
        content["answers"] = [asdict(answer) for answer in model.answers_of(outputs, _number(query, "top", 5))]
    if model.manifest.judged_output is None or query.get("outputs") == ["1"]:
        content["outputs"] = {name: np.nan_to_num(values).tolist() for name, values in outputs.items()}
    finite: dict[str, Any] = _finite(content)
    return finite


def _inputs(model: EdgeModel, body: bytes, kind: str) -> Any:
    if not body:
        raise InputError("the body is empty; send a picture, a .npy array, or JSON.")
    if kind == "application/json":
        return _json_inputs(body)
    if kind == "application/x-npy" or body.startswith(b"\x93NUMPY"):
        return _npy(body)
    return model.prepared(Picture.read(body))[None]


def _json_inputs(body: bytes) -> dict[str, Any]:
    try:
        inputs = json.loads(body)["inputs"]
        arrays = {str(name): np.asarray(rows) for name, rows in inputs.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f'the body is not {{"inputs": {{name: rows}}}}: {type(error).__name__}: {error}.') from error
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" or array.ndim == 0:
            raise InputError(f"input {name!r} is no array of numbers with one row per example.")
        _check_rows(len(array))
    return arrays


def _npy(body: bytes) -> Any:
    try:
        array = np.load(io.BytesIO(body), allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, MemoryError) as error:
        raise InputError(f"the body is no .npy file: {error}.") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or array.ndim == 0:
        raise InputError("the .npy file holds no array of numbers with one row per example.")
    _check_rows(len(array))
    return array


def _check_rows(num_rows: int) -> None:
    if not 0 < num_rows <= MAX_ROWS:
        raise InputError(f"{num_rows} rows; from 1 to {MAX_ROWS} are taken at once.")


def _number(query: dict[str, list[str]], key: str, default: int) -> int:
    text = query.get(key, [str(default)])[0]
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 1000:
        raise InputError(f"{key}={text!r} must be a number from 1 to 1000.")
    return int(text)


def _finite(content: Any) -> Any:
    """The content without what JSON has no number for."""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
