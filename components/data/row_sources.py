"""Where labeled rows come from outside a pipeline: an .npz file, a folder of pictures, TFRecord files, arrays in memory.

Rules: 1. Labels are read at once, inputs in slices: memory is that of one slice, whatever the source holds. 2. Values stay
in the type they are stored in until a model takes them. 3. What does not fit the model is refused before anything is
scored, by name.
"""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from edgeproof_edge.tensors import TensorSpec
from numpy.typing import NDArray

from components.data.examples import ExampleSpec, ImageSpec, TensorFeature, read_batches
from components.data.npz import read_slices
from components.errors import DataError
from components.image_example_gen.folders import is_hidden

Array = NDArray[Any]

#: What a message calls the file that holds the holdout.
DATA_FILE = "data file"
LABEL = "label"
IMAGE = "image"
#: Records read at once where only labels are wanted.
_LABELS_AT_ONCE = 256


class RowReader(Protocol):
    """Inputs of a data set, by name, from the first row on."""

    def slices(self, num_rows: int) -> Iterator[Mapping[str, Array]]:
        """Yields so many rows at a time; only the last slice may be shorter."""


def spread_rows(reader: RowReader, num_rows: int, most: int) -> dict[str, Array]:
    """Rows from all over a data set: its first ones may be of one class.

    Args:
        reader: The data set.
        num_rows: How many rows it holds.
        most: How many are wanted; also the size of a slice.

    Returns:
        The chosen rows ``[min(most, num_rows), ...]`` by input name, those of :func:`spread_positions`.
    """
    wanted, start = spread_positions(num_rows, most), 0
    parts: list[dict[str, Array]] = []
    for part in reader.slices(most):
        size = len(next(iter(part.values())))
        inside = wanted[(wanted >= start) & (wanted < start + size)] - start
        parts.append({name: np.asarray(array)[inside] for name, array in part.items()})
        start += size
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def spread_positions(num_rows: int, most: int) -> NDArray[np.int64]:
    """Evenly spaced positions of rows, the first and the last among them."""
    return np.linspace(0, num_rows - 1, min(most, num_rows)).astype(np.int64)


@dataclass(frozen=True)
class ArrayRows:
    """Arrays ``[n, ...]`` in memory, by input name."""

    arrays: Mapping[str, Array]

    def slices(self, num_rows: int) -> Iterator[Mapping[str, Array]]:
        """See :class:`RowReader`."""
        total = len(next(iter(self.arrays.values())))
        for start in range(0, total, num_rows):
            yield {name: array[start : start + num_rows] for name, array in self.arrays.items()}


@dataclass(frozen=True)
class NpzRows:
    """Members of an .npz file: ``members[input name]`` is the array's name there."""

    path: Path
    members: Mapping[str, str]

    def slices(self, num_rows: int) -> Iterator[Mapping[str, Array]]:
        """See :class:`RowReader`."""
        for part in read_slices(self.path, list(self.members.values()), num_rows, DATA_FILE, DataError):
            yield {name: part[member] for name, member in self.members.items()}


@dataclass(frozen=True)
class PictureRows:
    """Pictures of one size, ``uint8`` until a model takes them."""

    files: tuple[Path, ...]
    spec: TensorSpec

    def slices(self, num_rows: int) -> Iterator[Mapping[str, Array]]:
        """See :class:`RowReader`; raises DataError for a picture that does not decode or has another size."""
        for start in range(0, len(self.files), num_rows):
            pictures = [read_picture(file, self.spec) for file in self.files[start : start + num_rows]]
            yield {self.spec.name: np.stack(pictures)}


@dataclass(frozen=True)
class RecordRows:
    """Gzip TFRecords of tf.Example; ``names[feature]`` is the input that takes it."""

    files: tuple[str, ...]
    spec: ExampleSpec
    names: Mapping[str, str]

    def slices(self, num_rows: int) -> Iterator[Mapping[str, Array]]:
        """See :class:`RowReader`; raises DataError for a record that does not fit."""
        for batch in read_batches(self.files, self.spec, num_rows):
            yield {self.names[name]: array for name, array in batch.inputs.items()}


@dataclass(frozen=True)
class LabeledRows:
    """A data set: inputs in slices, labels ``[n, ...]`` as they are stored, further values ``[n]`` by name.

    ``class_names`` are the labels' names where the source has any.
    """

    inputs: RowReader
    labels: Array
    features: Mapping[str, Array] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()


