"""Over a real sshd, as another user, in an environment of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edgeproof_edge.measuring import supervisor

from components.device.errors import DeviceError
from components.device.measurement import look, measure
from components.device.place import DevicePlace, Way
from components.device.settings import Options
from tests.components.device.conftest import SshDevice
from tests.components.device.samples import leftovers, subject_of
from tests.edge.bundles import MODELS

pytestmark = pytest.mark.e2e
QUICK = Options(num_runs=10, seconds=120)


def eventually(check: object, seconds: float = 60) -> bool:
    """Whether something comes true in time; sshd notices the end of a connection by itself."""
    assert callable(check)
    ends = time.monotonic() + seconds
    while not check():
        if time.monotonic() > ends:
            return False
        threading.Event().wait(0.05)
    return True


def test_what_a_device_did_is_brought_back_and_nothing_stays_there(ssh_device: SshDevice) -> None:
    measurement, outputs = measure(ssh_device.place(), subject_of(), QUICK)
    facts = measurement.facts
    assert facts.times is not None
    assert 0 < facts.times.p50_ms <= facts.times.p90_ms
    assert facts.float_times is not None
    assert facts.times.num_runs == 10
    assert facts.delegated_fraction == 1.0
    assert facts.partitions == 1
    assert facts.memory_mb is not None
    assert facts.memory_mb > 10
    assert measurement.num_rows == 24
    assert [len(array) for array in outputs.values()] == [24]
    assert all(each.holds and each.largest_difference == 0 for each in measurement.agreement)
    assert leftovers(ssh_device.tmp) == []
    assert ssh_device.processes() == []


def test_a_look_tells_what_the_device_is(ssh_device: SshDevice) -> None:
    machine = look(ssh_device.place())
    assert machine.runtime.startswith("ai-edge-litert")
    assert machine.processor == "x86_64"
    assert leftovers(ssh_device.tmp) == []


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "file", ["two_inputs_int8.tflite", "lstm_int8.tflite", "batch_of_three.tflite", "int16x8.tflite"]
)
def test_models_of_other_kinds_answer_there_as_here(ssh_device: SshDevice, file: str) -> None:
    measurement, _ = measure(ssh_device.place(), subject_of(file, 24, None), QUICK)
    assert measurement.facts.refusal == ""
    assert all(each.holds for each in measurement.agreement), measurement


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"address": "nowhere.invalid"}, "cannot be reached.*nowhere.invalid", id="unknown-host"),
        pytest.param({"address": "ssh://127.0.0.1:1"}, "Connection refused.*Start sshd", id="nobody-listens"),
        pytest.param({"ssh_config": "wrong_key_config"}, "Permission denied.*ssh-copy-id", id="wrong-key"),
        pytest.param({"ssh_config": "stranger_config"}, "Host key verification failed.*by hand", id="unknown-host-key"),
        pytest.param({"ssh_config": "no_config"}, "config", id="no-such-config"),
        pytest.param({"python": "/nope/python3"}, "no Python that can run models.*/nope/python3", id="no-such-python"),
        pytest.param(
            {"python": "/usr/bin/python3"},
            "no Python that can run models.*No module named",
            id="python-without-runtime",
        ),
        pytest.param(
            {"tmp": "/nope"}, "cannot hold the measurement: there is no directory /nope", id="no-such-directory"
        ),
        pytest.param({"tmp": "/proc"}, "cannot hold the measurement.*/proc", id="directory-that-cannot-be-written"),
    ],
)
def test_what_is_wrong_is_one_sentence(ssh_device: SshDevice, change: dict[str, str], words: str) -> None:
    text = ssh_device.config.read_text().replace(f"{ssh_device.directory}/known_hosts", "/dev/null")
    (ssh_device.directory / "stranger_config").write_text(text)
    if "ssh_config" in change:
        change = {"ssh_config": ssh_device.directory / change["ssh_config"]}  # type: ignore[dict-item]
    with pytest.raises(DeviceError, match=words) as caught:
        measure(replace(ssh_device.place(), **change), subject_of(), QUICK)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3
    assert leftovers(ssh_device.tmp) == []


def test_a_full_disk_is_told_from_other_errors(ssh_device: SshDevice) -> None:
    small = ssh_device.directory / "small"
    small.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k,mode=1777", "none", small], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no small disk here: this container may not mount one")
    try:
        with pytest.raises(
            DeviceError, match=r"cannot hold the measurement: No space left on device in .*small, where .* MB are free"
        ):
            measure(ssh_device.place(tmp=str(small)), subject_of(), QUICK)
        assert leftovers(small) == []
    finally:
        subprocess.run(["umount", small], check=True)


def python_that(device: SshDevice, name: str, with_payload: str) -> str:
    """An interpreter there that does something else once it is to run the model."""
    script = device.directory / f"{name}_python"
    script.write_text(
        f'#!/bin/sh\ncase "$1" in *{supervisor.PAYLOAD_FILE}) {with_payload};; esac\nexec {device.python} "$@"\n'
    )
    script.chmod(0o755)
    return str(script)


def test_a_measurement_that_takes_too_long_is_ended_there(ssh_device: SshDevice) -> None:
    python = python_that(ssh_device, "hanging", "exec sleep 3600")
    with pytest.raises(DeviceError, match="is too slow: it did not end in time"):
        measure(ssh_device.place(python=python), subject_of(), replace(QUICK, seconds=5))
    assert leftovers(ssh_device.tmp) == []
    assert ssh_device.processes() == []


def test_a_login_shell_that_talks_is_no_answer(ssh_device: SshDevice) -> None:
    profile = ssh_device.directory / "home" / "rc"
    profile.write_text("echo Welcome to the device; echo edgeproof is fine\n")
    noisy = ssh_device.directory / "noisy_python"
    noisy.write_text(f'#!/bin/sh\n. {profile}\nexec {ssh_device.python} "$@"\n')
    noisy.chmod(0o755)
    measurement, _ = measure(ssh_device.place(python=str(noisy)), subject_of(), QUICK)
    assert measurement.facts.times is not None


def test_a_runtime_that_dies_is_told_from_a_slow_one(ssh_device: SshDevice) -> None:
    deadly = python_that(ssh_device, "deadly", "kill -SEGV $$")
    with pytest.raises(DeviceError, match="lost the process that ran the model: ended by SIGSEGV"):
        measure(ssh_device.place(python=deadly), subject_of(), QUICK)
    assert leftovers(ssh_device.tmp) == []


def test_a_file_that_the_runtime_there_refuses_is_an_answer(ssh_device: SshDevice) -> None:
    broken = ssh_device.directory / "refusing"
    broken.mkdir(exist_ok=True)
    (broken / "sitecustomize.py").write_text(
        "import ai_edge_litert.interpreter as door\n\n\ndef refuse(**_):\n    raise ValueError('Didn\\'t find op for builtin opcode')\n\n\n"
        "door.Interpreter = refuse\n"
    )
    python = ssh_device.directory / "refusing_python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={broken} exec {ssh_device.python} "$@"\n')
    python.chmod(0o755)
    measurement, outputs = measure(ssh_device.place(python=str(python)), subject_of(), QUICK)
    assert "find op for builtin opcode" in measurement.facts.refusal
    assert not outputs
    assert measurement.facts.times is None


def start_measuring(device: SshDevice, data: Path) -> subprocess.Popen[bytes]:
    """The command, in a session of its own as a terminal gives it, busy for an hour."""
    command = [
        sys.executable,
        "-m",
        "pipeline.cli",
        "measure",
        str(MODELS / "int8.tflite"),
        "--data",
        str(data),
        "--ssh",
        "device",
    ]
    command += [
        "--ssh-config",
        str(device.config),
        "--python",
        str(device.python),
        "--runs",
        "1000000000",
        "--timeout",
        "3600",
    ]
    # What starts the tests may ignore the interrupt of a terminal, and so would everything below it.
    return subprocess.Popen(
        ["env", "--default-signal=INT,HUP", *command],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(
    "ending",
    [
        "ctrl-c",
        "connection-cut",
        pytest.param("killed", marks=pytest.mark.exhaustive),
        pytest.param("terminal-closed", marks=pytest.mark.exhaustive),
    ],
)
def test_however_it_ends_nothing_stays_there(ssh_device: SshDevice, tmp_path: Path, ending: str) -> None:
    np.savez(tmp_path / "rows.npz", x=next(iter(subject_of().rows.values())))
    process = start_measuring(ssh_device, tmp_path / "rows.npz")
    try:
        assert eventually(lambda: any(supervisor.PAYLOAD_FILE in line for line in ssh_device.processes()))
        assert leftovers(ssh_device.tmp) != []
        end(process, ssh_device, ending)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    if ending == "ctrl-c":
        assert process.returncode == 130
        assert b"interrupted" in stderr
    if ending == "connection-cut":
        assert process.returncode == 3
        assert b"cannot be reached" in stderr
        assert stderr.count(b"\n") == 1, stderr
    assert eventually(lambda: leftovers(ssh_device.tmp) == [])
    assert eventually(lambda: ssh_device.processes() == [])


def end(process: subprocess.Popen[bytes], device: SshDevice, how: str) -> None:
    if how == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)
    elif how == "terminal-closed":
        os.killpg(process.pid, signal.SIGHUP)
    elif how == "killed":
        process.kill()
    else:
        subprocess.run(["pkill", "-KILL", "-u", device.user, "sshd"], check=True)


def test_an_address_is_no_option_of_ssh() -> None:
    from edgeproof_edge.errors import InputError

    for address in ("-oProxyCommand=touch /tmp/x", "", "pi@host -p 22"):
        with pytest.raises(InputError, match="no address of a device"):
            DevicePlace(Way.SSH, address)
