"""The command ``edgeproof``: finds the verb, runs it, turns errors into one message and an exit code.

Exit codes: 0 done, 1 refused by a rule, 2 wrong use or bad input, 3 broken surroundings. A verb's module is imported only when that verb
runs, so that ``--help`` answers in a fraction of a second.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback

import click
from edgeproof_edge import __version__
from edgeproof_edge.errors import EdgeproofError

#: Verb -> its line in ``--help``; the command is ``command`` in ``pipeline/commands/<verb>.py``.
VERBS = {
    "demo": "Run the whole chain on 1,797 real images, from training to a published release.",
    "run": "Run the pipeline of a config file.",
    "check": "Check everything that can be refused before work starts.",
    "report": "Explain the verdict of the last run.",
    "runs": "List past runs, or show what changed between two.",
    "convert": "Quantize a SavedModel without a pipeline.",
    "evaluate": "Judge a .tflite file against its float model without a pipeline.",
    "measure": "Run a .tflite file on a device, and bring back what it did there.",
    "inspect": "Show what is inside a .tflite file.",
    "kubeflow": "Compile, run and schedule a pipeline on Kubeflow.",
    "release": "Publish, promote, roll back and prove signed releases.",
    "telemetry": "Take in what devices report, and show it.",
    "trigger": "Decide, for a reason that is written down, whether to retrain.",
    "feedback": "Label what devices were unsure of, and make a span of it.",
    "doctor": "Check this machine and this installation.",
}

EXIT_REFUSED = 1
EXIT_SURROUNDINGS = 3
EXIT_INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, not when they are listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"pipeline.commands.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=LazyGroup, epilog="Example: edgeproof run examples/digits/config.yaml --set train.epochs=3")
@click.version_option(__version__, prog_name="edgeproof")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def edgeproof(debug: bool) -> None:
    """Ship an int8 TFLite model only after proof, on the whole holdout, that it keeps the float model's accuracy."""


def main() -> None:
    """Entry point; always exits."""
    debug = "--debug" in sys.argv
    try:
        # Not in standalone mode, click returns the code of an Exit instead of raising it.
        sys.exit(edgeproof.main(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        print("interrupted; run the same command again to go on from here", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_SURROUNDINGS)
    except EdgeproofError as error:
        _show(f"error: {error}", debug)
        sys.exit(error.exit_code)
    except Exception as error:
        _show(
            f"error: unexpected {type(error).__name__}: {error}. Run with edgeproof --debug for the traceback.", debug
        )
        sys.exit(EXIT_SURROUNDINGS)


def _show(message: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(message, file=sys.stderr)


if __name__ == "__main__":
    main()
