"""What a person reads at the end of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.outcome import shortened


def test_a_path_below_here_is_shown_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shortened(str(tmp_path / "work" / "log")) == "work/log"
    assert shortened("/elsewhere/log") == "/elsewhere/log"
