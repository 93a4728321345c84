"""Ingests a folder of images in two Beam passes, so that nothing is written before everything is known to be good.

1. Scan: workers decode every image and note size, content key and group key in a small file per shard. 2. Plan: the
splits are decided in one place, where every key is known. 3. Write: workers stream the bytes into TFRecord files.
Beam carries shard numbers only, so a worker holds one image at a time, and the files' order depends on nothing but the
paths. A bad image stops the run after the scan with every reason known; TFX then removes the outputs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import tensorflow as tf
from tfx import types
from tfx.components.example_gen import write_split
from tfx.components.util import examples_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.utils import proto_utils

from components.errors import DataError
from components.image_example_gen import folders, images
from components.image_example_gen.splits import ScannedImage, Shares, SplitPlan, plan_splits

_progress = logging.getLogger("edgeproof.progress")

#: Images per scan shard and per TFRecord file: small enough to spread over workers, large enough to read in one go.
IMAGES_PER_SHARD = 2_000
#: Bad files that a scan shard remembers by name; the rest are counted.
BAD_IMAGES_KEPT = 20
#: Records are PNG and JPEG, which gzip cannot shrink: the fastest level costs nothing.
_RECORD_OPTIONS = {"compression_type": "GZIP", "compression_level": 1}
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
        fileio.makedirs(scratch)
        listing = list_source_images(options)
        plan = plan_splits(self._scan(listing, options, scratch), options.shares)
        num_examples = self._write(plan, options, examples, scratch)
        fileio.rmtree(scratch)
        describe_examples(examples, listing.class_names, plan, num_examples)
        report_ingest(plan, num_examples)

    def _scan(self, listing: folders.Listing, options: IngestOptions, scratch: str) -> list[ScannedImage]:
        shards = [_path(scratch, "scan", number) for number, _ in enumerate(_slices(listing.images))]
        for shard, sources in zip(shards, _slices(listing.images), strict=True):
            _write_json(shard, [vars(source) for source in sources])
        self._run(shards, "Scan", _ScanShard(options.input_base, options.group_by))
        results = [_read_json(f"{shard}.result") for shard in shards]
        bad = [images.BadImage(**fields) for result in results for fields in result["bad"]]
        among = f"{len(listing.images):,} files under {options.input_base}"
        if bad:
            raise DataError(images.bad_images_message(bad, sum(result["num_bad"] for result in results), among))
        scanned = [ScannedImage(**fields) for result in results for fields in result["images"]]
        sizes = ((image.path, images.ImageSize(image.height, image.width, image.channels)) for image in scanned)
        other_size = images.other_size_message(sizes, options.image_limits, among)
        if other_size:
            raise DataError(other_size)
        return scanned

    def _write(self, plan: SplitPlan, options: IngestOptions, examples: types.Artifact, scratch: str) -> dict[str, int]:
        tasks = list(_record_files(plan, examples))
        shards = [_path(scratch, "write", number) for number, _ in enumerate(tasks)]
        for shard, (_, record_file, members) in zip(shards, tasks, strict=True):
            fileio.makedirs(os.path.dirname(record_file))
            _write_json(shard, {"file": record_file, "images": [vars(image) for image in members]})
        self._run(shards, "Write", _WriteShard(options.input_base))
        num_examples = dict.fromkeys(plan.splits, 0)
        for shard, (split, _, _) in zip(shards, tasks, strict=True):
            result = _read_json(f"{shard}.result")
            if result["changed"]:
                raise DataError(f"{result['changed']} under {options.input_base} changed while it was read. Run again.")
            num_examples[split] += result["num_written"]
        return num_examples

    def _run(self, shards: Sequence[str], name: str, work: beam.DoFn) -> None:
        with self._make_beam_pipeline() as pipeline:
            numbered = [(number, len(shards), shard) for number, shard in enumerate(shards, 1)]
            _ = pipeline | "Shards" >> beam.Create(numbered) | "Spread" >> beam.Reshuffle() | name >> beam.ParDo(work)


def list_source_images(options: IngestOptions) -> folders.Listing:
    """Lists the files that the patterns match.

    Raises:
        DataError: As :func:`components.image_example_gen.folders.list_images`.
    """
    base = options.input_base
    class_patterns = {split: folders.class_folder_pattern(pattern) for split, pattern in options.patterns.items()}
    return folders.list_images(
        {split: _glob(base, pattern) for split, pattern in options.patterns.items()},
        options.patterns,
        {
            split: [path for path in _glob(base, pattern) if fileio.isdir(os.path.join(base, path))]
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
    examples.set_int_custom_property("num_label_conflicts", len(plan.label_conflicts))
    examples.set_string_custom_property("class_names", json.dumps(list(class_names)))
    _write_json(os.path.join(examples.uri, "class_names.json"), list(class_names))


def report_ingest(plan: SplitPlan, num_examples: Mapping[str, int]) -> None:
    """Tells the person at the console what was ingested, and what looks wrong with the labels."""
    counts = ", ".join(f"{split} {number:,}" for split, number in num_examples.items())
    dropped = plan.num_dropped_duplicates
    note = f"; {dropped:,} dropped, whose picture or group is in a later split too" if dropped else ""
    _progress.info("%s images: %s%s", f"{sum(num_examples.values()):,}", counts, note)
    odd = odd_size_message(image for members in plan.splits.values() for image in members)
    if odd:
        _progress.warning("%s", odd)
    if plan.label_conflicts:
        first, second = plan.label_conflicts[0]
        _progress.warning(
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
    told = [f"{h} x {w} x {c} ({n:,}, for example {examples[h, w, c]})" for (h, w, c), n in counts.most_common()]
    return f"images of {len(counts)} sizes (height x width x channels): {', '.join(told)}."


def _report_shard(done: str, number: int, num_shards: int) -> None:
    """Progress of a local run; a few shards are over before a person would ask."""
    if num_shards >= MIN_REPORTED_SHARDS:
        _progress.info("%d of %d parts %s", number, num_shards, done, extra={"step": (number, num_shards)})


class _ScanShard(beam.DoFn):
    """Decodes the images of one shard and writes their facts beside it."""

    def __init__(self, input_base: str, group_by: str) -> None:
        self._input_base = input_base
        self._group_by = group_by

    def process(self, numbered: tuple[int, int, str]) -> Iterator[None]:
        number, num_shards, shard = numbered
        group_by = re.compile(self._group_by) if self._group_by else None
        good: list[dict[str, Any]] = []
        bad: list[images.BadImage] = []
        for source in _read_json(shard):
            scanned = self._scan(folders.SourceImage(**source), group_by)
            if isinstance(scanned, ScannedImage):
                good.append(vars(scanned))
            else:
                bad.append(scanned)
        kept = [vars(image) for image in bad[:BAD_IMAGES_KEPT]]
        _write_json(f"{shard}.result", {"images": good, "bad": kept, "num_bad": len(bad)})
        _report_shard("read", number, num_shards)
        yield from ()

    def _scan(self, source: folders.SourceImage, group_by: re.Pattern[str] | None) -> ScannedImage | images.BadImage:
        match = group_by.search(source.path) if group_by else None
        if group_by and not (match and match.group(1)):
            return images.BadImage(source.path, f"data.group_by {self._group_by!r} finds no group in this path")
        file = os.path.join(self._input_base, source.path)
        try:
            encoded = _read_bytes(file)
        except (OSError, tf.errors.OpError) as problem:
            reason = "is a folder" if fileio.isdir(file) else f"cannot be read: {problem}"
            return images.BadImage(source.path, reason)
        facts = images.examine_image(encoded)
        if isinstance(facts, str):
            return images.BadImage(source.path, facts)
        group_key = _sha256(match.group(1).encode("utf-8", "surrogateescape")) if match else facts.content_key
        return ScannedImage(**vars(source), **vars(facts), group_key=group_key, file_sha256=_sha256(encoded))


class _WriteShard(beam.DoFn):
    """Streams the images of one TFRecord file; the file appears under its name only when it is whole."""

    def __init__(self, input_base: str) -> None:
        self._input_base = input_base

    def process(self, numbered: tuple[int, int, str]) -> Iterator[None]:
        number, num_shards, shard = numbered
        task = _read_json(shard)
        partial = f"{shard}.{uuid.uuid4().hex}.partial"
        num_written, changed = 0, None
        with tf.io.TFRecordWriter(partial, tf.io.TFRecordOptions(**_RECORD_OPTIONS)) as records:
            for image in (ScannedImage(**fields) for fields in task["images"]):
                encoded = _read_bytes(os.path.join(self._input_base, image.path))
                if _sha256(encoded) != image.file_sha256:
                    changed = image.path
                    break
                records.write(image_example(encoded, image).SerializeToString(deterministic=True))
                num_written += 1
        fileio.rename(partial, task["file"], overwrite=True)
        _write_json(f"{shard}.result", {"num_written": num_written, "changed": changed})
        _report_shard("written", number, num_shards)
        yield from ()


def image_example(encoded: bytes, image: ScannedImage) -> tf.train.Example:
    """The tf.Example of one image; ``encoded`` goes in as it is."""
    numbers = {"label": image.label, "height": image.height, "width": image.width, "channels": image.channels}
    texts = {
        "image": encoded,
        "path": image.path.encode("utf-8", "surrogateescape"),
        "group": image.group_key.encode(),
    }
    features = {name: tf.train.Feature(int64_list=tf.train.Int64List(value=[value])) for name, value in numbers.items()}
    features |= {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for name, value in texts.items()}
    return tf.train.Example(features=tf.train.Features(feature=features))


def _record_files(plan: SplitPlan, examples: types.Artifact) -> Iterator[tuple[str, str, Sequence[ScannedImage]]]:
    """(split, TFRecord file, its images), named as the stock ExampleGen names them."""
    for split, members in plan.splits.items():
        slices = list(_slices(members))
        for number, part in enumerate(slices):
            name = f"{write_split.DEFAULT_TF_RECORD_FILE_NAME}-{number:05d}-of-{len(slices):05d}.gz"
            yield split, os.path.join(examples.uri, f"Split-{split}", name), part


def _slices(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + IMAGES_PER_SHARD] for start in range(0, len(items), IMAGES_PER_SHARD))


def _glob(base: str, pattern: str) -> Iterable[str]:
    prefix = os.path.join(base, "")
    return [path.removeprefix(prefix) for path in fileio.glob(os.path.join(base, pattern))]


def _path(scratch: str, kind: str, number: int) -> str:
    return os.path.join(scratch, f"{kind}-{number:05d}")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read_bytes(path: str) -> bytes:
    with fileio.open(path, "rb") as file:
        content: bytes = file.read()
    return content


def _read_json(path: str) -> Any:
    return json.loads(_read_bytes(path))


def _write_json(path: str, content: Any) -> None:
    with fileio.open(path, "wb") as file:
        file.write(json.dumps(content, sort_keys=True).encode())
