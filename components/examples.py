"""How a tf.Example becomes raw tensors: one description and one parser for training, calibration and evaluation.

A second parser anywhere would let the judged numbers differ from the trained ones, so every component reads through
:func:`read_batches` or :func:`batch_parser`. TensorFlow is imported inside the functions that run it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.errors import DataError
from components.user_module import call_user_function, function_of, load_module

#: Serialized tf.Examples [n] -> (inputs by name, each [n, ...]; labels int64 [n]).
BatchParser = Callable[[Any], tuple[dict[str, Any], Any]]


@dataclass(frozen=True)
class ImageSpec:
    """An encoded PNG or JPEG that decodes to float32 ``[height, width, channels]``, 0..255 as a device's camera gives it."""

    height: int
    width: int
    channels: int
    resize: str | None = None


@dataclass(frozen=True)
class TensorFeature:
    """A numeric feature of fixed shape; ``dtype`` is float32, int32 or int64."""

    name: str
    dtype: str = "float32"
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class ExampleSpec:
    """What is inside a tf.Example and which of it the model sees. Crosses TFX as JSON in the exec property ``example_spec``."""

    label: str = "label"
    class_names: tuple[str, ...] = ()
    image: ImageSpec | None = None
    image_feature: str = "image"
    features: tuple[TensorFeature, ...] = ()
    parse_module: str | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ExampleSpec:
        fields = json.loads(text)
        fields["class_names"] = tuple(fields["class_names"])
        fields["image"] = ImageSpec(**fields["image"]) if fields["image"] else None
        fields["features"] = tuple(
            TensorFeature(feature["name"], feature["dtype"], tuple(feature["shape"])) for feature in fields["features"]
        )
        return cls(**fields)


@dataclass(frozen=True)
class Batch:
    """Parsed examples: ``inputs[name]`` is ``[n, ...]``, ``labels`` is int64 ``[n]``."""

    inputs: dict[str, NDArray[Any]]
    labels: NDArray[np.int64]


def split_files(split_uri: str) -> list[str]:
    """The TFRecord files of one split, sorted; the order decides the order of examples.

    Raises:
        DataError: The split holds no files.
    """
    files = sorted(str(path) for path in Path(split_uri).glob("*") if not path.name.startswith("."))
    if not files:
        raise DataError(f"split {Path(split_uri).name} holds no files under {Path(split_uri).parent}.")
    return files


def read_batches(files: Sequence[str], spec: ExampleSpec, batch_size: int) -> Iterator[Batch]:
    """Reads gzip TFRecords of tf.Example in the order given; only the last batch may be shorter.

    Raises:
        DataError: A record does not fit ``spec``; the message carries TensorFlow's reason and the files.
    """
    import tensorflow as tf

    dataset = tf.data.TFRecordDataset(list(files), compression_type="GZIP").batch(batch_size)
    dataset = dataset.map(batch_parser(spec), num_parallel_calls=2).prefetch(2)
    with explained_data_errors(spec, files):
        for inputs, labels in dataset.as_numpy_iterator():
            yield Batch(inputs, np.asarray(labels, np.int64))


class explained_data_errors:
    """Turns TensorFlow's errors about unreadable records into a DataError that names the files."""

    def __init__(self, spec: ExampleSpec, files: Sequence[str]) -> None:
        self._spec = spec
        self._files = files

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        import tensorflow as tf

        if isinstance(error, (tf.errors.InvalidArgumentError, tf.errors.DataLossError)):
            raise DataError(_explain(error.message, self._spec, self._files)) from error


def _explain(reason: str, spec: ExampleSpec, files: Sequence[str]) -> str:
    folder = Path(files[0]).parent
    wanted = spec.image and f"{spec.image.height} x {spec.image.width} x {spec.image.channels}"
    first_line = reason.strip().splitlines()[0][:300]
    if wanted and "not compatible with expected shape" in reason:
        return f"an image under {folder} is not {wanted} as data.image says: {first_line}. Fix the image, or set data.image.resize."
    return f"an example under {folder} does not fit the data section of the config: {first_line}"


def batch_parser(spec: ExampleSpec) -> BatchParser:
    """The TensorFlow function that every reader maps over batches of serialized examples.

    A model module's own ``parse_example(serialized) -> (inputs, label)`` wins over the config's description.

    Raises:
        ModelError: The model module cannot be imported.
    """
    user_parse = function_of(load_module(spec.parse_module), "parse_example") if spec.parse_module else None
    if user_parse is not None:
        return _user_parser(user_parse, f"{spec.parse_module}: parse_example")
    return _image_parser(spec, spec.image) if spec.image else _tensor_parser(spec)


def _user_parser(parse_example: Callable[..., Any], what: str) -> BatchParser:
    import tensorflow as tf

    convertible = tf.function(parse_example)  # AutoGraph takes the user's `if` and `for`; our own code needs none of it

    @tf.autograph.experimental.do_not_convert
    def parse_one(serialized: Any) -> tuple[dict[str, Any], Any]:
        inputs, label = call_user_function(convertible, serialized, what=what)
        named = inputs if isinstance(inputs, dict) else {"x": inputs}
        return named, tf.cast(label, tf.int64)

    def parse(serialized: Any) -> tuple[dict[str, Any], Any]:
        first = tf.data.Dataset.from_tensors(tf.constant(b"")).map(parse_one).element_spec
        inputs, labels = tf.map_fn(parse_one, serialized, fn_output_signature=first)
        return inputs, labels

    unconverted: BatchParser = tf.autograph.experimental.do_not_convert(parse)
    return unconverted


def _image_parser(spec: ExampleSpec, image: ImageSpec) -> BatchParser:
    import tensorflow as tf

    features = {
        spec.image_feature: tf.io.FixedLenFeature([], tf.string),
        spec.label: tf.io.FixedLenFeature([], tf.int64),
    }
    shape = tf.TensorSpec([image.height, image.width, image.channels], tf.float32)

    def parse(serialized: Any) -> tuple[dict[str, Any], Any]:
        parsed = tf.io.parse_example(serialized, features)
        pixels = tf.map_fn(
            lambda encoded: decode_image(encoded, image), parsed[spec.image_feature], fn_output_signature=shape
        )
        return {spec.image_feature: pixels}, parsed[spec.label]

    return parse


def decode_image(encoded: Any, image: ImageSpec) -> Any:
    """Decodes one PNG or JPEG to float32 ``[height, width, channels]``, 0..255; resizes only where the config says so."""
    import tensorflow as tf

    pixels = tf.io.decode_image(encoded, channels=image.channels, expand_animations=False)
    if image.resize:
        pixels = tf.image.resize(pixels, [image.height, image.width], method=image.resize)
    return tf.cast(tf.ensure_shape(pixels, [image.height, image.width, image.channels]), tf.float32)


def _tensor_parser(spec: ExampleSpec) -> BatchParser:
    import tensorflow as tf

    stored = {"float32": tf.float32, "int32": tf.int64, "int64": tf.int64}
    features = {f.name: tf.io.FixedLenFeature(f.shape, stored[f.dtype]) for f in spec.features}
    features[spec.label] = tf.io.FixedLenFeature([], tf.int64)

    def parse(serialized: Any) -> tuple[dict[str, Any], Any]:
        parsed = tf.io.parse_example(serialized, features)
        inputs = {f.name: tf.cast(parsed[f.name], f.dtype) for f in spec.features}
        return inputs, parsed[spec.label]

    return parse
