"""A message of TensorFlow's says its cause, not where the graph was built."""

from __future__ import annotations

import pytest

from components.tensorflow_errors import cause_of

RUNTIME = """Graph execution error:

Detected at node ParseExample/ParseExampleV2 defined at (most recent call last):
<stack traces unavailable>
Feature: oil (data type: float) is required but could not be found.
\t [[{{node ParseExample/ParseExampleV2}}]]
{{function_node __wrapped__IteratorGetNext_output_types_2_device_/job:localhost/replica:0}} Feature: oil (data type: float) is required.
\t [[{{node ParseExample/ParseExampleV2}}]] [Op:IteratorGetNext] name: """


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        pytest.param(RUNTIME, "Feature: oil (data type: float) is required.", id="the-line-with-a-place"),
        pytest.param("Graph execution error:\n\nKey: x. Can't parse.", "Key: x. Can't parse.", id="the-last-line"),
        pytest.param("Key: x. Can't parse.\n\t [[{{node A}}]]", "Key: x. Can't parse.", id="the-first-line"),
        pytest.param("{{function_node f}} bad crc", "bad crc", id="a-place-in-front"),
        pytest.param("Graph execution error:", "Graph execution error:", id="nothing-else"),
        pytest.param("", "no message", id="empty"),
    ],
)
def test_the_cause_is_found(text: str, cause: str) -> None:
    assert cause_of(text) == cause


@pytest.mark.tfx
def test_a_parser_of_the_user_that_fails_in_the_graph_is_explained() -> None:
    import tensorflow as tf

    from components.modules.user_module import call_user_function

    @tf.function
    def parse(serialized: object) -> object:
        return tf.io.parse_single_example(serialized, {"oil": tf.io.FixedLenFeature([], tf.float32)})

    with pytest.raises(
        Exception, match=r"model\.py: parse_example raised InvalidArgumentError: .*oil.*required"
    ) as caught:
        call_user_function(parse, tf.train.Example().SerializeToString(), what="model.py: parse_example")
    assert "Detected at" not in str(caught.value)
