"""Makes the TFDV feature schema that the data must keep, from the config's description of an example.

The templates under schemas/ say what is always so; the config adds the classes, the image size and the features. A
team's own schema file wins and is used as it is.
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from components.data.examples import ExampleSpec, ImageSpec, TensorFeature
from components.errors import DataError

_TEMPLATES = Path(__file__).resolve().parents[2] / "schemas"
#: dtype of a feature -> TFDV's type; a tf.Example holds only these two kinds of numbers.
_TYPES = {"float32": schema_pb2.FLOAT, "int32": schema_pb2.INT, "int64": schema_pb2.INT}


def feature_schema(
    spec: ExampleSpec, base_pbtxt: Path | None = None, *, num_classes: int | None = None
) -> schema_pb2.Schema:
    """The schema of the examples that ``spec`` describes.

    Args:
        spec: What is inside a tf.Example.
        base_pbtxt: A team's own schema as a text proto, used as it is.
        num_classes: Labels run from 0 to this minus one; by default the number of class names, and without those the
            label has no upper limit.

    Raises:
        DataError: ``base_pbtxt`` cannot be read or is not a schema.
    """
    if base_pbtxt is not None:
        return read_schema(base_pbtxt)
    schema = read_schema(_TEMPLATES / ("image_folder.pbtxt" if spec.image else "tensors.pbtxt"))
    features = {feature.name: feature for feature in schema.feature}
    features["label"].name = spec.label
    if spec.has_real_label:
        features["label"].CopyFrom(_tensor_feature(TensorFeature(spec.label)))
    elif num_classes or spec.class_names:
        features["label"].int_domain.max = (num_classes or len(spec.class_names)) - 1
    if spec.image:
        features["image"].name = spec.image_feature
        _limit_image_size(features, spec.image)
    schema.feature.extend(_tensor_feature(feature) for feature in spec.features)
    return schema


def feature_names(schema: schema_pb2.Schema) -> tuple[str, ...]:
    """The names of the features that ``schema`` describes, in its order."""
    return tuple(feature.name for feature in schema.feature)


def read_schema(path: Path) -> schema_pb2.Schema:
    """Parses a schema text proto.

    Raises:
        DataError: The file cannot be read or is not a schema; the message carries line and column.
    """
    try:
        schema: schema_pb2.Schema = text_format.Parse(path.read_text(encoding="utf-8"), schema_pb2.Schema())
    except FileNotFoundError:
        raise DataError(f"the schema file {path} does not exist. Correct data.schema_file, or leave it out.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the schema file {path} cannot be read: {error}.") from error
    except text_format.ParseError as error:
        raise DataError(
            f"{path} is not a TFDV schema: line {' '.join(str(error).split())} "
            "It must be a text proto of tensorflow.metadata.v0.Schema, such as schemas/image_folder.pbtxt."
        ) from error
    if not schema.feature:
        raise DataError(f"the schema file {path} describes no feature. Add entries, or leave data.schema_file out.")
    return schema


def schema_text(schema: schema_pb2.Schema) -> str:
    """``schema`` as a text proto; the same schema gives the same text."""
    return str(text_format.MessageToString(schema))


def _limit_image_size(features: dict[str, schema_pb2.Feature], image: ImageSpec) -> None:
    for name, size in image.limits.items():
        features[name].int_domain.min = features[name].int_domain.max = size


def _tensor_feature(feature: TensorFeature) -> schema_pb2.Feature:
    described = schema_pb2.Feature(name=feature.name, type=_TYPES[feature.model_dtype])
    described.presence.min_fraction = 1
    described.presence.min_count = 1
    described.shape.SetInParent()
    for size in feature.shape:
        described.shape.dim.add(size=size)
    if described.type == schema_pb2.FLOAT:
        described.float_domain.disallow_nan = True
        described.float_domain.disallow_inf = True
    return described
