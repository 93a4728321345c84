"""Renews the proof of freshness, and what is past half of its life: decided over a state, written by one commit, then reported.

Rules, in order: 1. Where nothing ages, only the timestamp is signed. 2. What ages and has no key here is warned of: its key lies elsewhere,
as it should. 3. The root is signed with its own key, and devices see it at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tuf.api.metadata import Targets

from releases.archive import ARCHIVE
from releases.commit import Change, Committer
from releases.trust.metadata import State, text_of


@dataclass(frozen=True)
class Refreshed:
    """What ``refresh`` signed anew, and what will expire because its key is not here."""

    signed: tuple[str, ...]
    fresh_until: datetime
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Due:
    """What is to be signed anew beside the timestamp, and what cannot be."""

    roles: dict[str, Targets]
    with_snapshot: bool
    warnings: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return ("timestamp", *self.roles, *(["snapshot"] if self.with_snapshot else []))


def refresh_repository(committer: Committer) -> Refreshed:
    """Signs the timestamp anew, and every other role that is past half its life and whose key is here."""
    renewed, root_warnings = _renew_root(committer)

    def change(state: State) -> Change[_Due]:
        due = _due(committer, state)
        return Change(due.roles, due)

    due = committer.commit_change(change, renews=True)
    return Refreshed((*renewed, *due.names), committer.load().timestamp.expires, (*root_warnings, *due.warnings))


def _due(committer: Committer, state: State) -> _Due:
    roles: dict[str, Targets] = {}
    warnings = []
    for name in ("targets", ARCHIVE, *state.channels):
        role = state.targets if name == "targets" else state.role(name)
        if committer.is_aging(name, role):
            if committer.has_signer(state, name):
                roles[name] = role
            else:
                warnings.append(_expiry_warning(name, role.expires))
    return _Due(roles, bool(roles) or committer.needs_new_snapshot(state), tuple(warnings))


def _renew_root(committer: Committer) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Signs a root past half its life anew with its own key; what was signed, and what to warn of."""
    state = committer.load()
    committer.check_clock(state)
    if not committer.is_aging("root", state.root):
        return (), ()
    if not committer.has_signer(state, "root"):
        return (), (_expiry_warning("root", state.root.expires),)
    committer.write_root(state.root, committer.signer(state, "root"))
    return ("root",), ()


def _expiry_warning(name: str, expires: datetime) -> str:
    return f"{name} expires at {text_of(expires)} and its key is not here; refresh where it is before that."
