"""`rollback`: back to the release before, at once; the one that ran is marked bad and not fetched again."""

from __future__ import annotations

import argparse
import json

from edgeproof_edge.commands.arguments import add_home, add_json

EXAMPLE = 'edgeproof-edge rollback --reason "answers nonsense in the dark"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add_home(parser)
    parser.add_argument("--reason", default="by hand", help="why; it is reported")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Goes back."""
    from edgeproof_edge.agent.enrollment import Enrollment, home_of
    from edgeproof_edge.errors import InputError
    from edgeproof_edge.updating.boot_guard import BootGuard
    from edgeproof_edge.updating.device_home import DeviceHome
    from edgeproof_edge.updating.errors import BusyError

    home = DeviceHome(home_of(arguments.home))
    Enrollment.read(home.path)
    with home.lock() as is_held:
        if not is_held:
            raise BusyError(f"an update is under way in {home.path}. Wait for it.")
        rolled_back = BootGuard(home).roll_back(f"rolled back {arguments.reason}")
    if rolled_back is None:
        raise InputError(f"{home.path} has no sound release to go back to. Have the operator roll the channel back.")
    if arguments.json:
        print(json.dumps({"version": rolled_back.to.version, "marked_bad": rolled_back.bad.version}))
    else:
        print(f"release {rolled_back.to.version} runs; {rolled_back.bad.version} is marked bad and not fetched again")
    return 0
