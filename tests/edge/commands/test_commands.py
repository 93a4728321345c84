"""The command `edgeproof-edge`: a device's life by hand, and one sentence for every wrong input."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeproof_edge.commands import VERBS, main
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.updating.device_home import DeviceHome

from releases.repository import Repository
from tests.edge.bundles import MODELS, golden_draft, rows_for
from tests.releases.samples import make_repository, open_repository, serving

pytestmark = pytest.mark.usefixtures("no_sync")


@dataclass
class Device:
    """A device that can be told things, and the repository it follows."""

    home: Path
    url: str
    root: Path
    repository: Repository

    def enroll(self, *more: str) -> int:
        return run("enroll", "--url", self.url, "--model", "digits", "--channel", "dev", "--root", str(self.root),
                   "--device-id", "pi-0042", "--home", str(self.home), *more)  # fmt: skip

    def __call__(self, verb: str, *arguments: str) -> int:
        return run(verb, *arguments, "--home", str(self.home))

    @property
    def version(self) -> str | None:
        current = DeviceHome(self.home).current()
        return None if current is None else current.version[:6]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one release, and the home of a device that runs it."""
    directory = tmp_path_factory.mktemp("prepared")
    repository = make_repository(directory)
    repository.publish(golden_draft(), "dev", "test")
    (directory / "root.json").write_bytes(repository.anchor)
    with serving(directory / "repository") as url:
        device = Device(directory / "home", url, directory / "root.json", repository)
        assert device.enroll() == 0
        assert device("update") == 0
    return directory


@pytest.fixture
def device(prepared: Path, tmp_path: Path) -> Iterator[Device]:
    """A device that was told nothing yet."""
    for name in ("repository", "keys"):
        shutil.copytree(prepared / name, tmp_path / name)
    shutil.copy(prepared / "root.json", tmp_path / "root.json")
    with serving(tmp_path / "repository") as url:
        yield Device(tmp_path / "home", url, tmp_path / "root.json", open_repository(tmp_path))


@pytest.fixture
def running(prepared: Path, device: Device) -> Device:
    """A device that runs the first release."""
    shutil.copytree(prepared / "home", device.home, symlinks=True)
    enrolled = json.loads((device.home / "device.json").read_text())
    (device.home / "device.json").write_text(json.dumps({**enrolled, "url": device.url}))
    return device


