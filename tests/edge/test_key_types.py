"""Keys as a KMS gives them (EC, RSA): a device with `cryptography` verifies them, one without names what it lacks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from releases.stores.store import DirectoryStore
from releases.trust.initialization import initialize
from releases.trust.keys import KeyRing
from tests.releases.samples import sample, serving

KEYS: dict[str, Callable[[], Any]] = {
    "ecdsa": lambda: ec.generate_private_key(ec.SECP256R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
}

#: What a device runs; without the library where the last argument says so.
DEVICE = """
import sys
from pathlib import Path
if sys.argv[4] == "without":
    sys.modules["cryptography"] = None
from edgeproof_edge.updating.updater import Subscription, UpdateError, Updater
try:
    updater = Updater(Path(sys.argv[1]), Subscription(sys.argv[2], "digits", "dev", "d0"), Path(sys.argv[3]).read_bytes())
    print("new" if updater.update().is_new else "old")
except UpdateError as error:
    print(f"{type(error).__name__}: {error}")
"""


def _update(directory: Path, url: str, library: str) -> str:
    arguments = [str(directory / library), url, str(directory / "root.json"), library]
    done = subprocess.run([sys.executable, "-c", DEVICE, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(("kind", "name"), [("ecdsa", "dev"), ("rsa", "root")])
def test_a_device_verifies_keys_of_a_kms_or_says_which_library_it_lacks(tmp_path: Path, kind: str, name: str) -> None:
    pem = tmp_path / "kms.pem"
    pem.touch(mode=0o600)
    pem.write_bytes(
        KEYS[kind]().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    ring = KeyRing.create(tmp_path / "keys")
    store = DirectoryStore(tmp_path / "repository")
    repository = initialize(store, ring, own_keys=("dev", "stable"), uris={name: f"file2:{pem}"}, any_key_type=True)
    repository.publish(sample("a"), "dev", "test")
    (tmp_path / "root.json").write_bytes(repository.anchor)
    with serving(tmp_path / "repository") as url:
        assert _update(tmp_path, url, "with") == "new\n"
        without = _update(tmp_path, url, "without")
    assert without.startswith("MissingLibraryError:")
    assert f"keys of type {kind}, and the library `cryptography`" in without
    assert "pip install 'edgeproof-edge[crypto]'" in without
