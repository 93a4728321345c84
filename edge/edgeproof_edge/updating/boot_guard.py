"""Remembers how releases did on this device, so that one that does not start cannot keep it down.

A release is on trial from the switch until it has run well for some minutes. Rules, in order: 1. A start is written down
before it is tried: a model that takes the whole machine down was counted. 2. A release on trial that failed to start
twice, or failed its first minutes, goes back to the release before, and is marked bad. 3. What is marked bad is not
fetched again; the next release is. 4. A release on trial is never what another goes back to. 5. A file that a power cut
has damaged is an empty one: counting starts anew, and no device stops for it.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from edgeproof_edge import durable_files
from edgeproof_edge.updating.device_home import DeviceHome, Installed, damage_of

#: Starts of a release on trial that may fail; the next one goes back.
MAX_FAILED_STARTS = 2
#: How long a release must have run well before it is trusted.
TRIAL_SECONDS = 300.0

_STATE = "state.json"
_LOCK = ".state-lock"
_MAX_BAD = 50


@dataclass(frozen=True)
class Trial:
    """A release that has not proved itself yet: its name, and how often it was started."""

    name: str
    num_starts: int = 0


@dataclass(frozen=True)
class State:
    """What a device remembers.

    Attributes:
        trial: The release on trial; None where the current one is trusted.
        fallback: Name of the release to go back to.
        bad: Why a release is not fetched again, by name, oldest first.
        last_success: Unix time of the last answer that was proved fresh; a clock before it is wrong.
    """

    trial: Trial | None = None
    fallback: str | None = None
    bad: dict[str, str] = field(default_factory=dict)
    last_success: int = 0


@dataclass(frozen=True)
class RolledBack:
    """What the guard took back, to what, and why."""

    bad: Installed
    to: Installed
    reason: str


class BootGuard:
    """The memory of one device."""

    def __init__(self, home: DeviceHome) -> None:
        self._home = home
        self._file = home.path / _STATE

    def state(self) -> State:
        """What is remembered; an empty state where the file is damaged."""
        try:
            return _parsed(self._file.read_bytes())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return State()

    def is_bad(self, name: str) -> str | None:
        """Why a release is not fetched again; None where it may be."""
        return self.state().bad.get(name)

    def mark_bad(self, name: str, reason: str) -> None:
        """Remembers that a release does not work here."""
        with self._changing() as state:
            bad = {**{key: value for key, value in state.bad.items() if key != name}, name: reason}
            self._write(replace(state, bad=dict(list(bad.items())[-_MAX_BAD:])))

    def forgive(self, name: str) -> None:
        """Lets a release be fetched again."""
        with self._changing() as state:
            self._write(replace(state, bad={key: value for key, value in state.bad.items() if key != name}))

    def succeeded_at(self, time: int) -> None:
        """Remembers when an answer was proved fresh."""
        with self._changing() as state:
            if time // 3600 > state.last_success // 3600:  # the card is not written for every check
                self._write(replace(state, last_success=time))

    def on_trial(self, new: Installed, old: Installed | None) -> None:
        """Puts a release on trial, before it is switched to."""
        with self._changing() as state:
            is_old_trusted = state.trial is None or old is None or state.trial.name != old.name
            fallback = state.fallback
            if old is not None and old.name != new.name and (is_old_trusted or fallback is None):
                fallback = old.name
            self._write(replace(state, trial=Trial(new.name), fallback=fallback))

    def starting(self) -> RolledBack | None:
        """Counts a start of the current release, before it is loaded; goes back where it failed too often."""
        current = self._home.current()
        state = self.state()
        if current is not None and current.name in state.bad:  # killed on the way back
            return self.roll_back(state.bad[current.name])
        if current is None or state.trial is None or state.trial.name != current.name:
            return None
        if state.trial.num_starts >= MAX_FAILED_STARTS:
            rolled_back = self.roll_back(f"it failed to start {state.trial.num_starts} times")
            if rolled_back is not None:
                return rolled_back
        with self._changing() as state:
            if state.trial is not None:
                self._write(replace(state, trial=replace(state.trial, num_starts=state.trial.num_starts + 1)))
        return None

    def confirm(self, name: str) -> None:
        """The release has run well: it is trusted from now on."""
        if (trial := self.state().trial) is None or trial.name != name:
            return
        with self._changing() as state:
            self._write(replace(state, trial=None))

    def roll_back(self, reason: str) -> RolledBack | None:
        """Goes back to the release before, and marks the current one bad; None where there is none to go back to."""
        current = self._home.current()
        fallback = self._fallback(current)
        if current is None or fallback is None:
            return None
        self.mark_bad(current.name, reason)
        self._home.switch(fallback)
        with self._changing() as state:
            self._write(replace(state, trial=None, fallback=None))
        return RolledBack(current, fallback, reason)

    def _fallback(self, current: Installed | None) -> Installed | None:
        state = self.state()
        others = [
            installed
            for installed in reversed(self._home.installed())
            if current is not None and installed.name != current.name and installed.name not in state.bad
        ]
        sound = (
            version
            for version in sorted(others, key=lambda it: it.name != state.fallback)
            if damage_of(version) is None
        )
        return next(sound, None)

    @contextmanager
    def _changing(self) -> Iterator[State]:
        """The state, while no other process changes it."""
        self._home.path.mkdir(parents=True, exist_ok=True)
        with (self._home.path / _LOCK).open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield self.state()

    def _write(self, state: State) -> None:
        durable_files.replace(self._file, (json.dumps(asdict(state), indent=1) + "\n").encode())


def _parsed(data: bytes) -> State:
    content = json.loads(data)
    trial = content["trial"]
    return State(
        trial=None if trial is None else Trial(str(trial["name"]), int(trial["num_starts"])),
        fallback=None if content["fallback"] is None else str(content["fallback"]),
        bad={str(name): str(reason) for name, reason in content["bad"].items()},
        last_success=int(content["last_success"]),
    )


def guard_of(path: Path) -> BootGuard:
    """The guard of a device's directory."""
    return BootGuard(DeviceHome(path))
