"""How a tf.Example becomes raw tensors: one description and one parser for training, calibration and evaluation.

A second parser anywhere would let the judged numbers differ from the trained ones, so every component reads through
:func:`read_batches` or :func:`batch_parser`. TensorFlow is imported inside the functions that run it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.artifacts import list_files, local_copies, name_of, parent_of
from components.errors import DataError
from components.user_module import call_user_function, function_of, load_module

#: Serialized tf.Examples [n] -> (inputs by name, each [n, ...]; labels int64 or, for real-valued ones, float32 [n]).
BatchParser = Callable[[Any], tuple[dict[str, Any], Any]]

#: Stands for a whole number that an example lacks.
MISSING_INTEGER = -(2**63)


@dataclass(frozen=True)
class ImageSpec:
    """An encoded PNG or JPEG that decodes to float32 ``[height, width, channels]``, 0..255 as a device's camera gives it."""

    height: int
    width: int
    channels: int
    resize: str | None = None

    @property
    def limits(self) -> dict[str, int]:
        """Dimension -> the only value that an encoded image may have; resizing frees height and width, not channels."""
        size = {} if self.resize else {"height": self.height, "width": self.width}
        return {**size, "channels": self.channels}


@dataclass(frozen=True)
class TensorFeature:
    """A numeric feature of fixed shape; ``dtype`` is float32, int32 or int64."""

    name: str
    dtype: str = "float32"
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class ExampleSpec:
    """What is inside a tf.Example and which of it the model sees. Crosses TFX as JSON in the exec property ``example_spec``.

    ``label_dtype`` is int64 for class numbers and float32 for real-valued labels. ``slice_features`` are features that
    the model does not see, read beside its inputs to cut the holdout into slices.
    """

    label: str = "label"
    label_dtype: str = "int64"
    slice_features: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    image: ImageSpec | None = None
    image_feature: str = "image"
    features: tuple[TensorFeature, ...] = ()
    parse_module: str | None = None

    @property
    def has_real_label(self) -> bool:
        """Whether labels are real numbers, not class numbers."""
        return self.label_dtype == "float32"

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ExampleSpec:
        fields = json.loads(text)
        for name in ("class_names", "slice_features"):
            fields[name] = tuple(fields.get(name, ()))
        fields["image"] = ImageSpec(**fields["image"]) if fields["image"] else None
        fields["features"] = tuple(
            TensorFeature(feature["name"], feature["dtype"], tuple(feature["shape"])) for feature in fields["features"]
        )
        return cls(**fields)


@dataclass(frozen=True)
class Batch:
    """Parsed examples: ``inputs[name]`` is ``[n, ...]``, ``labels`` is int64 or, for real-valued ones, float32 ``[n]``.

    ``slice_features[name]`` is ``[n]``: bytes (empty where missing), int64
    (:data:`MISSING_INTEGER` where missing) or float32 (NaN where missing).
    """

    inputs: dict[str, NDArray[Any]]
    labels: NDArray[Any]
    slice_features: dict[str, NDArray[Any]] = field(default_factory=dict)


def split_files(split_uri: str) -> list[str]:
    """The TFRecord files of one split, sorted; the order decides the order of examples.

    Raises:
        DataError: The split holds no files.
    """
    files = list_files(split_uri)
    if not files:
        raise DataError(f"split {name_of(split_uri)} holds no files under {parent_of(split_uri)}.")
    return files


def read_batches(files: Sequence[str], spec: ExampleSpec, batch_size: int) -> Iterator[Batch]:
    """Reads gzip TFRecords of tf.Example in the order given; only the last batch may be shorter.

    Args:
        files: Paths or addresses.
        spec: What is inside.
        batch_size: Rows per batch.

    Raises:
        DataError: A record does not fit ``spec``; the message carries TensorFlow's reason and the files.
    """
    with local_copies(files) as paths:
        yield from _read_local_batches(paths, spec, batch_size)


