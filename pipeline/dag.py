"""The whole chain on one screen: data, schema, float model, edge model, verdict, release.

Everything heavy (TFX and what it imports) loads with this module, so the command line imports it only to run.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tfx.components import Trainer
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.importer import Importer
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.orchestration import metadata, pipeline
from tfx.proto import trainer_pb2
from tfx.types import Channel, standard_artifacts

from components.code_version import code_version
from components.evaluator.component import Evaluator
from components.evaluator.scoring import sha256_of_directory
from components.evaluator.slices import slices_to_json
from components.example_validator.component import ExampleValidator
from components.feature_schema import feature_names, feature_schema, write_schema
from components.pusher.component import Pusher
from components.pusher.location import published_state
from components.tflite_converter.component import TFLiteConverter
from components.tflite_converter.recipes import parse_fallbacks
from components.tflite_converter.repair.settings import AutoSettings, Caps, GoalSettings
from components.trainer.spec import TRAINING_SPEC_KEY, QatSpec, TrainingSpec
from pipeline.config import ConvertConfig, PipelineConfig, QatMode, TrainConfig
from pipeline.data_source import example_gen, example_gen_room, statistics_gen
from pipeline.description import DataDescription, describe_data, gate_rules, gate_slices

#: Beam in this process: no download of another runner, and no sdist of TFX built before every Beam node.
LOCAL_BEAM_ARGS = ("--runner=FnApiRunner", "--sdk_container_image=local")
#: Fine-tuning starts at a tenth of the float rate; see train.qat.learning_rate.
QAT_RATE_DIVISOR = 10


def build_pipeline(config: PipelineConfig) -> pipeline.Pipeline:
    """The pipeline of ``config`` for a local run; its nodes are fresh objects, as TFX's cache wants them."""
    data = describe_data(config)
    spec = data.examples.to_json()
    parse_sources = (data.examples.parse_module,) if data.examples.parse_module else ()

    feature_schema_proto = feature_schema(data.examples, config.data.schema_file, num_classes=data.num_classes)

    examples = example_gen(config.data, code_version(example_gen_room(config.data)))
    schema = ImportSchemaGen(schema_file=str(write_schema(feature_schema_proto, config.workspace_dir / "schemas")))
    described = () if config.data.schema_file else feature_names(feature_schema_proto)
    statistics = statistics_gen(examples.outputs["examples"], schema.outputs["schema"], described)
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
        select_tf_operators=config.convert.select_tf_operators,
        auto_settings=_auto_settings(config.convert).to_json(),
        example_spec=replace(data.examples, slice_features=config.convert.calibration.stratify_by).to_json(),
        code_version=code_version("tflite_converter", parse_sources),
    )
    champion = _champion(config)
    evaluator = Evaluator(
        examples=examples.outputs["examples"],
        float_model=model.outputs[_model_key(config)],
        tflite_model=converter.outputs["tflite_model"],
        statistics=statistics.outputs["statistics"],
        example_spec=spec,
        num_classes=data.num_classes,
        decision_threshold=config.gate.decision_threshold,
        rules=gate_rules(config.gate).to_json(),
        slices=slices_to_json(gate_slices(config)),
        kernel_sample_size=config.gate.kernel_sample,
        champion=champion.outputs["model"] if champion else None,
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
        components=[
            examples,
            schema,
            statistics,
            validator,
            model,
            converter,
            *([champion] if champion else []),
            evaluator,
            pusher,
        ],
        enable_cache=True,
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(metadata_file(config))),
        beam_pipeline_args=list(LOCAL_BEAM_ARGS),
    )


def metadata_file(config: PipelineConfig) -> Path:
    """The SQLite file that TFX records runs, executions and artifacts in."""
    return config.workspace_dir / "metadata.sqlite"


def _auto_settings(convert: ConvertConfig) -> AutoSettings:
    return AutoSettings(
        GoalSettings(**convert.goal.model_dump()),
        Caps(convert.max_candidates, convert.max_seconds),
        parse_fallbacks(convert.fallbacks),
    )


def _champion(config: PipelineConfig) -> Resolver | None:
    """The last blessed edge model, where the gate compares with it; it resolves to nothing before the first blessing."""
    if config.gate.champion_min_ratio is None:
        return None
    return Resolver(
        strategy_class=LatestBlessedModelStrategy,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    ).with_id("Champion")


def _model_key(config: PipelineConfig) -> str:
    return "result" if config.model.saved_model else "model"


def _float_model(config: PipelineConfig, data: DataDescription, examples: BaseNode) -> BaseNode:
    """A stock Trainer with our ``run_fn``, or an Importer of the team's SavedModel."""
    if config.model.saved_model:
        # The content is a property: an Importer otherwise re-uses whatever the same path held before.
        content = sha256_of_directory(config.model.saved_model)
        return Importer(
            str(config.model.saved_model), standard_artifacts.Model, custom_properties={"content_sha256": content}
        ).with_id("Model")
    source = config.model.module or config.model.run_fn
    assert source is not None
    training = TrainingSpec(
        examples=data.examples,
        num_classes=data.num_classes,
        # Fine-tuning with quantization in the loop converts what came out, to score it.
        code_version="-".join(code_version(room, (source,)) for room in _trainer_rooms(config.train)),
        module=config.model.module,
        run_fn=config.model.run_fn,
        hyperparameters=config.model.hyperparameters,
        qat=_qat(config.train),
        **config.train.model_dump(exclude={"qat"}),
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


def _trainer_rooms(train: TrainConfig) -> tuple[str, ...]:
    return ("trainer",) if train.qat.mode is QatMode.OFF else ("trainer", "tflite_converter")


def _qat(train: TrainConfig) -> QatSpec | None:
    if train.qat.mode is QatMode.OFF:
        return None
    return QatSpec(train.qat.epochs, train.qat.learning_rate or train.learning_rate / QAT_RATE_DIVISOR)
