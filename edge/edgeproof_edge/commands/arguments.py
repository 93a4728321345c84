"""Arguments that several verbs take, and what they become."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeproof_edge.errors import InputError

if TYPE_CHECKING:
    from edgeproof_edge.runtime import EdgeModel, RuntimeOptions

KERNELS = ("xnnpack", "builtin")


def add_home(parser: argparse.ArgumentParser) -> None:
    """`--home`."""
    parser.add_argument(
        "--home", metavar="DIR", help="the device's directory (EDGEPROOF_HOME, else /var/lib/edgeproof)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def add_model(parser: argparse.ArgumentParser) -> None:
    """`--bundle`, and how to run it."""
    parser.add_argument("--bundle", metavar="DIR", type=Path, help="the files of a release, instead of what runs here")
    parser.add_argument("--kernels", choices=KERNELS, help="what computes where no delegate does")
    parser.add_argument("--threads", metavar="N", type=positive, help="threads of one invoke")
    parser.add_argument("--delegate", metavar="LIB", help="shared library of a delegate, as in libedgetpu.so.1")
    parser.add_argument(
        "--require-delegate", action="store_true", default=None, help="refuse where it computes nothing"
    )


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def seconds(text: str) -> float:
    """A time in seconds, from 1 to a week."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 1.0 <= value <= 7 * 86_400.0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 1 to 604800")
    return value


def options_of(arguments: argparse.Namespace) -> RuntimeOptions:
    """The device's own settings where it is enrolled, with what the command line says over them."""
    from edgeproof_edge.agent.enrollment import DEVICE_FILE, Enrollment, RuntimeSettings, home_of
    from edgeproof_edge.agent.loop import runtime_options

    home = home_of(arguments.home)
    is_enrolled = (home / DEVICE_FILE).exists()
    settings = Enrollment.read(home).runtime if is_enrolled else RuntimeSettings()
    given = {
        "kernels": arguments.kernels,
        "num_threads": arguments.threads,
        "delegate": arguments.delegate,
        "require_delegate": arguments.require_delegate,
    }
    return runtime_options(replace(settings, **{key: value for key, value in given.items() if value is not None}))


def open_model(arguments: argparse.Namespace) -> EdgeModel:
    """The model that a verb is about.

    Raises:
        EdgeproofError: It is not there, or does not run.
    """
    from edgeproof_edge.agent.enrollment import home_of
    from edgeproof_edge.runtime import EdgeModel

    options = options_of(arguments)
    if arguments.bundle is not None:
        if not arguments.bundle.is_dir():
            raise InputError(f"--bundle {arguments.bundle} is no directory. Give the directory of a release's files.")
        return EdgeModel.open(arguments.bundle, options)
    return EdgeModel.current(home_of(arguments.home), options)
