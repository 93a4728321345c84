"""`update`: one update, with the self-test in a child process. Exit code 1 where a release was refused or held back."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from edgeproof_edge.commands.arguments import add_home, add_json, seconds

EXAMPLE = "edgeproof-edge update --home /var/lib/edgeproof"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add_home(parser)
    add_json(parser)
    parser.add_argument("--deadline", metavar="SECONDS", type=seconds, help="longest time (900)")
    parser.add_argument("--again", metavar="VERSION", help="try a release that is marked bad on this device once more")


def run(arguments: argparse.Namespace) -> int:
    """Updates."""
    from edgeproof_edge.agent.enrollment import Enrollment, home_of, read_root
    from edgeproof_edge.agent.updating import UpdateReport
    from edgeproof_edge.errors import EdgeproofError
    from edgeproof_edge.self_test import SelfTestOptions, self_test
    from edgeproof_edge.updating.updater import DEADLINE_SECONDS, Subscription, Updater

    home = home_of(arguments.home)
    enrollment = Enrollment.read(home)
    settings = enrollment.runtime
    subscription = Subscription(enrollment.url, enrollment.model, enrollment.channel, enrollment.device_id)
    updater = Updater(home, subscription, read_root(home), arguments.deadline or DEADLINE_SECONDS)
    if arguments.again is not None:
        _forgive(arguments)
    options = SelfTestOptions(
        settings.kernels,
        settings.num_threads,
        settings.delegate,
        settings.require_delegate,
        settings.minimum_delegated_fraction,
    )
    try:
        update = updater.update(self_test(options))
    except EdgeproofError as error:
        if arguments.json:
            current = updater.current()
            version = None if current is None else current.version
            print(json.dumps(asdict(UpdateReport(version, False, type(error).__name__, str(error)))))
        raise
    version = None if update.installed is None else update.installed.version
    if arguments.json:
        print(json.dumps(asdict(UpdateReport(version, update.is_new, None, update.held_back, update.damage))))
    else:
        _show(version, update.is_new, update.damage)
    if update.held_back is not None:
        print(f"held back: {update.held_back}. See: edgeproof-edge update --again VERSION", file=sys.stderr)
        return 1
    return 0


def _show(version: str | None, is_new: bool, damage: str | None) -> None:
    if damage is not None:
        print(f"the installed model was damaged: {damage}", file=sys.stderr)
    if version is None:
        print("nothing is offered to this device yet")
    else:
        print(f"release {version} {'is installed' if is_new else 'is up to date'}")


def _forgive(arguments: argparse.Namespace) -> None:
    from edgeproof_edge.agent.enrollment import home_of
    from edgeproof_edge.errors import InputError
    from edgeproof_edge.updating.boot_guard import guard_of

    guard = guard_of(home_of(arguments.home))
    names = [name for name in guard.state().bad if name.startswith(f"{arguments.again}-") or name == arguments.again]
    if not names:
        raise InputError(f"release {arguments.again!r} is not marked bad here; marked are {sorted(guard.state().bad)}.")
    for name in names:
        guard.forgive(name)
