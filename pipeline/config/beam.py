"""The section ``beam``: where the steps that stream the data run, when one machine is not enough."""

from __future__ import annotations

from pydantic import Field, field_validator

from pipeline.config.section import Section

#: The nodes that run on Beam.
BEAM_NODES = ("ImageExampleGen", "RecordExampleGen", "StatisticsGen", "Evaluator")


class BeamConfig(Section):
    """Arguments of Beam's runner, as Beam takes them; without any, Beam runs in this process."""

    args: tuple[str, ...] = Field(
        (),
        description="For every step that runs on Beam, such as ['--runner=PortableRunner', '--job_endpoint=localhost:8099'].",
    )
    nodes: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Further arguments for one step, which win: ImageExampleGen, RecordExampleGen, StatisticsGen or Evaluator.",
    )

    @field_validator("nodes")
    @classmethod
    def _names_beam_nodes(cls, nodes: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        unknown = sorted(set(nodes) - set(BEAM_NODES))
        if unknown:
            raise ValueError(f"{unknown[0]} does not run on Beam; these do: {', '.join(BEAM_NODES)}")
        return nodes
