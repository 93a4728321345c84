"""What a person reads at the end of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.outcome import describe_conversion, shortened
from tests.components.tflite_converter.test_report import REPORT


def test_a_path_below_here_is_shown_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shortened(str(tmp_path / "work" / "log")) == "work/log"
    assert shortened("/elsewhere/log") == "/elsewhere/log"


def test_a_conversion_ends_with_the_command_that_judges_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    last = describe_conversion(REPORT, tmp_path / "my model" / "1", Path("edge")).splitlines()[-1]
    assert last == (
        "next     edgeproof evaluate --saved-model 'my model/1' --tflite edge/model.tflite --data HOLDOUT.npz --out edge"
    )