def _json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_device_is_enrolled_updated_asked_and_rolled_back(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert device.enroll() == 0
    assert "pi-0042 follows dev" in capsys.readouterr().out
    assert device("update") == 0
    assert "release 000001-" in capsys.readouterr().out
    assert device("update") == 0
    assert "up to date" in capsys.readouterr().out
    rows = rows_for(TFLiteModel.load(MODELS / "int8.tflite"), 5)["x"]
    np.save(tmp_path / "rows.npy", rows)
    assert device("run", str(tmp_path / "rows.npy"), "--json") == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = TFLiteModel.load(MODELS / "int8.tflite").predict({"x": rows})["scores"].argmax(axis=1)
    assert [answer["index"] for answer in answers] == list(expected)
    device.repository.publish(golden_draft(text="b"), "dev", "test")
    assert device("update") == 0
    assert device.version == "000002"
    capsys.readouterr()
    assert device("rollback", "--reason", "it answers nonsense") == 0
    assert device.version == "000001"
    assert device("update") == 1
    assert "rolled back it answers nonsense" in capsys.readouterr().err
    assert device("status", "--json") == 0
    status = _json(capsys)
    assert status["version"].startswith("000001-")
    assert list(status["marked_bad"].values()) == ["rolled back it answers nonsense"]
    assert device("update", "--again", next(iter(status["marked_bad"]))) == 0
    assert device.version == "000002"


def test_a_release_that_fails_its_self_test_is_refused_and_the_old_one_stays(
    running: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    draft = golden_draft(text="b")
    golden = draft.manifest.golden
    assert golden is not None
    bad = replace(draft, manifest=replace(draft.manifest, golden=replace(golden, num_examples=golden.num_examples - 1)))
    running.repository.publish(bad, "dev", "test")
    assert running("update") == 1
    assert "failed its self-test" in capsys.readouterr().err
    assert running.version == "000001"


@pytest.mark.parametrize("text", ["0.5,1,2,3,4,5,6,7\n", "a,b,c,d,e,f,g,h\n0.5,1,2,3,4,5,6,7\n"])
def test_tables_are_read_with_and_without_a_header(
    running: Device, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.csv").write_text(text)
    assert running("run", str(tmp_path / "rows.csv")) == 0
    name, label, confidence = capsys.readouterr().out.strip().split("\t")
    assert name.endswith(f"rows.csv:{text.count(chr(10))}")
    assert label.startswith("class ")
    assert 0 < float(confidence) <= 1


def test_standard_input_is_read_too(
    running: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"0,1,2,3,4,5,6,7\n")))
    assert running("run", "-") == 0
    assert capsys.readouterr().out.startswith("stdin:1\tclass ")


def test_latency_is_measured_and_held_against_an_sla(running: Device, capsys: pytest.CaptureFixture[str]) -> None:
    assert running("bench", "--runs", "20", "--sla", "p50=10000", "--json") == 0
    content = _json(capsys)
    assert 0 < content["p50_ms"] <= content["p90_ms"] <= content["p99_ms"] <= content["max_ms"]
    assert content["is_within_sla"]
    assert running("bench", "--runs", "5", "--sla", "p90=0.0001") == 1
    assert "refused: p90 is" in capsys.readouterr().err
    assert running("bench", "--runs", "5", "--kernels", "builtin") == 0
    assert "built-in kernels run" in capsys.readouterr().err
    assert running("bench", "--runs", "5", "--kernels", "builtin", "--require-delegate") == 3


def test_the_self_test_and_the_inspection_are_there_by_hand(
    running: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    assert running("self-test") == 0
    assert "passed:" in capsys.readouterr().out
    assert running("inspect") == 0
    assert "FULLY_CONNECTED" in capsys.readouterr().out
    assert running("inspect", str(MODELS / "float32.tflite"), "--json") == 0
    assert _json(capsys)["load_tests"][0]["loads"]


def test_a_damaged_model_is_told_and_healed(running: Device, capsys: pytest.CaptureFixture[str]) -> None:
    (running.home / "current/model.tflite").write_bytes(b"")
    assert running("status") == 1
    assert "model.tflite has not the" in capsys.readouterr().out
    assert running("update") == 0
    assert "was damaged" in capsys.readouterr().err
    assert running("status") == 0


WRONG = [
    pytest.param(["enroll", "--url", "models.example.com", "--model", "digits", "--root", "{root}"], 2, id="enroll-no-url"),
    pytest.param(["enroll", "--url", "https://x", "--model", "../digits", "--root", "{root}"], 2, id="enroll-no-name"),
    pytest.param(["enroll", "--url", "https://x", "--model", "digits", "--root", "/nowhere"], 2, id="enroll-no-root"),
    pytest.param(["enroll", "--url", "{url}", "--model", "cats", "--root", "{root}"], 3, id="enroll-no-such-model"),
    pytest.param(["enroll", "--url", "http://127.0.0.1:9", "--model", "digits", "--root", "{root}"], 3, id="enroll-no-server"),
    pytest.param(["enroll", "--url", "{url}", "--model", "digits", "--root", "{root}", "--telemetry", "http://x"], 2,
                 id="enroll-token-in-the-clear"),
    pytest.param(["update", "--deadline", "soon"], 2, id="update-no-number"),
    pytest.param(["update", "--again", "000009"], 2, id="update-nothing-to-forgive"),
    pytest.param(["update", "--home", "/proc/nowhere"], 2, id="update-not-enrolled"),
    pytest.param(["status", "--home", "/nowhere"], 2, id="status-not-enrolled"),
    pytest.param(["run", "/nowhere.png"], 2, id="run-no-file"),
    pytest.param(["run", "{root}"], 2, id="run-no-numbers"),
    pytest.param(["run", "{narrow}"], 2, id="run-too-few-columns"),
    pytest.param(["run", "{home}/metadata"], 2, id="run-nothing-in-the-folder"),
    pytest.param(["run", "x.npy", "--bundle", "/nowhere"], 2, id="run-no-bundle"),
    pytest.param(["serve", "--port", "70000"], 2, id="serve-no-port"),
    pytest.param(["serve", "--host", "203.0.113.1"], 3, id="serve-an-address-of-another-machine"),
    pytest.param(["self-test", "--bundle", "{home}/metadata"], 1, id="self-test-no-release"),
    pytest.param(["self-test", "--delegate", "libmissing.so"], 3, id="self-test-no-delegate"),
    pytest.param(["bench", "--sla", "fast"], 2, id="bench-no-sla"),
    pytest.param(["bench", "--runs", "0"], 2, id="bench-no-runs"),
    pytest.param(["bench", "--delegate", "libmissing.so"], 3, id="bench-no-delegate"),
    pytest.param(["rollback"], 2, id="rollback-nothing-before"),
    pytest.param(["inspect", "{root}"], 2, id="inspect-no-model"),
    pytest.param(["dance"], 2, id="no-such-verb"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code"), WRONG)
def test_a_wrong_input_is_one_sentence_and_leaves_the_model_alone(
    running: Device, tmp_path: Path, arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "narrow.csv").write_text("1,2,3\n")
    names = {"root": running.root, "url": running.url, "home": running.home, "narrow": tmp_path / "narrow.csv"}
    filled = [argument.format(**names) for argument in arguments]
    before = sorted(path.name for path in (running.home / "versions").iterdir())
    home = [] if "--home" in filled or filled[0] == "dance" else ["--home", str(running.home)]
    assert run(*filled, *home) == code
    streams = capsys.readouterr()
    assert streams.out == ""
    assert len(streams.err.strip().splitlines()) == 1
    assert streams.err.startswith(("error: ", "failed: "))
    assert "unexpected" not in streams.err
    assert sorted(path.name for path in (running.home / "versions").iterdir()) == before
    assert DeviceHome(running.home).damage() is None


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_is_there_at_once_and_ends_with_an_example(verb: str) -> None:
    started = time.process_time()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "edgeproof_edge", *([verb] if verb else []), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert time.process_time() - started < 0.5
    assert "Example: edgeproof-edge " in done.stdout
    heavy = [name for name in ("numpy", "tuf", "ai_edge_litert", "urllib3") if f"| {name}\n" in done.stderr]
    assert heavy == []


def test_the_token_is_readable_by_its_owner_only(device: Device, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("pi-0042.1.secret\n")
    assert device.enroll("--telemetry", "https://telemetry.example.com", "--token-file", str(tmp_path / "token")) == 0
    assert (device.home / "token").read_text() == "pi-0042.1.secret\n"
    assert (device.home / "token").stat().st_mode & 0o777 == 0o600


def test_a_path_that_the_system_refuses_is_one_sentence(running: Device, capsys: pytest.CaptureFixture[str]) -> None:
    assert running("run", "x" * 5000) == 2
    assert "cannot be read: File name too long" in capsys.readouterr().err
