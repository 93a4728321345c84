"""A device as a user has one: a real sshd of its own, another unix user, a virtual environment of its own with a runtime."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.device.place import DevicePlace, Way

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
ROOT = Path(__file__).parents[3]
_LIBRARIES = ("ai-edge-litert", "numpy", "flatbuffers")


@dataclass(frozen=True)
class SshDevice:
    """A host that lets one key of ours in.

    Attributes:
        directory: Its keys, configs and the home of its user; readable to that user.
        user: Who runs things there.
        port: Of its sshd, on this machine.
        python: The interpreter there.
        process: Its sshd.
    """

    directory: Path
    user: str
    port: int
    python: Path
    process: subprocess.Popen[bytes]

    @property
    def config(self) -> Path:
        """The ssh config that knows its host key and our key."""
        return self.directory / "ssh_config"

    def place(self, **others: object) -> DevicePlace:
        fields = {"ssh_config": self.config, "python": str(self.python), **others}
        return DevicePlace(Way.SSH, "device", **fields)  # type: ignore[arg-type]

    @property
    def tmp(self) -> Path:
        """Where its user may write; measuring leaves it as it was."""
        return self.directory / "tmp"

    def processes(self) -> list[str]:
        """What its user runs now, apart from sshd itself."""
        listed = subprocess.run(
            ["ps", "-ww", "-u", self.user, "-o", "args="], capture_output=True, text=True, check=False
        )
        return [line for line in listed.stdout.splitlines() if "sshd" not in line]


def _run(*command: str | Path) -> None:
    trusted = (
        {"UV_SYSTEM_CERTS": "true"} if CERTIFICATES.is_file() else {}
    )  # a company's own authority is not in uv's list
    environment = {**os.environ, **trusted}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        pytest.skip(f"no device over ssh here: {command[0]}: {(done.stderr or done.stdout).strip()[-300:]}")


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _make_python(directory: Path) -> Path:
    """A virtual environment of the system's Python with what a device has, in the versions that are installed here."""
    import importlib.metadata

    system = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    uv = next(iter(sorted((ROOT / ".tools").glob("uv-*/bin/uv"))), None) or shutil.which("uv")
    if system is None or uv is None:
        pytest.skip("no device over ssh here: it needs a Python of the system and uv for a virtual environment")
    _run(uv, "venv", "--quiet", "--python", system, directory)
    wanted = [f"{name}=={importlib.metadata.version(name)}" for name in _LIBRARIES if name != "numpy"]
    _run(uv, "pip", "install", "--quiet", "--python", directory / "bin" / "python", *wanted, "numpy")
    return directory / "bin" / "python"


def _write_configs(directory: Path, user: str, port: int) -> None:
    for name in ("host_key", "our_key", "other_key"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name)
    (directory / "authorized_keys").write_text((directory / "our_key.pub").read_text())
    host_key = " ".join((directory / "host_key.pub").read_text().split()[:2])
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    (directory / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory}/host_key\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"PasswordAuthentication no\nKbdInteractiveAuthentication no\nAuthorizedKeysFile {directory}/authorized_keys\n"
        f"AllowUsers {user}\nSetEnv TMPDIR={directory}/tmp\n"
    )
    for name, key in (("ssh_config", "our_key"), ("wrong_key_config", "other_key")):
        (directory / name).write_text(
            f"Host device\n  HostName 127.0.0.1\n  Port {port}\n  User {user}\n  IdentityFile {directory}/{key}\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {directory}/known_hosts\n"
        )


@pytest.fixture(scope="session")
def ssh_device() -> Iterator[SshDevice]:
    sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if sshd is None or os.geteuid() != 0:
        pytest.skip("no device over ssh here: it needs sshd (.ci/services) and root, for another unix user")
    user, directory = f"edgeproof-{os.getpid()}", Path(tempfile.mkdtemp(prefix="edgeproof-device-"))
    directory.chmod(0o755)
    process = None
    try:
        _run(
            "useradd",
            "--no-create-home",
            "--home-dir",
            directory / "home",
            "--password",
            "*",
            "--shell",
            "/bin/sh",
            user,
        )
        entry = pwd.getpwnam(user)
        for name in ("home", "tmp"):
            (directory / name).mkdir()
            os.chown(directory / name, entry.pw_uid, entry.pw_gid)
        python, port = _make_python(directory / "venv"), _free_port()
        _write_configs(directory, user, port)
        Path("/run/sshd").mkdir(exist_ok=True)
        process = subprocess.Popen([sshd, "-D", "-e", "-f", str(directory / "sshd_config")], stderr=subprocess.PIPE)
        assert process.stderr is not None
        for line in process.stderr:  # it says when it listens
            if b"Server listening" in line:
                break
        else:
            pytest.skip("no device over ssh here: sshd ended at once")
        yield SshDevice(directory, user, port, python, process)
    finally:
        if process is not None:
            process.terminate()
            process.communicate()
        subprocess.run(["userdel", user], capture_output=True, check=False)
        shutil.rmtree(directory, ignore_errors=True)
