"""Ingests a folder of images in two passes, so that nothing is written before everything is known to be good.

1. Scan: workers decode every image and note size, content key and group key. 2. Plan: the splits are decided in one place,
where every key is known. 3. Write: workers stream the bytes into TFRecord files. Workers get lists of paths, so one holds
one image at a time, and the files' order depends on nothing but the paths. They are light processes on this machine, or
Beam's where the runner is another; what is written is the same. A bad image stops the run after the scan with every reason
known; TFX then removes the outputs.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from components.data.data_summary import DataSummary
from components.data.examples import NUM_TURNED_IMAGES, UPRIGHT, write_class_names
from components.data.records import write_file_list
from components.errors import DataError
from components.image_example_gen import folders, images, shards
from components.image_example_gen.splits import ScannedImage, Shares, SplitPlan, plan_splits
from components.light_workers import run_tasks

#: Images per scan shard and per TFRecord file: small enough to spread over workers, large enough to read in one go.
IMAGES_PER_SHARD = 2_000
#: Shards from which on progress is shown: some 20,000 images, or ten seconds.
MIN_REPORTED_SHARDS = 10
_SCRATCH = ".ingest"


@dataclass(frozen=True)
class IngestOptions:
    """The exec properties, parsed. ``patterns`` maps an input split to its pattern, spans and versions filled in.

    ``image_limits`` maps height, width and channels to the only value they may have; what is absent is free.
    """

    input_base: str
    patterns: Mapping[str, str]
    class_names: tuple[str, ...]
    group_by: str
    shares: Shares
    image_limits: Mapping[str, int]
    ignore: tuple[str, ...] = ()

    @classmethod
    def from_exec_properties(cls, exec_properties: Mapping[str, Any]) -> IngestOptions:
        input_config = example_gen_pb2.Input()
        proto_utils.json_to_proto(exec_properties["input_config"], input_config)
        return cls(
            input_base=exec_properties["input_base"],
            patterns={split.name: split.pattern for split in input_config.splits},
            class_names=tuple(json.loads(exec_properties["class_names"])),
            group_by=exec_properties["group_by"],
            shares=Shares.from_json(exec_properties["shares"]),
            image_limits=json.loads(exec_properties["image_limits"]),
            ignore=tuple(json.loads(exec_properties["ignore"])),
        )


class Executor(BaseBeamExecutor):
    """Ingests images; see the module's header for the order."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Reads the image folder and writes the Examples artifact.

        Raises:
            DataError: A bad image, an image of another size than ``image_limits``, a wrong folder, an empty class or split.
        """
        options = IngestOptions.from_exec_properties(exec_properties)
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        scratch = os.path.join(examples.uri, _SCRATCH)
        files.make_folder(scratch)
        listing = list_source_images(options)
        plan = plan_splits(self._scan(listing, options, scratch), options.shares)
        num_examples = self._write(plan, options, examples, scratch)
        files.remove_folder(scratch)
        describe_examples(examples, listing.class_names, plan, num_examples)
        report_ingest(plan, num_examples)

    def _scan(self, listing: folders.Listing, options: IngestOptions, scratch: str) -> list[ScannedImage]:
        slices = list(_slices(listing.images))
        tasks = [
            {
                "input_base": options.input_base,
                "group_by": options.group_by,
                "paths": [source.path for source in part],
            }
            for part in slices
        ]
        results = self._run(f"{shards.__name__}:scan", tasks, scratch, "read")
        bad = [images.BadImage(*fields) for result in results for fields in result["bad"]]
        among = f"{len(listing.images):,} files under {options.input_base}"
        if bad:
            raise DataError(images.bad_images_message(bad, sum(result["num_bad"] for result in results), among))
        scanned = [
            ScannedImage(source.path, source.input_split, source.label, **fields)
            for part, result in zip(slices, results, strict=True)
            for source, fields in zip(part, result["images"], strict=True)
        ]
        sizes = ((image.path, images.ImageSize(image.height, image.width, image.channels)) for image in scanned)
        other_size = images.other_size_message(sizes, options.image_limits, among)
        if other_size:
            raise DataError(other_size)
        return scanned

    def _write(self, plan: SplitPlan, options: IngestOptions, examples: types.Artifact, scratch: str) -> dict[str, int]:
        record_files = list(_record_files(plan))
        for split in plan.splits:
            files.make_folder(os.path.join(examples.uri, f"Split-{split}"))
        tasks = [
            {
                "input_base": options.input_base,
                "file": os.path.join(examples.uri, name),
                "images": [vars(image) for image in members],
            }
            for _, name, members in record_files
        ]
        results = self._run(f"{shards.__name__}:write", tasks, scratch, "written")
        changed = next((result["changed"] for result in results if result["changed"]), None)
        if changed:
            raise DataError(f"{changed} under {options.input_base} changed while it was read. Run again.")
        num_examples = dict.fromkeys(plan.splits, 0)
        for (split, _, _), result in zip(record_files, results, strict=True):
            num_examples[split] += result["num_written"]
        num_records = {name: result["num_written"] for (_, name, _), result in zip(record_files, results, strict=True)}
        write_file_list(examples.uri, num_records)
        return num_examples

    def _run(self, function: str, tasks: Sequence[Any], scratch: str, done: str) -> list[Any]:
        def report(number: int, num_tasks: int) -> None:
            """Progress of a local run; a few shards are over before a person would ask."""
            if num_tasks >= MIN_REPORTED_SHARDS:
                progress.info("%d of %d parts %s", number, num_tasks, done, extra={"step": (number, num_tasks)})

        if is_local_runner(self._beam_pipeline_args or ()):
            return run_tasks(function, tasks, report=report)
        return run_on_beam(self._make_beam_pipeline, function, tasks, scratch)


def list_source_images(options: IngestOptions) -> folders.Listing:
    """Lists the files that the patterns match.

    Raises:
        DataError: As :func:`components.image_example_gen.folders.list_images`.
    """
    base = options.input_base

    def listed(pattern: str) -> list[str]:
        return [path for path in _glob(base, pattern) if not folders.is_ignored(path, options.ignore)]

    class_patterns = {split: folders.class_folder_pattern(pattern) for split, pattern in options.patterns.items()}
    return folders.list_images(
        {split: listed(pattern) for split, pattern in options.patterns.items()},
        options.patterns,
        {
            split: [path for path in listed(pattern) if files.is_folder(os.path.join(base, path))]
            for split, pattern in class_patterns.items()
        },
        options.class_names,
    )


def describe_examples(
    examples: types.Artifact, class_names: Sequence[str], plan: SplitPlan, num_examples: Mapping[str, int]
) -> None:
    """Writes what the stock ExampleGen says about its artifact, and the classes, counts and duplicates beside it."""
    examples.split_names = artifact_utils.encode_split_names(list(plan.splits))
    examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
    examples_utils.set_file_format(examples, write_split.to_file_format_str(example_gen_pb2.FORMAT_TFRECORDS_GZIP))
    for split, number in num_examples.items():
        examples.set_int_custom_property(f"num_examples_{split}", number)
    examples.set_int_custom_property("num_dropped_duplicates", plan.num_dropped_duplicates)
    num_turned = sum(image.orientation != UPRIGHT for members in plan.splits.values() for image in members)
    examples.set_int_custom_property(NUM_TURNED_IMAGES, num_turned)
    examples.set_int_custom_property("num_label_conflicts", len(plan.label_conflicts))
    examples.set_string_custom_property("class_names", json.dumps(list(class_names)))
    write_class_names(examples.uri, class_names)
    summary_of(class_names, plan).write(examples.uri)


def summary_of(class_names: Sequence[str], plan: SplitPlan) -> DataSummary:
    """Examples per split and class."""
    labels = {split: Counter(image.label for image in members) for split, members in plan.splits.items()}
    return DataSummary(
        num_examples={split: len(members) for split, members in plan.splits.items()},
        class_names=tuple(class_names),
        num_per_class={s: tuple(counts[n] for n in range(len(class_names))) for s, counts in labels.items()},
    )


def report_ingest(plan: SplitPlan, num_examples: Mapping[str, int]) -> None:
    """Tells the person at the console what was ingested, and what looks wrong with the labels."""
    counts = ", ".join(f"{split} {number:,}" for split, number in num_examples.items())
    dropped = plan.num_dropped_duplicates
    note = f"; {dropped:,} dropped, whose picture or group is in a later split too" if dropped else ""
    progress.info("%s images: %s%s", f"{sum(num_examples.values()):,}", counts, note)
    odd = odd_size_message(image for members in plan.splits.values() for image in members)
    if odd:
        progress.warning("%s", odd)
    if plan.label_conflicts:
        first, second = plan.label_conflicts[0]
        progress.warning(
            "%s picture(s) carry two labels, for example %s and %s; both are kept. Check the labels.",
            f"{len(plan.label_conflicts):,}", first, second,
        )  # fmt: skip


def odd_size_message(scanned: Iterable[ScannedImage]) -> str:
    """Names an image of each size where a folder holds two or three; nothing for one size, or for many as in photos.

    Sizes may differ where the images are resized, or where a team's own schema says what they may be.
    """
    examples: dict[tuple[int, int, int], str] = {}
    counts: Counter[tuple[int, int, int]] = Counter()
    for image in scanned:
        size = (image.height, image.width, image.channels)
        examples.setdefault(size, image.path)
        counts[size] += 1
    if len(counts) not in (2, 3):
        return ""
    shapes = [f"{h} x {w} x {c} ({n:,}, for example {examples[h, w, c]})" for (h, w, c), n in counts.most_common()]
    return f"images of {len(counts)} sizes (height x width x channels): {', '.join(shapes)}."


def _record_files(plan: SplitPlan) -> Iterator[tuple[str, str, Sequence[ScannedImage]]]:
    """(split, TFRecord file below the artifact, its images), named as the stock ExampleGen names them."""
    for split, members in plan.splits.items():
        slices = list(_slices(members))
        for number, part in enumerate(slices):
            name = f"{write_split.DEFAULT_TF_RECORD_FILE_NAME}-{number:05d}-of-{len(slices):05d}.gz"
            yield split, f"Split-{split}/{name}", part


def _slices(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + IMAGES_PER_SHARD] for start in range(0, len(items), IMAGES_PER_SHARD))


def _glob(base: str, pattern: str) -> list[str]:
    prefix = os.path.join(base, "")
    return [path.removeprefix(prefix) for path in files.glob(os.path.join(base, pattern))]
