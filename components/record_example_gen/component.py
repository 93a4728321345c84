"""The contract of RecordExampleGen: the stock FileBasedExampleGen's, with our readers and the hash of their code."""

from __future__ import annotations

from enum import Enum

from tfx import types
from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.components.example_gen.driver import FileBasedDriver
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ExecutionParameter

from components.record_example_gen.executor import CsvExecutor, ParquetExecutor, TFRecordExecutor


class RecordFormat(str, Enum):
    """Formats whose files hold records."""

    TFRECORD = "tfrecord"
    CSV = "csv"
    PARQUET = "parquet"


_EXECUTORS = {
    RecordFormat.TFRECORD: TFRecordExecutor,
    RecordFormat.CSV: CsvExecutor,
    RecordFormat.PARQUET: ParquetExecutor,
}


class RecordExampleGenSpec(types.ComponentSpec):
    """The stock parameters, ``code_version`` and ``real_label``."""

    PARAMETERS = {
        **standard_component_specs.FileBasedExampleGenSpec.PARAMETERS,
        "code_version": ExecutionParameter(type=str),
        "fingerprint": ExecutionParameter(type=str),
        "real_label": ExecutionParameter(type=str),
    }
    INPUTS = standard_component_specs.FileBasedExampleGenSpec.INPUTS
    OUTPUTS = standard_component_specs.FileBasedExampleGenSpec.OUTPUTS


class RecordExampleGen(FileBasedExampleGen):
    """Ingests TFRecord, CSV or Parquet files as tf.Examples, through TFX's readers and its stock driver."""

    SPEC_CLASS = RecordExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(TFRecordExecutor)
    DRIVER_CLASS = FileBasedDriver

    def __init__(
        self,
        record_format: RecordFormat,
        input_base: str,
        input_config: example_gen_pb2.Input,
        output_config: example_gen_pb2.Output,
        code_version: str,
        range_config: range_config_pb2.RangeConfig | None = None,
        real_label: str = "",
    ) -> None:
        """Describes the ingest.

        Args:
            record_format: What the files are.
            input_base: The folder of the files.
            input_config: One split to be divided by ``output_config``, or one per output split.
            output_config: Hash buckets per split, or nothing where ``input_config`` holds the splits.
            code_version: Hash of the code and libraries behind the executor, for the cache.
            range_config: Which span to take; by default the newest.
            real_label: Name of a label that is a real value: whole numbers in the files become floats. Empty for classes.
        """
        spec = RecordExampleGenSpec(
            input_base=input_base,
            input_config=input_config,
            output_config=output_config,
            range_config=range_config,
            output_data_format=example_gen_pb2.FORMAT_TF_EXAMPLE,
            output_file_format=example_gen_pb2.FORMAT_TFRECORDS_GZIP,
            code_version=code_version,
            fingerprint=fingerprint,
            real_label=real_label,
            examples=types.Channel(type=standard_artifacts.Examples),
        )
        # The stock constructor builds the stock spec; its own base class takes ours.
        super(FileBasedExampleGen, self).__init__(
            spec=spec, custom_executor_spec=executor_spec.BeamExecutorSpec(_EXECUTORS[record_format])
        )
