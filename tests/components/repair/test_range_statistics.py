from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from components.errors import CalibrationError
from components.repair import range_statistics
from components.repair.activations import ActivationReader
from components.repair.graph import FloatGraph
from components.repair.range_statistics import RangeMethod, Statistics, measure

MODELS = Path(__file__).parents[2] / "edge" / "models"


def read(name: str) -> bytes:
    return (MODELS / f"{name}.tflite").read_bytes()


def draw(num_rows: int = 500, scale: float = 1.0) -> dict[str, NDArray[np.float32]]:
    return {"x": np.random.default_rng(0).normal(scale=scale, size=(num_rows, 8)).astype(np.float32)}


def input_name(model: bytes) -> str:
    graph = FloatGraph.parse(model)
    return graph.name(graph.inputs[0])


def measure_input(values: NDArray[np.float32]) -> Statistics:
    return measure(read("float32"), {"x": values})


def test_every_float_activation_is_measured_as_numpy_computes_it() -> None:
    model, rows = read("float32"), draw()
    graph = FloatGraph.parse(model)
    x, kernel, bias = (graph.operators[0].inputs[i] for i in range(3))
    weights, biases = graph.constant(kernel), graph.constant(bias)
    assert weights is not None
    assert biases is not None
    expected = {
        graph.name(x): rows["x"],
        graph.name(graph.operators[0].outputs[0]): rows["x"] @ weights.T + biases,
    }
    found = measure(model, rows)
    assert found.num_rows == 500
    assert set(found.tensors) == {*expected, graph.name(graph.outputs[0])}
    for name, values in expected.items():
        assert found.range(name) == pytest.approx((values.min(), values.max()), rel=1e-5)
        np.testing.assert_allclose(found[name].channel_minimum, values.min(axis=0), rtol=1e-4)
        np.testing.assert_allclose(found[name].channel_maximum, values.max(axis=0), rtol=1e-4)
        np.testing.assert_allclose(found[name].channel_mean, values.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("name", ["float32", "hard_swish", "instance_norm", "lstm", "running_mean", "batch_of_three"])
def test_as_many_interpreters_as_there_are_cores_measure_exactly_what_one_does(name: str) -> None:
    model, rows = read(name), draw(150)
    if name == "hard_swish":
        rows = {"image": np.random.default_rng(1).uniform(0, 255, (150, 8, 8, 3)).astype(np.float32)}
    alone = measure(model, rows, batch_size=2, num_workers=1)
    for num_workers in (2, 3, 7):
        together = measure(model, rows, batch_size=2, num_workers=num_workers)
        assert together.num_rows == alone.num_rows == 150
        for tensor, expected in alone.tensors.items():
            found = together[tensor]
            assert (found.minimum, found.maximum) == (expected.minimum, expected.maximum)
            for field in ("channel_minimum", "channel_maximum", "channel_mean", "histogram"):
                np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))


def test_a_fused_lstm_is_measured_row_by_row_and_a_stream_in_its_order() -> None:
    rows = draw(40)
    reader = ActivationReader(read("lstm"))
    (output,) = reader.graph.outputs
    forward = [reader.read(output).copy() for _ in reader.batches(rows)]
    backward = [reader.read(output).copy() for _ in reader.batches({"x": rows["x"][::-1]})]
    np.testing.assert_array_equal(forward, backward[::-1])

    stream = ActivationReader(read("running_mean"))
    (output,) = stream.graph.outputs
    first, second = ([stream.read(output).copy() for _ in stream.batches(rows)] for _ in range(2))
    np.testing.assert_array_equal(first, second)  # begins anew
    alone = [next(stream.read(output).copy() for _ in stream.batches({"x": row[None]})) for row in rows["x"][:3]]
    np.testing.assert_array_equal(alone[0], first[0])
    assert not np.allclose(alone[2], first[2])


@pytest.mark.parametrize("shape", [(1, 3), (5, 3), (700, 3), (4097, 7), (10, 4096), (9, 1)])
def test_wide_reductions_are_exact(shape: tuple[int, int]) -> None:
    table = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    minimum, maximum = range_statistics._extremes(table)
    np.testing.assert_array_equal(minimum, table.min(axis=0))
    np.testing.assert_array_equal(maximum, table.max(axis=0))
    table[-1, -1] = np.nan
    assert not np.isfinite(range_statistics._extremes(table)[0]).all()


