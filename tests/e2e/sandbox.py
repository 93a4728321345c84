"""A pod as a hardened cluster gives it: another user, no capability, a root that is read-only but for a volume and /tmp.

Made of a mount namespace and ``chroot``: the root holds the system's libraries, this checkout, its Python, and nothing else of the machine.
Needs root, and says why where it cannot be made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
#: The user of the image; files of its group's may be written.
USER, GROUP = 10001, 0
_MAKE_ROOT = r"""
set -eu
root=$1 checkout=$2 python=$3 volume=$4 mounted=$5; shift 5
mount -t tmpfs -o mode=755 none "$root"
for part in bin sbin lib lib64; do
    if [ -L "/$part" ]; then cp -P "/$part" "$root/$part"; fi
done
given() {  # $1 as $2, read-only unless $3 says otherwise
    mkdir -p "$root$2"
    mount --bind "$1" "$root$2"
    if [ "${3:-ro}" = ro ]; then mount -o remount,bind,ro "$root$2"; fi
}
for part in /usr /etc /bin /sbin /lib /lib64 /proc /dev; do
    if [ -d "$part" ] && [ ! -L "$part" ]; then given "$part" "$part" "$(case $part in /proc|/dev) echo rw;; *) echo ro;; esac)"; fi
done
given "$checkout" "$checkout"
given "$python" "$python"
given "$volume" "$mounted" rw
mkdir "$root/tmp"
mount -t tmpfs -o mode=1777 none "$root/tmp"
mount -t tmpfs -o mode=1777,size=64m none "$root/dev/shm"  # of the size that containers have
mount -o remount,ro "$root"
exec chroot "$root" setpriv --reuid "$USER_ID" --regid "$GROUP_ID" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
    sh -c 'cd /tmp && exec "$@"' sh "$@"
"""


@dataclass(frozen=True)
class Sandbox:
    """Runs commands; ``volume`` is seen as ``mounted``."""

    volume: Path
    mounted: str
    root: Path

    @classmethod
    def make(cls, volume: Path, mounted: str, root: Path) -> Sandbox:
        """Gives the volume to the pods' group."""
        root.mkdir()
        sandbox = cls(volume, mounted, root)
        sandbox.open_volume()
        return sandbox

    def open_volume(self) -> None:
        """As Kubernetes' fsGroup does: what is there is the group's."""
        for path in (self.volume, *self.volume.rglob("*")):
            os.chown(path, -1, GROUP)
            path.chmod(path.stat().st_mode | (0o070 if path.is_dir() else 0o060))

    def command(self, command: list[str]) -> list[str]:
        """The command that runs one in the sandbox, in the same process."""
        given = (self.root, CHECKOUT, sys.base_prefix, self.volume, self.mounted)
        start = ["unshare", "--mount", "--propagation", "private", "bash", "-c", _MAKE_ROOT, "bash"]
        return [*start, *map(str, given), *command]

    def environment(self) -> dict[str, str]:
        """What the image and Kubernetes set."""
        by_image = {"HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1", "USER_ID": str(USER), "GROUP_ID": str(GROUP)}
        return {**by_image, "KUBERNETES_SERVICE_HOST": "10.96.0.1"}


def why_not() -> str:
    """Why no sandbox can be made here; empty where it can."""
    if os.geteuid() != 0:
        return "only root may make a pod's root"
    missing = [name for name in ("unshare", "chroot", "setpriv", "bash") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} is missing"
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip()