def _read_local_batches(files: Sequence[str], spec: ExampleSpec, batch_size: int) -> Iterator[Batch]:
    import tensorflow as tf

    kinds = _slice_feature_kinds(files, spec)
    parse, parse_slices = batch_parser(spec), _slice_parser(kinds)

    @tf.autograph.experimental.do_not_convert
    def parse_both(serialized: Any) -> tuple[dict[str, Any], Any, dict[str, Any]]:
        inputs, labels = parse(serialized)
        return inputs, labels, parse_slices(serialized)

    dataset = tf.data.TFRecordDataset(list(files), compression_type="GZIP").batch(batch_size)
    dataset = dataset.map(parse_both, num_parallel_calls=2).prefetch(2)
    options = tf.data.Options()
    options.autotune.enabled = (
        False  # nothing is left to tune, and the tuner's thread ends up to 3 s after the last batch
    )
    dataset = dataset.with_options(options)
    with explained_data_errors(spec, files):
        for inputs, labels, found in dataset.as_numpy_iterator():
            missing = {name: np.full(len(labels), b"", object) for name in spec.slice_features}
            yield Batch(inputs, np.asarray(labels, spec.label_dtype), {**missing, **found})


#: Records looked at for the type of a slice feature; where none of them has it, it is taken for missing.
_RECORDS_LOOKED_AT = 1000


def _slice_feature_kinds(files: Sequence[str], spec: ExampleSpec) -> dict[str, str]:
    """``bytes_list``, ``int64_list`` or ``float_list`` of each slice feature that the first records have."""
    import tensorflow as tf

    kinds: dict[str, str] = {}
    if not spec.slice_features:
        return kinds
    with explained_data_errors(spec, files):
        records = tf.data.TFRecordDataset(list(files), compression_type="GZIP").take(_RECORDS_LOOKED_AT)
        for record in records.as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            for name in spec.slice_features:
                kind = features[name].WhichOneof("kind") if name in features else None
                if kind is not None:
                    kinds.setdefault(name, kind)
            if len(kinds) == len(spec.slice_features):
                break
    return kinds


def _slice_parser(kinds: dict[str, str]) -> Callable[[Any], dict[str, Any]]:
    """Reads the first value of each feature, ``[n]``; see :class:`Batch` for examples that have none."""
    import tensorflow as tf

    dtypes = {"bytes_list": tf.string, "int64_list": tf.int64, "float_list": tf.float32}
    absent = {"bytes_list": b"", "int64_list": MISSING_INTEGER, "float_list": float("nan")}
    features = {
        name: tf.io.FixedLenSequenceFeature([], dtypes[kind], allow_missing=True, default_value=absent[kind])
        for name, kind in kinds.items()
    }

    def first(values: Any, kind: str) -> Any:
        filler = tf.fill([tf.shape(values)[0], 1], tf.constant(absent[kind], dtypes[kind]))
        return tf.concat([values, filler], axis=1)[:, 0]

    def parse(serialized: Any) -> dict[str, Any]:
        parsed = tf.io.parse_example(serialized, features) if features else {}
        return {name: first(parsed[name], kind) for name, kind in kinds.items()}

    return parse


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
    folder = parent_of(files[0])
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
        return _user_parser(user_parse, f"{spec.parse_module}: parse_example", spec.label_dtype)
    return _image_parser(spec, spec.image) if spec.image else _tensor_parser(spec)


def _user_parser(parse_example: Callable[..., Any], what: str, label_dtype: str) -> BatchParser:
    import tensorflow as tf

    convertible = tf.function(parse_example)  # AutoGraph takes the user's `if` and `for`; our own code needs none of it

    @tf.autograph.experimental.do_not_convert
    def parse_one(serialized: Any) -> tuple[dict[str, Any], Any]:
        inputs, label = call_user_function(convertible, serialized, what=what)
        named = inputs if isinstance(inputs, dict) else {"x": inputs}
        return named, tf.cast(label, label_dtype)

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
        spec.label: tf.io.FixedLenFeature([], tf.as_dtype(spec.label_dtype)),
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
    features[spec.label] = tf.io.FixedLenFeature([], tf.as_dtype(spec.label_dtype))

    def parse(serialized: Any) -> tuple[dict[str, Any], Any]:
        parsed = tf.io.parse_example(serialized, features)
        inputs = {f.name: tf.cast(parsed[f.name], f.dtype) for f in spec.features}
        return inputs, parsed[spec.label]

    return parse
