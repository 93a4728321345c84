"""Which split an image belongs to, so that near-duplicates and bursts never straddle two splits.

Rules, in order: 1. An image's group key (its pixels, or what ``group_by`` finds in its path) is hashed into a bucket,
so the answer depends on nothing but the key. 2. Where a person has already made the splits, theirs hold. 3. What the
holdout holds is dropped from calibration and train, and what calibration holds from train: the holdout stays whole.
"""

from __future__ import annotations

import bisect
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate

from components.errors import DataError

#: The splits every Examples artifact has, in the order of their hash buckets.
SPLIT_NAMES = ("train", "calibration", "eval")
#: The input split of images that no person has divided yet.
UNDIVIDED = "all"


@dataclass(frozen=True)
class Shares:
    """How many hash buckets each split gets; only the proportions matter."""

    train: int = 80
    calibration: int = 10
    eval: int = 10

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Shares:
        return cls(**json.loads(text))

    def split_of(self, key: str, among: Sequence[str] = SPLIT_NAMES) -> str:
        """The split of a group key, by the SHA-256 of the key modulo the sum of the shares of ``among``."""
        bounds = list(accumulate(getattr(self, name) for name in among))
        bucket = int(hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest(), 16) % bounds[-1]
        return among[bisect.bisect(bounds, bucket)]


@dataclass(frozen=True)
class ScannedImage:
    """An image that decoded: where it came from, what it is, and the keys of its content and its group (hex)."""

    path: str
    input_split: str
    label: int
    height: int
    width: int
    channels: int
    content_key: str
    group_key: str
    file_sha256: str
    orientation: int = 1
    is_stored_as_it_is: bool = True


@dataclass(frozen=True)
class SplitPlan:
    """The images of each split in the order to write them, and what was noticed on the way.

    ``label_conflicts`` holds, for each content that carries two labels, two of its paths.
    """

    splits: Mapping[str, tuple[ScannedImage, ...]]
    num_dropped_duplicates: int = 0
    label_conflicts: tuple[tuple[str, str], ...] = field(default=())


def plan_splits(images: Iterable[ScannedImage], shares: Shares) -> SplitPlan:
    """Divides images into train, calibration and eval.

    Within a split the order is by a hash of the path: classes are mixed, and every run writes the same order.

    Raises:
        DataError: A split came out empty.
    """
    images = list(images)
    is_calibration_given = any(image.input_split == "calibration" for image in images)
    divided: dict[str, list[ScannedImage]] = {name: [] for name in SPLIT_NAMES}
    for image in images:
        divided[_split_of(image, shares, is_calibration_given)].append(image)
    kept = _without_leaks(divided)
    num_dropped = len(images) - sum(len(split) for split in kept.values())
    wanted = _wanted_splits(images, shares)
    for name in wanted:
        if not kept[name]:
            raise DataError(_empty_split(name, images, shares, num_dropped))
    ordered = {name: tuple(sorted(kept[name], key=_mixing_order)) for name in wanted}
    return SplitPlan(ordered, num_dropped, _label_conflicts(images))


def _wanted_splits(images: Iterable[ScannedImage], shares: Shares) -> tuple[str, ...]:
    """The splits that somebody made, and those that a hash can cut with a share above 0.

    Train is not wanted when a finished model is brought along.
    """
    given = {image.input_split for image in images}
    cut = SPLIT_NAMES if UNDIVIDED in given else SPLIT_NAMES[:2] if "train" in given else ()
    return tuple(name for name in SPLIT_NAMES if name in given or (name in cut and getattr(shares, name) > 0))


def _split_of(image: ScannedImage, shares: Shares, is_calibration_given: bool) -> str:
    if image.input_split == UNDIVIDED:
        return shares.split_of(image.group_key)
    if image.input_split == "train" and not is_calibration_given:
        return shares.split_of(image.group_key, ("train", "calibration"))
    return image.input_split


def _without_leaks(divided: Mapping[str, list[ScannedImage]]) -> dict[str, list[ScannedImage]]:
    kept: dict[str, list[ScannedImage]] = {name: [] for name in SPLIT_NAMES}
    seen: set[str] = set()
    for name in reversed(SPLIT_NAMES):
        kept[name] = [image for image in divided[name] if image.content_key not in seen and image.group_key not in seen]
        seen.update(key for image in kept[name] for key in (image.content_key, image.group_key))
    return kept


def _label_conflicts(images: Sequence[ScannedImage]) -> tuple[tuple[str, str], ...]:
    first: dict[str, ScannedImage] = {}
    conflicts: dict[str, tuple[str, str]] = {}
    for image in images:
        known = first.setdefault(image.content_key, image)
        if known.label != image.label:
            conflicts.setdefault(image.content_key, (known.path, image.path))
    return tuple(conflicts.values())


def _mixing_order(image: ScannedImage) -> tuple[bytes, str]:
    return hashlib.sha256(image.path.encode("utf-8", "surrogateescape")).digest(), image.path


def _empty_split(name: str, images: Sequence[ScannedImage], shares: Shares, num_dropped: int) -> str:
    num_groups = len({image.group_key for image in images})
    dropped = f"; {num_dropped} dropped, whose picture or group is in a later split too" if num_dropped else ""
    return (
        f"the {name} split came out empty: {len(images)} images in {num_groups} group(s), "
        f"shares train {shares.train} : calibration {shares.calibration} : eval {shares.eval}{dropped}. "
        "Add images, raise the share of that split in data.shares, or let data.group_by make smaller groups."
    )
