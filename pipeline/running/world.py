"""What the world looks like when a node starts: parameters of nodes that only the cache reads.

A pipeline may be compiled once and run often, so nothing of the world is written into it. Such a parameter is left open when the pipeline
is built, and filled in just before its node is launched, from the node's other parameters: the same on a laptop and in a pod.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from tfx.orchestration.data_types import RuntimeParameter

from components.artifacts import local_copy
from components.device.errors import DeviceError
from components.device.measurement import look
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.scoring.both_models import sha256_of_directory
from components.saved_models.saved_model import saved_model_dir
from pipeline.config.data import DataConfig
from pipeline.data.source import data_fingerprint
from releases.offer import channel_state
from releases.stores.location import published_state


class WorldState(str, Enum):
    """A parameter that says what the world looks like."""

    DATA = "data-content"
    PUBLISHED = "published-state"
    CHANNEL = "channel-state"
    SAVED_MODEL = "saved-model-content"
    DEVICE = "device-state"


def state_parameter(state: WorldState) -> RuntimeParameter:
    """The parameter, open until its node starts."""
    return RuntimeParameter(name=state.value, ptype=str)


@dataclass(frozen=True)
class DataPlace:
    """Where the data is looked for, and where the hashes of its files are remembered from one look to the next."""

    section: DataConfig
    memory: Path


def read_states(node: Any, data: DataPlace | None) -> dict[str, str]:
    """The values of a node's open parameters, as the world is now.

    Args:
        node: A ``PipelineNode`` of a compiled pipeline.
        data: Needed for the node that reads the data.

    Raises:
        EdgeproofError: Data, a repository or a SavedModel cannot be read.
    """
    names = {value.runtime_parameter.name for value in node.parameters.parameters.values()}
    fixed = {name: value.field_value.string_value for name, value in node.parameters.parameters.items()}
    states = {state.value: read(fixed) for state, read in _READERS.items() if state.value in names}
    if WorldState.DATA.value in names:
        assert data is not None, "whoever launches the ExampleGen knows its data"
        states[WorldState.DATA.value] = data_fingerprint(data.section, data.memory)
    return states


def _published(parameters: Mapping[str, str]) -> str:
    return published_state(parameters["destination"], parameters["model_name"])


def _channel(parameters: Mapping[str, str]) -> str:
    return channel_state(parameters["location"], Path(parameters["keys"]), parameters["channel"])


def _saved_model(parameters: Mapping[str, str]) -> str:
    with local_copy(parameters["saved_model"]) as directory:
        return sha256_of_directory(saved_model_dir(str(directory)))


def _device(parameters: Mapping[str, str]) -> str:
    """What the device is and runs; of one that cannot be measured nothing is known, so nothing is taken from the cache."""
    rules = GateRules.from_json(parameters["rules"]).device
    assert rules is not None, "the parameter is open only where a device is named"
    try:
        return json.dumps({"device": rules.place.title, **asdict(look(rules.place))}, sort_keys=True)
    except DeviceError:
        return f"not measured {uuid.uuid4()}"


_READERS: Mapping[WorldState, Callable[[Mapping[str, str]], str]] = {
    WorldState.PUBLISHED: _published,
    WorldState.CHANNEL: _channel,
    WorldState.SAVED_MODEL: _saved_model,
    WorldState.DEVICE: _device,
}
