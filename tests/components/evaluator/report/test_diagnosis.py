"""The likely cause of a refusal comes from the converter's report, and its absence fails nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.evaluator.report.diagnosis import Diagnosis, read_diagnosis

FINDING = {"name": "outliers", "tensor": "conv_3", "figure": 0.0123, "threshold": 0.25, "remedy": "percentile ranges"}

SEARCHED = {
    "recipe": "auto",
    "met_goal": False,
    "goal": {"outputs": [{"output": "boxes", "limit": 0.05}, {"output": "classes", "limit": 0.005}]},
    "candidates": [
        {"name": "int8 minmax", "recipe": "int8", "chosen": False},
        {
            "name": "int8 p99.9",
            "recipe": "int8",
            "chosen": True,
            "losses": [{"output": "boxes", "loss": 0.06}, {"output": "classes", "loss": 0.04}],
        },
        {"name": "int16x8", "recipe": "int16x8", "chosen": False},
    ],
    "calibration": {"num_range": 500, "num_distinct": 900, "strata": [{"label": "3, site night"}]},
}
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
        pytest.param(None, None, id="absent"),
        pytest.param("{", None, id="damaged"),
        pytest.param("[]", None, id="no-report"),
        pytest.param({"recipe": "auto"}, Diagnosis("auto"), id="nothing-found"),
        pytest.param(
            {"recipe": "auto", "findings": [FINDING]},
            Diagnosis("auto", "outliers at conv_3 (0.0123 against 0.25)", "outliers"),
            id="found",
        ),
        pytest.param({"recipe": "int8", "findings": []}, Diagnosis("int8"), id="not-looked-for"),
        pytest.param(
            {
                "recipe": "auto",
                "findings": ["odd"],
                "candidates": "odd",
                "calibration": [],
                "goal": 7,
                "met_goal": "yes",
            },
            Diagnosis("auto"),
            id="other-version",
        ),
        pytest.param(SEARCHED, FOUND, id="searched"),
    ],
)
def test_diagnosis(tmp_path: Path, content: object, expected: Diagnosis | None) -> None:
    path = tmp_path / "conversion_report.json"
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    assert read_diagnosis(path) == expected


def test_a_real_value_is_off_and_not_lost(tmp_path: Path) -> None:
    goal = {"outputs": [{"output": "fare", "kind": "values", "limit": 0.05}]}
    chosen = {"name": "int8", "recipe": "int8", "chosen": True, "losses": [{"output": "fare", "loss": 0.0863}]}
    (tmp_path / "report.json").write_text(json.dumps({**SEARCHED, "goal": goal, "candidates": [chosen]}))
    found = read_diagnosis(tmp_path / "report.json")
    assert found is not None
    assert found.relative_error == 0.0863
    assert "(8.63 % of the spread off, 5.00 % allowed)" in (found.tried or "")
