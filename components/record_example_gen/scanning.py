"""What the scan of records needs to know, without TFX: ``edgeproof check`` scans, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.data.examples import ExampleSpec
from components.formats.table import FORMATS
from components.image_example_gen.splits import Shares


@dataclass(frozen=True)
class RecordOptions:
    """What is ingested. ``patterns`` maps an input split to its pattern, spans and versions filled in.

    ``image_limits`` maps height, width and channels to the only value they may have; None where rows hold no image that we decode.
    """

    record_format: str
    input_base: str
    patterns: Mapping[str, str]
    example_spec: ExampleSpec
    is_raw: bool
    group_by: str
    shares: Shares
    image_limits: Mapping[str, int] | None
    ignore: tuple[str, ...] = ()


def scan_tasks(options: RecordOptions, paths: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """The parts of all files, in the order of the data, as :func:`components.record_example_gen.shards.scan` takes them."""
    common = {
        "format": options.record_format,
        "example_spec": options.example_spec.to_json(),
        "is_raw": options.is_raw,
        "group_by": options.group_by,
        "shares": options.shares.to_json(),
    }
    return [
        {**common, "path": path, "part": part, "input_split": split}
        for split, those in paths.items()
        for path in those
        for part in FORMATS[options.record_format].parts(path)
    ]
