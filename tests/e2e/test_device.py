"""A device's whole life on the demo's release, with real processes: enrolled, updated, asked, refusing, rolled back."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3
from edgeproof_edge.bundle import unpack

from releases.bundles.bundle import Draft
from releases.repository import Repository
from tests.e2e.projects import Project
from tests.releases.samples import open_repository, serving

pytestmark = [pytest.mark.e2e, pytest.mark.exhaustive]
NUM_IMAGES = 200
#: It takes well under a second; the machine may be busy.
STOP_SECONDS = 15.0


def edge(*arguments: str, code: int = 0) -> str:
    """Runs `edgeproof-edge`; what it printed."""
    done = subprocess.run([sys.executable, "-m", "edgeproof_edge", *arguments], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.fixture
def published(project: Project, first_run: dict[str, Any], tmp_path: Path) -> Iterator[tuple[Repository, str]]:
    """A copy of the project's releases, served, and its address."""
    shutil.copytree(project.repository, tmp_path / "repository")
    shutil.copytree(project.workspace / "keys", tmp_path / "keys")
    repository = open_repository(tmp_path)
    repository.point("1", "stable", 100, "test")
    (tmp_path / "root.json").write_bytes(repository.anchor)
    with serving(tmp_path / "repository") as url:
        yield repository, url


def _with_another_golden_answer(repository: Repository) -> Draft:
    """A release that was signed, and answers its golden vectors otherwise than they say."""
    release = repository.find("1")
    files = unpack(repository.store.read(release.file))
    with np.load(io.BytesIO(files["golden.npz"])) as archive:
        arrays = {name: archive[name] for name in archive.files}
    output = next(name for name in arrays if name.startswith("output:"))
    arrays[output] = np.roll(arrays[output], 1, axis=1)
    content = io.BytesIO()
    np.savez(content, **arrays)
    from edgeproof_edge.manifest import Manifest

    manifest = Manifest.from_json(files.pop("manifest.json"))
    files |= {"golden.npz": content.getvalue(), "labels.txt": files["labels.txt"] + b"\n"}
    entries = tuple(
        replace(entry, sha256=sha256(files[entry.name]).hexdigest(), size_bytes=len(files[entry.name]))
        for entry in manifest.files
    )
    return Draft("digits", files, replace(manifest, files=entries))


def test_a_device_lives_through_a_good_release_a_bad_one_and_a_rollback(
    project: Project, published: tuple[Repository, str], tmp_path: Path
) -> None:
    repository, url = published
    home = str(tmp_path / "device")
    edge("enroll", "--url", url, "--model", "digits", "--root", str(tmp_path / "root.json"), "--home", home,
         "--device-id", "pi-0042", "--telemetry", "http://127.0.0.1:9", "--window-seconds", "5")  # fmt: skip
    assert "release 000001-" in edge("update", "--home", home)
    images = sorted((project.directory / "images").rglob("*.png"))[:: 1797 // NUM_IMAGES][:NUM_IMAGES]
    answers = [json.loads(line) for line in edge("run", *map(str, images), "--home", home, "--json").splitlines()]
    assert len(answers) == NUM_IMAGES
    right = sum(answer["label"] == Path(answer["source"]).parent.name for answer in answers)
    assert right > 0.9 * NUM_IMAGES
    _serve_and_ask(home, images, [answer["label"] for answer in answers])
    status = json.loads(edge("status", "--home", home, "--json"))
    assert status["windows_waiting"] >= 1

    bad = repository.publish(_with_another_golden_answer(repository), "dev", "test")
    repository.point(bad.version, "stable", 100, "a hasty operator")
    edge("update", "--home", home, code=1)
    edge("update", "--home", home, code=1)  # marked bad, and not fetched again
    assert json.loads(edge("status", "--home", home, "--json"))["version"].startswith("000001-")
    repository.roll_back("stable", "the operator")
    assert "up to date" in edge("update", "--home", home)


def _serve_and_ask(home: str, images: list[Path], labels: list[str]) -> None:
    """The service as systemd runs it: 200 pictures over HTTP, SIGTERM, everything kept."""
    command = [sys.executable, "-m", "edgeproof_edge", "serve", "--home", home, "--port", "0"]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert service.stdout is not None
        url = service.stdout.readline().split()[-1]
        with urllib3.PoolManager() as pool:
            for image, label in zip(images, labels, strict=True):
                reply = pool.request("POST", f"{url}/v1/predict", body=image.read_bytes())
                assert json.loads(reply.data)["answers"][0]["label"] == label
            assert "edgeproof_latency_seconds_count" in pool.request("GET", f"{url}/metrics").data.decode()
            assert 'type="file"' in pool.request("GET", f"{url}/").data.decode()
        started = time.monotonic()
        service.send_signal(signal.SIGTERM)
        assert service.wait(timeout=30) == 0
        assert time.monotonic() - started < STOP_SECONDS
    finally:
        service.kill()
        service.communicate()
