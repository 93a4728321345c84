"""The ``run_fn`` that the stock TFX Trainer calls: trains a model module, or hands over to a team's own ``run_fn``.

Whoever trained, the result is held to the same rule: a SavedModel with a raw-tensor signature.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeproof_edge.addresses import is_address
from edgeproof_edge.errors import EdgeproofError

from components.artifacts import local_copies, local_output, matching_files, name_of, parent_of
from components.compat import skip_autograph_conversion
from components.data.examples import check_class_names, examples_of
from components.data.records import require_whole
from components.errors import ModelError
from components.modules.user_module import call_user_function, describe_failure, function_of, load_module
from components.saved_models.saved_model import read_signature
from components.trainer.checkpoints import checkpoint_directory
from components.trainer.export import export
from components.trainer.history import HISTORY_FILE
from components.trainer.qat import fine_tune_and_export
from components.trainer.spec import TRAINING_SPEC_KEY, TrainingSpec
from components.trainer.training import Places, train

#: Buckets that TensorFlow itself can write.
_WRITTEN_BY_TENSORFLOW = ("gs://", "hdfs://")


def run_fn(fn_args: Any) -> None:
    """TFX's entry point; see ``tfx.components.trainer.fn_args_utils.FnArgs``.

    Raises:
        ModelError: The module breaks the model contract, or exported no usable SavedModel.
    """
    spec = TrainingSpec.from_json(fn_args.custom_config[TRAINING_SPEC_KEY])
    skip_autograph_conversion()
    examples = examples_of(fn_args.train_files[0])
    check_class_names(examples, spec.examples.class_names)
    checkpoints = checkpoint_directory(fn_args.serving_model_dir, spec, expand(fn_args.train_files))
    with _local(fn_args):
        if spec.run_fn is not None:
            _run_team_function(spec.run_fn, fn_args, spec)
        else:
            with _kept(checkpoints) as directory:
                _train_module(fn_args, spec, directory, examples)
        read_signature(Path(fn_args.serving_model_dir))


@contextmanager
def _local(fn_args: Any) -> Iterator[None]:
    """Lets files be read and outputs be written in local directories: libraries write SavedModels and logs to few kinds of address."""
    served, run = fn_args.serving_model_dir, getattr(fn_args, "model_run_dir", "")
    if not is_address(served):
        yield
        return
    with (
        local_copies(expand(fn_args.train_files)) as fn_args.train_files,
        local_copies(expand(fn_args.eval_files)) as fn_args.eval_files,
        local_output(parent_of(served)) as artifact,
        local_output(run) as logs,
    ):
        fn_args.serving_model_dir, fn_args.model_run_dir = str(artifact / name_of(served)), str(logs)
        yield
    fn_args.serving_model_dir, fn_args.model_run_dir = served, run


@contextmanager
def _kept(checkpoints: str) -> Iterator[str]:
    """The directory for checkpoints; where TensorFlow cannot write the bucket, one that goes with this process."""
    if not is_address(checkpoints) or checkpoints.startswith(_WRITTEN_BY_TENSORFLOW):
        yield checkpoints
        return
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as directory:
        yield directory


def _train_module(fn_args: Any, spec: TrainingSpec, checkpoints: str, examples: str) -> None:
    """Trains and exports; whatever else is raised comes from the module's layers, loss, optimizer or augmentation."""
    train_files, validation_files = expand(fn_args.train_files), expand(fn_args.eval_files)
    served = Path(fn_args.serving_model_dir)
    _forget_other_models()
    try:
        places = Places(checkpoints, getattr(fn_args, "model_run_dir", None))
        trained = train(spec, train_files, validation_files, places, examples)
        export(trained.model, served, spec.examples)
        (served.parent / HISTORY_FILE).write_text(trained.history.model_dump_json(indent=2) + "\n", encoding="utf-8")
        if spec.qat is not None:
            fine_tune_and_export(trained.model, spec, train_files, validation_files, served.parent)
        if trained.checkpoints is not None:
            trained.checkpoints.delete()
    except EdgeproofError:
        raise
    except Exception as error:
        raise ModelError(f"training {spec.module} raised {describe_failure(error, spec.module or '')}") from error


def _forget_other_models() -> None:
    """Keras numbers layers by what this process built before, and names are part of the model's bytes: a pod would give others."""
    import tf_keras as keras

    keras.backend.clear_session()


def _run_team_function(source: str, fn_args: Any, spec: TrainingSpec) -> None:
    function = resolve_run_fn(source)
    require_whole([*expand(fn_args.train_files), *expand(fn_args.eval_files)])  # the team's reader may not notice
    fn_args.custom_config = dict(spec.hyperparameters)
    call_user_function(function, fn_args, what=source.replace(":", ": "))


def resolve_run_fn(source: str) -> Any:
    """The function named by ``file.py:function`` or ``package.module.function``.

    Raises:
        ModelError: No such module or function.
    """
    module, _, name = source.partition(":") if ":" in source else source.rpartition(".")
    function = function_of(load_module(module), name) if module else None
    if function is None:
        raise ModelError(f"model.run_fn {source} names no function; write file.py:function or package.module.function.")
    return function


def expand(patterns: Iterable[str]) -> list[str]:
    """TFX hands over patterns such as ``.../Split-train/*``; TFRecordDataset wants files."""
    return sorted(path for pattern in patterns for path in matching_files(pattern))
