"""An anomaly becomes a sentence with split, feature, reason and what to do."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2

from components.example_validator.anomalies import Problem, anomalies_message, problems_of


def _anomalies(text: str) -> anomalies_pb2.Anomalies:
    return text_format.Parse(text, anomalies_pb2.Anomalies())


_LABEL = """anomaly_info { key: "label" value {
  path { step: "label" } severity: ERROR short_description: "Multiple errors" description: "both"
  reason { type: INT_TYPE_BIG_INT short_description: "Out-of-range values" description: "Too large: 11." }
  reason { type: FEATURE_TYPE_LOW_FRACTION_PRESENT short_description: "Column dropped" description: "In 10% only." }
} }"""


def test_every_reason_of_a_feature_is_told() -> None:
    (problem,) = problems_of("train", _anomalies(_LABEL))

    assert str(problem) == (
        "split train, feature 'label': Out-of-range values (Too large: 11) and Column dropped (In 10% only)"
    )
    assert problem.types == ("INT_TYPE_BIG_INT", "FEATURE_TYPE_LOW_FRACTION_PRESENT")


def test_no_anomaly_is_no_problem() -> None:
    assert problems_of("train", _anomalies("")) == []


def test_an_anomaly_of_the_whole_split_and_missing_data_are_problems() -> None:
    problems = problems_of(
        "eval", _anomalies('data_missing: true dataset_anomaly_info { description: "Too few examples." }')
    )

    assert [str(problem) for problem in problems] == [
        "split eval, as a whole: it holds no examples",
        "split eval, as a whole: Too few examples.",
    ]


@pytest.mark.parametrize(
    ("feature", "anomaly_type", "advice"),
    [
        pytest.param("label", "INT_TYPE_BIG_INT", "data.class_names", id="a-label-outside-the-domain"),
        pytest.param("height", "INT_TYPE_SMALL_INT", "data.image.resize", id="a-wrong-image-size"),
        pytest.param("x", "SCHEMA_MISSING_COLUMN", "check the feature's name", id="a-missing-feature"),
        pytest.param("x", "UNEXPECTED_DATA_TYPE", "dtype", id="another-type"),
        pytest.param("x", "FLOAT_TYPE_HAS_NAN", "NaN", id="not-a-number"),
        pytest.param("x", "CUSTOM_VALIDATION", "or the schema if the data is right", id="anything-else"),
    ],
)
def test_the_message_ends_with_what_to_do(feature: str, anomaly_type: str, advice: str) -> None:
    message = anomalies_message([Problem("train", feature, "why", (anomaly_type,))])

    assert message.startswith(
        f"the data breaks its schema in 1 place(s): split train, feature {feature!r}: why. Next: "
    )
    assert advice in message.partition("Next:")[2]


def test_ten_are_named_and_the_rest_is_counted() -> None:
    message = anomalies_message([Problem("train", f"x{index}", "why") for index in range(14)])

    assert "in 14 place(s)" in message
    assert "'x9': why; and 4 more." in message
    assert "'x10'" not in message


def test_whole_numbers_for_a_float_name_the_feature_and_its_type_once() -> None:
    reason = "Data type mismatch (Expected data of type: FLOAT but got INT)"
    splits = ("train", "calibration", "eval")
    message = anomalies_message([Problem(split, "rooms", reason, ("UNEXPECTED_DATA_TYPE",)) for split in splits])

    assert message.partition("Next: ")[2] == "set data.features.rooms.dtype to int64."