@pytest.mark.parametrize("name", ["float32", "batch_sum", "fixed_batch", "fixed_batch_resizable", "batch_of_three"])
@pytest.mark.parametrize("num_rows", [1, 7, 30])
def test_batches_change_nothing(name: str, num_rows: int) -> None:
    model = read(name)
    rows = draw(num_rows)
    declared, batched = measure(model, rows, batch_size=1), measure(model, rows)
    assert declared.num_rows == batched.num_rows == num_rows
    for tensor, limits in declared.ranges().items():
        assert batched.range(tensor) == pytest.approx(limits, rel=1e-4, abs=1e-5)


def test_several_inputs_and_token_ids_are_fed() -> None:
    model = read("two_inputs")
    random = np.random.default_rng(1)
    rows = {"ids": random.integers(0, 3, (20, 5)), "x": random.normal(size=(20, 4)).astype(np.float32)}
    found = measure(model, rows)
    graph = FloatGraph.parse(model)
    assert graph.name(graph.inputs[1]) in found
    assert graph.name(graph.inputs[0]) not in found
    assert all(graph.name(output) in found for output in graph.outputs)


def test_quantiles_are_near_those_of_numpy() -> None:
    values = draw(4000)["x"]
    statistics = measure_input(values)[input_name(read("float32"))]
    for share in (1e-4, 1e-3, 0.1, 0.25, 0.75, 0.999, 0.9999):
        assert statistics.quantile(share) == pytest.approx(float(np.quantile(values, share)), rel=0.03)
    assert statistics.share_outside(-1.0, 2.0) == pytest.approx(float(((values < -1) | (values > 2)).mean()), abs=0.003)


def test_percentiles_leave_out_a_fault_code_and_minmax_does_not() -> None:
    values = draw(3000)["x"]
    values[::500, 0] = -999.0  # 6 of 24000 values
    name = input_name(read("float32"))
    found = measure_input(values)
    assert found.range(name, RangeMethod.MINMAX)[0] == -999.0
    low, high = found.range(name, RangeMethod.P99_9)
    assert -5 < low < -2.5
    assert 2.5 < high < 5


def test_the_least_error_range_is_near_the_best_one() -> None:
    values = draw(2000, scale=10.0)["x"]
    values[0, 0] = 200.0
    low, high = measure_input(values).range(input_name(read("float32")), RangeMethod.MSE)

    def error(limits: tuple[float, float]) -> float:
        step = (limits[1] - limits[0]) / 255
        return float(np.mean((np.clip(np.rint(values / step) * step, *limits) - values) ** 2))

    whole = (float(values.min()), float(values.max()))
    tried = [error((whole[0] * share, whole[1] * share)) for share in np.linspace(0.05, 1.0, 60)]
    assert error((low, high)) <= 1.1 * min(tried)


def test_values_outside_the_measured_ranges_are_counted() -> None:
    name = input_name(read("float32"))
    day, night = measure_input(draw()["x"]), measure_input(draw()["x"] + 100.0)
    assert day.outside(night)[name] == 1.0
    assert set(day.outside(day).values()) == {0.0}
    assert day.outside(day, RangeMethod.P99_9)[name] == pytest.approx(0.002, abs=0.001)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_names_tensor_and_row(bad: float) -> None:
    rows = draw(300)
    rows["x"][137, 2] = bad
    with pytest.raises(CalibrationError, match=r"tensor '.*' holds (nan|inf) for row 137 of the calibration examples"):
        measure(read("float32"), rows)


def test_rows_that_cannot_run_are_named() -> None:
    rows = {"ids": np.full((3, 5), 10**6), "x": np.zeros((3, 4), np.float32)}
    with pytest.raises(CalibrationError, match=r"cannot run calibration rows 0 to \d"):
        measure(read("two_inputs"), rows)


def test_the_same_rows_give_the_same_numbers() -> None:
    first, second = measure(read("hard_swish"), image_rows()), measure(read("hard_swish"), image_rows())
    for method in RangeMethod:
        assert first.ranges(method) == second.ranges(method)


def image_rows() -> dict[str, NDArray[np.float32]]:
    return {"image": np.random.default_rng(2).random((40, 8, 8, 3), dtype=np.float32)}


def test_a_graph_that_mixes_rows_is_fed_by_its_declared_batch() -> None:
    reader = ActivationReader(read("batch_sum"))
    assert [len(batch) for batch in reader.batches(draw(5))] == [1] * 5
