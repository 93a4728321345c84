"""The nodes of the chain, one function each: what the config says, in the words of a component.

A node that re-uses another's output takes the node. The code that a node runs is part of its cache key (``code_version``), and so are the
libraries' versions, in TFX's own nodes too.
"""

from __future__ import annotations

import json
from dataclasses import replace

from tensorflow_metadata.proto.v0.schema_pb2 import Schema
from tfx.components import Trainer
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.proto import trainer_pb2
from tfx.types import Channel, standard_artifacts

from components.data.feature_schema import feature_names, feature_schema, schema_text
from components.evaluator.component import Evaluator
from components.evaluator.counting.slices import slices_to_json
from components.evaluator.tfma.eval_config import metric_modules
from components.example_validator.component import ExampleValidator
from components.model_importer.component import ModelImporter
from components.modules.code_version import code_version
from components.pusher.component import Pusher
from components.release_importer.component import ReleaseImporter
from components.repair.settings import AutoSettings, Caps, GoalSettings
from components.schema_gen.component import SchemaGen
from components.tflite_converter.component import TFLiteConverter
from components.trainer.module_files import module_files
from components.trainer.spec import TRAINING_SPEC_KEY, EarlyStopping, QatSpec, TrainingSpec
from pipeline.config import PipelineConfig
from pipeline.config.convert import ConvertConfig, FloatOperators
from pipeline.config.model import QatMode, TrainConfig
from pipeline.data.source import example_gen, example_gen_room, statistics_gen
from pipeline.description import DataDescription, gate_eval_config, gate_slices, minimums
from pipeline.running.world import WorldState, state_parameter

#: What the stock Trainer runs.
RUN_FN_MODULE = "components.trainer.run_fn"
#: Fine-tuning with quantization in the loop, and converting what came out of it to score it.
_QAT_MODULES = ("components.trainer.qat",)
#: Fine-tuning starts at a tenth of the float rate; see train.qat.learning_rate.
QAT_RATE_DIVISOR = 10


def examples(config: PipelineConfig, data: DataDescription) -> BaseNode:
    """Reads the data and divides it into train, calibration and eval."""
    fingerprint = state_parameter(WorldState.DATA)
    version = code_version(f"components.{example_gen_room(config.data)}.executor")
    node: BaseNode = example_gen(config.data, version, fingerprint, data.examples.parse_module)
    return node


def schema(config: PipelineConfig, data: DataDescription) -> BaseNode:
    """What the data must keep: the config's description of it, or the team's schema file."""
    return SchemaGen(schema_text(_described(config, data)), code_version(_executor(SchemaGen)))


def statistics(config: PipelineConfig, data: DataDescription, examples: BaseNode, schema: BaseNode) -> BaseNode:
    """Statistics of the features that the config describes; of all, where a team's own schema describes them."""
    names = () if config.data.schema_file else feature_names(_described(config, data))
    return _with_code_version(statistics_gen(examples.outputs["examples"], schema.outputs["schema"], names))


def validator(config: PipelineConfig, statistics: BaseNode, schema: BaseNode) -> BaseNode:
    """Refuses data that breaks the schema, and splits that the converter or the gate would refuse for their size."""
    return ExampleValidator(
        statistics.outputs["statistics"],
        schema.outputs["schema"],
        minimums=minimums(config),
        cut_by_shares=config.data.patterns is None,
        code_version=code_version(_executor(ExampleValidator)),
    )


def float_model(config: PipelineConfig, data: DataDescription, examples: BaseNode) -> BaseNode:
    """A stock Trainer with our ``run_fn``, or an importer of the team's SavedModel."""
    if config.model.saved_model:
        content = state_parameter(WorldState.SAVED_MODEL)
        return ModelImporter(str(config.model.saved_model), content, code_version(_executor(ModelImporter))).with_id(
            "Model"
        )
    return Trainer(
        run_fn=f"{RUN_FN_MODULE}.run_fn",
        examples=examples.outputs["examples"],
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        # Accuracy per epoch; the holdout is the Evaluator's alone.
        eval_args=trainer_pb2.EvalArgs(splits=["calibration"]),
        custom_config={TRAINING_SPEC_KEY: _training_spec(config, data).to_json()},
    )


def converter(config: PipelineConfig, data: DataDescription, examples: BaseNode, model: BaseNode) -> BaseNode:
    """The float model becomes model.tflite."""
    convert = config.convert
    return TFLiteConverter(
        model=model.outputs["model"],
        examples=examples.outputs["examples"],
        recipe=convert.recipe,
        min_samples=convert.calibration.min_samples,
        num_samples=convert.calibration.num_samples,
        seed=convert.calibration.seed,
        input_type=convert.input_type,
        output_type=convert.output_type,
        allow_float_operators=convert.float_operators is FloatOperators.ALLOWED,
        select_tf_operators=convert.select_tf_operators,
        auto_settings=_auto_settings(convert).to_json(),
        example_spec=replace(data.examples, slice_features=convert.calibration.stratify_by).to_json(),
        code_version=code_version(_executor(TFLiteConverter), data.parse_sources),
    )


