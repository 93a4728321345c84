"""From stored rows to what the model sees: labels, categories, missing values, ragged features."""

from __future__ import annotations

from typing import Any

import pytest

from components.data.examples import ExampleSpec, TensorFeature
from components.formats.data_format import Row
from components.record_example_gen.encoding import Encoder, Kind, kind_of

NAMES = ("ok", "worn", "broken")


def encode(value: Any, feature: TensorFeature, *, is_text: bool = True) -> Any:
    """What comes out of one value (a cell, or a list), or the reason why nothing does."""
    values = value if isinstance(value, (list, tuple)) else (value,)
    row = Row("line 2", {"x": values, "label": ("0",) if is_text else (0,)}, is_text=is_text)
    encoder = Encoder(ExampleSpec(features=(feature,), class_names=NAMES))
    typed = encoder.typed(row)
    if typed.problems:
        return typed.problems[0].reason
    return encoder.encoded(row, typed, {}, {"x": {"north": 1, "south": 2}})["x"]


def tensor(dtype: str = "float32", **options: Any) -> TensorFeature:
    return TensorFeature("x", dtype, **options)


@pytest.mark.parametrize(
    ("value", "feature", "result"),
    [
        pytest.param("2.5", tensor(), [2.5], id="a-number"),
        pytest.param("3", tensor(), [3.0], id="a-whole-number-where-fractions-are-meant"),
        pytest.param("3.0", tensor("int64"), [3], id="a-fraction-that-is-whole"),
        pytest.param("3.5", tensor("int64"), "is no whole number", id="a-fraction-where-whole-numbers-are-meant"),
        pytest.param("3000000000", tensor("int64"), [3_000_000_000], id="beyond-32-bits"),
        pytest.param("3000000000", tensor("int32"), "is no number", id="too-large-for-int32"),
        pytest.param("much", tensor(), "is no number", id="text"),
        pytest.param("inf", tensor(), "is infinite", id="infinite"),
        pytest.param((), tensor(), "has no value", id="an-empty-cell"),
        pytest.param("NaN", tensor(), "is NaN", id="nan"),
        pytest.param((), tensor(default=0.5), [0.5], id="an-empty-cell-with-a-default"),
        pytest.param("nan", tensor("int64", default=-1.0), [-1], id="nan-with-a-default"),
        pytest.param("south", tensor("string"), [2], id="a-category"),
        pytest.param("east", tensor("string"), [0], id="a-category-that-training-never-saw"),
        pytest.param((), tensor("string", default="north"), [1], id="a-missing-category"),
        pytest.param((), tensor("string"), "has no value", id="a-missing-category-without-default"),
    ],
)
def test_a_cell_of_csv(value: Any, feature: TensorFeature, result: Any) -> None:
    assert encode(value, feature) == result


@pytest.mark.parametrize(
    ("value", "feature", "result"),
    [
        pytest.param([1.0, 2.0], tensor(shape=(2,)), [1.0, 2.0], id="the-right-number"),
        pytest.param([1.0], tensor(shape=(3,), pad=0.0), [1.0, 0.0, 0.0], id="padded"),
        pytest.param([1.0], tensor(shape=(3,)), "has not 3 values, as shape [3] says", id="too-few"),
        pytest.param([1.0] * 4, tensor(shape=(3,), pad=0.0), "has not 3 values, as shape [3] says", id="too-many"),
        pytest.param([], tensor(shape=(2,), default=7.0), [7.0, 7.0], id="missing-with-a-default"),
        pytest.param([1.0, float("nan")], tensor(shape=(2,)), "is NaN", id="nan-inside"),
        pytest.param([1.0, float("nan")], tensor(shape=(2,), default=0.0), [1.0, 0.0], id="nan-inside-with-a-default"),
        pytest.param([3.0], tensor("int32"), [3], id="pandas-whole-numbers-beside-nulls"),
        pytest.param([b"north"], tensor("string"), [1], id="bytes-of-a-tf-example"),
        pytest.param([b"\xff"], tensor("string"), "is no UTF-8 text", id="bytes-that-are-no-text"),
    ],
)
def test_values_of_records(value: Any, feature: TensorFeature, result: Any) -> None:
    assert encode(value, feature, is_text=False) == result


@pytest.mark.parametrize(
    ("cell", "names", "result"),
    [
        pytest.param("broken", NAMES, [2], id="a-name"),
        pytest.param(" worn ", NAMES, [1], id="a-name-with-blanks"),
        pytest.param("1", NAMES, [1], id="a-number"),
        pytest.param("1.0", NAMES, [1], id="a-number-as-pandas-writes-it"),
        pytest.param(b"ok", NAMES, [0], id="bytes"),
        pytest.param(2, NAMES, [2], id="a-whole-number"),
        pytest.param("brocken", NAMES, "is no class name and no class number", id="a-typo"),
        pytest.param("20", ("10", "20"), [1], id="names-that-look-like-numbers"),
    ],
)
def test_a_label_is_a_class_name_or_its_number(cell: Any, names: tuple[str, ...], result: Any) -> None:
    typed = Encoder(ExampleSpec(class_names=names)).typed(Row("line 2", {"label": (cell,)}))
    assert (typed.problems[0].reason if typed.problems else typed.values["label"]) == result


def test_a_real_label_of_whole_numbers_is_a_fraction() -> None:
    typed = Encoder(ExampleSpec(label="price", label_dtype="float32")).typed(Row("row 1", {"price": (3,)}))
    assert typed.values["price"] == [3.0]
    assert isinstance(typed.values["price"][0], float)


@pytest.mark.parametrize("is_real", [False, True])
def test_a_teams_own_schema_gets_rows_as_they_are_stored(is_real: bool) -> None:
    spec = ExampleSpec(
        label="price", label_dtype="float32" if is_real else "int64", features=(tensor(),), class_names=NAMES
    )
    row = Row("row 1", {"price": (3,), "x": (), "name": ("a",)})
    encoder = Encoder(spec, is_raw=True)
    features = encoder.encoded(row, encoder.typed(row), {}, {})
    assert features == {"price": [3.0] if is_real else [3], "x": [], "name": [b"a"]}


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "-5"], Kind.WHOLE),
        (["1", "2.5"], Kind.NUMBER),
        (["1", "a"], Kind.TEXT),
        (["99999999999999999999"], Kind.NUMBER),
        ([], Kind.WHOLE),
    ],
)
def test_a_text_column_holds_numbers_where_all_cells_do(cells: list[str], kind: Kind) -> None:
    assert kind_of(cells) is kind
