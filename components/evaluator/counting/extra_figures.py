"""What TFMA computed for the user's EvalConfig: its protos, and the numbers of the whole holdout that a report shows.

No rule of the gate reads them. TFMA is imported inside the function that reads its protos.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from components.evaluator.tfma.eval_config import BASELINE, CANDIDATE, slicing_features


@dataclass(frozen=True)
class TfmaResults:
    """What TFMA computed for the user's EvalConfig: serialized ``MetricsForSlice`` and ``PlotsForSlice``, one per slice."""

    metrics: tuple[bytes, ...] = ()
    plots: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class ExtraFigure:
    """A metric of TFMA on the whole holdout; None where it is no finite number, or was not asked of that model."""

    name: str
    float_value: float | None
    candidate_value: float | None

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


def overall_figures(results: TfmaResults) -> tuple[ExtraFigure, ...]:
    """The metrics of the whole holdout that are one number each, by name; others are in TFMA's files only."""
    from tensorflow_model_analysis.proto import metrics_for_slice_pb2

    values: dict[str, dict[str, float | None]] = {}
    for data in results.metrics:
        proto = metrics_for_slice_pb2.MetricsForSlice.FromString(data)
        if proto.HasField("cross_slice_key") or proto.slice_key.single_slice_keys:
            continue
        for entry in proto.metric_keys_and_values:
            if entry.value.WhichOneof("type") == "double_value" and not entry.key.is_diff:
                number = entry.value.double_value.value
                models = values.setdefault(_title(entry.key), {})
                models[entry.key.model_name] = number if math.isfinite(number) else None
    return tuple(ExtraFigure(name, of.get(BASELINE), of.get(CANDIDATE)) for name, of in sorted(values.items()))


def _title(key: Any) -> str:
    """The metric's name with what it was restricted to: ``auc, class 3`` or ``precision, micro average``."""
    part, average = key.sub_key, key.aggregation_type
    parts = [f"class {part.class_id.value}"] if part.HasField("class_id") else []
    parts += [f"rank {part.k.value}"] if part.HasField("k") else []
    parts += [f"top {part.top_k.value}"] if part.HasField("top_k") else []
    parts += [field.name.replace("_", " ") for field, value in average.ListFields() if value]
    return ", ".join([key.name, *parts])


def features_without_slices(config: Any, results: TfmaResults) -> tuple[str, ...]:
    """Features that the EvalConfig cuts by and that no example has (with the value asked for), sorted: typos, mostly."""
    from tensorflow_model_analysis.proto import metrics_for_slice_pb2

    protos = [metrics_for_slice_pb2.MetricsForSlice.FromString(data) for data in results.metrics]
    columns = {part.column for proto in protos for part in proto.slice_key.single_slice_keys}
    return tuple(name for name in slicing_features(config) if name not in columns)
