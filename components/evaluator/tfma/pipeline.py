"""TFMA's own evaluator as a part of the scoring pipeline: the metrics and plots of the user's EvalConfig.

Rules: 1. It reads extracts of what was just scored and loads no model. 2. What crosses to the caller are TFMA's own protos,
one per slice, in an order that no runner decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from components.evaluator.counting.extra_figures import TfmaResults

_METRICS, _PLOTS = "metrics", "plots"


class GatherResults(beam.CombineFn):
    """Collects the protos of all slices: as many as there are slices, however many examples they hold."""

    def create_accumulator(self) -> list[tuple[str, bytes]]:
        """Nothing yet."""
        return []

    def add_input(self, accumulator: list[tuple[str, bytes]], element: tuple[str, bytes]) -> list[tuple[str, bytes]]:
        """Takes one proto in."""
        return [*accumulator, element]

    def merge_accumulators(self, accumulators: Iterable[list[tuple[str, bytes]]]) -> list[tuple[str, bytes]]:
        """Merges parts, in any order."""
        return [element for accumulator in accumulators for element in accumulator]

    def extract_output(self, accumulator: list[tuple[str, bytes]]) -> TfmaResults:
        """Metrics and plots, sorted."""
        return TfmaResults(*(tuple(sorted(v for k, v in accumulator if k == kind)) for kind in (_METRICS, _PLOTS)))


class ComputeMetrics(beam.PTransform):
    """PCollection of :class:`ExtractMaker`'s extracts in, one :class:`TfmaResults` out."""

    def __init__(self, config: Any) -> None:
        """Remembers what to compute.

        Args:
            config: EvalConfig of :func:`read_eval_config`.
        """
        super().__init__()
        self._config = config

    def expand(self, extracts: Any) -> Any:
        """TFMA's own evaluator, and its results as protos."""
        from tensorflow_model_analysis.evaluators import metrics_plots_and_validations_evaluator as evaluator

        evaluate = evaluator.MetricsPlotsAndValidationsEvaluator(eval_config=self._config).ptransform
        evaluation = extracts | "Evaluate" >> evaluate
        protos = (
            evaluation["metrics"] | "MetricProtos" >> beam.Map(_metrics_proto),
            evaluation["plots"] | "PlotProtos" >> beam.FlatMap(_plots_proto),
        )
        return protos | "Flatten" >> beam.Flatten() | "Gather" >> beam.CombineGlobally(GatherResults())


def _metrics_proto(slice_metrics: Any) -> tuple[str, bytes]:
    from tensorflow_model_analysis.writers import metrics_plots_and_validations_writer as writer

    return _METRICS, writer.convert_slice_metrics_to_proto(slice_metrics, None).SerializeToString(deterministic=True)


def _plots_proto(slice_plots: Any) -> Iterator[tuple[str, bytes]]:
    from tensorflow_model_analysis.writers import metrics_plots_and_validations_writer as writer

    if slice_plots[1]:
        yield _PLOTS, writer.convert_slice_plots_to_proto(slice_plots, None).SerializeToString(deterministic=True)
