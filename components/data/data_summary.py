"""What an ExampleGen knows of its examples when it is done: counts, and the statistics of the train split by feature.

It lies beside the splits of an Examples artifact. ``build_model(hyperparameters, data)`` gets it, so that a layer can scale a column by
its mean and deviation, and an embedding can be as large as its vocabulary, without a number typed in by hand.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from components import files

#: The file in an Examples artifact.
SUMMARY_FILE = "data_summary.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FeatureSummary(_Part):
    """One feature over the train split; numbers per entry of its last axis, one of a scalar."""

    mean: tuple[float, ...] = Field((), description="Empty of texts.")
    standard_deviation: tuple[float, ...] = Field((), description="Of the population; 0 where all values are equal.")
    minimum: tuple[float, ...] = ()
    maximum: tuple[float, ...] = ()
    vocabulary: tuple[str, ...] = Field((), description="Texts by number, from 1; 0 is any other.")
    num_defaults: int = Field(0, description="Missing values, in all splits, for which the default stands.")

    @property
    def variance(self) -> tuple[float, ...]:
        """What ``keras.layers.Normalization`` takes beside the mean."""
        return tuple(deviation**2 for deviation in self.standard_deviation)


class DataSummary(_Part):
    """The examples of one artifact."""

    num_examples: Mapping[str, int] = Field(description="By split.")
    class_names: tuple[str, ...] = ()
    num_per_class: Mapping[str, tuple[int, ...]] = Field(
        {}, description="By split, in label order; empty of real values."
    )
    features: Mapping[str, FeatureSummary] = {}

    @classmethod
    def read(cls, examples_uri: str) -> DataSummary | None:
        """The summary of an Examples artifact; None where another writer made it."""
        path = os.path.join(examples_uri, SUMMARY_FILE)
        return cls.model_validate_json(files.read_bytes(path)) if files.exists(path) else None

    def write(self, examples_uri: str) -> None:
        """Writes it beside the splits."""
        files.write_bytes(os.path.join(examples_uri, SUMMARY_FILE), self.model_dump_json(indent=1).encode())

    def sentences(self) -> tuple[str, ...]:
        """What a person wants to know before a run: examples by split, and by class with shares."""
        total = sum(self.num_examples.values())
        counts = ", ".join(f"{split} {number:,}" for split, number in self.num_examples.items())
        sentences = [f"examples: {total:,}: {counts}"]
        per_class = [sum(numbers) for numbers in zip(*self.num_per_class.values(), strict=True)]
        if sum(per_class):
            sentences.append(f"classes: {_shares(self.class_names, per_class)}")
            sentences += self._thin_classes()
        for name, feature in self.features.items():
            if feature.num_defaults:
                sentences.append(
                    f"missing values: {name!r} has no value in {feature.num_defaults:,} places; its default stands for them"
                )
        return tuple(sentences)

    def _thin_classes(self) -> list[str]:
        sentences = []
        for split, numbers in self.num_per_class.items():
            without = [name for name, number in zip(self.class_names, numbers, strict=False) if number == 0]
            if without and sum(numbers):
                names = ", ".join(without[:5]) + (f" and {len(without) - 5} more" if len(without) > 5 else "")
                sentences.append(f"classes: split {split} has no example of {names}")
        return sentences


#: Of the properties of an Examples artifact that say how many examples a split holds.
_SIZE_PREFIX = "num_examples_"
_ORDER = {"train": 0, "calibration": 1, "eval": 2}
#: Classes that are named one by one.
_NAMED_CLASSES = 10


def _shares(names: Sequence[str], numbers: Sequence[int]) -> str:
    total = sum(numbers)
    ranked = sorted(zip(numbers, names, strict=False), key=lambda pair: -pair[0])
    if len(ranked) <= _NAMED_CLASSES:
        return ", ".join(f"{name} {number:,} ({number / total:.1%})" for number, name in ranked)
    (most, largest), (fewest, smallest) = ranked[0], ranked[-1]
    return (
        f"{len(ranked)}, from {smallest} {fewest:,} ({fewest / total:.1%}) to {largest} {most:,} ({most / total:.1%})"
    )


def split_sizes(properties: Mapping[str, object]) -> dict[str, int]:
    """Examples by split, from the properties that an ExampleGen writes on its artifact, in the order of the splits."""
    sizes = {
        name[len(_SIZE_PREFIX) :]: value
        for name, value in properties.items()
        if name.startswith(_SIZE_PREFIX) and isinstance(value, int)
    }
    return in_order(sizes)


def in_order(sizes: Mapping[str, int]) -> dict[str, int]:
    """Train first, the holdout last; MLMD and JSON files sort by name."""
    return dict(sorted(sizes.items(), key=lambda size: (_ORDER.get(size[0], len(_ORDER)), size[0])))


def feature_summary(
    number: int, sums: Sequence[float], squares: Sequence[float], low: Sequence[float], high: Sequence[float]
) -> FeatureSummary:
    """From sums over ``number`` values per entry.

    Args:
        number: Values summed.
        sums: Their sum, per entry.
        squares: The sum of their squares.
        low: The lowest.
        high: The highest.
    """
    mean = [value / number for value in sums]
    variance = [max(0.0, square / number - center * center) for square, center in zip(squares, mean, strict=True)]
    return FeatureSummary(
        mean=tuple(mean),
        standard_deviation=tuple(map(math.sqrt, variance)),
        minimum=tuple(low),
        maximum=tuple(high),
    )
