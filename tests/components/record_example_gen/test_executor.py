"""Parquet rows as tf.Examples, and a reader's failure as one sentence."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.tfx


@pytest.mark.parametrize(
    ("value", "kind", "values"),
    [
        pytest.param(0, "int64_list", [0], id="zero-is-a-value"),
        pytest.param(0.0, "float_list", [0.0], id="zero-point-zero-is-a-value"),
        pytest.param(False, "int64_list", [0], id="false-is-a-value"),
        pytest.param("", "bytes_list", [b""], id="empty-text-is-a-value"),
        pytest.param([1, 2], "int64_list", [1, 2], id="a-list-of-whole-numbers"),
        pytest.param([1, 0.5], "float_list", [1.0, 0.5], id="a-list-with-a-fraction"),
        pytest.param("Grüße", "bytes_list", ["Grüße".encode()], id="text-is-utf-8"),
        pytest.param(b"\xff\x00", "bytes_list", [b"\xff\x00"], id="bytes-as-they-are"),
        pytest.param(None, None, [], id="null-is-missing"),
        pytest.param([], None, [], id="an-empty-list-is-missing"),
    ],
)
def test_a_parquet_value_becomes_a_feature(value: object, kind: str | None, values: list[Any]) -> None:
    from components.record_example_gen.executor import row_to_example

    feature = row_to_example({"x": value}).features.feature["x"]

    assert feature.WhichOneof("kind") == kind
    assert list(getattr(feature, kind).value if kind else []) == values


@pytest.mark.parametrize("value", [[[1], [2]], {"a": 1}, [1, "a"]], ids=["nested-lists", "a-struct", "mixed"])
def test_what_an_example_cannot_hold_is_refused_by_name(value: object) -> None:
    from components.record_example_gen.executor import row_to_example

    with pytest.raises(ValueError, match="the column 'x' holds"):
        row_to_example({"x": value})


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("bad row [while running 'ReadCsv/Parse']", id="one-process"),
        pytest.param(
            "Traceback (most recent call last):\n  File ...\nValueError: bad row [while running 'x']\n", id="a-worker"
        ),
    ],
)
def test_a_readers_failure_is_one_sentence_without_beams_traceback(text: str) -> None:
    from tfx.proto import example_gen_pb2
    from tfx.utils import proto_utils

    from components.record_example_gen.executor import unreadable_message

    config = example_gen_pb2.Input(splits=[example_gen_pb2.Input.Split(name="all", pattern="*.csv")])
    properties = {"input_base": "/data", "input_config": proto_utils.proto_to_json(config)}

    assert unreadable_message(RuntimeError(text), "CSV", properties) == (
        "the files *.csv under /data cannot be read as CSV: bad row"
    )


def test_whole_numbers_of_a_real_label_become_floats() -> None:
    from components.record_example_gen.executor import row_to_example, with_real_label

    example = row_to_example({"price": 3, "rooms": 2, "name": "a"})
    changed = with_real_label(example, "price").features.feature
    assert list(changed["price"].float_list.value) == [3.0]
    assert changed["rooms"].WhichOneof("kind") == "int64_list"
    assert (
        example.features.feature["price"].WhichOneof("kind") == "int64_list"
    )  # Beam forbids changing what it hands over
    for label in ("name", "absent"):
        assert with_real_label(example, label) is example
