"""`status`: what runs here, what is held back, and what waits to be sent. Exit code 1 where the model is damaged or missing."""

from __future__ import annotations

import argparse
import json
from typing import Any

from edgeproof_edge.commands.arguments import add_home, add_json

EXAMPLE = "edgeproof-edge status --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add_home(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Tells."""
    from edgeproof_edge.agent.enrollment import home_of

    content = _status(home_of(arguments.home))
    if arguments.json:
        print(json.dumps(content, indent=2))
    else:
        for key, value in content.items():
            print(f"{key.replace('_', ' '):<20} {_text(value)}")
    return 0 if content["version"] is not None and content["damage"] is None else 1


def _status(home: Any) -> dict[str, Any]:
    from datetime import datetime, timezone

    from edgeproof_edge.agent.enrollment import OUTBOX_FILE, Enrollment
    from edgeproof_edge.outbox.store import Outbox
    from edgeproof_edge.updating.boot_guard import guard_of
    from edgeproof_edge.updating.device_home import DeviceHome

    enrollment = Enrollment.read(home)
    place, state = DeviceHome(home), guard_of(home).state()
    current = place.current()
    waiting = None
    if (home / OUTBOX_FILE).exists():
        with Outbox(home / OUTBOX_FILE) as outbox:
            waiting = len(outbox)
    last = datetime.fromtimestamp(state.last_success, timezone.utc)
    return {
        "device_id": enrollment.device_id,
        "model": enrollment.model,
        "channel": f"{enrollment.channel} of {enrollment.url}",
        "version": None if current is None else current.version,
        "damage": place.damage(),
        "on_trial": state.trial is not None and current is not None and state.trial.name == current.name,
        "way_back": state.fallback,
        "marked_bad": state.bad,
        "last_fresh_answer": f"{last:%Y-%m-%dT%H:%M:%SZ}" if state.last_success else None,
        "windows_waiting": waiting,
    }


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {reason}" for key, reason in value.items()) or "-"
    return str(value)