def champion(config: PipelineConfig, converter: BaseNode) -> BaseNode | None:
    """The model that the gate compares with: what a channel offers now, or the last blessed one; there may be none yet."""
    if config.gate.champion_min_ratio is None:
        return None
    if config.gate.champion_channel is not None:
        released: BaseNode = ReleaseImporter(
            location=config.release_location,
            keys=str(config.keys_dir),
            channel=config.gate.champion_channel,
            model_name=config.name,
            channel_state=state_parameter(WorldState.CHANNEL),
            code_version=code_version(_executor(ReleaseImporter)),
        ).with_id("Champion")
        released.add_upstream_node(converter)  # looks as late as it can: a release may change while a model is trained
        return released
    return Resolver(
        strategy_class=LatestBlessedModelStrategy,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    ).with_id("Champion")


def evaluator(
    config: PipelineConfig,
    data: DataDescription,
    examples: BaseNode,
    statistics: BaseNode,
    model: BaseNode,
    converter: BaseNode,
    champion: BaseNode | None,
) -> BaseNode:
    """Both models on the whole holdout, and the verdict."""
    eval_config = gate_eval_config(config.gate)
    modules = metric_modules(eval_config) if eval_config else ()
    return Evaluator(
        examples=examples.outputs["examples"],
        float_model=model.outputs["model"],
        tflite_model=converter.outputs["tflite_model"],
        statistics=statistics.outputs["statistics"],
        example_spec=data.examples.to_json(),
        num_classes=data.num_classes,
        decision_threshold=config.gate.decision_threshold,
        rules=config.gate.rules.to_json(),
        slices=slices_to_json(gate_slices(config)),
        kernel_sample_size=config.gate.kernel_sample,
        output=config.gate.output or None,
        golden_split=config.release.golden_split,
        device_state=state_parameter(WorldState.DEVICE) if config.gate.device is not None else None,
        champion=champion.outputs["model"] if champion else None,
        eval_config=eval_config,
        code_version=code_version(_executor(Evaluator), (*data.parse_sources, *modules)),
    )


def pusher(
    config: PipelineConfig, data: DataDescription, examples: BaseNode, converter: BaseNode, evaluator: BaseNode
) -> BaseNode:
    """The judged bytes become a signed release."""
    return Pusher(
        model=converter.outputs["tflite_model"],
        model_blessing=evaluator.outputs["blessing"],
        evaluation=evaluator.outputs["evaluation"],
        examples=examples.outputs["examples"],
        example_spec=data.examples.to_json(),
        destination=config.release_location,
        channel=config.release.channel,
        keys=str(config.keys_dir),
        makes_repository=config.makes_repository,
        model_name=config.name,
        class_names=json.dumps(data.class_names),
        published_state=state_parameter(WorldState.PUBLISHED),
        code_version=code_version(_executor(Pusher), data.parse_sources),
    )


def _executor(component: type[BaseComponent]) -> str:
    return str(component.EXECUTOR_SPEC.executor_class.__module__)


def _with_code_version(stock: BaseNode) -> BaseNode:
    """A node of TFX, whose contract has no parameter for it: the compiler takes whatever the node's properties hold."""
    stock.exec_properties["code_version"] = code_version()
    return stock


def _described(config: PipelineConfig, data: DataDescription) -> Schema:
    return feature_schema(data.examples, config.data.schema_file, num_classes=data.num_classes)


def _auto_settings(convert: ConvertConfig) -> AutoSettings:
    return AutoSettings(
        GoalSettings(**convert.goal.model_dump()),
        Caps(convert.max_candidates, convert.max_seconds),
        convert.fallbacks,
    )


def _training_spec(config: PipelineConfig, data: DataDescription) -> TrainingSpec:
    source = config.model.module or config.model.run_fn
    assert source is not None, "the config asks for a module, a run_fn or a SavedModel"
    return TrainingSpec(
        examples=data.examples,
        num_classes=data.num_classes,
        code_version=code_version(
            RUN_FN_MODULE, (source,), _QAT_MODULES if config.train.qat.mode is QatMode.OFF else ()
        ),
        module=config.model.module,
        run_fn=config.model.run_fn,
        module_files=module_files(source, config.model.files),
        hyperparameters=config.model.hyperparameters,
        qat=_qat(config.train),
        early_stopping=_early_stopping(config.train),
        **config.train.model_dump(mode="json", exclude={"qat", "early_stopping"}),
    )


def _early_stopping(train: TrainConfig) -> EarlyStopping | None:
    return None if train.early_stopping is None else EarlyStopping(**train.early_stopping.model_dump())


def _qat(train: TrainConfig) -> QatSpec | None:
    if train.qat.mode is QatMode.OFF:
        return None
    rate = train.qat.learning_rate or train.learning_rate / QAT_RATE_DIVISOR
    return QatSpec(train.qat.epochs, rate, train.qat.equalize)
