"""What a person reads at the end of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.history.outcome import describe_conversion, describe_release, shortened
from pipeline.history.run_record import ReleaseRecord
from tests.components.tflite_converter.test_report import REPORT


def test_a_path_below_here_is_shown_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shortened(str(tmp_path / "work" / "log")) == "work/log"
    assert shortened("/elsewhere/log") == "/elsewhere/log"


@pytest.mark.parametrize(
    ("offered", "place", "next_step"),
    [
        pytest.param("2-b", "2-b on channel dev of /r", "release promote /r 2-b stable", id="offered"),
        pytest.param(
            "3-c", "2-b of /r, published before; channel dev offers 3-c", "promote /r 2-b dev ", id="newer-stays"
        ),
        pytest.param("", "2-b on channel dev of /r", "release promote /r 2-b stable", id="record-of-before"),
    ],
)
def test_a_release_that_its_channel_does_not_offer_is_not_said_to_be_there(
    offered: str, place: str, next_step: str
) -> None:
    release = ReleaseRecord(version="2-b", path="/p", repository="/r", channel="dev", offered_version=offered)
    found = describe_release(release)
    assert found[0] == place
    assert next_step in found[1]


def test_a_conversion_ends_with_the_command_that_judges_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    last = describe_conversion(REPORT, tmp_path / "my model" / "1", Path("edge")).splitlines()[-1]
    assert last == (
        "next     edgeproof evaluate --saved-model 'my model/1' --tflite edge/model.tflite --data HOLDOUT.npz --out edge"
    )
