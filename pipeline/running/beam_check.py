"""Refuses arguments of Beam that cannot work, before work starts: Beam itself finds out in the middle, or waits for ever.

Beam is imported only where the config gives arguments.
"""

from __future__ import annotations

import argparse
import socket
from collections.abc import Mapping
from typing import Any

from pipeline.config.beam import BeamConfig
from pipeline.errors import ConfigError, RunError

#: Runners that start nothing and talk to nobody: an argument that they do not know is a mistake.
_IN_PROCESS = ("FnApiRunner", "DirectRunner", "BundleBasedDirectRunner", "SwitchingDirectRunner")
#: Arguments that name a server.
_ENDPOINTS = ("job_endpoint", "artifact_endpoint", "flink_master", "spark_master_url")
_WAIT_SECONDS = 5.0


def check_beam(config: BeamConfig) -> tuple[str, ...]:
    """One sentence where Beam has arguments of its own.

    Raises:
        ConfigError: An argument is none of Beam's.
        RunError: A runner is not installed, or a server does not answer.
    """
    if not config.args and not config.nodes:
        return ()
    runners = {"beam.args": _check("beam.args", config.args)} if config.args else {}
    for node, arguments in config.nodes.items():
        runners[f"beam.nodes.{node}"] = _check(f"beam.nodes.{node}", (*config.args, *arguments))
    return tuple(f"{key}: runner {runner}" for key, runner in runners.items())


def _check(key: str, arguments: tuple[str, ...]) -> str:
    options, unknown = _parsed(key, arguments)
    runner = str(options.get("runner") or "DirectRunner")
    _check_runner(key, runner)
    if unknown and runner in _IN_PROCESS:
        raise ConfigError(f"{key}: {unknown[0]!r} is no argument of {runner}. Correct it, or remove it.")
    for name, endpoint in _endpoints(options):
        _check_endpoint(key, name, endpoint)
    return runner


def _parsed(key: str, arguments: tuple[str, ...]) -> tuple[Mapping[str, Any], list[str]]:
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    for section in PipelineOptions.__subclasses__():
        section._add_argparse_args(parser)
    try:
        options, unknown = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise ConfigError(f"{key}: {error}.") from error
    return vars(options), unknown


def _check_runner(key: str, runner: str) -> None:
    from apache_beam.runners.runner import create_runner

    try:
        create_runner(runner)
    except (ValueError, ImportError, AttributeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise RunError(
            f"{key}: Beam has no runner {runner!r} here: {reason}. Correct --runner, or install what it needs."
        ) from error


def _endpoints(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The servers that are asked from here; a pool of workers is not: its address is that of the machines that compute."""
    given = [(name, str(options[name])) for name in _ENDPOINTS if options.get(name)]
    return [(name, value) for name, value in given if _host_and_port(value)]


def _host_and_port(endpoint: str) -> tuple[str, int] | None:
    """``host:port``, also with a scheme; None for anything else, such as ``[local]``."""
    host, _, port = endpoint.rpartition("://")[2].rstrip("/").rpartition(":")
    return (host, int(port)) if host and port.isdecimal() else None


def _check_endpoint(key: str, name: str, endpoint: str) -> None:
    address = _host_and_port(endpoint)
    assert address is not None, "only these were kept"
    try:
        socket.create_connection(address, timeout=_WAIT_SECONDS).close()
    except OSError as error:
        raise RunError(
            f"{key}: nobody answers at --{name}={endpoint}: {error.strerror or error}. Start the server, or correct the address."
        ) from error
