"""Ingests files of records in three passes, none of which imports TensorFlow or holds the data in memory.

1. Scan: workers read every row, and count, look for problems and gather what the splits need. 2. Plan: one place decides.
3. Write: workers read again and put each row, encoded, into a part of its split. 4. Merge: the parts of a file are mixed and written. Every
step's result depends on the data alone, whoever does it: light processes on this machine, or Beam's workers elsewhere.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfx import types
from tfx.components.example_gen import write_split
from tfx.components.util import examples_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.utils import proto_utils

from components import files
from components.beam_tasks import is_local_runner, run_on_beam
from components.errors import DataError
from components.examples import NUM_TURNED_IMAGES, UPRIGHT, ExampleSpec, write_class_names
from components.image_example_gen.folders import is_hidden
from components.image_example_gen.splits import Shares
from components.light_workers import run_tasks
from components.record_example_gen.plan import RecordPlan, ShardScan, plan_records
from components.record_example_gen.scanning import RecordOptions, scan_tasks
from components.records import write_file_list

_progress = logging.getLogger("edgeproof.progress")
_SCRATCH = ".ingest"
#: Parts from which on progress is shown.
MIN_REPORTED_PARTS = 10


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


class Executor(BaseBeamExecutor):
    """Ingests records; see the module's header for the order."""

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
        options = read_options(exec_properties)
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        scratch = os.path.join(examples.uri, _SCRATCH)
        files.make_folder(scratch)
        tasks = scan_tasks(options, list_files(options))
        answers = self._run("scan", tasks, scratch, "read")
        scans = [
            ShardScan(task["path"], task["input_split"], **answer) for task, answer in zip(tasks, answers, strict=True)
        ]
        plan = plan_records(scans, options.example_spec, options.shares, options.image_limits, options.input_base)
        num_examples = self._write(tasks, plan, options, examples, scratch)
        files.remove_folder(scratch)
        describe_examples(examples, options.example_spec, plan, num_examples)
        for sentence in plan.summary.sentences():
            _progress.info("%s", sentence)

    def _write(
        self,
        tasks: Sequence[dict[str, Any]],
        plan: RecordPlan,
        options: RecordOptions,
        examples: types.Artifact,
        scratch: str,
    ) -> dict[str, int]:
        shared = {
            "scratch": scratch, "kinds": plan.kinds, "vocabularies": plan.vocabularies, "num_buckets": plan.num_buckets
        }  # fmt: skip
        writing = [
            {
                **task, **shared,
                "number": number,
                "name": f"{task['path'].removeprefix(options.input_base)}:{task['part']}",
                "images": plan.images[number] if plan.images is not None else None,
            }
            for number, task in enumerate(tasks)
        ]  # fmt: skip
        parts: dict[tuple[str, int], list[str]] = {}
        for written in self._run("write", writing, scratch, "encoded"):
            for split, bucket, path in written:
                parts.setdefault((split, bucket), []).append(path)
        merging: list[dict[str, Any]] = []
        for split, number in plan.num_buckets.items():
            files.make_folder(os.path.join(examples.uri, f"Split-{split}"))
            for bucket in range(number):
                name = f"{write_split.DEFAULT_TF_RECORD_FILE_NAME}-{bucket:05d}-of-{number:05d}.gz"
                path = os.path.join(examples.uri, f"Split-{split}", name)
                merging.append({"split": split, "parts": parts.get((split, bucket), []), "file": path})
        counts = self._run("merge", merging, scratch, "written")
        num_examples = dict.fromkeys(plan.num_buckets, 0)
        for task, count in zip(merging, counts, strict=True):
            num_examples[task["split"]] += count
        if num_examples != dict(plan.summary.num_examples):
            raise DataError(f"the files under {options.input_base} changed while they were read. Run again.")
        names = [os.path.relpath(task["file"], examples.uri) for task in merging]
        write_file_list(examples.uri, dict(zip(names, counts, strict=True)))
        return num_examples

    def _run(self, function: str, tasks: Sequence[Any], scratch: str, done: str) -> list[Any]:
        def report(number: int, num_tasks: int) -> None:
            if num_tasks >= MIN_REPORTED_PARTS:
                _progress.info("%d of %d parts %s", number, num_tasks, done, extra={"step": (number, num_tasks)})

        name = f"components.record_example_gen.shards:{function}"
        if is_local_runner(self._beam_pipeline_args or ()):
            return run_tasks(name, tasks, report=report)
        return run_on_beam(self._make_beam_pipeline, name, tasks, scratch)


def list_files(options: RecordOptions) -> dict[str, list[str]]:
    """The files of each input split, sorted.

    Raises:
        DataError: A pattern matches none.
    """
    listed = {}
    for split, pattern in options.patterns.items():
        matched = files.glob(os.path.join(options.input_base, pattern))
        prefix = os.path.join(options.input_base, "")
        listed[split] = [
            path for path in matched if not is_hidden(path.removeprefix(prefix)) and not files.is_folder(path)
        ]
        if not listed[split]:
            raise DataError(f"no file under {options.input_base} matches the {split} pattern {pattern!r}.")
    return listed


def describe_examples(
    examples: types.Artifact, spec: ExampleSpec, plan: RecordPlan, num_examples: Mapping[str, int]
) -> None:
    """Writes what the stock ExampleGen says about its artifact, and classes, counts and statistics beside it."""
    examples.split_names = artifact_utils.encode_split_names(list(num_examples))
    examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
    examples_utils.set_file_format(examples, write_split.to_file_format_str(example_gen_pb2.FORMAT_TFRECORDS_GZIP))
    for split, number in num_examples.items():
        examples.set_int_custom_property(f"num_examples_{split}", number)
    if plan.split_plan is not None:
        turned = [
            image for members in plan.split_plan.splits.values() for image in members if image.orientation != UPRIGHT
        ]
        examples.set_int_custom_property(NUM_TURNED_IMAGES, len(turned))
        examples.set_int_custom_property("num_dropped_duplicates", plan.split_plan.num_dropped_duplicates)
        examples.set_int_custom_property("num_label_conflicts", len(plan.split_plan.label_conflicts))
    write_class_names(examples.uri, spec.class_names)
    plan.summary.write(examples.uri)
