"""The contract of ImageExampleGen: a folder of images in, a standard Examples artifact with three splits out.

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

from components.image_example_gen.executor import Executor
from components.image_example_gen.splits import Shares


class ImageExampleGenSpec(types.ComponentSpec):
    """Parameters and outputs of ImageExampleGen; the first three have the names that the stock driver reads."""

    PARAMETERS = {
        "input_base": ExecutionParameter(type=str),
        "input_config": ExecutionParameter(type=example_gen_pb2.Input),
        "range_config": ExecutionParameter(type=range_config_pb2.RangeConfig, optional=True),
        "class_names": ExecutionParameter(type=str),
        "group_by": ExecutionParameter(type=str),
        "shares": ExecutionParameter(type=str),
        "image_limits": ExecutionParameter(type=str),
        "ignore": ExecutionParameter(type=str),
        "code_version": ExecutionParameter(type=str),
        "fingerprint": ExecutionParameter(type=str),
    }
    INPUTS: dict[str, Any] = {}
    OUTPUTS = {"examples": ChannelParameter(type=standard_artifacts.Examples)}


class ImageExampleGen(FileBasedExampleGen):
    """Ingests ``<class>/<file>`` folders of PNG and JPEG images as tf.Examples.

    Features: ``image`` (the file's bytes as they are), ``label``, ``height``, ``width``, ``channels`` (int64), ``path``
    (relative to the folder) and ``group`` (the hex key that decided the split). The artifact carries ``class_names``.
    """

    SPEC_CLASS = ImageExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
    DRIVER_CLASS = FileBasedDriver

    def __init__(
        self,
        input_base: str,
        input_config: example_gen_pb2.Input,
        code_version: str,
        fingerprint: str = "",
        class_names: Sequence[str] = (),
        group_by: str = "",
        shares: Shares | None = None,
        image_limits: Mapping[str, int] | None = None,
        ignore: Sequence[str] = (),
        range_config: range_config_pb2.RangeConfig | None = None,
    ) -> None:
        """Describes the ingest.

        Args:
            input_base: The folder of images.
            input_config: One split named ``all`` to be divided by hash, or ``train``, ``eval`` and maybe
                ``calibration`` that a person has already divided; patterns are relative to ``input_base``.
            code_version: Hash of the code and libraries behind the executor, for the cache.
            fingerprint: Hash over the names and contents of the files, for the cache: TFX's own sees neither.
            class_names: Classes in label order; empty takes the sorted folder names.
            group_by: Regular expression with one group, searched in the relative path; images with the same match
                stay in one split. Empty: each image's own pixels.
            shares: Hash buckets per split.
            image_limits: Height, width and channels -> the only value that images may have; what is absent is free.
            ignore: Names of files and folders, with wildcards, that are no data.
            range_config: Which span to take; by default the newest.
        """
        spec = ImageExampleGenSpec(
            input_base=os.fspath(input_base),
            input_config=input_config,
            range_config=range_config,
            class_names=json.dumps(list(class_names)),
            group_by=group_by,
            shares=(shares or Shares()).to_json(),
            image_limits=json.dumps(dict(image_limits or {}), sort_keys=True),
            ignore=json.dumps(list(ignore)),
            code_version=code_version,
            fingerprint=fingerprint,
            examples=types.Channel(type=standard_artifacts.Examples),
        )
        # The stock constructor builds the stock spec; its own base class takes ours.
        super(FileBasedExampleGen, self).__init__(spec=spec)
