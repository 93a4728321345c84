"""How a tf.Example becomes raw tensors: one description and one parser for training, calibration and evaluation.

A second parser anywhere would let the judged numbers differ from the trained ones, so every component reads through
:func:`read_batches` or :func:`batch_parser`. TensorFlow is imported inside the functions that run it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components import files as artifact_files
from components.artifacts import list_files, local_copies, name_of, parent_of
from components.data import tf_data
from components.data.records import check_file_list, require_whole
from components.errors import DataError
from components.modules.user_module import call_user_function, function_of, load_module
from components.tensorflow_errors import cause_of

#: Serialized tf.Examples [n] -> (inputs by name, each [n, ...]; labels int64 or, for real-valued ones, float32 [n]).
BatchParser = Callable[[Any], tuple[dict[str, Any], Any]]

#: The dtype of a feature that holds texts.
TEXT = "string"
#: Stands for a whole number that an example lacks.
MISSING_INTEGER = -(2**63)
#: The property of an Examples artifact that counts images which are turned as they are decoded.
NUM_TURNED_IMAGES = "num_turned_images"
#: The EXIF orientation of stored pixels that need no turn.
UPRIGHT = 1
#: The classes of an Examples artifact, beside its splits: a JSON list in label order.
CLASS_NAMES_FILE = "class_names.json"


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
    """A feature of fixed shape, as the model sees it.

    Attributes:
        name: Its name in the data, and of the model's input.
        dtype: float32, int32, int64, or string: texts, which the model sees as int32 numbers.
        shape: Shape of one example.
        default: What stands for a missing value; None where a missing value is an error.
        pad: What fills an example up that has fewer values than ``shape``; None where that is an error.
        vocabulary: The texts of a string feature by number, from 1; 0 is any other. Empty where they are taken from the train split.
    """

    name: str
    dtype: str = "float32"
    shape: tuple[int, ...] = ()
    default: float | str | None = None
    pad: float | None = None
    vocabulary: tuple[str, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether the data holds texts."""
        return self.dtype == TEXT

    @property
    def model_dtype(self) -> str:
        """The type of the model's input."""
        return "int32" if self.is_text else self.dtype

    @property
    def num_values(self) -> int:
        """Values per example."""
        return math.prod(self.shape)


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
            TensorFeature(**{**feature, "shape": tuple(feature["shape"]), "vocabulary": tuple(feature["vocabulary"])})
            for feature in fields["features"]
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
        DataError: The split holds no files, or others than were written.
    """
    files = list_files(split_uri)
    if not files:
        raise DataError(f"split {name_of(split_uri)} holds no files under {parent_of(split_uri)}.")
    check_file_list(split_uri, files)
    return files


def examples_of(record_file: str) -> str:
    """The Examples artifact that a file (or a pattern of files) of one of its splits belongs to."""
    return os.path.dirname(os.path.dirname(record_file))


def write_class_names(examples_uri: str, class_names: Sequence[str]) -> None:
    """Notes the classes of an Examples artifact, in the order of its labels."""
    artifact_files.write_bytes(os.path.join(examples_uri, CLASS_NAMES_FILE), json.dumps(list(class_names)).encode())


def read_class_names(examples_uri: str) -> tuple[str, ...] | None:
    """What :func:`write_class_names` noted; None where another writer made the artifact."""
    path = os.path.join(examples_uri, CLASS_NAMES_FILE)
    return tuple(json.loads(artifact_files.read_bytes(path))) if artifact_files.exists(path) else None


def check_class_names(examples_uri: str, class_names: Sequence[str]) -> None:
    """Holds the class names of the config against those that the labels of the examples were made with.

    Args:
        examples_uri: The Examples artifact.
        class_names: What a model, a report or a release is about to be given.

    Raises:
        DataError: They differ, so that a label would get another class's name.
    """
    written = read_class_names(examples_uri)
    if written is None or written == tuple(class_names):
        return
    if set(written) == set(class_names):
        difference = f"in another order: {_names(written)} in the examples, {_names(class_names)} now"
    else:
        gone, new = sorted(set(written) - set(class_names)), sorted(set(class_names) - set(written))
        difference = f"only in the examples: {_names(gone)}; only now: {_names(new)}"
    raise DataError(
        f"the classes of the examples at {examples_uri} are not those of the config or the folder now: {difference}. "
        "The data was changed while the run went on. Run again, so that it is read anew."
    )


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5]) or "none"
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def read_batches(files: Sequence[str], spec: ExampleSpec, batch_size: int) -> Iterator[Batch]:
    """Reads gzip TFRecords of tf.Example in the order given; only the last batch may be shorter.

    Args:
        files: Paths or addresses.
        spec: What is inside.
        batch_size: Rows per batch.

    Raises:
        DataError: A file is cut or damaged, and nothing is read; or a record does not fit ``spec``, and the message carries
            TensorFlow's reason and the files.
    """
    with local_copies(files) as paths:
        yield from _read_local_batches(paths, spec, batch_size)


def _read_local_batches(files: Sequence[str], spec: ExampleSpec, batch_size: int) -> Iterator[Batch]:
    import tensorflow as tf

    require_whole(files)
    kinds = _slice_feature_kinds(files, spec)
    parse, parse_slices = batch_parser(spec), _slice_parser(kinds)

    @tf.autograph.experimental.do_not_convert
    def parse_both(serialized: Any) -> tuple[dict[str, Any], Any, dict[str, Any]]:
        inputs, labels = parse(serialized)
        return inputs, labels, parse_slices(serialized)

    dataset = tf_data.records(files).batch(batch_size).map(parse_both, num_parallel_calls=2).prefetch(2)
    with explained_data_errors(spec, files):
        for inputs, labels, found in dataset.as_numpy_iterator():
            missing = {name: np.full(len(labels), b"", object) for name in spec.slice_features}
            yield Batch(inputs, np.asarray(labels, spec.label_dtype), {**missing, **found})


#: Records looked at for the type of a slice feature; where none of them has it, it is taken for missing.
_RECORDS_LOOKED_AT = 1000


def read_records(files: Sequence[str], most: int) -> Iterator[Any]:
    """The first tf.Examples of gzip TFRecord files, as messages."""
    import tensorflow as tf

    for record in tf_data.records(files).take(most).as_numpy_iterator():
        yield tf.train.Example.FromString(record)


def _slice_feature_kinds(files: Sequence[str], spec: ExampleSpec) -> dict[str, str]:
    """``bytes_list``, ``int64_list`` or ``float_list`` of each slice feature that the first records have."""
    kinds: dict[str, str] = {}
    if not spec.slice_features:
        return kinds
    with explained_data_errors(spec, files):
        for example in read_records(files, _RECORDS_LOOKED_AT):
            features = example.features.feature
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
    cause = cause_of(reason)
    if wanted and "not compatible with expected shape" in reason:
        return f"an image under {folder} is not {wanted} as data.image says: {cause}. Fix the image, or set data.image.resize."
    return f"an example under {folder} does not fit the data section of the config: {cause}"


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
        first = tf_data.element_spec(parse_one, tf.constant(b""))
        inputs, labels = tf.map_fn(parse_one, serialized, fn_output_signature=first)
        return inputs, labels

    unconverted: BatchParser = tf.autograph.experimental.do_not_convert(parse)
    return unconverted


def _image_parser(spec: ExampleSpec, image: ImageSpec) -> BatchParser:
    import tensorflow as tf

    orientation = orientation_feature(spec.image_feature)
    features = {
        spec.image_feature: tf.io.FixedLenFeature([], tf.string),
        orientation: tf.io.FixedLenFeature([], tf.int64, UPRIGHT),
        spec.label: tf.io.FixedLenFeature([], tf.as_dtype(spec.label_dtype)),
    }
    shape = tf.TensorSpec([image.height, image.width, image.channels], tf.float32)

    def decoded(encoded: Any) -> Any:
        return tf.map_fn(lambda stored: decode_image(stored, image), encoded, fn_output_signature=shape)

    def decoded_and_turned(encoded: Any, orientations: Any) -> Any:
        return tf.map_fn(
            lambda stored: decode_image(stored[0], image, stored[1]), (encoded, orientations), fn_output_signature=shape
        )

    def parse(serialized: Any) -> tuple[dict[str, Any], Any]:
        parsed = tf.io.parse_example(serialized, features)
        encoded, orientations = parsed[spec.image_feature], parsed[orientation]
        pixels = tf.cond(
            tf.reduce_all(tf.equal(orientations, UPRIGHT)),  # as nearly always; a turn costs per image
            lambda: decoded(encoded),
            lambda: decoded_and_turned(encoded, orientations),
        )
        return {spec.image_feature: pixels}, parsed[spec.label]

    return parse


def orientation_feature(image_feature: str) -> str:
    """The feature beside an image that holds its EXIF orientation, where it is not upright."""
    return f"{image_feature}_orientation"


def decode_image(encoded: Any, image: ImageSpec, orientation: Any = UPRIGHT) -> Any:
    """Decodes one PNG or JPEG to float32 ``[height, width, channels]``, 0..255; resizes only where the config says so.

    Args:
        encoded: The file's bytes.
        image: What comes out.
        orientation: EXIF orientation, 1 to 8: how the stored pixels are turned before anything else is done with them.
    """
    import tensorflow as tf

    pixels = tf.io.decode_image(encoded, channels=image.channels, expand_animations=False)
    pixels = _upright(pixels, orientation)
    if image.resize:
        pixels = tf.image.resize(pixels, [image.height, image.width], method=image.resize)
    return tf.cast(tf.ensure_shape(pixels, [image.height, image.width, image.channels]), tf.float32)


def _upright(pixels: Any, orientation: Any) -> Any:
    """Stored pixels ``[rows, columns, channels]`` as a person sees them (CIPA DC-008, tag 0x0112).

    Orientations 5 to 8 swap rows and columns; then those in each pair of sets below mirror them.
    """
    import tensorflow as tf

    if isinstance(orientation, int) and orientation == UPRIGHT:
        return pixels
    orientation = tf.cast(orientation, tf.int64)

    def is_one_of(*values: int) -> Any:
        return tf.reduce_any(tf.equal(orientation, tf.constant(values, tf.int64)))

    pixels.set_shape([None, None, pixels.shape[-1]])
    pixels = tf.cond(is_one_of(5, 6, 7, 8), lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
    pixels = tf.cond(is_one_of(3, 4, 7, 8), lambda: tf.reverse(pixels, [0]), lambda: pixels)
    return tf.cond(is_one_of(2, 3, 6, 7), lambda: tf.reverse(pixels, [1]), lambda: pixels)


def _tensor_parser(spec: ExampleSpec) -> BatchParser:
    import tensorflow as tf

    stored = {"float32": tf.float32, "int32": tf.int64, "int64": tf.int64}
    features = {f.name: tf.io.FixedLenFeature(f.shape, stored[f.model_dtype]) for f in spec.features}
    features[spec.label] = tf.io.FixedLenFeature([], tf.as_dtype(spec.label_dtype))

    def parse(serialized: Any) -> tuple[dict[str, Any], Any]:
        parsed = tf.io.parse_example(serialized, features)
        inputs = {f.name: tf.cast(parsed[f.name], f.model_dtype) for f in spec.features}
        return inputs, parsed[spec.label]

    return parse
