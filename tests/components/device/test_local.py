"""On this machine, and what needs no device: the payload, and how answers are compared."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from edgeproof_edge.errors import EdgeproofError
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.measuring import Facts, Machine, Request, Times
from edgeproof_edge.tensors import TensorSpec

from components.device.comparison import agreement
from components.device.measurement import measure
from components.device.payload import LEAST_ROWS, affordable, packed, payload
from components.device.place import DevicePlace, Way
from components.device.settings import Options
from components.evaluator.scoring.observed_rows import Watch
from tests.components.device.samples import UNREACHABLE_BY_SSH, subject_of
from tests.edge.bundles import MODELS

HERE = DevicePlace(Way.LOCAL)
#: int8 with 256 steps of 1/256: 24 of them are the tolerance.
SCORES = TensorSpec("scores", (-1, 3), "int8", 1 / 256, -128)
WATCH = Watch(SCORES, 0.5)


@dataclass(frozen=True)
class Done:
    """How a command ended: as `pipeline.cli.main` would end it."""

    code: int
    stdout: str
    stderr: str


def edgeproof_measure(capsys: pytest.CaptureFixture[str], model: Path, *arguments: object) -> Done:
    """The command in this process: its imports cost seconds, and it starts processes of its own."""
    import click

    from pipeline.commands.measure import command

    code, message = 0, ""
    try:
        command.main([str(model), *map(str, arguments)], standalone_mode=False)
    except SystemExit as end:
        code = int(end.code or 0)
    except click.ClickException as error:
        code, message = error.exit_code, error.format_message()
    except EdgeproofError as error:
        code, message = error.exit_code, str(error)
    printed = capsys.readouterr()
    return Done(code, printed.out, printed.err + message)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.savez(tmp_path / "rows.npz", x=next(iter(subject_of().rows.values())), y=np.zeros(24, np.int64))
    return tmp_path / "rows.npz"


@pytest.mark.e2e
def test_the_payload_needs_nothing_of_this_package_that_is_not_in_it(tmp_path: Path) -> None:
    subject = subject_of()
    file = tmp_path / "payload.pyz"
    dtypes = {name: array.dtype.name for name, array in subject.rows.items()}
    file.write_bytes(payload(subject.model, None, subject.rows, Request(dtypes, num_runs=5)))
    program = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__'); "
        "print(*sorted({name.split('.')[0] for name in sys.modules} & {'tuf', 'tensorflow', 'PIL', 'pydantic'}));"
        "print(sys.modules['edgeproof_edge'].__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, file, tmp_path / "answer.npz"], capture_output=True, text=True, check=True
    )
    libraries, place = done.stdout.splitlines()[-2:]
    assert libraries == ""
    assert place.startswith(str(file))
    with np.load(tmp_path / "answer.npz") as answer:
        assert Facts.from_json(answer["facts"].tobytes()).times is not None


def test_the_file_that_is_sent_is_the_file_that_was_judged(tmp_path: Path) -> None:
    subject = subject_of()
    file = tmp_path / "payload.pyz"
    file.write_bytes(payload(subject.model, subject.twin, subject.rows, Request({})))
    with zipfile.ZipFile(file) as archive:
        assert archive.read("model.tflite") == subject.model
        assert archive.read("float.tflite") == subject.twin


def test_facts_survive_their_json() -> None:
    facts = Facts(
        Machine(None, "Linux", "aarch64", 4, "3.11", "x 1"),
        times=Times(1, 2, 3, 4, 5, 6),
        builtin_operators=("SOFTMAX",),
    )
    assert Facts.from_json(facts.to_json()) == facts


def test_pixels_travel_as_bytes_and_other_numbers_as_they_are() -> None:
    pixels = np.arange(512, dtype=np.float32).reshape(2, 256) % 256
    real = pixels + np.float32(0.5)
    assert len(packed({"x": pixels})) < len(packed({"x": real}))
    with np.load(io.BytesIO(packed({"x": real, "n": np.array([np.nan])}))) as archive:
        assert np.array_equal(archive["x"], real)
        assert np.isnan(archive["n"]).all()


def test_large_rows_are_fewer_rows_and_a_batch_stays_whole() -> None:
    rows = {"x": np.zeros((64, 3, 1 << 20), np.float32)}
    assert len(affordable(rows, 64, 1, in_order=False)["x"]) == LEAST_ROWS
    small = {"x": np.arange(100)[:, None]}
    assert len(affordable(small, 50, 3, in_order=False)["x"]) == 48
    assert affordable(small, 5, 1, in_order=False)["x"][:, 0].tolist() == [0, 24, 49, 74, 99]
    assert affordable(small, 5, 1, in_order=True)["x"][:, 0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("given", "holds"),
    [
        pytest.param([[0.9, 0.1, 0.0], [0.1, 0.6, 0.5]], True, id="equal"),
        pytest.param([[0.9 - 20 / 256, 0.1, 0.0], [0.1, 0.6, 0.5]], True, id="twenty-steps"),
        pytest.param([[0.9 - 30 / 256, 0.1, 0.0], [0.1, 0.6, 0.5]], False, id="thirty-steps"),
        pytest.param([[0.9, 0.1, 0.0], [0.1, 0.54, 0.56]], True, id="another-answer-where-it-hardly-leads"),
        pytest.param([[np.nan, 0.1, 0.0], [0.1, 0.6, 0.5]], False, id="nan"),
        pytest.param([[np.inf, 0.1, 0.0], [0.1, 0.6, 0.5]], False, id="infinite"),
    ],
)
def test_answers_are_alike_within_the_golden_tolerance(given: list[list[float]], holds: bool) -> None:
    expected = np.array([[0.9, 0.1, 0.0], [0.1, 0.6, 0.5]])
    assert agreement(WATCH, expected, expected, np.array(given)).holds is holds


def test_a_row_on_which_kernels_differ_here_says_nothing_of_a_device() -> None:
    expected, other = np.array([[0.9, 0.1, 0.0], [0.5, 0.2, 0.1]]), np.array([[0.9, 0.1, 0.0], [0.2, 0.5, 0.1]])
    seen = agreement(WATCH, expected, other, other)
    assert (seen.num_comparable, seen.holds) == (1, True)
    assert not agreement(WATCH, expected, other + 1, other).holds


@pytest.mark.e2e
def test_a_file_of_other_weights_does_not_agree() -> None:
    subject = subject_of()
    measurement, outputs = measure(HERE, subject, Options(num_runs=5, seconds=60))
    assert all(each.holds for each in measurement.agreement)
    spec = TFLiteModel.load(subject.model).outputs[0]
    values = outputs[spec.name]
    assert not agreement(Watch(spec, 0.5), values, values, values[::-1]).holds


@pytest.mark.e2e
def test_the_command_prints_a_table_and_writes_its_files(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--float", MODELS / "float32.tflite", "--out", tmp_path / "out"]
    done = edgeproof_measure(capsys, MODELS / "int8.tflite", "--local", "--data", data, "--runs", 5, *more)
    assert done.code == 0, done.stderr
    words = (
        "p50",
        "int8.tflite",
        "float32.tflite",
        "xnnpack computes 100.0 %",
        "MB of memory",
        "same answer on 24 of 24",
    )
    assert [word for word in words if word not in done.stdout] == []
    written = json.loads((tmp_path / "out" / "measurement.json").read_text())
    assert written["facts"]["times"]["num_runs"] == 5
    with np.load(tmp_path / "out" / "outputs.npz") as outputs:
        assert outputs.files == ["scores"]


@pytest.mark.e2e
def test_an_sla_that_is_missed_is_a_refusal(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sla = ("--sla", "p50=0.00001", "--json")
    done = edgeproof_measure(capsys, MODELS / "int8.tflite", "--local", "--data", data, "--runs", 5, *sla)
    assert done.code == 1
    assert "refused: p50 is " in done.stderr
    assert json.loads(done.stdout)["problems"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(["int8.tflite", "--data", "DATA"], 2, "none of them is given", id="no-device"),
        pytest.param(
            ["int8.tflite", "--data", "DATA", "--local", "--ssh", "x"], 2, "2 of them is given", id="two-devices"
        ),
        pytest.param(["int8.tflite", "--local"], 2, "there are no examples", id="no-examples"),
        pytest.param(["int8.tflite", "--local", "--data", "/nope.npz"], 2, "does not exist", id="no-such-data"),
        pytest.param(["nope.tflite", "--local", "--data", "DATA"], 2, "cannot be read", id="no-such-model"),
        pytest.param(["make_models.py", "--local", "--data", "DATA"], 2, "not a TFLite model", id="no-model"),
        pytest.param(["two_inputs_int8.tflite", "--local", "--data", "DATA"], 2, "inputs", id="data-of-another-model"),
        pytest.param(["int8.tflite", "--local", "--data", "DATA", "--sla", "fast"], 2, "--sla 'fast'", id="no-sla"),
        pytest.param(["int8.tflite", "--local", "--data", "DATA", "--runs", "0"], 2, "--runs", id="no-runs"),
        pytest.param(["int8.tflite", "--local", "--data", "DATA", "--python", "/nope"], 3, "no Python", id="no-python"),
        pytest.param(
            ["int8.tflite", "--local", "--data", "DATA", "--tmp", "/nope"], 3, "no directory /nope", id="no-tmp"
        ),
        pytest.param(
            ["int8.tflite", "--ssh", "ssh://127.0.0.1:1", "--data", "DATA"],
            3,
            UNREACHABLE_BY_SSH,
            id="unreachable",
        ),
        pytest.param(
            ["int8.tflite", "--local", "--data", "DATA", "--delegate", "libnope.so"], 1, "libnope.so", id="no-delegate"
        ),
    ],
)
def test_every_wrong_use_is_one_sentence(
    data: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    model, *others = [str(data) if argument == "DATA" else argument for argument in arguments]
    done = edgeproof_measure(capsys, MODELS / model, *others)
    assert done.code == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
