"""The likely cause of a refusal comes from the converter's report, and its absence fails nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.evaluator.diagnosis import Diagnosis, read_diagnosis

FINDING = {"name": "outliers", "tensor": "conv_3", "figure": 0.0123, "threshold": 0.25, "remedy": "percentile ranges"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(None, None, id="absent"),
        pytest.param("{", None, id="damaged"),
        pytest.param("[]", None, id="no-report"),
        pytest.param({"recipe": "auto"}, Diagnosis(None, None), id="nothing-found"),
        pytest.param(
            {"recipe": "auto", "findings": [FINDING]},
            Diagnosis("outliers at conv_3 (0.0123 against 0.25)", "percentile ranges"),
            id="found",
        ),
        pytest.param(
            {"recipe": "int8", "findings": []},
            Diagnosis(None, "edgeproof run CONFIG --set convert.recipe=auto"),
            id="not-looked-for",
        ),
        pytest.param({"recipe": "auto", "findings": ["odd"]}, Diagnosis(None, None), id="other-version"),
    ],
)
def test_diagnosis(tmp_path: Path, content: object, expected: Diagnosis | None) -> None:
    path = tmp_path / "conversion_report.json"
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    assert read_diagnosis(path) == expected
