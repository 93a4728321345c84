"""The page of a run: what the record knows stands on it, wherever the verdict came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.data.data_summary import DataSummary
from components.evaluator.page.page import write_page
from pipeline.history.run_page import page_of
from pipeline.history.run_record import ReleaseRecord, RunRecord
from tests.components.evaluator.page.test_page import CONVERSION, HISTORY, gate_report, write_reports


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    """Of the third run, which took the verdict of the second from the cache."""
    folders = {name: tmp_path / name for name in ("examples", "model", "tflite", "evaluation")}
    for folder in folders.values():
        folder.mkdir()
    write_reports(folders["evaluation"], gate_report())
    (folders["model"] / "history.json").write_text(HISTORY.model_dump_json())
    (folders["tflite"] / "conversion_report.json").write_text(CONVERSION.to_json())
    counts = {"train": (5, 6, 7, 8)}
    DataSummary(num_examples={"train": 26, "eval": 100}, num_per_class=counts).write(str(folders["examples"]))
    return RunRecord(
        pipeline="pets",
        run_id="2026-11-27T10:00:00.123456",
        reason="a new camera",
        nodes=(),
        is_accepted=True,
        examples=str(folders["examples"]),
        float_model=str(folders["model"]),
        gate_report=str(folders["evaluation"] / "gate_report.json"),
        conversion_report=str(folders["tflite"] / "conversion_report.json"),
        release=ReleaseRecord(version="000003-ab", path="p", repository="r", channel="dev"),
        log="log",
        number=3,
        git_commit="c" * 40,
        judged_by="2026-11-26T09:00:00.654321",
        judged_at="2026-11-26 09:01",
        data="span 4",
        num_examples={"eval": 100, "train": 26},  # sorted, as the record's file is
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("pets int8, release 000003-ab on channel dev, run 3 (2026-11-27T10:00:00), 2026", id="title"),
        pytest.param("<dt>judged in run</dt><dd>2026-11-26T09:00:00</dd>", id="verdict-from-the-cache"),
        pytest.param("<dt>started</dt><dd>a new camera</dd>", id="reason"),
        pytest.param(f"<dt>git commit</dt><dd>{'c' * 40}</dd>", id="commit"),
        pytest.param("<dt>examples</dt><dd>train 26, eval 100</dd>", id="splits"),
        pytest.param('<td class="n wide">6</td>', id="trained-on-by-class"),
        pytest.param("Trained for 5 epochs", id="history-of-the-float-model"),
        pytest.param("int8 minmax", id="report-of-the-converter"),
    ],
)
def test_a_page_of_a_run_says(record: RunRecord, tmp_path: Path, text: str) -> None:
    page = page_of(record, tmp_path)
    assert page == str(tmp_path / "pages" / "2026-11-27T100000.123456.html")
    assert text in Path(page).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(
            {"release": None, "number": None, "judged_by": "", "num_examples": {}}, id="refused-and-of-before"
        ),
        pytest.param({"examples": "/cleared/away", "float_model": "/cleared/away"}, id="artifacts-cleared-away"),
    ],
)
def test_what_a_record_does_not_know_is_left_out(record: RunRecord, tmp_path: Path, changes: dict[str, Any]) -> None:
    page = page_of(record.model_copy(update=changes), tmp_path)
    assert page is not None
    assert "None" not in Path(page).read_text(encoding="utf-8")


def test_where_it_cannot_be_drawn_the_evaluators_page_stands_in(record: RunRecord, tmp_path: Path) -> None:
    (tmp_path / "pages").write_text("a file where the folder should be")
    assert page_of(record, tmp_path) is None
    own = write_page(tmp_path / "evaluation")
    assert own is not None
    assert page_of(record, tmp_path) == str(own)
