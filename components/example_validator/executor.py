"""The stock validation, and then a refusal: the stock executor only writes anomalies down and lets the run go on."""

from __future__ import annotations

from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components.example_validator import executor as stock
from tfx.components.statistics_gen.stats_artifact_utils import load_statistics
from tfx.proto.orchestration import execution_result_pb2
from tfx.types import artifact_utils

from components.artifacts import join, local_inputs, read_bytes
from components.errors import DataError
from components.example_validator.anomalies import anomalies_message, problems_of
from components.example_validator.minimums import minimums_from_json, shortage_message


class Executor(stock.Executor):
    """Validates statistics against the schema and stops the run on any anomaly, or where a split holds too few examples."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> execution_result_pb2.ExecutorOutput:
        """Runs the stock validation, then reads what it wrote, then counts.

        Raises:
            DataError: There is an anomaly, and the message names feature, split and reason; or a later step would refuse a
                split for its size, and the message names the splits and the keys that ask for more.
        """
        with local_inputs(input_dict, ("statistics",)) as local:
            return self._validate(local, output_dict, exec_properties)

    def _validate(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> execution_result_pb2.ExecutorOutput:
        output = super().Do(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(output_dict["anomalies"])
        problems = []
        for split in artifact_utils.decode_split_names(artifact.split_names):
            problems += problems_of(split, _read_anomalies(artifact, split))
        if problems:
            raise DataError(anomalies_message(problems))
        shortage = shortage_message(
            _num_examples(artifact_utils.get_single_instance(input_dict["statistics"])),
            minimums_from_json(exec_properties["minimums"]),
            cut_by_shares=bool(exec_properties["cut_by_shares"]),
        )
        if shortage:
            raise DataError(shortage)
        return output


def _num_examples(statistics: types.Artifact) -> dict[str, int]:
    """Split -> its examples, for the splits that have statistics."""
    splits = artifact_utils.decode_split_names(statistics.split_names)
    datasets = {split: load_statistics(statistics, split).proto().datasets for split in splits}
    return {split: int(found[0].num_examples) for split, found in datasets.items() if found}


def _read_anomalies(artifact: types.Artifact, split: str) -> anomalies_pb2.Anomalies:
    data = read_bytes(join(artifact_utils.get_split_uri([artifact], split), stock.DEFAULT_FILE_NAME))
    return anomalies_pb2.Anomalies.FromString(data)
