"""The whole chain on one screen: data, schema, float model, edge model, verdict, release.

Everything heavy (TFX and what it imports) loads with this module, so the command line imports it only to run.
"""

from __future__ import annotations

import json
from pathlib import Path

from tfx.components import Trainer
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration import metadata, pipeline
from tfx.proto import trainer_pb2
from tfx.types import standard_artifacts

from components.code_version import code_version
from components.evaluator.component import Evaluator
from components.example_validator.component import ExampleValidator
from components.feature_schema import feature_schema, write_schema
from components.pusher.component import Pusher
from components.pusher.location import published_state
from components.tflite_converter.component import TFLiteConverter
from components.trainer.spec import TRAINING_SPEC_KEY, TrainingSpec
from pipeline.config import PipelineConfig
from pipeline.data_source import example_gen, example_gen_room, statistics_gen
from pipeline.description import DataDescription, describe_data, fingerprint_directory, gate_rules

#: Beam in this process: no download of another runner, and no sdist of TFX built before every Beam node.
LOCAL_BEAM_ARGS = ("--runner=FnApiRunner", "--sdk_container_image=local")


def build_pipeline(config: PipelineConfig) -> pipeline.Pipeline:
    """The pipeline of ``config`` for a local run; its nodes are fresh objects, as TFX's cache wants them."""
    data = describe_data(config)
    spec = data.examples.to_json()
    parse_sources = (data.examples.parse_module,) if data.examples.parse_module else ()

    feature_schema_proto = feature_schema(data.examples, config.data.schema_file, num_classes=data.num_classes)

    examples = example_gen(config.data, code_version(example_gen_room(config.data)))
    schema = ImportSchemaGen(schema_file=str(write_schema(feature_schema_proto, config.workspace_dir / "schemas")))
    statistics = statistics_gen(examples.outputs["examples"], schema.outputs["schema"])
    validator = ExampleValidator(statistics.outputs["statistics"], schema.outputs["schema"])
    model = _float_model(config, data, examples)
    converter = TFLiteConverter(
        model=model.outputs[_model_key(config)],
        examples=examples.outputs["examples"],
        recipe=config.convert.recipe.value,
        min_samples=config.convert.calibration.min_samples,
        num_samples=config.convert.calibration.num_samples,
        seed=config.convert.calibration.seed,
        input_type=config.convert.input_type,
        output_type=config.convert.output_type,
        example_spec=spec,
        code_version=code_version("tflite_converter", parse_sources),
    )
    evaluator = Evaluator(
        examples=examples.outputs["examples"],
        float_model=model.outputs[_model_key(config)],
        tflite_model=converter.outputs["tflite_model"],
        statistics=statistics.outputs["statistics"],
        example_spec=spec,
        num_classes=data.num_classes,
        decision_threshold=config.gate.decision_threshold,
        rules=gate_rules(config.gate).to_json(),
        code_version=code_version("evaluator", parse_sources),
    )
    pusher = Pusher(
        model=converter.outputs["tflite_model"],
        model_blessing=evaluator.outputs["blessing"],
        evaluation=evaluator.outputs["evaluation"],
        examples=examples.outputs["examples"],
        example_spec=spec,
        decision_threshold=config.gate.decision_threshold,
        destination=config.release_location,
        channel=config.release.channel,
        keys=str(config.keys_dir),
        makes_repository=config.makes_repository,
        model_name=config.name,
        class_names=json.dumps(data.class_names),
        published_state=published_state(config.release_location, config.name),
        code_version=code_version("pusher", parse_sources),
    )
    for node in (model, converter):
        node.add_upstream_node(validator)
    return pipeline.Pipeline(
        pipeline_name=config.name,
        pipeline_root=str(config.workspace_dir / "artifacts"),
        components=[examples, schema, statistics, validator, model, converter, evaluator, pusher],
        enable_cache=True,
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(metadata_file(config))),
        beam_pipeline_args=list(LOCAL_BEAM_ARGS),
    )


def metadata_file(config: PipelineConfig) -> Path:
    """The SQLite file that TFX records runs, executions and artifacts in."""
    return config.workspace_dir / "metadata.sqlite"


def _model_key(config: PipelineConfig) -> str:
    return "result" if config.model.saved_model else "model"


def _float_model(config: PipelineConfig, data: DataDescription, examples: BaseNode) -> BaseNode:
    """A stock Trainer with our ``run_fn``, or an Importer of the team's SavedModel. (A QAT model joins here as a second output.)"""
    if config.model.saved_model:
        # The content is a property: an Importer otherwise re-uses whatever the same path held before.
        content = fingerprint_directory(config.model.saved_model)
        return Importer(
            str(config.model.saved_model), standard_artifacts.Model, custom_properties={"content_sha256": content}
        ).with_id("Model")
    source = config.model.module or config.model.run_fn
    assert source is not None
    training = TrainingSpec(
        examples=data.examples,
        num_classes=data.num_classes,
        code_version=code_version("trainer", (source,)),
        module=config.model.module,
        run_fn=config.model.run_fn,
        hyperparameters=config.model.hyperparameters,
        **config.train.model_dump(),
    )
    return Trainer(
        run_fn="components.trainer.run_fn.run_fn",
        examples=examples.outputs["examples"],
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(
            splits=["calibration"]
        ),  # accuracy per epoch; the holdout is the Evaluator's alone
        custom_config={TRAINING_SPEC_KEY: training.to_json()},
    )
