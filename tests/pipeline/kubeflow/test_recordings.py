"""The fake server answers as the real one did: recorded questions are asked again, and the answers are held against the recorded ones."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.kubeflow.fake_server import Server, serving

RECORDINGS = json.loads((Path(__file__).parent / "recordings.json").read_text(encoding="utf-8"))
IDS = ("experiment_id", "pipeline_id", "pipeline_version_id", "recurring_run_id", "run_id")
BOUNDARY = "f00"


@pytest.fixture
def server() -> Iterator[Server]:
    """With what was stored before the recording began."""
    stored = RECORDINGS["stored"]
    seeded = Server(experiments=stored["experiments"], pipelines=stored["pipelines"], versions=stored["versions"])
    with serving(seeded) as server:
        yield server


def test_every_recorded_question_is_answered_alike(server: Server) -> None:
    ids: dict[str, str] = {}
    for exchange in RECORDINGS["exchanges"]:
        status, answer = ask(server.host, exchange, ids)
        recorded = exchange["response"]
        where = f"{exchange['method']} {exchange['path']}"
        assert (where, status) == (where, exchange["status"])
        if status == 200:
            assert (where, set(recorded) - set(answer) - {"service_account", "scheduled_at"}) == (where, set())
        else:
            assert (where, answer) == (where, recorded | shared_detail(answer, recorded))
        ids |= {recorded[name]: answer[name] for name in IDS if name in recorded and name in answer}


def shared_detail(answer: dict[str, Any], recorded: dict[str, Any]) -> dict[str, Any]:
    """A stack trace is cut after its first line in the recording."""
    detail = answer.get("error_details")
    return {"error_details": detail} if detail and detail.startswith(recorded["error_details"]) else {}


def ask(host: str, exchange: dict[str, Any], ids: dict[str, str]) -> tuple[int, Any]:
    def of_this_server(text: str) -> str:
        for recorded, answered in ids.items():
            text = text.replace(recorded, answered)
        return text

    headers, data = {}, None
    if "upload" in exchange:
        headers["Content-Type"] = f"multipart/form-data; boundary={BOUNDARY}"
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="uploadfile"; filename="p.yaml"\r\n\r\n'
        data = f"{head}{exchange['upload']}\r\n--{BOUNDARY}--\r\n".encode()
    elif exchange.get("request") is not None:
        headers["Content-Type"] = "application/json"
        data = of_this_server(json.dumps(exchange["request"])).encode()
    address = host + of_this_server(exchange["path"])
    request = urllib.request.Request(address, data, headers, method=exchange["method"])
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())
