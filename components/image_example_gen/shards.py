"""The work of one shard of an image folder, in a process that imports Pillow and hashlib and nothing heavy.

A task and its answer are what JSON can hold; see :mod:`components.light_workers`.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any

from components import files
from components.data.example_proto import encode_example
from components.data.records import RecordWriter
from components.image_example_gen import images
from components.image_example_gen.splits import ScannedImage

#: Bad files that a shard remembers by name; the rest are counted.
BAD_IMAGES_KEPT = 20


def scan(task: dict[str, Any]) -> dict[str, Any]:
    """Decodes the images of one shard.

    Args:
        task: ``input_base``, ``group_by`` and ``paths``.

    Returns:
        ``images``: what :class:`ScannedImage` has beyond the listing, by path; ``bad``: (path, reason) of the first; ``num_bad``.
    """
    group_by = re.compile(task["group_by"]) if task["group_by"] else None
    good: list[dict[str, Any]] = []
    bad: list[tuple[str, str]] = []
    for path in task["paths"]:
        facts = _scan_image(task["input_base"], path, group_by)
        if isinstance(facts, str):
            bad.append((path, facts))
        else:
            good.append(facts)
    return {"images": good, "bad": bad[:BAD_IMAGES_KEPT], "num_bad": len(bad)}


def _scan_image(input_base: str, path: str, group_by: re.Pattern[str] | None) -> dict[str, Any] | str:
    match = group_by.search(path) if group_by else None
    if group_by and not (match and match.group(1)):
        return f"data.group_by {group_by.pattern!r} finds no group in this path"
    file = os.path.join(input_base, path)
    try:
        encoded = files.read_bytes(file)
    except MemoryError:
        raise
    except Exception as problem:  # a bucket's client has errors of its own
        return "is a folder" if files.is_folder(file) else f"cannot be read: {problem}"
    facts = images.examine_image(encoded)
    if isinstance(facts, str):
        return facts
    group_key = _sha256(match.group(1).encode("utf-8", "surrogateescape")) if match else facts.content_key
    return {**vars(facts), "group_key": group_key, "file_sha256": _sha256(encoded)}


def write(task: dict[str, Any]) -> dict[str, Any]:
    """Streams the images of one TFRecord file.

    Args:
        task: ``input_base``, ``file``, and ``images``: the fields of each :class:`ScannedImage`.

    Returns:
        ``num_written``, and as ``changed`` the path of a file that is not what was scanned, or None.
    """
    with RecordWriter(task["file"]) as records:
        for image in (ScannedImage(**fields) for fields in task["images"]):
            encoded = files.read_bytes(os.path.join(task["input_base"], image.path))
            if _sha256(encoded) != image.file_sha256:
                return {"num_written": 0, "changed": image.path}
            records.write(image_example(encoded, image))
        return {"num_written": records.num_written, "changed": None}


def image_example(encoded: bytes, image: ScannedImage) -> bytes:
    """The serialized tf.Example of one image; ``encoded`` goes in as it is, where TensorFlow can decode it.

    ``image_orientation`` says how the decoder has to turn it, and is left out where it has not.
    """
    features: dict[str, list[int] | list[bytes]] = {
        "image": [encoded if image.is_stored_as_it_is else images.stored_bytes(encoded)],
        "label": [image.label],
        "height": [image.height],
        "width": [image.width],
        "channels": [image.channels],
        "path": [image.path.encode("utf-8", "surrogateescape")],
        "group": [image.group_key.encode()],
    }
    if image.orientation != 1:
        features["image_orientation"] = [image.orientation]
    return encode_example(features)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