def open_pictures(folder: Path, inputs: Sequence[TensorSpec]) -> LabeledRows:
    """A folder of pictures, ``<class>/<file>`` at any depth; classes are the sorted names of the folders.

    Raises:
        DataError: The model takes no single picture, or the folder holds none.
    """
    spec = picture_input(inputs, folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    named = [(path, path.relative_to(folder).as_posix()) for path in files]
    kept = [(path, name.split("/")[0]) for path, name in named if "/" in name and not is_hidden(name)]
    if not kept:
        raise DataError(f"{folder} holds no pictures in class folders. Lay them out as {folder}/<class>/<file>.png.")
    classes = tuple(sorted({name for _, name in kept}))
    labels = np.array([classes.index(name) for _, name in kept], np.int64)
    return LabeledRows(PictureRows(tuple(path for path, _ in kept), spec), labels, class_names=classes)


def picture_input(inputs: Sequence[TensorSpec], source: Path) -> TensorSpec:
    """The input that a picture goes into.

    Raises:
        DataError: The model takes no single picture.
    """
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or -1 in inputs[0].shape[1:]:
        declared = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in inputs)
        raise DataError(
            f"{source} is a folder of pictures and the model takes {declared}; a picture goes into one input "
            "[n, height, width, channels]. Give an .npz file."
        )
    return inputs[0]


def read_picture(file: Path, spec: TensorSpec) -> NDArray[np.uint8]:
    """One PNG or JPEG as ``uint8`` ``[height, width, channels]``, turned upright where its EXIF says so.

    Raises:
        DataError: It does not decode, or has another size than the model's input.
    """
    from PIL import Image, ImageOps

    height, width, channels = spec.shape[1:]
    modes = {1: "L", 3: "RGB", 4: "RGBA"}
    if channels not in modes:
        raise DataError(f"the model takes pictures of {channels} channels; PNG and JPEG have 1, 3 or 4.")
    try:
        with Image.open(file, formats=("PNG", "JPEG")) as picture:
            pixels = np.asarray(ImageOps.exif_transpose(picture).convert(modes[channels]), np.uint8)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{file} cannot be read as PNG or JPEG: {error}. Replace or delete it.") from error
    pixels = pixels.reshape(*pixels.shape[:2], channels)
    if pixels.shape != (height, width, channels):
        raise DataError(
            f"{file} is {pixels.shape[0]} x {pixels.shape[1]}; the model takes {height} x {width}. "
            "Resize the pictures as the device does."
        )
    return pixels


def is_record_pattern(path: Path) -> bool:
    """Whether a path stands for TFRecord files: a pattern, or a file that ends in .gz or .tfrecord."""
    return any(mark in str(path) for mark in "*?[") or path.suffix in {".gz", ".tfrecord"}


def open_records(pattern: Path, inputs: Sequence[TensorSpec], *, real_labels: bool) -> LabeledRows:
    """TFRecord files (gzip) of tf.Example: features named as the model's inputs (or ``image``), and ``label``.

    Raises:
        DataError: No file matches, or the records do not fit the model.
    """
    files = tuple(sorted(glob.glob(str(pattern), recursive=True)))
    if not files:
        raise DataError(f"no file matches {pattern}. Quote the pattern, so that the shell leaves it alone.")
    stored = _features_of_first_record(files)
    names, spec = _record_spec(stored, inputs, files[0], real_labels=real_labels)
    labels = np.concatenate(
        [batch.labels for batch in read_batches(files, ExampleSpec(label_dtype=spec.label_dtype), _LABELS_AT_ONCE)]
    )
    return LabeledRows(RecordRows(files, spec, names), labels)


def _features_of_first_record(files: Sequence[str]) -> dict[str, str]:
    """Feature -> ``bytes_list``, ``float_list`` or ``int64_list``."""
    from components.data.examples import explained_data_errors, read_records

    with explained_data_errors(ExampleSpec(), files):
        first = next(iter(read_records(files, 1)), None)
    if first is None:
        raise DataError(f"{files[0]} holds no records.")
    return {name: str(value.WhichOneof("kind")) for name, value in first.features.feature.items()}


def _record_spec(
    stored: Mapping[str, str], inputs: Sequence[TensorSpec], file: str, *, real_labels: bool
) -> tuple[dict[str, str], ExampleSpec]:
    label_dtype = "float32" if real_labels else "int64"
    names = {spec.name: spec.name for spec in inputs}
    if len(inputs) == 1 and inputs[0].name not in stored:
        lone = [name for name in (IMAGE, "x") if name in stored]
        names = {lone[0]: inputs[0].name} if lone else names
    missing = sorted({*names, LABEL} - set(stored))
    if missing:
        raise DataError(f"the records of {file} lack {missing}; they have {sorted(stored)}. Name the features so.")
    if len(names) == 1 and stored[next(iter(names))] == "bytes_list":
        feature, spec = next(iter(names)), picture_input(inputs, Path(file))
        height, width, channels = spec.shape[1:]
        image = ImageSpec(height, width, channels)
        return names, ExampleSpec(label_dtype=label_dtype, image=image, image_feature=feature)
    by_input = {spec.name: spec for spec in inputs}
    features = tuple(
        TensorFeature(feature, by_input[name].dtype, tuple(by_input[name].shape[1:])) for feature, name in names.items()
    )
    return names, ExampleSpec(label_dtype=label_dtype, features=features)


def first_rows(reader: RowReader) -> Mapping[str, Array]:
    """One row of a source: what its inputs look like."""
    return next(iter(itertools.islice(reader.slices(1), 1)), {})
