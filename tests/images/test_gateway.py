"""The gateway's image, built from this checkout and run as its users run it: read-only, non-root, its model on a volume."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.runtime import EdgeModel

from tests.edge.bundles import golden_draft, rows_for
from tests.images.engine import Engine
from tests.releases.samples import make_repository, serving

pytestmark = pytest.mark.images

MAX_BYTES = 148_000_000
MAX_STOP_SECONDS = 5.0
USER = 10001
NAME = "edgeproof-test-gateway"
PORT = 18_080
ADDRESS = f"http://127.0.0.1:{PORT}"
#: As docs/devices.md says to run it; the network is the host's, because nested ones are not to be had everywhere.
SAFE = (
    "--network=host",
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
)


@pytest.fixture(scope="module")
def home(engine: Engine, gateway: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A volume that the image enrolled and updated."""
    directory = tmp_path_factory.mktemp("gateway")
    repository = make_repository(directory)
    repository.publish(golden_draft(), "dev", "test")
    volume = directory / "volume"
    volume.mkdir()
    os.chown(volume, USER, USER)
    (directory / "root.json").write_bytes(repository.anchor)
    for path in (directory, directory.parent, directory.parent.parent):
        path.chmod(0o755)
    shared = (*SAFE, "--rm", "-v", f"{volume}:/var/lib/edgeproof")
    with serving(directory / "repository") as url:
        arguments = (
            "enroll",
            "--url",
            url,
            "--model",
            "digits",
            "--channel",
            "dev",
            "--root",
            "/run/root.json",
            "--device-id",
            "g",
        )
        engine.podman("run", *shared, "-v", f"{directory}/root.json:/run/root.json:ro", gateway, *arguments)
        told = engine.podman("run", *shared, gateway, "update", "--json")
        assert json.loads(told.stdout)["is_new"], told
        yield volume


@pytest.fixture
def running(engine: Engine, gateway: str, home: Path) -> Iterator[str]:
    engine.podman("rm", "--force", NAME, check=False)
    arguments = ("serve", "--port", str(PORT))
    engine.podman("run", "--detach", "--name", NAME, *SAFE, "-v", f"{home}:/var/lib/edgeproof", gateway, *arguments)
    try:
        wait_for(is_serving, engine)
        assert health(engine) == 0
        yield NAME
    finally:
        engine.podman("rm", "--force", NAME)


def test_the_image_is_small_and_says_how_it_is_run(engine: Engine, gateway: str) -> None:
    facts = json.loads(engine.podman("image", "inspect", gateway).stdout)[0]
    print(f"the gateway's image: {facts['Size'] / 1e6:.0f} MB ({facts['Architecture']})")
    assert facts["Size"] < MAX_BYTES
    assert facts["Config"]["User"] == f"{USER}:{USER}"
    assert facts["Config"]["Volumes"] == {"/var/lib/edgeproof": {}}
    assert "healthcheck.py" in " ".join(facts["Healthcheck"]["Test"])


def test_it_answers_read_only_and_as_nobody_in_particular(engine: Engine, running: str) -> None:
    process = json.loads(engine.podman("inspect", running).stdout)[0]["State"]["Pid"]
    status = Path(f"/proc/{process}/status").read_text()
    assert f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}" in status
    assert "CapEff:\t0000000000000000" in status
    script = "open('/opt/edgeproof/written', 'w')"
    written = engine.podman("exec", running, "/opt/edgeproof/bin/python3", "-c", script, check=False)
    assert "Read-only file system" in written.stderr
    rows = np.array([[0.5] * 8], np.float32)
    answered = post(f"{ADDRESS}/v1/predict?outputs=1", {"inputs": {"x": rows.tolist()}})
    assert len(answered["answers"]) == 1
    assert "class " in answered["answers"][0]["label"]


def test_its_answers_are_those_of_the_host(running: str, home: Path) -> None:
    rows = rows_for(TFLiteModel.load((home / "current/model.tflite").read_bytes()), 16, seed=7)
    with EdgeModel.open(home / "current") as model:
        ours = model.predict(rows)
    inputs = {name: values.tolist() for name, values in rows.items()}
    theirs = post(f"{ADDRESS}/v1/predict?outputs=1", {"inputs": inputs})["outputs"]
    for name, values in ours.items():
        assert np.abs(np.array(theirs[name]) - values).max() <= 0.01


def test_it_turns_unhealthy_when_the_model_is_taken_away_and_back(engine: Engine, running: str, home: Path) -> None:
    model = (home / "current").resolve() / "model.tflite"
    model.rename(model.with_suffix(".away"))
    try:
        told = engine.podman("healthcheck", "run", running, check=False)
        assert told.returncode == 1
        log = json.loads(engine.podman("inspect", running).stdout)[0]["State"]["Health"]["Log"]
        assert "model.tflite is not there" in log[-1]["Output"]
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"{ADDRESS}/healthz", timeout=5)
    finally:
        model.with_suffix(".away").rename(model)
    assert health(engine) == 0


def test_it_is_unhealthy_while_its_loop_hangs(engine: Engine, running: str, home: Path) -> None:
    process = json.loads(engine.podman("inspect", running).stdout)[0]["State"]["Pid"]
    os.kill(process, signal.SIGSTOP)
    try:
        past = time.time() - 61
        os.utime(home / "heartbeat", (past, past))
        assert health(engine) == 1
    finally:
        os.kill(process, signal.SIGCONT)
    wait_for(lambda: health(engine) == 0, engine)


def test_it_stops_within_five_seconds(engine: Engine, running: str) -> None:
    started = time.monotonic()
    engine.podman("stop", "--time", "60", running)
    seconds = time.monotonic() - started
    print(f"stopped after {seconds:.1f} s")
    assert seconds < MAX_STOP_SECONDS
    state = json.loads(engine.podman("inspect", running).stdout)[0]["State"]
    assert state["ExitCode"] == 0, state


def test_pictures_are_decoded_and_wrong_use_is_one_sentence(engine: Engine, gateway: str, home: Path) -> None:
    script = "from PIL import features; print(all(features.check(f) for f in ('jpg', 'zlib', 'webp', 'libtiff')))"
    python = ("run", "--rm", *SAFE, "--entrypoint", "/opt/edgeproof/bin/python3", gateway)
    assert engine.podman(*python, "-c", script).stdout == "True\n"
    not_enrolled = engine.podman("run", "--rm", *SAFE, gateway, check=False)
    told = [
        line for line in not_enrolled.stderr.splitlines() if not line.startswith("time=")
    ]  # podman's own, without systemd
    assert (not_enrolled.returncode, len(told)) == (2, 1)
    assert "/var/lib/edgeproof is not enrolled" in told[0]
    every = engine.podman("run", "--rm", *SAFE, "-v", f"{home}:/var/lib/edgeproof", gateway, "self-test")
    assert "32" in every.stdout + every.stderr


def health(engine: Engine) -> int:
    return engine.podman("healthcheck", "run", NAME, check=False).returncode


def is_serving() -> bool:
    try:
        with urllib.request.urlopen(f"{ADDRESS}/healthz", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def wait_for(is_so: Callable[[], bool], engine: Engine) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, engine.podman("logs", NAME).stderr
        time.sleep(0.2)


def post(url: str, content: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(content).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)
