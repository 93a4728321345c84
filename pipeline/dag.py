"""The whole chain on one screen: data, schema, float model, edge model, verdict, release.

Everything heavy (TFX and what it imports) loads with this module, so the command line imports it only to run.
"""

from __future__ import annotations

from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.orchestration import pipeline

from pipeline import nodes
from pipeline.config import PipelineConfig
from pipeline.description import describe_data
from pipeline.place import Place


def build_pipeline(config: PipelineConfig, place: Place) -> pipeline.Pipeline:
    """The pipeline of ``config`` at ``place``; its nodes are fresh objects, as TFX's cache wants them.

    What the world looks like (releases, a SavedModel's content) is read by the nodes or just before them, never here: the pipeline may be
    compiled once and run often.

    Args:
        config: A config that passed the preflight.
        place: Where it runs.
    """
    data = describe_data(config)

    examples = nodes.examples(config, data)
    schema = nodes.schema(config, data)
    statistics = nodes.statistics(config, data, examples, schema)
    validator = nodes.validator(config, statistics, schema)
    model = nodes.float_model(config, data, examples)
    converter = nodes.converter(config, data, examples, model)
    champion = nodes.champion(config, converter)
    evaluator = nodes.evaluator(config, data, examples, statistics, model, converter, champion)
    pusher = nodes.pusher(config, data, examples, converter, evaluator)
    for node in (model, converter):
        node.add_upstream_node(validator)

    chain = (examples, schema, statistics, validator, model, converter, champion, evaluator, pusher)
    components = [node for node in chain if node is not None]
    for node in components:
        if isinstance(node, BaseBeamComponent) and node.id in place.node_beam_args:
            node.with_beam_pipeline_args(list(place.node_beam_args[node.id]))
    return pipeline.Pipeline(
        pipeline_name=config.name,
        pipeline_root=place.root,
        components=components,
        enable_cache=True,
        beam_pipeline_args=list(place.beam_args),
    )
