"""`enroll`: what a device needs to know before its first update; tries the connection, and installs nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgeproof_edge.commands.arguments import KERNELS, add_home, add_json, positive, seconds

EXAMPLE = "edgeproof-edge enroll --url https://models.example.com --model flowers --channel stable --root root.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add_home(parser)
    parser.add_argument("--url", required=True, help="address of the release repository")
    parser.add_argument("--model", required=True, help="name of the model")
    parser.add_argument("--channel", default="stable", help="channel to follow (stable)")
    parser.add_argument("--root", required=True, type=Path, help="root.json of the repository, which trust starts from")
    parser.add_argument("--device-id", help="name of this device (made from the machine's id)")
    parser.add_argument(
        "--telemetry", metavar="URL", help="address of the telemetry service; without it nothing is sent"
    )
    parser.add_argument(
        "--token-file", metavar="FILE", type=Path, help="the device's token for telemetry; - reads stdin"
    )
    parser.add_argument(
        "--poll-seconds", type=seconds, default=3600.0, help="between two questions for a release (3600)"
    )
    parser.add_argument("--window-seconds", type=positive, default=300, help="length of a telemetry window (300)")
    parser.add_argument("--kernels", choices=KERNELS, default="xnnpack", help="what computes where no delegate does")
    parser.add_argument("--threads", type=positive, default=1, help="threads of one invoke (1)")
    parser.add_argument("--delegate", metavar="LIB", help="shared library of a delegate")
    parser.add_argument(
        "--require-delegate", action="store_true", help="refuse releases that the delegate does not run"
    )
    parser.add_argument("--offline", action="store_true", help="do not try the connection")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Enrolls."""
    from edgeproof_edge.agent.enrollment import Enrollment, RuntimeSettings, checked_root, home_of
    from edgeproof_edge.agent.machine import default_device_id
    from edgeproof_edge.errors import InputError
    from edgeproof_edge.outbox.sender import Receiver
    from edgeproof_edge.updating.updater import Subscription, Updater

    home = home_of(arguments.home)
    root = checked_root(arguments.root)
    subscription = Subscription(
        arguments.url, arguments.model, arguments.channel, arguments.device_id or default_device_id()
    )
    token = _token(arguments.token_file)
    if arguments.telemetry is not None:
        Receiver(arguments.telemetry, token or "")
    if arguments.window_seconds > 86_400:
        raise InputError(f"--window-seconds {arguments.window_seconds} is longer than a day.")
    enrollment = Enrollment(
        url=arguments.url,
        model=arguments.model,
        channel=arguments.channel,
        device_id=subscription.device_id,
        telemetry_url=arguments.telemetry,
        poll_seconds=arguments.poll_seconds,
        window_seconds=arguments.window_seconds,
        runtime=RuntimeSettings(
            kernels=arguments.kernels,
            num_threads=arguments.threads,
            delegate=arguments.delegate,
            require_delegate=arguments.require_delegate,
        ),
    )
    offered = None if arguments.offline else Updater(home, subscription, root).check()
    enrollment.write(home, root, token)
    if arguments.json:
        import json

        version = None if offered is None else offered.version
        print(json.dumps({"device_id": enrollment.device_id, "home": str(home), "offered": version}))
    else:
        what = "not asked" if arguments.offline else "nothing yet" if offered is None else f"release {offered.version}"
        print(f"{enrollment.device_id} follows {arguments.channel} of {arguments.url}; offered: {what}.")
        print(f"next: edgeproof-edge update --home {home}", file=sys.stderr)
    return 0


def _token(file: Path | None) -> str | None:
    from edgeproof_edge.errors import InputError

    if file is None:
        return None
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--token-file {file} cannot be read: {error}.") from error
    if not text.strip():
        raise InputError(f"--token-file {file} is empty.")
    return text.strip()
