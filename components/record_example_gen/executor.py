"""TFX's readers of TFRecord, CSV and Parquet, with four things they lack.

1. A record that cannot be read is a DataError that names the files, not a Beam traceback. 2. Each split's number of
examples is counted and noted on the artifact; an empty split stops the run. 3. A Parquet value of 0, 0.0 or False stays
what it is: TFX's reader (``example_gen.utils.dict_to_example``) takes it for missing, which loses class 0. 4. A
real-valued label is a float even where a file holds whole numbers: prices without cents are no class numbers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tfx import types
from tfx.components.example_gen.base_example_gen_executor import BaseExampleGenExecutor
from tfx.components.example_gen.csv_example_gen import executor as csv_executor
from tfx.components.example_gen.import_example_gen import executor as import_executor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.utils import proto_utils

from components import tf_data
from components.errors import DataError

#: What the readers raise on bad input, alone or inside Beam's RuntimeError. An OSError is not the data's fault.
_BAD_INPUT = (ValueError, RuntimeError, TypeError, DecodeError)


class _RecordExecutor(BaseExampleGenExecutor):
    """What the three formats share."""

    FORMAT = ""  # The format's name in messages.

    def GetInputSourceToExamplePTransform(self) -> Any:
        """The reader, and behind it the label as a float where it is a real value."""
        return partial(_ReadExamples, self._reader())

    def _reader(self) -> Any:
        return super().GetInputSourceToExamplePTransform()

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Runs TFX's ingest, then counts.

        Raises:
            DataError: A file or record cannot be read, or a split came out empty.
        """
        try:
            super().Do(input_dict, output_dict, exec_properties)
        except _BAD_INPUT as error:
            raise DataError(unreadable_message(error, self.FORMAT, exec_properties)) from error
        _count_examples(artifact_utils.get_single_instance(output_dict["examples"]))


class TFRecordExecutor(_RecordExecutor, import_executor.Executor):
    """TFRecord files of tf.Example; gzip where the name ends in .gz."""

    FORMAT = "TFRecords of tf.Example"


class CsvExecutor(_RecordExecutor, csv_executor.Executor):
    """CSV files with one header line."""

    FORMAT = "CSV"


class ParquetExecutor(_RecordExecutor):
    """Parquet files: a column is a feature, a list column a feature with several values."""

    FORMAT = "Parquet"

    def _reader(self) -> Any:
        return _ParquetToExample


class _ReadExamples(beam.PTransform):
    """A reader of one split, followed by :func:`with_real_label` where the config names such a label."""

    def __init__(self, reader: Any, exec_properties: dict[str, Any], split_pattern: str) -> None:
        super().__init__()
        self._reader = reader(exec_properties, split_pattern)
        self._real_label = exec_properties.get("real_label", "")

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        examples = pipeline | "Read" >> self._reader
        if not self._real_label:
            return examples
        return examples | "RealLabel" >> beam.Map(with_real_label, self._real_label)


def with_real_label(example: tf.train.Example, label: str) -> tf.train.Example:
    """The example with whole numbers of the feature ``label`` as floats; text and missing values stay for the schema to refuse."""
    if label not in example.features.feature or example.features.feature[label].WhichOneof("kind") != "int64_list":
        return example
    changed = tf.train.Example()
    changed.CopyFrom(example)
    values = example.features.feature[label].int64_list.value
    changed.features.feature[label].float_list.value[:] = [float(value) for value in values]
    return changed


@beam.ptransform_fn
@beam.typehints.with_input_types(beam.Pipeline)
@beam.typehints.with_output_types(tf.train.Example)
def _ParquetToExample(pipeline: beam.Pipeline, exec_properties: dict[str, Any], split_pattern: str) -> beam.PCollection:
    pattern = os.path.join(exec_properties["input_base"], split_pattern)
    return pipeline | "Read" >> beam.io.ReadFromParquet(pattern) | "ToExample" >> beam.Map(row_to_example)


def row_to_example(row: Mapping[str, Any]) -> tf.train.Example:
    """One Parquet row as a tf.Example; a null or an empty list becomes a feature without values.

    Raises:
        ValueError: A column holds something other than numbers, text, bytes or flat lists of these.
    """
    return tf.train.Example(
        features=tf.train.Features(feature={name: _feature(name, value) for name, value in row.items()})
    )


def _feature(name: str, value: Any) -> tf.train.Feature:
    values = [] if value is None else list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value]
    if not values:
        return tf.train.Feature()
    if all(isinstance(item, (bool, int, np.integer, np.bool_)) for item in values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(item) for item in values]))
    if all(isinstance(item, (int, float, np.number)) for item in values):
        return tf.train.Feature(float_list=tf.train.FloatList(value=[float(item) for item in values]))
    if all(isinstance(item, (str, bytes)) for item in values):
        texts = [item.encode() if isinstance(item, str) else item for item in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=texts))
    raise ValueError(
        f"the column {name!r} holds {type(values[0]).__name__} values, which a tf.Example cannot hold. "
        "Use numbers, text, bytes, or one flat list of these per row."
    )


def unreadable_message(error: BaseException, what: str, exec_properties: Mapping[str, Any]) -> str:
    """One paragraph: which files, and the reader's own reason without Beam's traceback around it."""
    input_config = example_gen_pb2.Input()
    proto_utils.json_to_proto(exec_properties["input_config"], input_config)
    patterns = ", ".join(split.pattern for split in input_config.splits)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = (lines[-1] if lines else type(error).__name__).split(" [while running")[0]
    reason = re.sub(r"^[\w.]*(Error|Exception): ", "", reason)
    return f"the files {patterns} under {exec_properties['input_base']} cannot be read as {what}: {reason[:400]}"


def _count_examples(examples: types.Artifact) -> None:
    for split in artifact_utils.decode_split_names(examples.split_names):
        files = fileio.glob(os.path.join(artifact_utils.get_split_uri([examples], split), "*"))
        records = tf_data.records(files)
        number = int(records.reduce(np.int64(0), lambda count, _: count + 1).numpy())
        if number == 0:
            raise DataError(
                f"the {split} split came out empty. Add data, raise the share of that split in data.shares, "
                "or let data.group_by make smaller groups."
            )
        examples.set_int_custom_property(f"num_examples_{split}", number)
