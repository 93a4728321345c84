"""`serve`: answers over HTTP, updates, and reports; ends within a second of SIGTERM with everything kept."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from types import FrameType
from typing import TYPE_CHECKING, Any

from edgeproof_edge.commands.arguments import add_home

if TYPE_CHECKING:
    from edgeproof_edge.agent.loop import Agent

EXAMPLE = "edgeproof-edge serve --port 8080"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add_home(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine only)")
    parser.add_argument("--port", type=_port, default=8080, help="port (8080); 0 takes a free one and says which")
    parser.add_argument("--no-updates", action="store_true", help="run what is installed, and never ask for a release")


def run(arguments: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT."""
    _at_end(sys.exit)  # the first process of a container ignores SIGTERM by itself
    from edgeproof_edge.agent.enrollment import Enrollment, home_of
    from edgeproof_edge.agent.loop import Agent
    from edgeproof_edge.serving.server import make_server
    from edgeproof_edge.updating.device_home import NoModelError

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    home = home_of(arguments.home)
    enrollment = Enrollment.read(home)
    agent = Agent(home, enrollment, update=_no_update) if arguments.no_updates else Agent(home, enrollment)
    with closing(agent), make_server(agent, arguments.host, arguments.port) as server:
        try:
            agent.load()
        except NoModelError:
            if arguments.no_updates:
                raise
        _run_until_stopped(agent, server)
    return 0


def _run_until_stopped(agent: Agent, server: Any) -> None:
    _at_end(agent.stop)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    host, port = server.server_address[:2]
    print(f"serving on http://{host}:{port}", flush=True)
    try:
        agent.run()
    finally:
        server.shutdown()
        thread.join()


def _at_end(action: Callable[[], object]) -> None:
    def end(number: int, frame: FrameType | None) -> None:
        action()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def _no_update(home: object) -> Any:
    from edgeproof_edge.agent.updating import UpdateReport

    return UpdateReport(None, False)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 0 to 65535")
    return int(text)
