"""Everything that can be refused before work starts: the data's files, the model's contract, the room to work in."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

from edgeproof_edge.addresses import is_address

from components.artifacts import check_writable
from components.data.examples import ExampleSpec
from components.errors import DataError, ModelError
from components.example_validator.minimums import shortage_message
from components.image_example_gen.splits import UNDIVIDED
from components.repair.recipes import Recipe
from components.saved_models.saved_model import Signature, read_signature
from components.trainer.contract import build_model, check_model
from components.trainer.rehearsal import rehearse
from components.trainer.run_fn import resolve_run_fn
from components.trainer.spec import TrainingSpec
from components.trainer.training import check_class_weights
from pipeline.config import PipelineConfig
from pipeline.config.model import QatMode
from pipeline.data import checks as data_checks
from pipeline.data.checks import DataLook
from pipeline.description import (
    DataDescription,
    describe_data,
    gate_eval_config,
    gate_slices,
    minimums,
    parse_module,
)
from pipeline.errors import ConfigError, RunError
from pipeline.running.beam_check import check_beam
from releases.offer import check_offered
from releases.stores.location import check_publishing

#: Free disk that a run needs at least: artifacts are copies of the data, and a full disk ends a run half-way.
MIN_FREE_BYTES = 200 * 1024 * 1024
#: Standard deviations by which the hash of the content may deal a split more than its share.
_LUCK = 3


def check(config: PipelineConfig) -> tuple[str, ...]:
    """Checks a config against the world.

    Returns:
        One sentence per thing that was checked and holds.

    Raises:
        InputError: The data's files, the model, the calibration section or the release repository cannot be used.
        RunError: The workspace or the release directory cannot be written.
    """
    is_directory = not is_address(config.release_location)
    for directory in (config.workspace_dir, *([Path(config.release_location)] if is_directory else [])):
        _check_writable(directory)
    check_writable(config.artifact_root)
    look = data_checks.preflight(config.data, None if config.data.kind.is_image_folder else parse_module(config))
    _check_train_split(config)
    _check_recipe(config)
    _check_numbers(config, look)
    data = describe_data(config, look.summary.class_names if config.data.kind.is_image_folder else None)
    extra = _check_eval_config(config, data)
    return (
        f"data: {config.data.kind.name} under {config.data.path}, {_labels(data)}",
        *look.sentences,
        _check_model(config, data, look),
        *extra,
        check_publishing(config.release_location, config.keys_dir, config.release.channel, config.makes_repository),
        *_check_champion(config),
        *_check_device(config),
        *check_beam(config.beam),
        f"workspace: {config.workspace_dir}",
    )


def _labels(data: DataDescription) -> str:
    if data.examples.has_real_label:
        return f"real-valued label {data.examples.label!r}"
    return f"{data.num_classes} classes"


def _check_champion(config: PipelineConfig) -> tuple[str, ...]:
    """Reads the release that the gate will compare with: before a day of training, not after."""
    if config.gate.champion_channel is None:
        return ()
    return (check_offered(config.release_location, config.keys_dir, config.gate.champion_channel, config.name),)


def _check_device(config: PipelineConfig) -> tuple[str, ...]:
    """Looks whether the device that the gate measures on is at hand: before a day of training, not after."""
    device = config.gate.rules.device
    if device is None:
        return ()
    from components.device.measurement import look
    from components.device.report import describe_machine

    return (f"gate.device: {device.place.title}: {describe_machine(look(device.place))}",)


def _check_writable(directory: Path) -> None:
    existing = next(parent for parent in (directory, *directory.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise RunError(
            f"{directory} cannot be written. Choose another with --set workspace=DIR or --set release.path=DIR."
        )
    free = shutil.disk_usage(existing).free
    if free < MIN_FREE_BYTES:
        raise RunError(
            f"{existing} has {free // 2**20} MiB left; a run needs {MIN_FREE_BYTES // 2**20} MiB. Free some space."
        )


def _check_numbers(config: PipelineConfig, look: DataLook) -> None:
    """Refuses splits that are too small for a later step, exactly where all rows were counted and with a margin elsewhere."""
    counts = dict(look.summary.num_examples)
    if UNDIVIDED in counts:  # the hash of the content decides, which only the run knows
        shares = data_checks.expected_examples(config.data, counts[UNDIVIDED])
        counts = {split: number + math.ceil(_LUCK * math.sqrt(number)) for split, number in shares.items()}
        if config.data.group_by:
            return  # groups are of any size
    elif not look.is_complete and not config.data.kind.is_image_folder:
        return
    shortage = shortage_message(counts, minimums(config), cut_by_shares=config.data.patterns is None)
    if shortage:
        raise DataError(shortage)


def _check_train_split(config: PipelineConfig) -> None:
    if config.model.saved_model is not None:
        return
    patterns = config.data.patterns
    if config.data.shares.train == 0 or (patterns is not None and patterns.train is None):
        key = "data.shares.train is 0" if patterns is None else "data.patterns.train is missing"
        raise ConfigError(f"{key}, but the model is to be trained; give it, or bring model.saved_model.")


def _check_recipe(config: PipelineConfig) -> None:
    if config.convert.recipe is Recipe.INT8_QAT and config.train.qat.mode is QatMode.OFF:
        raise ConfigError(
            "convert.recipe is int8-qat, which needs train.qat.mode: on; turn it on, or choose recipe auto."
        )


def _check_eval_config(config: PipelineConfig, data: DataDescription) -> tuple[str, ...]:
    """Makes the metrics of gate.eval_config; TFMA is imported only where the key is given, which takes seconds."""
    text = gate_eval_config(config.gate)
    if text is None:
        return ()
    from components.evaluator.tfma.eval_config import check_fit, check_metrics, read_eval_config

    where = f"gate.eval_config {config.gate.eval_config}"
    eval_config = read_eval_config(text, gate_slices(config), data.examples.label, where)
    check_metrics(eval_config, where)
    if data.num_classes > 1:
        check_fit(eval_config, data.num_classes, where)
    num_metrics = sum(len(spec.metrics) for spec in eval_config.metrics_specs)
    return (f"gate.eval_config: {num_metrics} metric{'s' * (num_metrics != 1)} for TFMA; no rule reads them",)


def _check_model(config: PipelineConfig, data: DataDescription, look: DataLook) -> str:
    if config.model.saved_model is not None:
        signature = read_signature(config.model.saved_model)
        _check_signature(signature, data.examples, config.model.saved_model)
        _check_real_output(signature, data.examples, config.model.saved_model)
        return f"model: SavedModel {config.model.saved_model}, signature {signature.key!r}"
    if config.model.run_fn is not None:
        resolve_run_fn(config.model.run_fn)
        return f"model: run_fn {config.model.run_fn}"
    assert config.model.module is not None
    spec = _training_spec(config, data)
    check_class_weights(spec)
    model = build_model(config.model.module, config.model.hyperparameters, look.summary)
    check_model(model, data.examples, data.num_classes, config.model.module)
    if look.examples:
        rehearse(model, spec, look.examples)
    if config.train.qat.mode is QatMode.ON:
        from components.trainer.fake_quantization import check_quantizable

        check_quantizable(model, config.model.module)
    return f"model: {config.model.module}, {model.count_params():,} parameters"


def _training_spec(config: PipelineConfig, data: DataDescription) -> TrainingSpec:
    return TrainingSpec(
        examples=data.examples,
        num_classes=data.num_classes,
        code_version="",
        module=config.model.module,
        hyperparameters=config.model.hyperparameters,
        **config.train.model_dump(exclude={"qat"}),
    )


def _check_signature(signature: Signature, spec: ExampleSpec, directory: Path) -> None:
    """Holds a SavedModel's image input against ``data.image``; other inputs are bound by name when they are read."""
    if spec.image is None or len(signature.inputs) != 1:
        return
    wanted = (spec.image.height, spec.image.width, spec.image.channels)
    shape = signature.inputs[0].shape[1:]
    if len(shape) != len(wanted) or any(f not in (-1, w) for f, w in zip(shape, wanted, strict=True)):
        raise ModelError(
            f"{directory}: signature {signature.key!r} takes images of shape {shape}, but data.image says {wanted}."
        )


def _check_real_output(signature: Signature, spec: ExampleSpec, directory: Path) -> None:
    """A real-valued label is one number, and so is the output that is held against it; open shapes are told by the Evaluator."""
    if not spec.has_real_label or len(signature.outputs) != 1:
        return
    sizes = signature.outputs[0].shape[1:]
    if any(size not in (1, -1) for size in sizes):
        raise ModelError(
            f"{directory}: the output of signature {signature.key!r} has shape {sizes}, but data.label_type is value: "
            f"{spec.label!r} is one real number per example."
        )
