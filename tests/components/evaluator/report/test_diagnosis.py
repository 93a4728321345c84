"""The likely cause of a refusal comes from the converter's report, and its absence fails nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.evaluator.report.diagnosis import Diagnosis, diagnosis_of, read_diagnosis
from components.repair.facts import CandidateFacts, FindingFacts, GoalFacts, OutputGoalFacts, OutputLossFacts
from components.repair.recipes import Recipe
from components.tflite_converter.report import CalibrationFacts, ConversionReport, StratumFacts
from tests.components.tflite_converter.test_report import REPORT

FINDING = FindingFacts(name="outliers", tensor="conv_3", figure=0.0123, threshold=0.25, remedy="percentile ranges")


def candidate(name: str, recipe: Recipe, chosen: bool = False, **losses: float) -> CandidateFacts:
    return CandidateFacts(
        name=name,
        recipe=recipe,
        losses=tuple(OutputLossFacts(output=output, loss=loss, met=False) for output, loss in losses.items()),
        sha256="0" * 64,
        size_bytes=5,
        float_operators=(),
        score=None,
        seconds=0.1,
        chosen=chosen,
    )


def goal(**kinds: tuple[str, float]) -> GoalFacts:
    outputs = tuple(
        OutputGoalFacts.model_validate({"output": output, "kind": kind, "reason": "r", "limit": limit})
        for output, (kind, limit) in kinds.items()
    )
    return GoalFacts(outputs=outputs, num_rows=297, num_set_aside=0)


def report(**changes: Any) -> ConversionReport:
    """Built through the model: a field that is renamed fails here."""
    return ConversionReport(**{**dict(REPORT), "recipe": Recipe.AUTO, "candidates": (), **changes})


CALIBRATION = CalibrationFacts(
    source="split",
    num_offered=900,
    num_pool=900,
    num_distinct=900,
    min_samples=300,
    min_samples_lowered=False,
    num_requested=500,
    num_range=500,
    num_selection=400,
    seed=7,
    sha256="0" * 64,
    strata=(StratumFacts(label="3, site night", num_distinct=9, num_drawn=5),),
    notes=(),
)
SEARCHED = report(
    met_goal=False,
    goal=goal(boxes=("ids", 0.05), classes=("classes", 0.005)),
    candidates=(
        candidate("int8 minmax", Recipe.INT8),
        candidate("int8 p99.9", Recipe.INT8, chosen=True, boxes=0.06, classes=0.04),
        candidate("int16x8", Recipe.INT16X8),
    ),
    calibration=CALIBRATION,
)
FOUND = Diagnosis(
    recipe="auto",
    tried="auto made 3 models; 'int8 p99.9' came closest to its goal on calibration examples (4.00 % lost, 0.50 % allowed)",
    recipes_tried=frozenset({"int8", "int16x8"}),
    met_goal=False,
    num_range=500,
    num_distinct=900,
    strata=("3, site night",),
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(report(), Diagnosis("auto"), id="nothing-found"),
        pytest.param(
            report(findings=(FINDING,)),
            Diagnosis("auto", "outliers at conv_3 (0.0123 against 0.25)", "outliers"),
            id="found",
        ),
        pytest.param(report(recipe=Recipe.INT8), Diagnosis("int8"), id="not-looked-for"),
        pytest.param(SEARCHED, FOUND, id="searched"),
    ],
)
def test_diagnosis(tmp_path: Path, content: ConversionReport, expected: Diagnosis) -> None:
    path = tmp_path / "conversion_report.json"
    path.write_text(content.to_json())
    assert read_diagnosis(path) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{", id="damaged"),
        pytest.param("[]", id="no-report"),
        pytest.param(json.dumps({**json.loads(SEARCHED.to_json()), "findings": ["odd"]}), id="of-another-version"),
    ],
)
def test_a_report_of_another_version_explains_nothing_and_is_named(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "conversion_report.json"
    path.write_text(text)
    assert read_diagnosis(path) is None
    assert f"{path} is no conversion report of this version" in caplog.text


def test_no_report_is_no_reason_to_warn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_diagnosis(tmp_path / "conversion_report.json") is None
    assert caplog.text == ""


def test_a_real_value_is_off_and_not_lost() -> None:
    candidates = (candidate("int8", Recipe.INT8, chosen=True, fare=0.0863),)
    found = diagnosis_of(report(met_goal=False, goal=goal(fare=("values", 0.05)), candidates=candidates))
    assert found.relative_error == 0.0863
    assert "(8.63 % of the spread off, 5.00 % allowed)" in (found.tried or "")
