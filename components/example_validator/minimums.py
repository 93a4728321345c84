"""Splits that hold fewer examples than a later step needs, found before anything is trained.

A count that is absent refuses nothing here: the converter and the gate count again what they use, and have the last word.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from components.image_example_gen.splits import SPLIT_NAMES

_STEP = 5  # Suggested shares are multiples of this many percent.
_LEAST_TRAIN = 20  # Percent; below, a suggestion would buy the verdict with the model.
#: Standard deviations between what a share can expect and the minimum: the hash deals like a coin, and 1 in 160 falls below.
_MARGIN = 2.5


@dataclass(frozen=True)
class Minimum:
    """How many examples a split must hold, and the key of the config that says so."""

    minimum: int
    key: str


def minimums_to_json(minimums: Mapping[str, Minimum]) -> str:
    """``{split: {"minimum": ..., "key": ...}}``."""
    return json.dumps({split: asdict(minimum) for split, minimum in minimums.items()}, sort_keys=True)


def minimums_from_json(text: str) -> dict[str, Minimum]:
    """What :func:`minimums_to_json` wrote."""
    return {split: Minimum(**fields) for split, fields in json.loads(text).items()}


def shortage_message(
    num_examples: Mapping[str, int], minimums: Mapping[str, Minimum], *, cut_by_shares: bool
) -> str | None:
    """One sentence about every split that holds too few examples, or None where all hold enough.

    Args:
        num_examples: Split -> examples that StatisticsGen counted; a split without a count is not judged.
        minimums: Split -> what it must hold.
        cut_by_shares: Whether ``data.shares`` divides the data, so that other shares would help.
    """
    short = {
        split: minimum
        for split, minimum in minimums.items()
        if split in num_examples and num_examples[split] < minimum.minimum
    }
    if not short:
        return None
    counts = " and ".join(
        f"split {split} holds {num_examples[split]} ({minimum.key} needs {minimum.minimum})"
        for split, minimum in short.items()
    )
    shares = suggested_shares(num_examples, minimums) if cut_by_shares else None
    change = f"set data.shares: {_in_yaml(shares)}" if shares else ""
    lower = f"lower {' and '.join(minimum.key for minimum in short.values())}"
    return f"too few examples: {counts}; {', '.join(filter(None, ('add data', change)))}, or {lower}."


def suggested_shares(num_examples: Mapping[str, int], minimums: Mapping[str, Minimum]) -> dict[str, int] | None:
    """Shares in percent with which the same examples reach every minimum, or None where there are too few of them.

    Splits shrink below their present share only where nothing else helps; where nothing is trained, the rest is the holdout's.
    """
    total = sum(num_examples.get(split, 0) for split in SPLIT_NAMES)
    held_out = [split for split in SPLIT_NAMES if split != "train"]
    needed = {split: _percent(minimums[split].minimum, total) if split in minimums else _STEP for split in held_out}
    present = {split: _STEP * round(100 * num_examples.get(split, 0) / max(total, 1) / _STEP) for split in held_out}
    for least in ({split: max(needed[split], present[split]) for split in held_out}, needed):
        rest = 100 - sum(least.values())
        if num_examples.get("train") and rest >= _LEAST_TRAIN:
            return {"train": rest, **least}
        if not num_examples.get("train") and rest >= 0:
            return {"train": 0, **least, "eval": least["eval"] + rest}
    return None


def _percent(minimum: int, total: int) -> int:
    """The smallest share that reaches ``minimum`` with a margin for the luck of the hash; 100 where none below does."""
    for percent in range(_STEP, 100, _STEP):
        expected = total * percent / 100
        if expected - _MARGIN * math.sqrt(expected * (1 - percent / 100)) >= minimum:
            return percent
    return 100


def _in_yaml(shares: Mapping[str, int]) -> str:
    return "{" + ", ".join(f"{split}: {share}" for split, share in shares.items()) + "}"
