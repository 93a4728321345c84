"""Which requantization scales are named, and that the installed runtime indeed draws the line there."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeproof_edge.examinations.load_test import load_test
from edgeproof_edge.flatbuffer import inspect
from edgeproof_edge.interpreter import Kernels

from tests.edge.rewriting import MODELS, golden, with_requantization_scale

DENSE, CONVOLUTION = "int8", "hard_swish_int8"


@pytest.mark.parametrize(
    ("name", "scale", "is_named", "prevents_loading"),
    [
        pytest.param(DENSE, 1.0, False, False, id="an-everyday-scale"),
        pytest.param(DENSE, 255.9, False, False, id="just-below-256"),
        pytest.param(DENSE, 256.1, True, True, id="256-and-more"),
        pytest.param(DENSE, 2.4e-10, False, False, id="just-above-2-to-the-minus-32"),
        pytest.param(DENSE, 2.2e-10, True, False, id="below-2-to-the-minus-32"),
        pytest.param(CONVOLUTION, 255.9, False, False, id="largest-channel-below-256"),
        pytest.param(CONVOLUTION, 256.1, True, True, id="largest-channel-above-256"),
    ],
)
def test_scales_outside_the_range_are_named_with_the_figure(
    name: str, scale: float, is_named: bool, prevents_loading: bool
) -> None:
    found = inspect(with_requantization_scale(name, scale)).refused_requantizations
    assert len(found) == is_named
    for refused in found:
        assert refused.operator == {DENSE: "FULLY_CONNECTED", CONVOLUTION: "CONV_2D"}[name]
        assert refused.scale == pytest.approx(scale, rel=1e-5)
        assert refused.prevents_loading is prevents_loading


@pytest.mark.parametrize("name", sorted(path.stem for path in MODELS.glob("*.tflite")))
def test_golden_files_have_none(name: str) -> None:
    assert inspect(golden(name)).refused_requantizations == ()


@pytest.mark.parametrize(
    ("name", "scale", "kernels", "loads"),
    [
        pytest.param(DENSE, 255.9, Kernels.XNNPACK, True, id="dense-below"),
        pytest.param(DENSE, 256.1, Kernels.XNNPACK, False, id="dense-above"),
        pytest.param(DENSE, 256.1, Kernels.BUILTIN, True, id="built-in-kernels-take-it"),
        pytest.param(CONVOLUTION, 255.9, Kernels.XNNPACK, True, id="convolution-below"),
        pytest.param(CONVOLUTION, 256.1, Kernels.XNNPACK, False, id="convolution-above"),
        pytest.param(DENSE, 1e-12, Kernels.XNNPACK, True, id="too-small-loads"),
    ],
)
def test_the_runtime_draws_the_same_line(
    tmp_path: Path, name: str, scale: float, kernels: Kernels, loads: bool
) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(with_requantization_scale(name, scale))
    assert load_test(file, kernels).loads is loads
