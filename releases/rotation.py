"""Replaces a key, so that no device is ever left with metadata it cannot verify.

A root is seen by devices the moment it is written, before any timestamp. So a key that signs what devices already have
is replaced in three steps, each of which leaves a valid repository: 1. a root that trusts the old key and the new one.
2. Everything signed anew with the new key, committed by timestamp.json. 3. A root that trusts the new key only; devices
then forget the versions that a thief of the old key may have shown them. The key `root` itself, and a channel's own key,
need one step. A rotation that was killed goes on where it stopped: the new key is pending in keys.json until it is done.
"""

from __future__ import annotations

from collections.abc import Sequence

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Targets

from releases.archive import ARCHIVE
from releases.errors import ReleaseError
from releases.keys import ONLINE, ROOT, TARGETS
from releases.metadata import State
from releases.repository import Repository

#: Top-level roles that a key of that name signs.
_ROLES_OF = {ONLINE: ("snapshot", "timestamp"), TARGETS: ("targets",)}


def rotate(repository: Repository, name: str, uri: str | None = None) -> str:
    """Replaces the key `name` by a new one.

    Args:
        repository: opened with its keys: `root` for root, targets and online; `targets` for online and channels.
        name: root, targets, online, or a channel with a key of its own.
        uri: signer URI of the new key; None makes an ed25519 file.

    Returns:
        The URI of the old key, which may now be destroyed.

    Raises:
        ReleaseError: there is no such key, or another one is missing here.
        SurroundingsError: the store or a key's place cannot be written.
    """
    ring = repository.ring
    if not ring.has(name):
        raise ReleaseError(f"there is no key {name!r} in {ring.location}; it has {', '.join(ring.names)}.")
    _open_other_keys(repository, name)
    new = ring.prepare(name, uri)
    old = ring.public(name)
    if name == ROOT:
        _replace_root_key(repository, old, new)
    elif name in _ROLES_OF:
        _trust_both(repository, _ROLES_OF[name], new)
        _sign_anew(repository, name, old, new)
        _trust_only(repository, _ROLES_OF[name], new)
    else:
        _sign_anew(repository, name, old, new)
    return ring.adopt(name)


def _open_other_keys(repository: Repository, name: str) -> None:
    """Opens every key that the rotation will need, so that a missing one stops it before it starts."""
    needed = {ROOT: (ROOT,), TARGETS: (ROOT, ONLINE), ONLINE: (ROOT, TARGETS)}.get(name, (TARGETS, ONLINE))
    for each in (name, *needed):
        repository.ring.signer(each)


def _replace_root_key(repository: Repository, old: Key, new: Signer) -> None:
    root = repository.load().root
    if root.roles["root"].keyids == [new.public_key.keyid]:
        return
    root.revoke_key(old.keyid, "root")
    root.add_key(new.public_key, "root")
    repository.write_root(root, repository.ring.signer(ROOT), new)


def _trust_both(repository: Repository, roles: Sequence[str], new: Signer) -> None:
    root = repository.load().root
    if all(new.public_key.keyid in root.roles[role].keyids for role in roles):
        return
    for role in roles:
        root.add_key(new.public_key, role)
    repository.write_root(root, repository.ring.signer(ROOT))


def _trust_only(repository: Repository, roles: Sequence[str], new: Signer) -> None:
    root = repository.load().root
    outdated = [(role, keyid) for role in roles for keyid in root.roles[role].keyids if keyid != new.public_key.keyid]
    if not outdated:
        return
    for role, keyid in outdated:
        root.revoke_key(keyid, role)
    repository.write_root(root, repository.ring.signer(ROOT))


def _sign_anew(repository: Repository, name: str, old: Key, new: Signer) -> None:
    """Signs with the new key whatever the old one signs, and commits it in one step."""
    state = repository.load()
    delegated = [role for role in (*state.channels, ARCHIVE) if old.keyid in state.keyids(role)]

    def change(state: State) -> tuple[dict[str, Targets], None]:
        if name == TARGETS:
            is_done = new.public_key.keyid in state.signatures["targets"]
            return ({} if is_done else {"targets": state.targets}), None
        roles = {role: state.role(role) for role in delegated if old.keyid in state.keyids(role)}
        for role in roles:
            state.targets.revoke_key(old.keyid, role)
            state.targets.add_key(new.public_key, role)
        return ({"targets": state.targets, **roles} if roles else {}), None

    repository.commit_change(change, signers=dict.fromkeys((*_ROLES_OF.get(name, ()), *delegated), new))
