from __future__ import annotations

from pathlib import Path

import pytest

from components.repair.recipes import IoType, Recipe
from components.repair.settings import AutoSettings, Caps, GoalSettings
from components.tflite_converter.job import (
    ConversionJob,
    Failure,
    FailureKind,
    JobResult,
    UnsupportedOperator,
    read_result,
    write_result,
)


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(
            ConversionJob("/models/digits", "edge", Recipe.INT8, IoType.UINT8, IoType.FLOAT32, ("image", "file"), 4),
            id="int8",
        ),
        pytest.param(
            ConversionJob(
                "/models/digits",
                "edge",
                Recipe.AUTO,
                IoType.INT8,
                IoType.INT8,
                auto=AutoSettings(GoalSettings(outputs={"box": "values"}), Caps(3, 1.0), (Recipe.FLOAT16,)),
                may_change_io=False,
            ),
            id="auto",
        ),
    ],
)
def test_a_job_survives_its_file(job: ConversionJob) -> None:
    assert ConversionJob.from_json(job.to_json()) == job


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(JobResult(500, 1.25, 0.5), id="done"),
        pytest.param(JobResult(failure=Failure(FailureKind.MEMORY, "no room")), id="failed"),
        pytest.param(
            JobResult(
                failure=Failure(FailureKind.UNSUPPORTED_OPERATORS, "two", (UnsupportedOperator("Det", "model/det"),))
            ),
            id="unsupported-operators",
        ),
    ],
)
def test_a_result_survives_its_file(tmp_path: Path, result: JobResult) -> None:
    write_result(tmp_path, result)
    assert read_result(tmp_path) == result


def test_a_child_that_died_left_no_result(tmp_path: Path) -> None:
    assert read_result(tmp_path) is None
