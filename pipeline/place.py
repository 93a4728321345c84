"""Where a pipeline runs: made by whoever runs it, so that the same pipeline is built for a laptop and for a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.config import PipelineConfig
from pipeline.mlmd import MetadataLocation

#: Keeps TFX from building a source distribution of itself (seconds, and 42 MB in /tmp) before every Beam node.
_NO_SOURCE_DISTRIBUTION = "--sdk_container_image=local"
#: Beam in this process, and no download of another runner.
IN_PROCESS_BEAM_ARGS = ("--runner=FnApiRunner", _NO_SOURCE_DISTRIBUTION)
#: Arguments that say how workers get the code.
_CODE_ARGUMENTS = (
    "--extra_package",
    "--extra_packages",
    "--setup_file",
    "--requirements_file",
    "--sdk_container_image",
)
#: The SQLite file that TFX records runs, executions and artifacts in, under a workspace.
METADATA_FILE = "metadata.sqlite"


@dataclass(frozen=True)
class Place:
    """A place to run in.

    Attributes:
        root: URI of the directory under which artifacts are written.
        metadata: Where runs, executions and artifacts are recorded.
        beam_args: Arguments of Beam, for the nodes that run on it.
        node_beam_args: Further arguments by node, which win.
    """

    root: str
    metadata: MetadataLocation
    beam_args: tuple[str, ...] = IN_PROCESS_BEAM_ARGS
    node_beam_args: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def local_place(config: PipelineConfig) -> Place:
    """This machine: artifacts and records under the workspace, Beam in this process unless the config says otherwise."""
    metadata = MetadataLocation.of_file(config.workspace_dir / METADATA_FILE)
    return Place(config.artifact_root, metadata, beam_args(config), config.beam.nodes)


def beam_args(config: PipelineConfig) -> tuple[str, ...]:
    """Beam's arguments for every node; TFX builds a source distribution of itself before each node that says nothing of code or image."""
    given = config.beam.args
    if not given:
        return IN_PROCESS_BEAM_ARGS
    brings_code = any(argument.partition("=")[0] in _CODE_ARGUMENTS for argument in given)
    return given if brings_code else (*given, _NO_SOURCE_DISTRIBUTION)
