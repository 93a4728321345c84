"""What a person reads at the end of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeproof_edge.tensors import TensorSpec

from components.repair.facts import OutputLossFacts
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


def test_of_several_outputs_one_is_named_to_be_judged() -> None:
    outputs = tuple(TensorSpec(name, (-1, 4), "float32") for name in ("probs", "boxes"))
    signature = REPORT.signature.model_copy(update={"outputs": outputs})
    report = REPORT.model_copy(update={"signature": signature})
    last = describe_conversion(report, Path("model"), Path("edge")).splitlines()[-1]
    assert "--output probs   # or boxes" in last


def test_a_file_that_tells_nothing_is_not_offered() -> None:
    loss = OutputLossFacts(output="probs", loss=1.9, met=False, is_useless=True)
    chosen = REPORT.candidates[0].model_copy(update={"losses": (loss,), "chosen": True})
    text = describe_conversion(REPORT.model_copy(update={"candidates": (chosen,)}), Path("model"), Path("edge"))
    assert "USELESS  output 'probs' tells no more than its mean" in text
    assert "edgeproof evaluate" not in text
