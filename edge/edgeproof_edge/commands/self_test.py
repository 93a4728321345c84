"""`self-test`: a release against its golden vectors, as an update does it. Exit code 1 where it fails."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from edgeproof_edge.commands.arguments import add_home, add_json, add_model

EXAMPLE = "edgeproof-edge self-test --bundle unpacked/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add_home(parser)
    add_model(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Tests."""
    from edgeproof_edge.agent.enrollment import home_of
    from edgeproof_edge.commands.arguments import options_of
    from edgeproof_edge.errors import InputError
    from edgeproof_edge.self_test import SelfTestOptions, run_self_test
    from edgeproof_edge.updating.device_home import DeviceHome

    options = options_of(arguments)
    if arguments.bundle is not None and not arguments.bundle.is_dir():
        raise InputError(f"--bundle {arguments.bundle} is no directory. Give the directory of a release's files.")
    directory = arguments.bundle or DeviceHome(home_of(arguments.home)).startable().installed.directory
    result = run_self_test(
        directory,
        SelfTestOptions(options.kernels.value, options.num_threads, options.delegate, options.require_delegate),
    )
    if arguments.json:
        print(json.dumps(asdict(result), indent=2))
    elif result.passed:
        print(
            f"passed: {result.num_examples} golden vectors, at most {result.largest_difference:.4g} off where "
            f"{result.tolerance:.4g} is allowed"
        )
    if result.warning is not None:
        print(f"warning: {result.warning}", file=sys.stderr)
    if result.passed:
        return 0
    print(f"failed: {result.reason}", file=sys.stderr)
    return 3 if result.is_machine_at_fault else 1
