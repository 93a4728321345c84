"""quantize and dequantize against a reference in plain Python: at the bounds, at ties, with NaN and infinities."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from edgeproof_edge.errors import InputError
from edgeproof_edge.tensors import TensorSpec, dequantize, quantize

BOUNDS = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "uint16": (0, 65535),
    "int32": (-(2**31), 2**31 - 1),
}


def reference(value: float, spec: TensorSpec) -> int:
    """One value, one rule at a time; Python's round() takes ties to even."""
    low, high = BOUNDS[spec.dtype]
    if math.isnan(value):
        return spec.zero_point
    steps = value / spec.scale
    if math.isinf(steps):
        return high if steps > 0 else low
    return min(high, max(low, round(steps) + spec.zero_point))


@pytest.mark.parametrize("dtype", BOUNDS)
def test_quantize_agrees_with_plain_python(dtype: str) -> None:
    draw = random.Random(dtype)
    low, high = BOUNDS[dtype]
    for _ in range(60):
        scale = float(np.float32(10 ** draw.uniform(-8, 3)))
        spec = TensorSpec("x", (-1,), dtype, scale, draw.randint(max(low, -40000), min(high, 40000)))
        values = [draw.uniform(-1.5, 1.5) * scale * (high - low) for _ in range(40)]
        values += [(code + 0.5) * scale for code in range(-4, 4)]  # ties, where scale allows them
        values += [0.0, -0.0, math.inf, -math.inf, math.nan, 1e308, -1e308, 5e-324]
        codes = quantize(np.array(values), spec)
        assert codes.dtype == dtype
        assert codes.tolist() == [reference(value, spec) for value in values]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        pytest.param(0.5, 0, id="half-goes-down-to-even"),
        pytest.param(1.5, 2, id="three-halves-go-up-to-even"),
        pytest.param(-0.5, 0, id="minus-half-goes-to-zero"),
        pytest.param(-2.5, -2, id="minus-five-halves-go-to-even"),
        pytest.param(127.49, 127, id="just-inside"),
        pytest.param(127.51, 127, id="just-outside-clips"),
        pytest.param(1e9, 127, id="far-outside-clips-instead-of-wrapping"),
        pytest.param(-1e9, -128, id="far-below-clips"),
    ],
)
def test_ties_and_bounds_of_int8(value: float, code: int) -> None:
    assert quantize(np.array([value]), TensorSpec("x", (1,), "int8", 1.0, 0)).tolist() == [code]


def test_ties_are_even_before_the_zero_point_is_added() -> None:
    spec = TensorSpec("x", (1,), "int8", 1.0, 1)
    assert quantize(np.array([0.5, 1.5]), spec).tolist() == [1, 3]


@pytest.mark.parametrize("source", ["float16", "float32", "float64", "uint8", "int64", "bool"])
def test_real_values_of_any_type_are_quantized(source: str) -> None:
    spec = TensorSpec("x", (-1,), "uint8", 0.5, 3)
    assert quantize(np.array([0, 1, 1], dtype=source), spec).tolist() == [3, 5, 5]


def test_shape_is_kept() -> None:
    spec = TensorSpec("x", (-1, 2, 3), "int8", 0.1, 0)
    codes = quantize(np.zeros((4, 2, 3), np.float32), spec)
    assert codes.shape == (4, 2, 3)
    assert dequantize(codes, spec).shape == (4, 2, 3)
    assert quantize(np.zeros((0, 2)), spec).shape == (0, 2)
    assert quantize(1.0, spec).shape == ()


@pytest.mark.parametrize("dtype", BOUNDS)
def test_dequantize_rounds_the_exact_product_once(dtype: str) -> None:
    draw = random.Random(dtype)
    low, high = BOUNDS[dtype]
    spec = TensorSpec("y", (-1,), dtype, float(np.float32(0.0117)), draw.randint(max(low, -100), 100))
    codes = [low, high, spec.zero_point, *(draw.randint(low, high) for _ in range(200))]
    values = dequantize(np.array(codes, dtype), spec)
    assert values.dtype == np.float32
    exact = [Fraction(code - spec.zero_point) * Fraction(spec.scale) for code in codes]
    assert values.tolist() == [float(np.float32(float(value))) for value in exact]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_every_code_survives_the_round_trip(dtype: str) -> None:
    low, high = BOUNDS[dtype]
    spec = TensorSpec("y", (-1,), dtype, float(np.float32(0.0235)), -3 if low else 7)
    codes = np.arange(low, high + 1).astype(dtype)
    assert np.array_equal(quantize(dequantize(codes, spec), spec), codes)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(TensorSpec("x", (1,), "float32"), id="float"),
        pytest.param(TensorSpec("ids", (1,), "int32"), id="token-ids"),
        pytest.param(TensorSpec("x", (1,), "int64", 0.5), id="type-beyond-float64"),
    ],
)
def test_tensors_without_codes_are_refused_by_name(spec: TensorSpec) -> None:
    with pytest.raises(InputError, match=repr(spec.name)):
        quantize(np.zeros(1), spec)
    with pytest.raises(InputError, match=repr(spec.name)):
        dequantize(np.zeros(1, np.int64), spec)
