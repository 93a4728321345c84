"""Signs a role and writes it under the next free number."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from hashlib import sha256
from typing import Any, TypeVar

from securesystemslib.signer import Signer
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, MetaFile, Signed

from releases.archive import ARCHIVE
from releases.stores.protocol import AlreadyStored, role_file
from releases.stores.store import Store
from releases.trust.keys import BASE_KEYS, ONLINE, KeyRing
from releases.trust.metadata import SERIALIZER, SIGNED_AT, lifetime, text_of

_Role = TypeVar("_Role", bound=Signed)
#: Tells the time.
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time, to the second: TUF knows no fractions."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def sign(name: str, role: Signed, now: datetime, *signers: Signer) -> bytes:
    """Returns a role's signed bytes, valid from ``now`` for its lifetime."""
    role.expires = now + lifetime(name)
    if name in ("timestamp", "root"):
        role.unrecognized_fields[SIGNED_AT] = text_of(now)
    metadata: Metadata[Any] = Metadata(role)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes(SERIALIZER)


def unwritten(role: _Role) -> _Role:
    """A role before its first version."""
    role.version = 0  # the constructor takes none below 1; writing adds 1
    return role


def create_next(store: Store, name: str, role: Signed, signer: Signer, now: datetime) -> MetaFile:
    """Writes a role's next version that is free: what a killed writer left is numbered past, never overwritten."""
    while True:
        role.version += 1
        data = sign(name, role, now, signer)
        try:
            store.create(role_file(name, role.version), data)
            return MetaFile(role.version, len(data), {"sha256": sha256(data).hexdigest()})
        except AlreadyStored:
            continue


def key_name(name: str, ring: KeyRing) -> str:
    """The name of the key that signs a role: its own where it has one."""
    return name if ring.has(name) and name not in BASE_KEYS else ONLINE


def delegate(delegations: Delegations, name: str, key: str, ring: KeyRing) -> None:
    """Lets a key sign a channel, or the archive."""
    public = ring.public(key)
    delegations.keys[public.keyid] = public
    paths = ["models/*/*"] if name == ARCHIVE else [f"{name}/*/*"]
    assert delegations.roles is not None
    delegations.roles[name] = DelegatedRole(name, [public.keyid], 1, True, paths=paths)
