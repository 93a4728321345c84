"""Opens the artifact and hands the work to light processes on this machine, or to Beam's workers where the runner is another."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from edgeproof_edge.progress import progress
from tfx import types
from tfx.components.example_gen import write_split
from tfx.components.util import examples_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.utils import proto_utils

from components import files
from components.beam_tasks import is_local_runner, run_on_beam
from components.data.examples import NUM_TURNED_IMAGES, UPRIGHT, ExampleSpec
from components.image_example_gen.splits import Shares
from components.light_workers import run_tasks
from components.record_example_gen import shards
from components.record_example_gen.ingest import ingest_records
from components.record_example_gen.plan import RecordPlan
from components.record_example_gen.scanning import RecordOptions

_SCRATCH = ".ingest"
#: Parts from which on progress is shown.
MIN_REPORTED_PARTS = 10
_DONE = {"scan": "read", "write": "encoded", "merge": "written"}


class Executor(BaseBeamExecutor):
    """Ingests records; see :mod:`components.record_example_gen.ingest` for the order."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Reads the files and writes the Examples artifact.

        Raises:
            DataError: A file, a row or an image cannot be used, or a split came out empty.
        """
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        scratch = os.path.join(examples.uri, _SCRATCH)
        files.make_folder(scratch)

        def run(function: str, tasks: Sequence[Any]) -> list[Any]:
            return self._run(function, tasks, scratch)

        plan = ingest_records(read_options(exec_properties), examples.uri, scratch, run)
        files.remove_folder(scratch)
        describe_examples(examples, plan)
        for sentence in plan.summary.sentences():
            progress.info("%s", sentence)

    def _run(self, function: str, tasks: Sequence[Any], scratch: str) -> list[Any]:
        def report(number: int, num_tasks: int) -> None:
            if num_tasks >= MIN_REPORTED_PARTS:
                step = (number, num_tasks)
                progress.info("%d of %d parts %s", *step, _DONE[function], extra={"step": step})

        name = f"{shards.__name__}:{function}"  # imported, so that code_version reaches it
        if is_local_runner(self._beam_pipeline_args or ()):
            return run_tasks(name, tasks, report=report)
        return run_on_beam(self._make_beam_pipeline, name, tasks, scratch)


def read_options(exec_properties: Mapping[str, Any]) -> RecordOptions:
    """The exec properties, parsed."""
    input_config = example_gen_pb2.Input()
    proto_utils.json_to_proto(exec_properties["input_config"], input_config)
    return RecordOptions(
        record_format=exec_properties["record_format"],
        input_base=exec_properties["input_base"],
        patterns={split.name: split.pattern for split in input_config.splits},
        example_spec=ExampleSpec.from_json(exec_properties["example_spec"]),
        is_raw=bool(exec_properties["is_raw"]),
        group_by=exec_properties["group_by"],
        shares=Shares.from_json(exec_properties["shares"]),
        image_limits=json.loads(exec_properties["image_limits"]),
        ignore=tuple(json.loads(exec_properties["ignore"])),
    )


def describe_examples(examples: types.Artifact, plan: RecordPlan) -> None:
    """What the stock ExampleGen says about its artifact, and counts."""
    num_examples = plan.summary.num_examples
    examples.split_names = artifact_utils.encode_split_names(list(num_examples))
    examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
    examples_utils.set_file_format(examples, write_split.to_file_format_str(example_gen_pb2.FORMAT_TFRECORDS_GZIP))
    for split, number in num_examples.items():
        examples.set_int_custom_property(f"num_examples_{split}", number)
    if plan.split_plan is not None:
        images = [image for members in plan.split_plan.splits.values() for image in members]
        num_turned = sum(image.orientation != UPRIGHT for image in images)
        examples.set_int_custom_property(NUM_TURNED_IMAGES, num_turned)
        examples.set_int_custom_property("num_dropped_duplicates", plan.split_plan.num_dropped_duplicates)
        examples.set_int_custom_property("num_label_conflicts", len(plan.split_plan.label_conflicts))
