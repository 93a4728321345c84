"""Keys by file and by signer URI."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeproof_edge.errors import SurroundingsError

from releases.initialization import initialize
from releases.keys import KeyRing, ReleaseKeyError
from releases.store import DirectoryStore


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


def test_no_ring_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReleaseKeyError, match="there are no keys in"):
        KeyRing.open(tmp_path)
    KeyRing.create(tmp_path / "keys")
    with pytest.raises(ReleaseKeyError, match="needs the key 'online'"):
        KeyRing.open(tmp_path / "keys").signer("online")
