"""The keys of a release repository: who may say what to the fleet.

    keys/keys.json           name -> signer URI and public key; no secret
    keys/root.json           the root metadata that this publisher trusts; it also goes into device images
    keys/online-1a2b3c4d.pem a private key, for development: ed25519, PKCS8, mode 0600, encrypted where a passphrase is set

Rules, in order: 1. A private key never leaves its file, or its KMS, HSM or Vault: everything else has a URI. 2. A file
that others can read is refused. 3. A private key that does not fit its public key is refused before anything is signed.
4. ed25519: devices verify it without compiled crypto; other types only where the operator says that devices can. 5. A new key is noted as
pending before the repository hears of it, so that a rotation that was killed goes on with the same key. 6. Who changes keys.json
holds the directory's lock and reads it again first. 7. A key file gets its name after keys.json names it: what a killed command
left is finished or removed by the next one, and nothing else is ever removed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproof_edge.durable_files import write_new
from edgeproof_edge.errors import SurroundingsError
from securesystemslib.signer import CryptoSigner, Key, Signer

from releases.stores.files import locked, remove_staged, replace_file
from releases.trust.private_keys import (
    FILE_SCHEME,
    PASSPHRASE_VARIABLE,
    ReleaseKeyError,
    import_key,
    open_pem,
    open_remote,
    passphrase_from_environment,
    pem_of,
    read_private,
)

#: Names of the keys that every repository has; a channel with a key of its own adds one by its name.
ROOT, TARGETS, ONLINE = "root", "targets", "online"
BASE_KEYS = (ROOT, TARGETS, ONLINE)

KEYS_FILE = "keys.json"
ANCHOR_FILE = "root.json"

#: What a device verifies without compiled crypto.
_EVERY_DEVICE_VERIFIES = "ed25519"
#: What a device needs for the other types.
_DEVICE_EXTRA = "edgeproof-edge[crypto]"
_LOCK = ".lock"
_KEYID_CHARACTERS = 8
#: A key file that keys.json does not name yet.
_UNNAMED = re.compile(r"\.(.+\.pem)")

#: Asks a person for the passphrase of the key of that name.
AskPassphrase = Callable[[str], str]


@dataclass(frozen=True)
class KeyEntry:
    """A key: the URI of its private part, and its public part."""

    uri: str
    public: Key

    def to_json(self) -> dict[str, Any]:
        """The entry as keys.json has it."""
        return {"uri": self.uri, "public": {"keyid": self.public.keyid, **self.public.to_dict()}}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> KeyEntry:
        """Reads what ``to_json`` gave; anything else is a KeyError, TypeError, ValueError or AttributeError."""
        fields = dict(content["public"])
        return cls(str(content["uri"]), Key.from_dict(fields.pop("keyid"), fields))


@dataclass(frozen=True)
class Entries:
    """What keys.json holds: the keys by name, and those that are to replace them."""

    keys: Mapping[str, KeyEntry]
    pending: Mapping[str, KeyEntry]

    def to_bytes(self) -> bytes:
        """The content of keys.json."""
        content = {
            "schema_version": 1,
            "keys": {name: entry.to_json() for name, entry in self.keys.items()},
            "pending": {name: entry.to_json() for name, entry in self.pending.items()},
        }
        return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Entries:
        """Reads what ``to_bytes`` gave; see ``KeyEntry.from_json`` for anything else."""
        content = json.loads(data)
        keys, pending = (
            {name: KeyEntry.from_json(entry) for name, entry in content[part].items()} for part in ("keys", "pending")
        )
        return cls(keys, pending)


class KeyRing:
    """The keys at hand, in a directory. Not every publisher has all of them: the nightly job needs ``online`` only."""

    def __init__(self, directory: Path, entries: Entries, ask: AskPassphrase | None = None) -> None:
        self._directory = directory
        self._entries = entries
        self._ask = ask
        self._signers: dict[str, Signer] = {}
        self._is_locked = False

    @classmethod
    def open(cls, directory: Path, ask: AskPassphrase | None = None) -> KeyRing:
        """Opens the keys in a directory.

        Raises:
            ReleaseKeyError: There are none, or keys.json is damaged.
        """
        return cls(directory, _read_entries(directory), ask)

    @classmethod
    def create(cls, directory: Path, ask: AskPassphrase | None = None) -> KeyRing:
        """Opens the keys in a directory, which is made with no keys in it where it does not exist."""
        ring = cls(directory, Entries({}, {}), ask)
        with _explaining(directory, "made", "Give another with --keys."):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with ring.lock():
            if not (directory / KEYS_FILE).exists():
                _replace(directory / ".gitignore", b"*.pem\n.lock\n")  # a workspace may lie in a checkout
                ring._save(ring._entries)
        ring.reload()
        return ring

    @property
    def location(self) -> str:
        return str(self._directory)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._entries.keys)

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
            ReleaseKeyError: These keys belong to no repository yet, or root.json was not copied with them.
        """
        anchor = self.anchor
        if anchor is None:
            raise ReleaseKeyError(
                f"{self._directory} has no {ANCHOR_FILE}, the root that these keys belong to. Copy it there from where `edgeproof release "
                "init` ran, or copy metadata/1.root.json of the repository there, if you know that nobody changed the repository."
            )
        return anchor

    @property
    def anchor_file(self) -> Path:
        return self._directory / ANCHOR_FILE

    def trust(self, root: bytes) -> None:
        """Notes the root metadata to start from."""
        _replace(self._directory / ANCHOR_FILE, root)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps others from changing these keys, and tidies up after killed commands; may be entered again inside."""
        if self._is_locked:
            yield
            return
        with ExitStack() as held:
            with _explaining(self._directory / _LOCK, "locked", "Check that the directory can be written."):
                held.enter_context(locked(self._directory / _LOCK))
            self._is_locked = True
            held.callback(setattr, self, "_is_locked", False)
            if (self._directory / KEYS_FILE).exists():
                self.reload()
            self._tidy_up()
            yield

    def reload(self) -> None:
        """Reads keys.json again: another process may have replaced a key."""
        self._entries = _read_entries(self._directory)

    def has(self, name: str) -> bool:
        return name in self._entries.keys

    def add(self, name: str, uri: str | None = None, any_type: bool = False) -> Key:
        """Adds a key where there is none of that name: an ed25519 file, or the key behind a signer URI.

        Args:
            name: Its name.
            uri: Signer URI; None makes a file.
            any_type: Whether devices verify other types than ed25519.

        Raises:
            ReleaseKeyError: There is no key behind the URI, or not every device could verify it.
        """
        if self.has(name):
            return self.public(name)
        with self.lock():
            if not self.has(name):  # another command may have made it while this one waited
                self._make(
                    name,
                    uri,
                    any_type,
                    lambda entry: Entries({**self._entries.keys, name: entry}, self._entries.pending),
                )
        return self.public(name)

    def public(self, name: str) -> Key:
        """The public part of a key.

        Raises:
            ReleaseKeyError: There is no key of that name here.
        """
        return self._entry(name).public

    def signer(self, name: str) -> Signer:
        """Opens a private key, asking for its passphrase where it has one.

        Raises:
            ReleaseKeyError: There is no such key, its file is missing, readable by others, or not the right one.
            SurroundingsError: A KMS, HSM or Vault does not answer.
        """
        return self._open(name, self._entry(name))

    def signer_among(self, keyids: Iterable[str]) -> Signer | None:
        """Opens the key that is one of those, rather the new one while a key is being replaced; None where none is here.

        Raises:
            ReleaseKeyError: It is named here, and cannot be opened.
        """
        for prefix, entries in (("new ", self._entries.pending), ("", self._entries.keys)):
            for name, entry in entries.items():
                if entry.public.keyid in keyids:
                    return self._open(f"{prefix}{name}", entry)
        return None

    def prepare(self, name: str, uri: str | None = None, any_type: bool = False) -> Signer:
        """Opens the key that is to replace ``name``; makes it, once, and remembers it until ``adopt``.

        One that was prepared and lost is made anew, as is one that another URI is given for.
        """
        with self.lock():
            pending = self._entries.pending.get(name)
            if pending is None or self._is_lost(pending) or (uri is not None and import_key(uri)[0] != pending.uri):
                self._make(
                    name,
                    uri,
                    any_type,
                    lambda entry: Entries(self._entries.keys, {**self._entries.pending, name: entry}),
                )
            return self._open(f"new {name}", self._entries.pending[name])

    def adopt(self, name: str) -> str:
        """Makes the pending key the key; returns the URI of the old one, which may now be destroyed."""
        with self.lock():
            keys, pending = dict(self._entries.keys), dict(self._entries.pending)
            replaced = keys[name].uri
            keys[name] = pending.pop(name)
            self._save(Entries(keys, pending))
        return replaced

    def _entry(self, name: str) -> KeyEntry:
        if name not in self._entries.keys:
            raise ReleaseKeyError(
                f"this needs the key {name!r}, and {self._directory} has {', '.join(self.names) or 'none'}. "
                "Run it where that key is, or give its directory with --keys."
            )
        return self._entries.keys[name]

    def _make(self, name: str, uri: str | None, any_type: bool, noted: Callable[[KeyEntry], Entries]) -> None:
        """Makes or imports a key and notes it; needs the lock."""
        if uri is not None:
            entry = KeyEntry(*import_key(uri))
            if not any_type:
                _refuse_what_devices_cannot_verify(name, entry)
            self._save(noted(entry))
            return
        signer = CryptoSigner.generate_ed25519()
        file = f"{name}-{signer.public_key.keyid[:_KEYID_CHARACTERS]}.pem"
        unnamed = self._directory / f".{file}"
        with _explaining(unnamed, "written"):
            write_new(unnamed, pem_of(signer, passphrase_from_environment(name)), 0o600)
        self._save(noted(KeyEntry(f"{FILE_SCHEME}:{file}", signer.public_key)))
        with _explaining(self._directory / file, "written"):
            os.rename(unnamed, self._directory / file)

    def _tidy_up(self) -> None:
        """Names the key files that keys.json names already, and removes those that it never will; needs the lock."""
        uris = {entry.uri for entry in (*self._entries.keys.values(), *self._entries.pending.values())}
        with _explaining(self._directory, "tidied up"):
            remove_staged(self._directory)
            for file in self._directory.glob(".*.pem"):
                named = _UNNAMED.fullmatch(file.name)
                if named is not None and f"{FILE_SCHEME}:{named[1]}" in uris:
                    os.rename(file, self._directory / named[1])
                else:
                    file.unlink(missing_ok=True)

    def _is_lost(self, entry: KeyEntry) -> bool:
        return entry.uri.startswith(f"{FILE_SCHEME}:") and not self._file_of(entry).exists()

    def _file_of(self, entry: KeyEntry) -> Path:
        """The file of a private key; one that a killed command did not come to name has a dot in front."""
        file = self._directory / entry.uri.partition(":")[2]
        unnamed = file.with_name(f".{file.name}")
        return unnamed if unnamed.exists() and not file.exists() else file

    def _open(self, name: str, entry: KeyEntry) -> Signer:
        public = entry.public
        if public.keyid not in self._signers:
            is_file = entry.uri.startswith(f"{FILE_SCHEME}:")
            self._signers[public.keyid] = self._open_file(name, entry) if is_file else open_remote(entry.uri, public)
        return self._signers[public.keyid]

    def _open_file(self, name: str, entry: KeyEntry) -> Signer:
        path = self._file_of(entry)
        if not path.exists() and name != ROOT:
            raise ReleaseKeyError(
                f"the key {name!r} is not at {path}. Put its file there, or replace it where it is lost: `edgeproof release keys rotate`. "
                "Nothing was signed."
            )
        pem = read_private(path, name)
        passphrase = None
        if b"ENCRYPTED" in pem:
            passphrase = passphrase_from_environment(name) or (self._ask(name) if self._ask else "")
            if not passphrase:
                raise ReleaseKeyError(
                    f"the key {name!r} in {path} is encrypted. Set {PASSPHRASE_VARIABLE}, or run this at a terminal."
                )
        return open_pem(pem, passphrase, entry.public, name, path)

    def _save(self, entries: Entries) -> None:
        _replace(self._directory / KEYS_FILE, entries.to_bytes())
        self._entries = entries


def _read_entries(directory: Path) -> Entries:
    try:
        return Entries.from_bytes((directory / KEYS_FILE).read_bytes())
    except FileNotFoundError:
        raise ReleaseKeyError(
            f"there are no keys in {directory}. Give the directory of the repository's keys with --keys "
            "(release.keys in the config), or make a repository with `edgeproof release init`."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReleaseKeyError(f"{directory / KEYS_FILE} is damaged ({error}). Restore it from a backup.") from error
    except OSError as error:
        raise SurroundingsError(f"{directory / KEYS_FILE} cannot be read: {error.strerror}.") from error


def _refuse_what_devices_cannot_verify(name: str, entry: KeyEntry) -> None:
    if entry.public.keytype != _EVERY_DEVICE_VERIFIES:
        raise ReleaseKeyError(
            f"the key {name!r} ({entry.uri}) is of type {entry.public.keytype}; a device verifies {_EVERY_DEVICE_VERIFIES} only, unless "
            f"it has the library `cryptography`: pip install '{_DEVICE_EXTRA}' there. Once every device has it, add --any-key-type; "
            f"otherwise use an {_EVERY_DEVICE_VERIFIES} key. Nothing was signed."
        )


def _replace(path: Path, data: bytes) -> None:
    with _explaining(path, "written"):
        replace_file(path, data)


@contextmanager
def _explaining(path: Path, done: str, way_out: str = "Check the disk and the permissions.") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SurroundingsError(f"{path} cannot be {done}: {error.strerror}. {way_out}") from error
