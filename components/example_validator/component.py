"""The contract of ExampleValidator: the stock component's, and how many examples later steps need of a split."""

from __future__ import annotations

from collections.abc import Mapping

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import BaseChannel, Channel, standard_artifacts
from tfx.types.component_spec import ExecutionParameter
from tfx.types.standard_component_specs import ExampleValidatorSpec as StockExampleValidatorSpec

from components.example_validator.executor import Executor
from components.example_validator.minimums import Minimum, minimums_to_json


class ExampleValidatorSpec(StockExampleValidatorSpec):
    """The stock parameters, ``minimums``, ``cut_by_shares`` and, for the TFX cache only, ``code_version``."""

    PARAMETERS = {
        **StockExampleValidatorSpec.PARAMETERS,
        "minimums": ExecutionParameter(type=str),
        "cut_by_shares": ExecutionParameter(type=int),
        "code_version": ExecutionParameter(type=str),
    }


class ExampleValidator(base_component.BaseComponent):
    """Stops the run when statistics break the schema, or count fewer examples than a later step needs."""

    SPEC_CLASS = ExampleValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        statistics: BaseChannel,
        schema: BaseChannel,
        minimums: Mapping[str, Minimum],
        cut_by_shares: bool,
        code_version: str,
    ) -> None:
        """Constructs the component.

        Args:
            statistics: Statistics of every split, as the stock StatisticsGen writes them.
            schema: What the data must keep.
            minimums: Split -> how many examples it must hold, and the config's key that says so.
            cut_by_shares: Whether ``data.shares`` divides the data, so that the refusal may suggest other shares.
            code_version: Hash of the code and libraries behind the executor, for the cache.
        """
        super().__init__(
            spec=ExampleValidatorSpec(
                statistics=statistics,
                schema=schema,
                exclude_splits="[]",
                minimums=minimums_to_json(minimums),
                cut_by_shares=int(cut_by_shares),
                code_version=code_version,
                anomalies=Channel(type=standard_artifacts.ExampleAnomalies),
            )
        )
