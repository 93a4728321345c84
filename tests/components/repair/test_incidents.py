"""``auto`` on models that stock int8 breaks, judged on rows no one has seen, with the interpreter that devices use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeproof_edge.flatbuffer import Inspection, inspect
from edgeproof_edge.interpreter import TFLiteModel

from components.repair.recipes import Recipe
from components.tflite_converter.calibration import CalibrationPool
from components.tflite_converter.conversion import Conversion, ConversionRequest, convert
from tests.incidents import stock
from tests.incidents.classifiers import CLASSIFIERS
from tests.incidents.data import Incident
from tests.incidents.other_shapes import OTHER_SHAPES
from tests.incidents.table import write_pool

#: Of the float model's right answers, in thousandths: what `auto` must keep, and what stock int8 does not.
KEPT, STOCK_LOSES = 995, 900
#: Of the float model's own metric: accuracy, and mean error.
OTHER_ACCURACY_KEPT, OTHER_ERROR_ALLOWED = 0.99, 1.05

MakeIncident = Callable[[str], Incident]


def some_often(names: Iterable[str], often: Collection[str]) -> list[Any]:
    """All names; those that are not to be repaired in every run of the tests are exhaustive."""
    return [pytest.param(name, marks=() if name in often else pytest.mark.exhaustive) for name in names]


def repair(incident: Incident) -> Conversion:
    pool = CalibrationPool(incident.pool_x, incident.pool_y, f"the pool of {incident.name}")
    return convert(ConversionRequest(incident.saved_model, Recipe.AUTO, pool))


def num_correct(model: bytes, incident: Incident) -> int:
    """Right answers on the holdout of a classifier with one output."""
    ((output, classes),) = incident.holdout_y.items()
    return int((TFLiteModel.load(model).predict(incident.holdout_x)[output].argmax(axis=1) == classes).sum())


def share_of_float_operators(inspection: Inspection) -> float:
    """Of the operators that compute, those that do so in float32."""
    computing = inspection.computing_operators
    in_float = sum(use.count for use in computing if "float32" in (*use.input_dtypes, *use.output_dtypes))
    return in_float / inspection.num_computing_operators


@pytest.mark.tfx
@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("name", some_often(CLASSIFIERS, ("residual", "tabular", "fault_frames")))
def test_auto_keeps_the_accuracy_that_stock_int8_loses(incident: MakeIncident, name: str) -> None:
    broken = incident(name)
    done = repair(broken)
    in_float, in_int8 = num_correct(done.float_model, broken), num_correct(done.model, broken)
    by_stock = stock.scores(stock.convert_int8(broken), broken)
    (classes,) = broken.holdout_y.values()
    assert in_float >= 0.9 * len(classes)
    assert by_stock is None or 1000 * next(iter(by_stock.values())) * len(classes) < STOCK_LOSES * in_float
    assert 1000 * in_int8 >= KEPT * in_float, f"{in_int8} right, float {in_float} of {len(classes)}"
    assert share_of_float_operators(done.report.inspection) <= 0.5


@pytest.mark.tfx
@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("name", some_often(OTHER_SHAPES, ("wide_regression",)))
def test_other_shapes_stay_close_to_float_at_half_the_size(incident: MakeIncident, name: str) -> None:
    broken = incident(name)
    done = repair(broken)
    in_float, in_int8 = stock.scores(done.float_model, broken), stock.scores(done.model, broken)
    by_stock = stock.scores(stock.convert_int8(broken), broken)
    assert in_float is not None
    assert in_int8 is not None
    assert by_stock is None or not all(is_close(broken, output, in_float, by_stock) for output in in_float)
    assert [o for o in in_float if not is_close(broken, o, in_float, in_int8)] == [], f"{in_int8}, float {in_float}"
    size, float_size = len(done.model), len(done.float_model)
    assert 2 * size <= float_size
    for spec in TFLiteModel.load(done.model).inputs:
        assert spec.dtype == "int32" or np.issubdtype(broken.pool_x[spec.name].dtype, np.floating)


def is_close(broken: Incident, output: str, in_float: dict[str, float], found: dict[str, float]) -> bool:
    """Whether an output's score is within 1 % of float (classes) or its mean error within 5 % of float's."""
    if stock.is_class(broken.holdout_y[output]):
        return found[output] >= OTHER_ACCURACY_KEPT * in_float[output]
    return found[output] <= OTHER_ERROR_ALLOWED * in_float[output]


@pytest.mark.exhaustive
@pytest.mark.e2e
@pytest.mark.parametrize(
    "name", some_often(["faults_and_imbalance", "dark_and_concat", "fused_heads"], ["dark_and_concat"])
)
def test_the_command_repairs_a_pool_in_capture_order(incident: MakeIncident, name: str, tmp_path: Path) -> None:
    broken = incident(name)
    pool = write_pool(broken, tmp_path / "pool.npz")
    command = [sys.executable, "-m", "pipeline.cli", "convert", "--saved-model", str(broken.saved_model)]
    command += ["--calibration", str(pool), "--recipe", "auto", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    model, float_model = ((tmp_path / "out" / f"{kind}.tflite").read_bytes() for kind in ("model", "float"))
    in_float, in_int8 = stock.scores(float_model, broken), stock.scores(model, broken)
    assert in_float is not None
    assert in_int8 is not None
    assert [o for o in in_float if not is_close(broken, o, in_float, in_int8)] == [], f"{in_int8}, float {in_float}"
    assert share_of_float_operators(inspect(model)) <= 0.5
