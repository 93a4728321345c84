"""The schema says what the config promises about the data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from components.data.examples import ExampleSpec, ImageSpec, TensorFeature
from components.data.feature_schema import feature_names, feature_schema, read_schema, schema_text
from components.errors import DataError

_IMAGES = ExampleSpec(class_names=("cat", "dog"), image=ImageSpec(28, 32, 3))


def _features(schema: schema_pb2.Schema) -> dict[str, schema_pb2.Feature]:
    return {feature.name: feature for feature in schema.feature}


def test_an_image_schema_limits_the_label_and_fixes_the_size() -> None:
    features = _features(feature_schema(_IMAGES))

    assert list(features) == ["image", "label", "height", "width", "channels", "path", "group"]
    assert (features["label"].int_domain.min, features["label"].int_domain.max) == (0, 1)
    sizes = {name: features[name].int_domain for name in ("height", "width", "channels")}
    assert {name: (domain.min, domain.max) for name, domain in sizes.items()} == {
        "height": (28, 28),
        "width": (32, 32),
        "channels": (3, 3),
    }


def test_image_bytes_are_no_words_to_count() -> None:
    assert _features(feature_schema(_IMAGES))["image"].WhichOneof("domain_info") == "image_domain"


def test_images_that_will_be_resized_may_have_any_size_but_not_other_channels() -> None:
    features = _features(feature_schema(ExampleSpec(image=ImageSpec(28, 32, 3, resize="area"))))

    assert not features["height"].int_domain.HasField("max")
    assert not features["width"].int_domain.HasField("max")
    assert features["channels"].int_domain.max == 3


def test_without_class_names_the_label_has_no_upper_limit_unless_the_number_is_given() -> None:
    spec = ExampleSpec(image=ImageSpec(8, 8, 1))

    assert not _features(feature_schema(spec))["label"].int_domain.HasField("max")
    assert _features(feature_schema(spec, num_classes=10))["label"].int_domain.max == 9


def test_tensor_features_have_type_shape_and_are_always_there() -> None:
    spec = ExampleSpec(
        label="species",
        class_names=("a", "b", "c"),
        features=(TensorFeature("petal", "float32", (4,)), TensorFeature("age", "int32")),
    )

    features = _features(feature_schema(spec))

    assert list(features) == ["species", "petal", "age"]
    assert [dim.size for dim in features["petal"].shape.dim] == [4]
    assert features["petal"].type == schema_pb2.FLOAT
    assert features["petal"].float_domain.disallow_nan
    assert features["age"].HasField("shape")
    assert features["age"].type == schema_pb2.INT
    assert all(feature.presence.min_fraction == 1 for feature in features.values())
    assert features["species"].int_domain.max == 2


def test_the_names_follow_the_config() -> None:
    spec = ExampleSpec(label="digit", image=ImageSpec(8, 8, 1), image_feature="picture")

    assert feature_names(feature_schema(spec))[:2] == ("picture", "digit")


def test_a_schema_of_ones_own_is_used_as_it_is(tmp_path: Path) -> None:
    own = tmp_path / "own.pbtxt"
    own.write_text('feature { name: "x" type: FLOAT }')

    assert feature_names(feature_schema(_IMAGES, own)) == ("x",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param('feature {\n  name: "x"\n  kind: FLOAT\n}', r"line 3:.*kind", id="an-unknown-field-with-its-line"),
        pytest.param("label,x\n1,2\n", r"line 1:", id="not-a-text-proto"),
        pytest.param("", "describes no feature", id="empty"),
        pytest.param(None, "does not exist", id="missing"),
    ],
)
def test_a_broken_schema_of_ones_own_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    own = tmp_path / "own.pbtxt"
    if content is not None:
        own.write_text(content)

    with pytest.raises(DataError, match=message):
        feature_schema(_IMAGES, own)


def test_a_schema_survives_its_text(tmp_path: Path) -> None:
    text = schema_text(feature_schema(_IMAGES))
    (tmp_path / "schema.pbtxt").write_text(text, encoding="utf-8")

    assert read_schema(tmp_path / "schema.pbtxt") == feature_schema(_IMAGES)
    assert text == schema_text(feature_schema(_IMAGES)) != schema_text(feature_schema(_IMAGES, num_classes=3))


def test_making_a_schema_imports_no_tensorflow() -> None:
    code = (
        "import sys, components.data.feature_schema as s; from components.data.examples import *;"
        "s.feature_schema(ExampleSpec(image=ImageSpec(8, 8, 1)));"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'tensorflow_data_validation')))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_real_label_is_a_finite_float() -> None:
    spec = ExampleSpec(label="price", label_dtype="float32", features=(TensorFeature("x"),))
    label = _features(feature_schema(spec, num_classes=0))["price"]
    assert label.type == schema_pb2.FLOAT
    assert (label.float_domain.disallow_nan, label.float_domain.disallow_inf) == (True, True)
    assert label.presence.min_fraction == 1
    assert label.WhichOneof("domain_info") == "float_domain"
