"""The contract of ExampleValidator: the stock component's, with an executor that stops the run."""

from __future__ import annotations

from tfx.components.example_validator.component import ExampleValidator as StockExampleValidator
from tfx.dsl.components.base import executor_spec

from components.example_validator.executor import Executor


class ExampleValidator(StockExampleValidator):
    """Stops the run when statistics break the schema; the constructor is the stock one (statistics, schema)."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
