"""The contract of RecordExampleGen: files of records in, a standard Examples artifact out.

It is a FileBasedExampleGen with the stock driver, because that is the only kind of ExampleGen for which Kubeflow
resolves ``{SPAN}`` and ``{VERSION}``; spec and executor are its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfx import types
from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.components.example_gen.driver import FileBasedDriver
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.data.examples import ExampleSpec
from components.image_example_gen.splits import Shares
from components.record_example_gen.executor import Executor


class RecordExampleGenSpec(types.ComponentSpec):
    """Parameters and outputs of RecordExampleGen; the first three have the names that the stock driver reads."""

    PARAMETERS = {
        "input_base": ExecutionParameter(type=str),
        "input_config": ExecutionParameter(type=example_gen_pb2.Input),
        "range_config": ExecutionParameter(type=range_config_pb2.RangeConfig, optional=True),
        "record_format": ExecutionParameter(type=str),
        "example_spec": ExecutionParameter(type=str),
        "is_raw": ExecutionParameter(type=int),
        "group_by": ExecutionParameter(type=str),
        "shares": ExecutionParameter(type=str),
        "image_limits": ExecutionParameter(type=str),
        "ignore": ExecutionParameter(type=str),
        "code_version": ExecutionParameter(type=str),
        "fingerprint": ExecutionParameter(type=str),
    }
    INPUTS: dict[str, Any] = {}
    OUTPUTS = {"examples": ChannelParameter(type=standard_artifacts.Examples)}


class RecordExampleGen(FileBasedExampleGen):
    """Ingests files of a format in :mod:`components.formats.table` as tf.Examples."""

    SPEC_CLASS = RecordExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
    DRIVER_CLASS = FileBasedDriver

    def __init__(
        self,
        record_format: str,
        input_base: str,
        input_config: example_gen_pb2.Input,
        example_spec: ExampleSpec,
        code_version: str,
        fingerprint: str = "",
        is_raw: bool = False,
        group_by: str = "",
        shares: Shares | None = None,
        image_limits: Mapping[str, int] | None = None,
        ignore: Sequence[str] = (),
        range_config: range_config_pb2.RangeConfig | None = None,
    ) -> None:
        """Describes the ingest.

        Args:
            record_format: What the files are: a name in the table of formats.
            input_base: The folder of the files.
            input_config: One split named ``all`` to be divided by hash, or ``train``, ``calibration`` and ``eval`` that a person has
                already divided; patterns are relative to ``input_base``.
            example_spec: What is inside an example.
            code_version: Hash of the code and libraries behind the executor, for the cache.
            fingerprint: Hash over the names and contents of the files, for the cache: TFX's own sees neither.
            is_raw: Whether a team's own schema or parser says what the features are, so that they stay as they are stored.
            group_by: Name of a feature; examples with the same value stay in one split. Empty: each example's own content.
            shares: Hash buckets per split.
            image_limits: Height, width and channels -> the only value that images may have; None where examples hold no image that
                the config describes.
            ignore: Names of files and folders, with wildcards, that are no data.
            range_config: Which span to take; by default the newest.
        """
        spec = RecordExampleGenSpec(
            input_base=os.fspath(input_base),
            input_config=input_config,
            range_config=range_config,
            record_format=record_format,
            example_spec=example_spec.to_json(),
            is_raw=int(is_raw),
            group_by=group_by,
            shares=(shares or Shares()).to_json(),
            image_limits=json.dumps(None if image_limits is None else dict(image_limits), sort_keys=True),
            ignore=json.dumps(list(ignore)),
            code_version=code_version,
            fingerprint=fingerprint,
            examples=types.Channel(type=standard_artifacts.Examples),
        )
        # The stock constructor builds the stock spec; its own base class takes ours.
        super(FileBasedExampleGen, self).__init__(spec=spec)
