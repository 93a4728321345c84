"""The keys of a release repository: who may say what to the fleet.

    keys/keys.json           name -> signer URI and public key; no secret
    keys/root.json           the root metadata that this publisher trusts; it also goes into device images
    keys/online-1a2b3c4d.pem a private key, for development: ed25519, PKCS8, mode 0600, encrypted where a passphrase is set

Rules, in order: 1. A private key never leaves its file, or its KMS, HSM or Vault: everything else has a URI. 2. A file
that others can read is refused. 3. A private key that does not fit its public key is refused before anything is signed.
4. ed25519 for files: devices verify it without compiled crypto. 5. A new key is noted as pending before the repository
hears of it, so that a rotation that was killed goes on with the same key.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeproof_edge.errors import EdgeproofError, SurroundingsError
from securesystemslib.exceptions import StorageError
from securesystemslib.signer import (
    SIGNER_FOR_URI_SCHEME,
    AWSSigner,
    AzureSigner,
    CryptoSigner,
    GCPSigner,
    HSMSigner,
    Key,
    Signer,
    SSlibKey,
    VaultSigner,
)

from releases.errors import ReleaseError

#: Names of the keys that every repository has; a channel with a key of its own adds one by its name.
ROOT, TARGETS, ONLINE = "root", "targets", "online"
BASE_KEYS = (ROOT, TARGETS, ONLINE)

PASSPHRASE_VARIABLE = "EDGEPROOF_KEY_PASSPHRASE"
KEYS_FILE = "keys.json"
ANCHOR_FILE = "root.json"

_FILE_SCHEME = "file2"
_KEYID_CHARACTERS = 8

#: Asks a person for the passphrase of the key of that name.
AskPassphrase = Callable[[str], str]


class ReleaseKeyError(ReleaseError):
    """A key is missing, unreadable, or not the one that the repository trusts."""


class KeyRing:
    """The keys at hand, in a directory. Not every publisher has all of them: the nightly job needs `online` only."""

    def __init__(self, directory: Path, content: Mapping[str, Any], ask: AskPassphrase | None = None) -> None:
        self._directory = directory
        self._keys: dict[str, dict[str, Any]] = dict(content["keys"])
        self._pending: dict[str, dict[str, Any]] = dict(content["pending"])
        self._ask = ask
        self._signers: dict[str, Signer] = {}

    @classmethod
    def open(cls, directory: Path, ask: AskPassphrase | None = None) -> KeyRing:
        """Opens the keys in a directory.

        Raises:
            ReleaseKeyError: There are none, or keys.json is damaged.
        """
        try:
            content = json.loads((directory / KEYS_FILE).read_bytes())
            for entry in (*content["keys"].values(), *content["pending"].values()):
                _public_key(entry), str(entry["uri"])
            return cls(directory, content, ask)
        except FileNotFoundError:
            raise ReleaseKeyError(
                f"there are no keys in {directory}. Give the directory of the repository's keys with --keys "
                "(release.keys in the config), or make a repository with `edgeproof release init`."
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ReleaseKeyError(f"{directory / KEYS_FILE} is damaged ({error}). Restore it from a backup.") from error
        except OSError as error:
            raise SurroundingsError(f"{directory / KEYS_FILE} cannot be read: {error.strerror}.") from error

    @classmethod
    def create(cls, directory: Path, ask: AskPassphrase | None = None) -> KeyRing:
        """Opens the keys in a directory, which is made with no keys in it where it does not exist."""
        if (directory / KEYS_FILE).exists():
            return cls.open(directory, ask)
        ring = cls(directory, {"keys": {}, "pending": {}}, ask)
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise SurroundingsError(
                f"{directory} cannot be made: {error.strerror}. Give another with --keys."
            ) from error
        _replace(directory / ".gitignore", b"*.pem\n")  # a workspace may lie in a checkout
        ring._save()
        return ring

    @property
    def location(self) -> str:
        return str(self._directory)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._keys)

    @property
    def anchor(self) -> bytes | None:
        """The root metadata that is trusted without further proof; None before the repository is made."""
        try:
            return (self._directory / ANCHOR_FILE).read_bytes()
        except FileNotFoundError:
            return None

    @property
    def trusted_root(self) -> bytes:
        """The root metadata to start from.

        Raises:
            ReleaseKeyError: these keys belong to no repository yet, or root.json was not copied with them.
        """
        anchor = self.anchor
        if anchor is None:
            raise ReleaseKeyError(
                f"{self._directory} has no {ANCHOR_FILE}, the root that these keys belong to. Copy it from where "
                "`edgeproof release init` ran, or run that."
            )
        return anchor

    @property
    def anchor_file(self) -> Path:
        return self._directory / ANCHOR_FILE

    def trust(self, root: bytes) -> None:
        """Notes the root metadata to start from."""
        _replace(self._directory / ANCHOR_FILE, root)

    def has(self, name: str) -> bool:
        return name in self._keys

    def add(self, name: str, uri: str | None = None) -> Key:
        """Adds a key where there is none of that name: an ed25519 file, or the key behind a signer URI."""
        if name not in self._keys:
            self._keys[name] = self._new_entry(name, uri)
            self._save()
        return self.public(name)

    def public(self, name: str) -> Key:
        """The public part of a key.

        Raises:
            ReleaseKeyError: There is no key of that name here.
        """
        return _public_key(self._entry(self._keys, name))

    def signer(self, name: str) -> Signer:
        """Opens a private key, asking for its passphrase where it has one.

        Raises:
            ReleaseKeyError: There is no such key, its file is missing, readable by others, or not the right one.
            SurroundingsError: A KMS, HSM or Vault does not answer.
        """
        return self._open(name, self._entry(self._keys, name))

    def prepare(self, name: str, uri: str | None = None) -> Signer:
        """Opens the key that is to replace `name`; makes it, once, and remembers it until `adopt`."""
        if name not in self._pending:
            self._pending[name] = self._new_entry(name, uri)
            self._save()
        return self._open(f"new {name}", self._pending[name])

    def adopt(self, name: str) -> str:
        """Makes the pending key the key; returns the URI of the old one, which may now be destroyed."""
        old = self._keys[name]["uri"]
        self._keys[name] = self._pending.pop(name)
        self._save()
        self._signers.clear()
        return str(old)

    def _entry(self, entries: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
        if name not in entries:
            raise ReleaseKeyError(
                f"this needs the key {name!r}, and {self._directory} has {', '.join(entries) or 'none'}. "
                "Run it where that key is, or give its directory with --keys."
            )
        return entries[name]

    def _new_entry(self, name: str, uri: str | None) -> dict[str, Any]:
        if uri is None:
            uri, public = self._new_file(name)
        else:
            uri, public = _import(uri, self._directory)
        return {"uri": uri, "public": {"keyid": public.keyid, **public.to_dict()}}

    def _new_file(self, name: str) -> tuple[str, Key]:
        signer = CryptoSigner.generate_ed25519()
        file = f"{name}-{signer.public_key.keyid[:_KEYID_CHARACTERS]}.pem"
        passphrase = _passphrase_from_environment(name)
        _create_private(self._directory / file, _pem(signer, passphrase))
        return f"{_FILE_SCHEME}:{file}", signer.public_key

    def _open(self, name: str, entry: Mapping[str, Any]) -> Signer:
        public = _public_key(entry)
        if public.keyid not in self._signers:
            uri = str(entry["uri"])
            is_file = uri.startswith(f"{_FILE_SCHEME}:")
            self._signers[public.keyid] = self._open_file(name, uri, public) if is_file else _open_remote(uri, public)
        return self._signers[public.keyid]

    def _open_file(self, name: str, uri: str, public: Key) -> Signer:
        path = self._directory / uri.partition(":")[2]
        pem = _read_private(path, name)
        passphrase = None
        if b"ENCRYPTED" in pem:
            passphrase = _passphrase_from_environment(name) or (self._ask(name) if self._ask else "")
            if not passphrase:
                raise ReleaseKeyError(
                    f"the key {name!r} in {path} is encrypted. Set {PASSPHRASE_VARIABLE}, or run this at a terminal."
                )
        return _signer(pem, passphrase, public, name, path)

    def _save(self) -> None:
        content = {"schema_version": 1, "keys": self._keys, "pending": self._pending}
        _replace(self._directory / KEYS_FILE, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def _public_key(entry: Mapping[str, Any]) -> Key:
    fields = dict(entry["public"])
    return Key.from_dict(fields.pop("keyid"), fields)


def _passphrase_from_environment(name: str) -> str:
    own = re.sub(r"[^A-Z0-9]", "_", name.rpartition(" ")[2].upper())
    return os.environ.get(f"{PASSPHRASE_VARIABLE}_{own}") or os.environ.get(PASSPHRASE_VARIABLE, "")


def _pem(signer: CryptoSigner, passphrase: str) -> bytes:
    if not passphrase:
        return signer.private_bytes
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(signer.private_bytes, None)
    encryption = serialization.BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _signer(pem: bytes, passphrase: str | None, public: Key, name: str, path: Path) -> Signer:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        private: Any = serialization.load_pem_private_key(pem, passphrase.encode() if passphrase else None)
        found = SSlibKey.from_crypto(private.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        hint = "the passphrase is wrong, or it is no PEM private key" if passphrase else "it is no PEM private key"
        raise ReleaseKeyError(f"the key {name!r} in {path} cannot be opened: {hint}.") from error
    if found.keyval != public.to_dict()["keyval"]:
        raise ReleaseKeyError(
            f"{path} holds another private key than the one that {KEYS_FILE} names for {name!r} "
            f"({public.keyid[:_KEYID_CHARACTERS]}). Put the right file there; nothing was signed."
        )
    assert isinstance(public, SSlibKey)
    return CryptoSigner(private, public)


def _open_remote(uri: str, public: Key) -> Signer:
    try:
        return Signer.from_priv_key_uri(uri, public)
    except Exception as error:  # each cloud's library has its own errors
        raise SurroundingsError(
            f"the key {uri} cannot be opened: {error}. Check the address, the login and that the library for "
            f"{uri.partition(':')[0]} is installed (securesystemslib's extras)."
        ) from error


def _import(uri: str, directory: Path) -> tuple[str, Key]:
    """The signer URI to keep, and the public key behind `uri`."""
    scheme, _, rest = uri.partition(":")
    try:
        if scheme in (_FILE_SCHEME, "file"):
            path = Path(rest).expanduser().resolve()
            return f"{_FILE_SCHEME}:{path}", _public_of_file(path)
        if scheme == GCPSigner.SCHEME:
            return GCPSigner.import_(rest)
        if scheme == AWSSigner.SCHEME:
            return AWSSigner.import_(rest)
        if scheme == VaultSigner.SCHEME:
            return VaultSigner.import_(rest.partition("/")[0])
        if scheme == AzureSigner.SCHEME:  # azurekms://<vault>.vault.azure.net/keys/<key>
            host, _, path_of_key = rest.lstrip("/").partition("/")
            return AzureSigner.import_(host.partition(".")[0], path_of_key.split("/")[1])
        if scheme == HSMSigner.SCHEME:
            return HSMSigner.import_(int(rest) if rest else None)
    except EdgeproofError:
        raise
    except Exception as error:  # each cloud's library has its own errors
        raise SurroundingsError(f"the public key of {uri} cannot be read: {error}.") from error
    raise ReleaseKeyError(
        f"{uri!r} is no signer URI; give one of {', '.join(sorted(f'{known}:' for known in SIGNER_FOR_URI_SCHEME))}."
    )


def _public_of_file(path: Path) -> Key:
    from cryptography.hazmat.primitives import serialization

    pem = _read_private(path, path.name)
    passphrase = _passphrase_from_environment("") if b"ENCRYPTED" in pem else ""
    try:
        private: Any = serialization.load_pem_private_key(pem, passphrase.encode() or None)
    except (ValueError, TypeError) as error:
        raise ReleaseKeyError(f"{path} cannot be opened as a PEM private key: {error}.") from error
    return SSlibKey.from_crypto(private.public_key())


def _read_private(path: Path, name: str) -> bytes:
    try:
        mode = path.stat().st_mode
        if mode & 0o077:
            raise ReleaseKeyError(
                f"the key {name!r} in {path} can be read by others (mode {mode & 0o777:o}). chmod 600 it."
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise ReleaseKeyError(f"the key {name!r} is not at {path}. Put its file there; nothing was signed.") from None
    except (OSError, StorageError) as error:
        raise SurroundingsError(f"the key {name!r} in {path} cannot be read: {error}.") from error


def _create_private(path: Path, data: bytes) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise SurroundingsError(f"the key {path} cannot be written: {error.strerror}.") from error


def _replace(path: Path, data: bytes) -> None:
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with staged.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(staged, path)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise SurroundingsError(f"{path} cannot be written: {error.strerror}.") from error
