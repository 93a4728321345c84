"""The manifest: its round trip, its agreement with the JSON Schema, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from edgeproof_edge.errors import InputError
from edgeproof_edge.manifest import (
    Answer,
    FileEntry,
    GoldenVectors,
    Histogram,
    Manifest,
    OperatorRequirement,
    Reference,
    RuntimeRequirements,
    TensorEntry,
    VerdictSummary,
    schema_version_for,
)
from edgeproof_edge.tensors import TensorSpec

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "manifest.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

MANIFEST = Manifest(
    model_name="digits",
    sequence=7,
    version="2026.11.21",
    created="2026-11-21T09:00:00Z",
    files=(
        FileEntry("model.tflite", "a" * 64, 43512),
        FileEntry("labels.txt", "0" * 64, 0),
        FileEntry("golden.npz", "1" * 64, 9),
    ),
    inputs=(TensorEntry(TensorSpec("image", (-1, 28, 28, 1), "int8", 1.0, -128), "NHWC", (0.0, 255.0)),),
    outputs=(TensorEntry(TensorSpec("scores", (-1, 10), "float32")),),
    labels=("zéro", "one"),
    recipe="int8",
    stack="tfx116",
    runtime=RuntimeRequirements("1.14.0", (OperatorRequirement("CONV_2D", 3),), 0.9),
    verdict=VerdictSummary(10000, 8100, 7857, "97/100"),
    golden=GoldenVectors("golden.npz", 32, "scores", 0.125, 0.09),
    reference=Reference(
        10,
        (Histogram("image", "mean", (0.0, 255.0), (0, 10, 0)),),
        (4, 6),
        Histogram("scores", "confidence", (0.5,), (1, 9)),
    ),
)
ERRORS = VerdictSummary(1108, None, None, None, "mae", "1.10818062", "1.11493077", "103/100")
OF_VALUES = dataclasses.replace(
    MANIFEST,
    labels=(),
    verdict=ERRORS,
    golden=GoldenVectors("golden.npz", 32, "scores", None, 0.09),
    reference=Reference(10, (), (), None, Histogram("scores", "value", (0.5,), (1, 9))),
    schema_version=3,
)


def changed(change: Callable[[dict[str, Any]], object], manifest: Manifest = MANIFEST) -> str:
    content = json.loads(manifest.to_json())
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(MANIFEST, id="everything-given"),
        pytest.param(
            dataclasses.replace(
                MANIFEST, labels=(), runtime=RuntimeRequirements(None, ()), golden=None, reference=None
            ),
            id="options-left-out",
        ),
        pytest.param(dataclasses.replace(MANIFEST, verdict=VerdictSummary(1, 1, 1, "0.97")), id="ratio-as-decimal"),
        pytest.param(OF_VALUES, id="version-3-of-a-real-value"),
        pytest.param(
            dataclasses.replace(
                MANIFEST, schema_version=3, verdict=VerdictSummary(9, 8, 8, "0.97", "f1", "0.9", "0.89")
            ),
            id="version-3-of-another-metric",
        ),
        pytest.param(
            dataclasses.replace(MANIFEST, schema_version=4, answer=Answer("scores", 0.5)),
            id="version-4-of-a-threshold",
        ),
    ],
)
def test_round_trip_and_schema(manifest: Manifest) -> None:
    text = manifest.to_json()
    assert Manifest.from_json(text) == manifest
    assert Manifest.from_json(text.encode()) == manifest
    assert Manifest.from_json(text).to_json() == text
    VALIDATOR.validate(json.loads(text))


def test_the_schema_is_a_schema_and_knows_every_key() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    content = json.loads(MANIFEST.to_json())
    assert set(content) == set(SCHEMA["required"]) == set(SCHEMA["properties"]) - {"answer"}


def test_equal_manifests_are_equal_bytes() -> None:
    content = json.loads(MANIFEST.to_json())
    shuffled = json.dumps(dict(reversed(content.items())))
    assert Manifest.from_json(shuffled).to_json() == MANIFEST.to_json()
    assert MANIFEST.to_json().endswith("}\n")


REQUIRED = [
    *((key,) for key in SCHEMA["required"]),
    *(("files", 0, key) for key in SCHEMA["$defs"]["file"]["required"]),
    *(("inputs", 0, key) for key in SCHEMA["$defs"]["tensor"]["required"]),
    *(("runtime", key) for key in SCHEMA["$defs"]["runtime"]["required"]),
    *(("runtime", "operators", 0, key) for key in SCHEMA["$defs"]["operator"]["required"]),
    *(("verdict", key) for key in SCHEMA["$defs"]["verdict"]["required"]),
    *(("golden", key) for key in SCHEMA["$defs"]["golden"]["required"]),
    *(("reference", key) for key in SCHEMA["$defs"]["reference"]["required"]),
    *(("reference", "inputs", 0, key) for key in SCHEMA["$defs"]["histogram"]["required"]),
]


@pytest.mark.parametrize("path", REQUIRED, ids=lambda path: ".".join(map(str, path)))
def test_a_missing_key_is_named(path: tuple[str | int, ...]) -> None:
    def drop(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    text = changed(drop)
    with pytest.raises(InputError, match=str(path[-1])):
        Manifest.from_json(text)
    assert not VALIDATOR.is_valid(json.loads(text))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        pytest.param(lambda c: c.update(schema_version=5), "schema_version", id="schema-version-of-tomorrow"),
        pytest.param(lambda c: c.update(schema_version=True), "schema_version", id="schema-version-true"),
        pytest.param(lambda c: c.update(rollout=10), "rollout", id="unknown-key"),
        pytest.param(lambda c: c["verdict"].update(p=1), r"verdict\.p", id="unknown-inner-key"),
        pytest.param(lambda c: c.update(sequence=0), "sequence", id="sequence-zero"),
        pytest.param(lambda c: c.update(sequence="7"), "sequence", id="sequence-as-text"),
        pytest.param(lambda c: c.update(created="2026-11-21 09:00"), "created", id="created-without-zone"),
        pytest.param(lambda c: c.update(files=[]), "files", id="no-files"),
        pytest.param(lambda c: c["files"][0].update(name="../boot.cfg"), r"files\[0\]\.name", id="file-outside"),
        pytest.param(lambda c: c["files"][0].update(name="/etc/passwd"), r"files\[0\]\.name", id="absolute-file"),
        pytest.param(lambda c: c["files"][0].update(sha256="A" * 64), r"files\[0\]\.sha256", id="upper-case-hash"),
        pytest.param(lambda c: c["files"][1].update(size_bytes=-1), r"files\[1\]\.size_bytes", id="negative-size"),
        pytest.param(lambda c: c["files"][1].update(size_bytes=1.5), r"files\[1\]\.size_bytes", id="broken-size"),
        pytest.param(lambda c: c.update(inputs={}), "inputs", id="inputs-no-list"),
        pytest.param(lambda c: c["inputs"][0].update(shape=[-2]), r"inputs\[0\]\.shape", id="impossible-shape"),
        pytest.param(lambda c: c["inputs"][0].update(shape=[1.0, "x"]), r"inputs\[0\]\.shape", id="shape-of-text"),
        pytest.param(lambda c: c["inputs"][0].update(value_range=[0]), r"inputs\[0\]\.value_range", id="half-a-range"),
        pytest.param(lambda c: c["inputs"][0].update(scale=-1.0), r"inputs\[0\]\.scale", id="negative-scale"),
        pytest.param(lambda c: c["outputs"][0].update(dtype=""), r"outputs\[0\]\.dtype", id="empty-dtype"),
        pytest.param(lambda c: c.update(labels=[1]), r"labels\[0\]", id="labels-of-numbers"),
        pytest.param(lambda c: c.update(recipe=None), "recipe", id="no-recipe"),
        pytest.param(lambda c: c.update(runtime=[]), "runtime", id="runtime-no-object"),
        pytest.param(lambda c: c["verdict"].update(num_examples=0), r"verdict\.num_examples", id="no-examples"),
        pytest.param(lambda c: c["verdict"].update(minimum_ratio=0.97), r"verdict\.minimum_ratio", id="ratio-as-float"),
        pytest.param(lambda c: c["runtime"].update(delegated_fraction=2), "delegated_fraction", id="fraction-above-1"),
        pytest.param(lambda c: c["golden"].update(num_examples=0), r"golden\.num_examples", id="no-golden-rows"),
        pytest.param(
            lambda c: c["reference"]["confidence"].update(edges="a"), r"confidence\.edges", id="edges-as-text"
        ),
        pytest.param(
            lambda c: c["verdict"].update(minimum_ratio="97 %"), r"verdict\.minimum_ratio", id="ratio-as-percent"
        ),
    ],
)
def test_a_wrong_value_is_named_by_code_and_refused_by_the_schema(
    change: Callable[[dict[str, Any]], object], key: str
) -> None:
    text = changed(change)
    with pytest.raises(InputError, match=key):
        Manifest.from_json(text)
    if text != changed(
        lambda content: content.update(schema_version=True)
    ):  # JSON Schema knows that true is not 1, too
        assert not VALIDATOR.is_valid(json.loads(text))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        pytest.param(lambda c: c["files"].append(c["files"][0]), "different names", id="same-file-twice"),
        pytest.param(
            lambda c: c["verdict"].update(num_correct_float=10001), "num_correct_float", id="more-than-all-right"
        ),
        pytest.param(lambda c: c["verdict"].update(minimum_ratio="97/0"), "minimum_ratio", id="ratio-over-zero"),
        pytest.param(lambda c: c.update(created="2026-13-21T09:00:00Z"), "created", id="thirteenth-month"),
        pytest.param(lambda c: c["inputs"][0].update(value_range=[255, 0]), "value_range", id="range-upside-down"),
        pytest.param(lambda c: c["golden"].update(file="other.npz"), r"golden\.file", id="golden-file-not-there"),
        pytest.param(lambda c: c["golden"].update(output="x"), r"golden\.output", id="golden-output-not-there"),
        pytest.param(lambda c: c["reference"]["confidence"].update(counts=[1]), "counts", id="a-bin-is-missing"),
        pytest.param(
            lambda c: c["reference"]["confidence"].update(edges=[2, 1], counts=[1, 1, 1]), "edges", id="edges-fall"
        ),
        pytest.param(lambda c: c["inputs"][0].update(scale=10**400), "scale", id="scale-beyond-float"),
    ],
)
def test_rules_that_the_schema_cannot_express(change: Callable[[dict[str, Any]], object], key: str) -> None:
    with pytest.raises(InputError, match=key):
        Manifest.from_json(changed(change))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("[]", id="list"),
        pytest.param("null", id="null"),
        pytest.param("{", id="cut-off"),
        pytest.param(b"\xff\xfe\xfa", id="not-text"),
        pytest.param("[" * 100_000, id="deep-nesting"),
        pytest.param('{"schema_version": NaN}', id="nan"),
        pytest.param('{"schema_version": 2, "schema_version": 2}', id="same-key-twice"),
        pytest.param("{}", id="no-keys"),
    ],
)
def test_what_is_no_manifest_is_refused(text: str | bytes) -> None:
    with pytest.raises(InputError, match="manifest"):
        Manifest.from_json(text)


def test_the_constructor_checks_like_the_reader() -> None:
    with pytest.raises(InputError, match="sequence"):
        dataclasses.replace(MANIFEST, sequence=0)
    with pytest.raises(InputError, match=r"files\[0\]\.name"):
        dataclasses.replace(MANIFEST, files=(FileEntry("a/b", "a" * 64, 1),))


def test_a_file_is_found_by_name() -> None:
    assert MANIFEST.file("model.tflite").size_bytes == 43512
    with pytest.raises(InputError, match="float"):
        MANIFEST.file("float.tflite")


def test_what_version_2_can_say_stays_version_2() -> None:
    assert schema_version_for(MANIFEST.verdict, MANIFEST.golden, MANIFEST.reference) == 2
    assert schema_version_for(OF_VALUES.verdict) == 3
    assert set(json.loads(MANIFEST.to_json())["verdict"]) == set(SCHEMA["$defs"]["verdict"]["required"])
    for part in ("verdict", "golden", "reference"):
        with pytest.raises(InputError, match="schema_version"):
            dataclasses.replace(MANIFEST, **{part: getattr(OF_VALUES, part)})


PREPARED = dataclasses.replace(
    MANIFEST,
    schema_version=4,
    inputs=(
        dataclasses.replace(MANIFEST.inputs[0], orientation="upright"),
        dataclasses.replace(MANIFEST.inputs[0], categories=("north", "south")),
        dataclasses.replace(MANIFEST.inputs[0], resize="area"),
    ),
)


def test_what_a_device_must_do_with_an_input_first_is_version_4() -> None:
    assert schema_version_for(MANIFEST.verdict, inputs=MANIFEST.inputs) == 2
    for entry in PREPARED.inputs:
        assert schema_version_for(MANIFEST.verdict, inputs=(entry,)) == 4
    assert Manifest.from_json(PREPARED.to_json()) == PREPARED
    VALIDATOR.validate(json.loads(PREPARED.to_json()))
    with pytest.raises(InputError, match="schema_version must be 4"):
        dataclasses.replace(PREPARED, schema_version=3)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        pytest.param(lambda c: c["inputs"][0].update(orientation="6"), "orientation", id="a-number-of-exif"),
        pytest.param(lambda c: c["inputs"][2].update(resize="lanczos3"), "resize", id="a-way-that-devices-do-not-know"),
        pytest.param(lambda c: c["inputs"][1].update(categories=["a", "a"]), "categories", id="a-category-twice"),
        pytest.param(lambda c: c["inputs"][0].pop("categories"), "categories", id="a-key-is-missing"),
        pytest.param(lambda c: c.update(schema_version=3), "schema_version|inputs", id="a-version-that-cannot-say-it"),
    ],
)
def test_a_wrong_value_of_version_4_is_named_and_refused_by_the_schema(
    change: Callable[[dict[str, Any]], object], key: str
) -> None:
    content = json.loads(PREPARED.to_json())
    change(content)
    with pytest.raises(InputError, match=key):
        Manifest.from_json(json.dumps(content))
    assert not VALIDATOR.is_valid(content)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        pytest.param(lambda c: c["verdict"].update(num_correct_float=1), "num_correct_float", id="right-answers"),
        pytest.param(lambda c: c["verdict"].update(minimum_ratio="0.97"), "minimum_ratio", id="ratio-of-errors"),
        pytest.param(lambda c: c["verdict"].update(maximum_error_factor=None), "maximum_error_factor", id="no-factor"),
        pytest.param(lambda c: c["verdict"].update(candidate_value=1.1), "candidate_value", id="error-as-float"),
        pytest.param(lambda c: c["verdict"].update(float_value="1e-3"), "float_value", id="error-with-exponent"),
        pytest.param(lambda c: c["verdict"].update(metric="mse"), "metric", id="unknown-metric"),
        pytest.param(lambda c: c["verdict"].update(metric="top1"), "num_correct_float", id="no-right-answers"),
        pytest.param(lambda c: c["verdict"].pop("metric"), "metric", id="no-metric"),
        pytest.param(lambda c: c["golden"].update(minimum_margin=-1), "minimum_margin", id="negative-margin"),
        pytest.param(lambda c: c["reference"]["values"].update(edges="a"), r"values\.edges", id="edges-as-text"),
        pytest.param(lambda c: c["reference"].pop("values"), "values", id="no-values"),
        pytest.param(lambda c: c.update(schema_version=2), "num_correct_float", id="version-2"),
    ],
)
def test_a_wrong_value_of_version_3_is_named_and_refused_by_the_schema(
    change: Callable[[dict[str, Any]], object], key: str
) -> None:
    text = changed(change, OF_VALUES)
    with pytest.raises(InputError, match=key):
        Manifest.from_json(text)
    assert not VALIDATOR.is_valid(json.loads(text))


def test_version_4_says_which_output_answers_and_at_which_threshold() -> None:
    answer = Answer("scores", 0.25)
    assert schema_version_for(MANIFEST.verdict, MANIFEST.golden, MANIFEST.reference, answer) == 4
    with pytest.raises(InputError, match="schema_version"):
        dataclasses.replace(MANIFEST, answer=answer)
    with pytest.raises(InputError, match=r"answer\.output must be one of"):
        dataclasses.replace(MANIFEST, schema_version=4, answer=Answer("boxes"))
    text = dataclasses.replace(MANIFEST, schema_version=4, answer=answer).to_json()
    assert not VALIDATOR.is_valid({**json.loads(text), "schema_version": 3})
    assert "answer" not in json.loads(MANIFEST.to_json())


def test_an_older_manifest_names_the_judged_output_where_it_can() -> None:
    boxes = TensorEntry(TensorSpec("boxes", (-1, 4), "float32"))
    several = dataclasses.replace(MANIFEST, golden=None, outputs=(*MANIFEST.outputs, boxes))
    assert (MANIFEST.judged_output, several.judged_output) == ("scores", None)
    assert dataclasses.replace(several, schema_version=4, answer=Answer("boxes")).judged_output == "boxes"
