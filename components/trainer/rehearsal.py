"""One step with a model module on real examples, before an hour is spent: its parser, its augmentation and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeproof_edge.errors import EdgeproofError

from components.compat import skip_autograph_conversion
from components.data import tf_data
from components.data.examples import batch_parser, explained_data_errors
from components.errors import ModelError
from components.modules.user_module import describe_failure, function_of, load_module
from components.trainer.spec import TrainingSpec
from components.trainer.training import compile_model, model_inputs


def rehearse(model: Any, spec: TrainingSpec, examples: Sequence[bytes]) -> None:
    """Reads, augments and scores one batch as training does; no weight changes.

    Args:
        model: What the module built.
        spec: The module and the knobs of training.
        examples: Serialized tf.Examples.

    Raises:
        ModelError: The module's parser, augmentation, loss or optimizer cannot be used with this model and this data.
        DataError: An example does not fit the config.
    """
    assert spec.module is not None
    skip_autograph_conversion()  # of Keras itself, which takes longer than the step
    parse, augment = batch_parser(spec.examples), function_of(load_module(spec.module), "augment")
    try:
        with explained_data_errors(spec.examples, ["the data/examples"]):
            batches = tf_data.one_batch(examples).map(parse)
            if augment is not None:
                batches = batches.map(augment)
            inputs, labels = next(iter(batches))
        compile_model(model, spec)
        model.test_on_batch(model_inputs(inputs, model), labels)
    except EdgeproofError:
        raise
    except Exception as error:
        raise ModelError(
            f"one step of training {spec.module} on {len(examples)} examples raised {describe_failure(error, spec.module)}{_hint(error)}"
        ) from error


def _hint(error: Exception) -> str:
    text = str(error)
    if "are incompatible" in text or "logits and labels" in text:
        return ". Labels are class numbers [n]: the losses that fit are the sparse ones, such as sparse_categorical_crossentropy"
    return ""
