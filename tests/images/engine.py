"""Buildah and podman as the tests of images use them, and the base that images are built on here. No test itself.

No registry is needed: the base is a Debian root made by debootstrap, which stands in for the one that the Dockerfile names. Where a machine
cannot do this (no root, no apt-get, no Debian's mirror), `Unavailable` says why, and the tests are skipped aloud.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"buildah": "buildah", "podman": "podman", "runc": "runc", "debootstrap": "debootstrap"}
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeproof"
#: What the shell of whoever runs the tests says about the network, for the package installer in a build.
PASSED = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "PIP_INDEX_URL",
    "PIP_DEFAULT_TIMEOUT",
)
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
#: Crun, and podman's own limits, refuse the control groups of some virtual machines.
CONFIGURATION = '[containers]\ndefault_ulimits=["nofile=4096:4096","nproc=4096:4096"]\n'


class Unavailable(Exception):
    """Images cannot be built on this machine; the message says why."""


class Engine:
    """Builds and runs images."""

    def __init__(self) -> None:
        """Installs what is missing."""
        if not sys.platform.startswith("linux") or os.geteuid() != 0:
            raise Unavailable("building images here needs Linux and root.")
        missing = [package for command, package in PACKAGES.items() if shutil.which(command) is None]
        if missing:
            _install(missing)
        CACHE.mkdir(parents=True, exist_ok=True)
        settings = CACHE / "containers.conf"
        settings.write_text(CONFIGURATION)
        self._environment = {**os.environ, "CONTAINERS_CONF": str(settings)}

    def build(self, dockerfile: Path, context: Path, tag: str, **arguments: str) -> None:
        """Builds an image."""
        command = [
            "buildah",
            "bud",
            "--layers",
            "--isolation=chroot",
            "--format",
            "docker",
            "-f",
            str(dockerfile),
            "-t",
            tag,
        ]
        passed = {name: os.environ[name] for name in PASSED if name in os.environ}
        for name, value in {**passed, **arguments}.items():
            command += ["--build-arg", f"{name}={value}"]
        done = subprocess.run([*command, str(context)], env=self._environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    def podman(
        self, *arguments: str, check: bool = True, given: str = "", timeout: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command of podman."""
        command = ["podman", "--runtime", "runc", *arguments]
        done = subprocess.run(
            command, env=self._environment, input=given, capture_output=True, text=True, timeout=timeout
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
        return done

    def base(self, suite: str, *packages: str) -> str:
        """The name of an image that holds a Debian root with those packages; made once."""
        wanted = ",".join(sorted({"ca-certificates", "python3", "python3-venv", *packages}))
        tag = f"localhost/edgeproof-test/{suite}:{abs(hash_of(wanted)):x}"
        if self.podman("image", "exists", tag, check=False).returncode == 0:
            return tag
        root = CACHE / f"base-{suite}"
        shutil.rmtree(root, ignore_errors=True)
        command = ["debootstrap", "--variant=minbase", f"--include={wanted}", suite, str(root), *_mirror()]
        done = subprocess.run(["unshare", "--mount", "--", *command], capture_output=True, text=True)
        if done.returncode != 0:
            raise Unavailable(f"debootstrap could not make a Debian root: {done.stdout[-300:]} {done.stderr[-300:]}")
        if CERTIFICATES.is_file():
            shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
        archive = root.with_suffix(".tar")
        pack = ["tar", "-C", str(root), "--exclude=./var/cache/apt/archives/*.deb", "-cf", str(archive), "."]
        subprocess.run(pack, check=True)
        self.podman("import", str(archive), tag)
        archive.unlink()
        shutil.rmtree(root)
        return tag


def hash_of(text: str) -> int:
    """A number that stands for a text, the same in every process."""
    from zlib import crc32

    return crc32(text.encode())


def _install(packages: list[str]) -> None:
    if shutil.which("apt-get") is None:
        raise Unavailable(f"{', '.join(packages)} is not installed, and there is no apt-get to install it with.")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], env=environment, capture_output=True)
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise Unavailable(f"apt-get could not install {', '.join(packages)}: {done.stderr[-300:]}")


def _mirror() -> list[str]:
    """The Debian mirror that this machine's apt uses, if it is a Debian machine; otherwise debootstrap's own."""
    try:
        targets = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages", "Origin: Debian", "Label: Debian"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return []
    return targets.stdout.split()[:1]
