"""Keys by file and by signer URI."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from edgeproof_edge.errors import SurroundingsError

from releases.errors import ReleaseError
from releases.repository import Repository
from releases.stores.store import DirectoryStore
from releases.trust.initialization import initialize
from releases.trust.keys import KeyRing
from releases.trust.private_keys import ReleaseKeyError, read_private
from releases.trust.rotation import rotate
from releases.verification import verify
from tests.releases.samples import make_repository, sample


def test_a_ring_is_made_once_and_keeps_its_keys(tmp_path: Path) -> None:
    first = KeyRing.create(tmp_path / "keys").add("online")
    assert KeyRing.create(tmp_path / "keys").add("online") == first
    assert KeyRing.open(tmp_path / "keys").signer("online").public_key == first


def test_a_pending_key_is_the_same_until_it_is_adopted(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "keys")
    old = ring.add("online")
    new = ring.prepare("online").public_key
    assert KeyRing.open(tmp_path / "keys").prepare("online").public_key == new != old
    assert old.keyid[:8] in ring.adopt("online")
    assert KeyRing.open(tmp_path / "keys").public("online") == new


def test_a_key_file_from_elsewhere_is_taken_by_its_uri(tmp_path: Path) -> None:
    elsewhere = KeyRing.create(tmp_path / "elsewhere")
    key = elsewhere.add("stable")
    file = next((tmp_path / "elsewhere").glob("stable-*.pem"))
    ring = KeyRing.create(tmp_path / "keys")
    initialize(DirectoryStore(tmp_path / "repository"), ring, uris={"stable": f"file2:{file}"})
    assert ring.public("stable").keyid == key.keyid
    assert ring.signer("stable").public_key.keyid == key.keyid
    assert not list((tmp_path / "keys").glob("stable-*"))


@pytest.mark.parametrize(
    ("uri", "error", "message"),
    [
        pytest.param("pigeon:coop", ReleaseKeyError, "is no signer URI", id="unknown-scheme"),
        pytest.param("file2:/nowhere/key.pem", ReleaseKeyError, "is not at /nowhere", id="missing-file"),
        pytest.param("awskms:alias/stable", SurroundingsError, "awskms:alias/stable", id="aws-without-login"),
        pytest.param("hv:stable", SurroundingsError, "hv:stable", id="vault-not-installed"),
    ],
)
def test_a_key_that_cannot_be_had_is_named(
    uri: str, error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(error, match=message):
        KeyRing.create(tmp_path / "keys").add("stable", uri)
    assert KeyRing.open(tmp_path / "keys").names == ()


@pytest.mark.parametrize(
    "content", ["", "{}", '{"keys": [], "pending": {}}', '{"keys": {"online": {"uri": "x"}}, "pending": {}}']
)
def test_a_damaged_ring_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(content)
    with pytest.raises(ReleaseKeyError, match="damaged"):
        KeyRing.open(tmp_path)


@pytest.mark.parametrize(
    ("mode", "user", "host", "opens"),
    [
        pytest.param(0o600, "owner", "", True, id="owner-alone"),
        pytest.param(0o640, "owner", "", False, id="owner-and-a-group-that-others-are-in"),
        pytest.param(0o640, "service", "", True, id="given-to-a-service-by-its-group"),
        pytest.param(0o660, "service", "", False, id="a-group-that-may-change-it"),
        pytest.param(0o644, "service", "", False, id="everybody"),
        pytest.param(0o660, "owner", "10.0.0.1", True, id="pod-whose-volume-belongs-to-its-group"),
        pytest.param(0o644, "owner", "10.0.0.1", False, id="pod-everybody"),
        pytest.param(0o640, "root", "", False, id="root-reads-anything"),
    ],
)
def test_a_key_is_closed_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, user: str, host: str, opens: bool
) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(b"key")
    file.chmod(mode)
    if os.geteuid() == 0:
        os.chown(file, 1000, -1)
    owner = file.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: {"owner": owner, "service": owner + 1, "root": 0}[user])
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    if opens:
        assert read_private(file, "online") == b"key"
    else:
        with pytest.raises(ReleaseKeyError, match="can be read by others"):
            read_private(file, "online")


def test_no_ring_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReleaseKeyError, match="there are no keys in"):
        KeyRing.open(tmp_path)
    KeyRing.create(tmp_path / "keys")
    with pytest.raises(ReleaseKeyError, match="needs the key 'online'"):
        KeyRing.open(tmp_path / "keys").signer("online")


def _pem_of(kind: str, directory: Path) -> Path:
    private: Any = (
        ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, key_size=2048)
    )
    file = directory / f"{kind}.pem"
    file.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_a_key_that_a_device_cannot_verify_is_refused_unless_the_operator_knows(kind: str, tmp_path: Path) -> None:
    """As a KMS gives them: without the library cryptography a device says "signed by other keys" to whatever they sign."""
    uris = {"stable": f"file2:{_pem_of(kind, tmp_path)}"}
    store = DirectoryStore(tmp_path / "repository")
    with pytest.raises(
        ReleaseKeyError, match=r"a device verifies ed25519 only.*edgeproof-edge\[crypto\].*--any-key-type"
    ):
        initialize(store, KeyRing.create(tmp_path / "keys"), uris=uris)
    assert not KeyRing.open(tmp_path / "keys").has("stable")
    repository = initialize(store, KeyRing.open(tmp_path / "keys"), uris=uris, any_key_type=True)
    repository.publish(sample("a"), "stable", "test")
    assert verify(store, repository.anchor).problems == ()
    with pytest.raises(ReleaseKeyError, match="--any-key-type"):
        rotate(repository, "online", uris["stable"])
    rotate(repository, "stable")
    repository.point("1", "stable", 50, "test")
    assert verify(store, repository.anchor).problems == ()


def test_the_missing_library_of_a_kms_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("securesystemslib.signer._vault_signer.VAULT_IMPORT_ERROR", "not installed")
    with pytest.raises(SurroundingsError, match=r"pip install 'securesystemslib\[vault\]'"):
        KeyRing.create(tmp_path / "keys").add("stable", "hv:stable/1")


def test_what_killed_commands_left_is_cleaned_up_by_the_next(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "keys")
    ring.add("online")
    keys = tmp_path / "keys"
    named = next(keys.glob("online-*.pem"))
    named.rename(keys / f".{named.name}")  # killed before the last step: keys.json names it
    assert KeyRing.open(keys).signer("online").public_key == ring.public("online")
    (keys / ".stable-12345678.pem").write_bytes(b"killed before keys.json named it")
    (keys / ".keys.json.4711").write_bytes(b"{")
    (keys / ".staged-4711-1").write_bytes(b"{")
    (keys / "online-87654321.pem").write_bytes(b"an old key that its owner has not destroyed")
    KeyRing.create(keys)
    assert {file.name for file in keys.iterdir()} == {
        "keys.json",
        ".gitignore",
        ".lock",
        named.name,
        "online-87654321.pem",
    }


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(lambda keys, store: Repository.of(store, KeyRing.open(keys)).refresh(), id="refresh"),
        pytest.param(lambda keys, store: initialize(store, KeyRing.create(keys)), id="init"),
    ],
)
def test_a_missing_root_is_named_with_the_file_to_copy(
    command: Callable[[Path, DirectoryStore], object], tmp_path: Path
) -> None:
    repository = make_repository(tmp_path)
    root = (tmp_path / "keys/root.json").read_bytes()
    (tmp_path / "keys/root.json").unlink()
    with pytest.raises(ReleaseError, match=r"metadata/1\.root\.json"):
        command(tmp_path / "keys", DirectoryStore(tmp_path / "repository"))
    assert (tmp_path / "repository/metadata/1.root.json").read_bytes() == root
    (tmp_path / "keys/root.json").write_bytes(root)
    command(tmp_path / "keys", DirectoryStore(tmp_path / "repository"))
    assert verify(repository.store, repository.anchor).problems == ()
