"""Turns TFDV's anomalies into sentences: split, feature, reason, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorflow_metadata.proto.v0 import anomalies_pb2

_NAMED = 10  # How many anomalies a message names before it only counts.
_IMAGE_SIZE_FEATURES = frozenset({"height", "width", "channels"})
_OUT_OF_DOMAIN = ("INT_TYPE_BIG_INT", "INT_TYPE_SMALL_INT", "FLOAT_TYPE_BIG_FLOAT", "FLOAT_TYPE_SMALL_FLOAT")
#: Anomaly type -> advice. Of a problem's types the first one here decides: a missing value breaks the shape too.
_ADVICE: Mapping[str, str] = {
    "SCHEMA_MISSING_COLUMN": "check the feature's name under data in the config against the data",
    "SCHEMA_NEW_COLUMN": "add the feature to the schema, or leave it out of the data",
    "FEATURE_TYPE_NOT_PRESENT": "check the feature's name under data in the config against the data",
    "FEATURE_TYPE_LOW_FRACTION_PRESENT": "fill in or remove the examples that lack it",
    "FEATURE_TYPE_LOW_NUMBER_PRESENT": "fill in or remove the examples that lack it",
    "UNEXPECTED_DATA_TYPE": (
        "set data.features.<name>.dtype to the type the data has, or convert the data (labels are class numbers, or with "
        "data.label_type: value real numbers)"
    ),
    "INVALID_FEATURE_SHAPE": (
        "give data.features.<name> a default for missing values, or a pad for examples with fewer values; in a schema of your own, leave "
        "the shape of a feature out whose length varies"
    ),
    "FLOAT_TYPE_HAS_NAN": "replace or remove the examples with NaN",
    "FLOAT_TYPE_HAS_INF": "replace or remove the examples with infinite values",
    **dict.fromkeys(_OUT_OF_DOMAIN, "correct the values; for a label, check data.class_names or data.num_classes"),
}
_INT_FOR_FLOAT = "Expected data of type: FLOAT but got INT"  # TFDV's words
_IMAGE_SIZE_ADVICE = (
    "make every image the size that data.image says, or set data.image.resize (it resizes, but converts no channels)"
)


@dataclass(frozen=True)
class Problem:
    """One anomaly: in which split, of which feature (empty: the split as a whole), why, and the names of its types."""

    split: str
    feature: str
    reason: str
    types: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = f"feature {self.feature!r}" if self.feature else "as a whole"
        return f"split {self.split}, {what}: {self.reason}"

    @property
    def advice(self) -> str:
        """What to do next, or nothing where the reason says it all."""
        if self.feature in _IMAGE_SIZE_FEATURES and set(self.types) & set(_OUT_OF_DOMAIN):
            return _IMAGE_SIZE_ADVICE
        if _INT_FOR_FLOAT in self.reason:  # float32 is the default, and a CSV column of whole numbers is int64
            return f"set data.features.{self.feature}.dtype to int64"
        return next((advice for name, advice in _ADVICE.items() if name in self.types), "")


def problems_of(split: str, anomalies: anomalies_pb2.Anomalies) -> list[Problem]:
    """Every anomaly of one split, sorted by feature, problems of the whole split first."""
    problems = []
    if anomalies.data_missing:
        problems.append(Problem(split, "", "it holds no examples"))
    if anomalies.HasField("dataset_anomaly_info"):
        problems.append(_problem(split, "", anomalies.dataset_anomaly_info))
    for name in sorted(anomalies.anomaly_info):
        info = anomalies.anomaly_info[name]
        problems.append(_problem(split, ".".join(info.path.step) or name, info))
    return problems


#: TFDV's words -> what a person would say.
_PLAIN_WORDS = {"Feature shape dropped": "some examples have no value, or another number of values than the shape says"}


def _problem(split: str, feature: str, info: anomalies_pb2.AnomalyInfo) -> Problem:
    parts = [
        _PLAIN_WORDS.get(reason.short_description, f"{reason.short_description} ({reason.description})")
        for reason in info.reason
    ]
    text = " and ".join(parts) or info.description or info.short_description
    types = tuple(anomalies_pb2.AnomalyInfo.Type.Name(reason.type) for reason in info.reason)
    return Problem(split, feature, " ".join(text.split()).replace(".)", ")"), types)


def anomalies_message(problems: Sequence[Problem]) -> str:
    """One paragraph: the first problems with split, feature and reason, the count of the rest, and what to do."""
    named = "; ".join(str(problem) for problem in problems[:_NAMED])
    rest = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
    advice = list(dict.fromkeys(problem.advice for problem in problems if problem.advice))
    next_step = "; ".join(advice) or "correct the data, or the schema if the data is right"
    return f"the data breaks its schema in {len(problems)} place(s): {named}{rest}. Next: {next_step}."
