"""Exports a trained model with the two signatures of the model contract.

``edge`` takes raw tensors by input name and gives named outputs: what devices run, what is converted and what is judged.
``serving_default`` takes serialized tf.Examples, for TFX's and TensorFlow Serving's tools.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.data.examples import ExampleSpec, batch_parser
from components.saved_models.saved_model import DEFAULT_SIGNATURE, EDGE_SIGNATURE
from components.trainer.training import model_inputs


def export(model: Any, directory: Path, spec: ExampleSpec, names_of: Any = None) -> None:
    """Writes the SavedModel.

    Args:
        model: A ``tf_keras.Model``.
        directory: Where ``saved_model.pb`` goes.
        spec: How ``serving_default`` parses its tf.Examples.
        names_of: The model whose input and output names the signatures carry; None for ``model`` itself.
    """
    import tensorflow as tf

    named = model if names_of is None else names_of
    parse = batch_parser(spec)

    @tf.function(
        input_signature=[{name: _tensor_spec(name, tensor, spec) for name, tensor in _named_inputs(named).items()}]
    )
    def edge(inputs: dict[str, Any]) -> dict[str, Any]:
        return _named_outputs(named, model(model_inputs(inputs, named), training=False))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve_examples(examples: Any) -> dict[str, Any]:
        inputs, _ = parse(examples)
        return _named_outputs(named, model(model_inputs(inputs, named), training=False))

    module = tf.Module()
    module.model = model
    tf.saved_model.save(module, str(directory), signatures={EDGE_SIGNATURE: edge, DEFAULT_SIGNATURE: serve_examples})


def _named_inputs(model: Any) -> dict[str, Any]:
    return dict(zip(model.input_names, model.inputs, strict=True))


def _tensor_spec(name: str, tensor: Any, spec: ExampleSpec) -> Any:
    """The input's shape; an image whose size the model leaves open gets the one that ``data.image`` gives every image."""
    import tensorflow as tf

    shape = list(tensor.shape[1:])
    if spec.image is not None and spec.parse_module is None and len(shape) == 3:
        known = (spec.image.height, spec.image.width, spec.image.channels)
        shape = [size if given is None else given for given, size in zip(shape, known, strict=True)]
    return tf.TensorSpec([None, *shape], tensor.dtype, name=name)


def _named_outputs(model: Any, outputs: Any) -> dict[str, Any]:
    return dict(zip(model.output_names, outputs if isinstance(outputs, (list, tuple)) else [outputs], strict=True))
