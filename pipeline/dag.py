"""The whole chain on one screen: data, schema, float model, edge model, verdict, release.

Everything heavy (TFX and what it imports) loads with this module, so the command line imports it only to run.
"""

from __future__ import annotations

from pathlib import Path

from tfx.orchestration import metadata, pipeline

from pipeline import nodes
from pipeline.config import PipelineConfig
from pipeline.description import describe_data

#: Beam in this process: no download of another runner, and no sdist of TFX built before every Beam node.
LOCAL_BEAM_ARGS = ("--runner=FnApiRunner", "--sdk_container_image=local")


def build_pipeline(config: PipelineConfig, *, for_one_run: bool = True) -> pipeline.Pipeline:
    """The pipeline of ``config``; its nodes are fresh objects, as TFX's cache wants them.

    Args:
        config: A config that passed the preflight.
        for_one_run: Whether it is built anew for each run. What the world looks like may then be written into it; a pipeline that is
            compiled once and runs often must look for itself.
    """
    data = describe_data(config)

    examples = nodes.examples(config, data)
    schema = nodes.schema(config, data)
    statistics = nodes.statistics(config, data, examples, schema)
    validator = nodes.validator(config, statistics, schema)
    model = nodes.float_model(config, data, examples)
    converter = nodes.converter(config, data, examples, model)
    champion = nodes.champion(config, converter, for_one_run)
    evaluator = nodes.evaluator(config, data, examples, statistics, model, converter, champion)
    pusher = nodes.pusher(config, data, examples, converter, evaluator)
    for node in (model, converter):
        node.add_upstream_node(validator)

    return pipeline.Pipeline(
        pipeline_name=config.name,
        pipeline_root=str(config.workspace_dir / "artifacts"),
        components=[
            node
            for node in (examples, schema, statistics, validator, model, converter, champion, evaluator, pusher)
            if node is not None
        ],
        enable_cache=True,
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(metadata_file(config))),
        beam_pipeline_args=list(LOCAL_BEAM_ARGS),
    )


def metadata_file(config: PipelineConfig) -> Path:
    """The SQLite file that TFX records runs, executions and artifacts in."""
    return config.workspace_dir / "metadata.sqlite"
