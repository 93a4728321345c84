"""Arguments of Beam that cannot work are refused before anything runs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pydantic
import pytest

from pipeline.config.beam import BEAM_NODES, BeamConfig
from pipeline.errors import ConfigError, RunError
from pipeline.running.beam_check import check_beam


@pytest.fixture
def server() -> Iterator[str]:
    """Somebody who listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    return f"127.0.0.1:{port}"


def test_without_arguments_beam_is_not_asked() -> None:
    assert check_beam(BeamConfig()) == ()


@pytest.mark.tfx
def test_runners_and_servers_that_are_there_pass(server: str) -> None:
    arguments = (
        "--runner=PortableRunner",
        f"--job_endpoint={server}",
        "--environment_type=LOOPBACK",
        "--parallelism=2",
    )
    config = BeamConfig(args=("--runner=FnApiRunner",), nodes={"Evaluator": arguments})
    assert check_beam(config) == ("beam.args: runner FnApiRunner", "beam.nodes.Evaluator: runner PortableRunner")


@pytest.mark.tfx
@pytest.mark.parametrize("key", ["args", "Evaluator"])
def test_a_runner_that_does_not_exist_is_told(key: str) -> None:
    arguments: Any = ("--runner=StormRunner",)
    config = BeamConfig(args=arguments) if key == "args" else BeamConfig(nodes={key: arguments})
    with pytest.raises(RunError, match=r"beam\.(args|nodes\.Evaluator): Beam has no runner 'StormRunner' here"):
        check_beam(config)


@pytest.mark.tfx
@pytest.mark.parametrize("name", ["job_endpoint", "artifact_endpoint"])
def test_a_server_that_does_not_answer_is_told(server: str, closed_port: str, name: str) -> None:
    endpoints = {"job_endpoint": server, "artifact_endpoint": server, name: closed_port}
    arguments = ["--runner=PortableRunner", "--environment_type=EXTERNAL"]
    arguments += [f"--{option}={endpoint}" for option, endpoint in endpoints.items()]
    with pytest.raises(RunError, match=f"nobody answers at --{name}={closed_port}: Connection refused"):
        check_beam(BeamConfig(args=tuple(arguments)))


@pytest.mark.tfx
def test_a_pool_of_workers_is_not_asked_from_here(server: str) -> None:
    arguments = ("--runner=PortableRunner", f"--job_endpoint={server}", "--environment_type=EXTERNAL")
    config = BeamConfig(args=(*arguments, "--environment_config=of-the-task-manager:50000"))
    assert check_beam(config) == ("beam.args: runner PortableRunner",)


@pytest.mark.tfx
def test_a_misspelt_argument_of_a_runner_in_this_process_is_told() -> None:
    with pytest.raises(ConfigError, match="'--direct_num_worker=2' is no argument of FnApiRunner"):
        check_beam(BeamConfig(args=("--runner=FnApiRunner", "--direct_num_worker=2")))


def test_a_node_that_does_not_run_on_beam_is_told() -> None:
    with pytest.raises(pydantic.ValidationError, match="Trainer does not run on Beam; these do: ImageExampleGen"):
        BeamConfig(nodes={"Trainer": ("--runner=FnApiRunner",)})


@pytest.mark.tfx
def test_the_nodes_that_run_on_beam_are_listed() -> None:
    from tfx.components import StatisticsGen
    from tfx.dsl.components.base.base_beam_component import BaseBeamComponent

    from components.evaluator.component import Evaluator
    from components.image_example_gen.component import ImageExampleGen
    from components.record_example_gen.component import RecordExampleGen

    beam_nodes = (ImageExampleGen, RecordExampleGen, StatisticsGen, Evaluator)
    assert tuple(node.__name__ for node in beam_nodes) == BEAM_NODES
    assert all(issubclass(node, BaseBeamComponent) for node in beam_nodes)
