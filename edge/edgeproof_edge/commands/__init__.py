"""The command `edgeproof-edge`: finds the verb, runs it, turns errors into one sentence and an exit code.

Exit codes: 0 done, 1 refused by a rule (a self-test, a release marked bad, an SLA), 2 wrong use or bad input, 3 broken
surroundings (network, disk, keys). A verb's module is imported only when it runs, so that help answers at once. Results go
to stdout, `--json` for programs; everything for people to stderr.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from edgeproof_edge import __version__
from edgeproof_edge.errors import EdgeproofError

#: Verb -> its line in help; its module is `commands/<verb, with _ for ->.py`.
VERBS = {
    "enroll": "Tell this device where its releases come from, and who it is.",
    "update": "Bring this device to the release that its channel offers.",
    "status": "Say what runs here, what is held back, and what waits to be sent.",
    "run": "Run the model on pictures, arrays or tables.",
    "serve": "Answer over HTTP, update, and report: what a service runs.",
    "self-test": "Put a release to its golden vectors, in a child process.",
    "bench": "Measure latency on this device; hold it against an SLA.",
    "rollback": "Go back to the release before, and do not fetch this one again.",
    "inspect": "Show what is inside a .tflite file and what this device makes of it.",
}
EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_SURROUNDINGS = 3
EXIT_INTERRUPTED = 130

_EPILOG = "Example: edgeproof-edge update --home /var/lib/edgeproof. Help on a verb: edgeproof-edge VERB --help."


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Ends with exit code 2."""
        print(f"error: {message}. See: {self.prog} --help", file=sys.stderr)
        sys.exit(EXIT_USAGE)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point; always exits."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    try:
        sys.exit(_run(given))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_SURROUNDINGS)
    except EdgeproofError as error:
        _tell(f"error: {error}", debug)
        sys.exit(error.exit_code)
    except Exception as error:
        _tell(f"error: unexpected {type(error).__name__}: {error}. Run it with --debug for the traceback.", debug)
        sys.exit(EXIT_SURROUNDINGS)


def _run(given: list[str]) -> int:
    verb = given[0] if given else ""
    if verb in VERBS:
        module = importlib.import_module(f"{__name__}.{verb.replace('-', '_')}")
        parser = Parser(prog=f"edgeproof-edge {verb}", description=VERBS[verb], epilog=f"Example: {module.EXAMPLE}")
        module.add_arguments(parser)
        return _exit_code(module, parser.parse_args(given[1:]))
    parser = _top()
    if not given:
        parser.print_help()
        return EXIT_USAGE
    parser.parse_args(given)  # --help, --version; all else is an error
    return EXIT_USAGE


def _exit_code(module: ModuleType, arguments: argparse.Namespace) -> int:
    code = module.run(arguments)
    sys.stdout.flush()
    return int(code)


def _top() -> Parser:
    lines = "\n".join(f"  {verb:<10} {line}" for verb, line in VERBS.items())
    parser = Parser(
        prog="edgeproof-edge",
        description=f"The device side of Edgeproof.\n\nverbs:\n{lines}",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="edgeproof-edge [--help] [--version] VERB ...",
    )
    parser.add_argument("--version", action="version", version=f"edgeproof-edge {__version__}")
    parser.add_argument("verb", choices=list(VERBS), help=argparse.SUPPRESS)
    return parser


def _tell(message: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(message, file=sys.stderr)
