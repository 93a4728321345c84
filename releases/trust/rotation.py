"""Replaces a key, so that no device is ever left with metadata it cannot verify.

A root is seen by devices the moment it is written, before any timestamp. So a key that signs what devices already have
is replaced in three steps, each of which leaves a valid repository: 1. a root that trusts the old key and the new one.
2. Everything signed anew with the new key, committed by timestamp.json. 3. A root that trusts the new key only; devices
then forget the versions that a thief of the old key may have shown them. The key ``root`` itself, and a channel's own key,
need one step.

Rules, in order: 1. The old key is never opened, but for ``root``: it may be lost, or its passphrase forgotten. 2. No other writer comes
between the steps where the store can keep it out; where it cannot, what it signed with the old key meanwhile is signed anew. 3. A rotation
that was killed goes on where it stopped: the new key is pending in keys.json until it is done. 4. One rotation at a time in one
directory of keys.
"""

from __future__ import annotations

from collections.abc import Sequence

from securesystemslib.signer import Key, Signer

from releases.archive import ARCHIVE
from releases.commit import Change, Committer
from releases.errors import ReleaseError
from releases.repository import Repository
from releases.trust.keys import ONLINE, ROOT, TARGETS
from releases.trust.metadata import State

#: Top-level roles that a key of that name signs.
_ROLES_OF = {ONLINE: ("snapshot", "timestamp"), TARGETS: ("targets",)}
#: Keys that sign while one is replaced.
_NEEDED_FOR = {ROOT: (ROOT,), TARGETS: (ROOT, ONLINE), ONLINE: (ROOT, TARGETS)}
_NEEDED_FOR_CHANNEL = (TARGETS, ONLINE)


def rotate(repository: Repository, name: str, uri: str | None = None, any_type: bool = False) -> str:
    """Replaces the key ``name`` by a new one.

    Args:
        repository: Opened with its keys: ``root`` for root, targets and online; ``targets`` for online and channels.
        name: ``root``, ``targets``, ``online``, or a channel with a key of its own.
        uri: Signer URI of the new key; None makes an ed25519 file.
        any_type: Whether devices verify other types of keys than ed25519.

    Returns:
        The URI of the old key, which may now be destroyed.

    Raises:
        ReleaseError: There is no such key, or one that is needed beside it is missing here.
        SurroundingsError: The store or a key's place cannot be written.
    """
    committer, ring = repository.committer, repository.ring
    with ring.lock():
        if not ring.has(name):
            raise ReleaseError(f"there is no key {name!r} in {ring.location}; it has {', '.join(ring.names)}.")
        for needed in _NEEDED_FOR.get(name, _NEEDED_FOR_CHANNEL):
            ring.signer(needed)  # a missing one stops the rotation before it starts
        new = ring.prepare(name, uri, any_type)
        with committer.alone():
            _replace(committer, name, ring.public(name), new)
        return ring.adopt(name)


def _replace(committer: Committer, name: str, old: Key, new: Signer) -> None:
    if name == ROOT:
        _replace_root_key(committer, old, new)
    elif name in _ROLES_OF:
        _trust_both(committer, _ROLES_OF[name], new)
        _sign_anew(committer, name, old, new)
        _trust_only(committer, _ROLES_OF[name], new)
        committer.sign_again()
    else:
        _sign_anew(committer, name, old, new)


def _replace_root_key(committer: Committer, old: Key, new: Signer) -> None:
    root = committer.load().root
    if root.roles["root"].keyids == [new.public_key.keyid]:
        return
    root.revoke_key(old.keyid, "root")
    root.add_key(new.public_key, "root")
    committer.write_root(root, committer.ring.signer(ROOT), new)


def _trust_both(committer: Committer, roles: Sequence[str], new: Signer) -> None:
    root = committer.load().root
    if all(new.public_key.keyid in root.roles[role].keyids for role in roles):
        return
    for role in roles:
        root.add_key(new.public_key, role)
    committer.write_root(root, committer.ring.signer(ROOT))


def _trust_only(committer: Committer, roles: Sequence[str], new: Signer) -> None:
    root = committer.load().root
    outdated = [(role, keyid) for role in roles for keyid in root.roles[role].keyids if keyid != new.public_key.keyid]
    if not outdated:
        return
    for role, keyid in outdated:
        root.revoke_key(keyid, role)
    committer.write_root(root, committer.ring.signer(ROOT))


def _sign_anew(committer: Committer, name: str, old: Key, new: Signer) -> None:
    """Signs with the new key whatever the old one signs, and commits it in one step."""
    state = committer.load()
    delegated = [role for role in (*state.channels, ARCHIVE) if old.keyid in state.keyids(role)]

    def change(state: State) -> Change[None]:
        if name == TARGETS:
            is_done = new.public_key.keyid in state.signatures["targets"]
            return Change({} if is_done else {"targets": state.targets}, None)
        roles = {role: state.role(role) for role in delegated if old.keyid in state.keyids(role)}
        for role in roles:
            state.targets.revoke_key(old.keyid, role)
            state.targets.add_key(new.public_key, role)
        return Change({"targets": state.targets, **roles} if roles else {}, None)

    committer.commit_change(change, signers=dict.fromkeys((*_ROLES_OF.get(name, ()), *delegated), new))
