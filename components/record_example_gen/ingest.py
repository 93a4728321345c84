"""The ingest of files of records, whoever does its tasks.

1. Scan: workers read every row, and count, look for problems and gather what the splits need. 2. Plan: one place decides.
3. Write: workers read again and put each row, encoded, into a part of its split. 4. Merge: the parts of a file are mixed and written.
No step imports TensorFlow or holds the data in memory, and each one's result depends on the data alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from components import files
from components.data.examples import write_class_names
from components.data.records import write_file_list
from components.errors import DataError
from components.image_example_gen.folders import is_hidden, is_ignored
from components.record_example_gen.plan import RecordPlan, ShardScan, plan_records
from components.record_example_gen.scanning import RecordOptions, scan_tasks

#: (function of ``shards``, its tasks) -> its answers, in the order of the tasks.
Run = Callable[[str, Sequence[Any]], list[Any]]
#: The stock ExampleGen's name of a file of a split.
_FILE_NAME = "data_tfrecord-{number:05d}-of-{total:05d}.gz"


def ingest_records(options: RecordOptions, examples_uri: str, scratch: str, run: Run) -> RecordPlan:
    """Reads the files and writes the splits, and class names, statistics and the list of files beside them.

    Args:
        options: What is ingested.
        examples_uri: The Examples artifact's folder.
        scratch: A folder that every worker can reach, and that nobody needs afterwards.
        run: Does tasks.

    Raises:
        DataError: A file, a row or an image cannot be used, or a split came out empty.
    """
    tasks = scan_tasks(options, list_files(options))
    scans = [
        ShardScan(task["path"], task["input_split"], **answer)
        for task, answer in zip(tasks, run("scan", tasks), strict=True)
    ]
    plan = plan_records(scans, options.example_spec, options.shares, options.image_limits, options.input_base)
    merging = _merge_tasks(plan, run("write", _write_tasks(tasks, plan, options, scratch)), examples_uri)
    counts = run("merge", merging)
    num_examples = dict.fromkeys(plan.num_buckets, 0)
    for task, count in zip(merging, counts, strict=True):
        num_examples[task["split"]] += count
    if num_examples != dict(plan.summary.num_examples):
        raise DataError(f"the files under {options.input_base} changed while they were read. Run again.")
    names = [os.path.relpath(task["file"], examples_uri) for task in merging]
    write_file_list(examples_uri, dict(zip(names, counts, strict=True)))
    write_class_names(examples_uri, options.example_spec.class_names)
    plan.summary.write(examples_uri)
    return plan


def list_files(options: RecordOptions) -> dict[str, list[str]]:
    """The files of each input split, sorted.

    Raises:
        DataError: A pattern matches none.
    """
    listed = {}
    prefix = os.path.join(options.input_base, "")
    for split, pattern in options.patterns.items():
        matched = files.glob(os.path.join(options.input_base, pattern))
        names = {path: path.removeprefix(prefix) for path in matched if not files.is_folder(path)}
        listed[split] = [p for p, name in names.items() if not is_hidden(name) and not is_ignored(name, options.ignore)]
        if not listed[split]:
            raise DataError(f"no file under {options.input_base} matches the {split} pattern {pattern!r}.")
    return listed


def _write_tasks(
    tasks: Sequence[Mapping[str, Any]], plan: RecordPlan, options: RecordOptions, scratch: str
) -> list[dict[str, Any]]:
    return [
        {
            **task,
            "scratch": scratch,
            "kinds": plan.kinds,
            "vocabularies": plan.vocabularies,
            "num_buckets": plan.num_buckets,
            "number": number,
            "name": f"{task['path'].removeprefix(options.input_base)}:{task['part']}",
            "images": plan.images[number] if plan.images is not None else None,
        }
        for number, task in enumerate(tasks)
    ]


def _merge_tasks(
    plan: RecordPlan, written: Sequence[Sequence[tuple[str, int, str]]], examples_uri: str
) -> list[dict[str, Any]]:
    parts: dict[tuple[str, int], list[str]] = {}
    for split, bucket, path in (part for answer in written for part in answer):
        parts.setdefault((split, bucket), []).append(path)
    tasks = []
    for split, total in plan.num_buckets.items():
        folder = os.path.join(examples_uri, f"Split-{split}")
        files.make_folder(folder)
        for number in range(total):
            path = os.path.join(folder, _FILE_NAME.format(number=number, total=total))
            tasks.append({"split": split, "parts": parts.get((split, number), []), "file": path})
    return tasks
