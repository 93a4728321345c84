from __future__ import annotations

import pytest
from edgeproof_edge.flatbuffer import FloatIsland, inspect
from edgeproof_edge.flatbuffer.float_islands import float_islands
from edgeproof_edge.flatbuffer.graph import Graph, Operator, Tensor

from tests.edge.rewriting import golden


@pytest.mark.parametrize(
    ("name", "islands"),
    [
        pytest.param("int8", [], id="none-in-int8"),
        pytest.param("int8_float_io", [], id="casts-at-the-borders-are-no-island"),
        pytest.param("float_island", [("SIN",)], id="one-operator"),
        pytest.param("float32", [("FULLY_CONNECTED", "SOFTMAX")], id="the-whole-model"),
        pytest.param("float16", [("FULLY_CONNECTED",)], id="unpacked-float16-weights-belong-to-none"),
    ],
)
def test_islands_of_the_golden_files(name: str, islands: list[tuple[str, ...]]) -> None:
    assert [island.operators for island in inspect(golden(name)).float_islands] == islands


def test_an_island_names_the_float_tensors_it_touches() -> None:
    (island,) = inspect(golden("float_island")).float_islands
    assert island == FloatIsland(("SIN",), ("tfl.dequantize", "Sin"))


def activation(index: int, dtype: str = "float32") -> Tensor:
    return Tensor(index, f"t{index}", dtype, (1, 4), (-1, 4), 0.0, 0, 0, (0.0, 0.0), 0, 0)


def operator(name: str, *tensors: Tensor) -> Operator:
    return Operator(name, 1, False, tensors[:-1], tensors[-1:])


def test_islands_are_joined_by_a_later_operator_and_kept_apart_by_integers() -> None:
    t = [activation(index, "int8" if index in (3, 4) else "float32") for index in range(8)]
    operators = (
        operator("SIN", t[0], t[1]),
        operator("COS", t[2], t[5]),
        operator("QUANTIZE", t[1], t[3]),
        operator("RELU", t[3], t[4]),
        operator("EXP", t[6], t[7]),
        operator("MUL", t[1], t[5], t[2]),
    )
    islands = float_islands(Graph(tuple(t), operators, (0,), (7,)))
    assert [island.operators for island in islands] == [("SIN", "COS", "MUL"), ("EXP",)]
    assert islands[0].tensors == ("t0", "t1", "t2", "t5")


def test_a_chain_of_many_operators_takes_no_recursion() -> None:
    num = 20_000
    t = [activation(index) for index in range(num + 1)]
    chain = tuple(operator("ABS", t[index], t[index + 1]) for index in reversed(range(num)))
    (island,) = float_islands(Graph(tuple(t), chain, (0,), (num,)))
    assert (len(island.operators), len(island.tensors)) == (num, num + 1)
