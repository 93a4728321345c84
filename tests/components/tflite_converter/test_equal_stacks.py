"""Both stacks make the same int8 file, in content, of the same float file: this digest holds on TensorFlow 2.16 and on 2.21.

Names of tensors and the file's metadata differ between them; types, shapes, values, scales and operator versions may not.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from edgeproof_edge.interpreter import TFLiteModel

from components.repair.graph import FloatGraph
from components.repair.range_statistics import measure
from components.tflite_converter.private_tensorflow import quantize_flatbuffer

MODELS = Path(__file__).parents[2] / "edge" / "models"


def content_digest(model: bytes) -> str:
    """SHA-256 over the operators with versions and, sorted, every tensor's type, shape, values, scales and zero points."""
    graph = FloatGraph.parse(model)
    lines = [f"{graph.kind(position)} v{graph.version(position)}" for position in range(len(graph.operators))]
    tensors = []
    for index, tensor in enumerate(graph.tensors):
        values = graph.constant(index)
        quantization = tensor.quantization
        scales = () if quantization is None or quantization.scale is None else quantization.scale
        zero_points = () if quantization is None or quantization.zeroPoint is None else quantization.zeroPoint
        data = b"" if values is None else values.tobytes()
        described = [graph.dtype(index), list(graph.shape(index)), hashlib.sha256(data).hexdigest()]
        tensors.append(repr([*described, [f"{scale:.6e}" for scale in scales], [int(zero) for zero in zero_points]]))
    return hashlib.sha256("\n".join([*lines, *sorted(tensors)]).encode()).hexdigest()


@pytest.mark.tfx
@pytest.mark.parametrize(
    ("name", "digest"),
    [
        pytest.param("float32", "7f1fa16ca045177f53614cebb8f3ab6c0337023089765a8260a1d3426593f534", id="dense"),
        pytest.param("hard_swish", "0a4b84a7d3e3f2ca3d27eb40796770f9369796f92349500af560bef03bbcc422", id="hard-swish"),
    ],
)
def test_the_int8_file_is_the_same_on_every_stack(name: str, digest: str) -> None:
    float_model = (MODELS / f"{name}.tflite").read_bytes()
    generator = np.random.default_rng(11)
    inputs = TFLiteModel.load(float_model).inputs
    rows = {spec.name: generator.normal(size=(64, *spec.shape[1:])).astype(np.float32) for spec in inputs}
    graph = FloatGraph.parse(float_model)
    graph.set_ranges(measure(float_model, rows).ranges())
    made = quantize_flatbuffer(graph.pack(), activations="int8", input_type="int8", output_type="int8")
    assert content_digest(made) == digest
