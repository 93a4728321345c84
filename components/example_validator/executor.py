"""The stock validation, and then a refusal: the stock executor only writes anomalies down and lets the run go on."""

from __future__ import annotations

import os
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components.example_validator import executor as stock
from tfx.dsl.io import fileio
from tfx.proto.orchestration import execution_result_pb2
from tfx.types import artifact_utils

from components.errors import DataError
from components.example_validator.anomalies import anomalies_message, problems_of


class Executor(stock.Executor):
    """Validates statistics against the schema and stops the run on any anomaly in any split."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> execution_result_pb2.ExecutorOutput:
        """Runs the stock validation, then reads what it wrote.

        Raises:
            DataError: There is an anomaly; the message names feature, split and reason.
        """
        output = super().Do(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(output_dict["anomalies"])
        problems = []
        for split in artifact_utils.decode_split_names(artifact.split_names):
            problems += problems_of(split, _read_anomalies(artifact, split))
        if problems:
            raise DataError(anomalies_message(problems))
        return output


def _read_anomalies(artifact: types.Artifact, split: str) -> anomalies_pb2.Anomalies:
    path = os.path.join(artifact_utils.get_split_uri([artifact], split), stock.DEFAULT_FILE_NAME)
    with fileio.open(path, "rb") as file:
        return anomalies_pb2.Anomalies.FromString(file.read())
