"""Files on disk, judged as ``edgeproof evaluate`` judges them: float against itself is accepted, a spoilt one refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from edgeproof_edge.interpreter import TFLiteModel

from components.evaluator.arrays import evaluate_arrays
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.report.gate_report import GateReport
from tests.incidents import stock
from tests.incidents.data import Array, Incident
from tests.incidents.dead_ends import DEAD_ENDS
from tests.incidents.spoilt_models import SPOILS, spoilt

Rules = Mapping[str, str]

CLASSES: tuple[Rules, ...] = ({}, {"metric": "topk", "top_k": "2"})
BINARY: tuple[Rules, ...] = ({}, {"metric": "f1"}, {"metric": "auc"})
VALUES: tuple[Rules, ...] = ({"metric": "mae"}, {"metric": "rmse"})
#: Metrics that the config of each incident allows.
METRICS: Mapping[str, tuple[Rules, ...]] = {
    "padded_maximum": CLASSES,
    "masked_attention": CLASSES,
    "spectrogram": CLASSES,
    "far_columns": CLASSES,
    "far_from_zero": VALUES,
    "detector_head": VALUES,
    "rare_alarm": BINARY,
}


@dataclass(frozen=True)
class FloatFile:
    """An incident with its float .tflite and what that gives on the holdout."""

    incident: Incident
    data: bytes
    output: str
    values: Array

    def judged(self, data: bytes, rules: Rules, directory: Path) -> GateReport:
        """The report on a file."""
        file = directory / "candidate.tflite"
        file.write_bytes(data)
        labels = self.incident.holdout_y[self.output]
        incident = self.incident
        return evaluate_arrays(
            incident.saved_model, file, incident.holdout_x, labels, GateRules.of(rules), kernel_sample_size=0
        ).report


@pytest.fixture(scope="module")
def float_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], FloatFile]:
    directory = tmp_path_factory.mktemp("spoilt")

    @cache
    def make(name: str) -> FloatFile:
        incident = DEAD_ENDS[name](directory)
        data = stock.convert_float(incident)
        ((output, values),) = TFLiteModel.load(data).predict(incident.holdout_x).items()
        return FloatFile(incident, data, output, values)

    return make


def test_every_incident_has_metrics() -> None:
    assert METRICS.keys() == DEAD_ENDS.keys()


CASES = [
    pytest.param(
        name,
        rules,
        id=f"{name}-{rules.get('metric', 'top1')}",
        marks=pytest.mark.tfx if name in ("masked_attention", "rare_alarm") and not rules else pytest.mark.exhaustive,
    )
    for name, metrics in METRICS.items()
    for rules in metrics
]


@pytest.mark.parametrize(("name", "rules"), CASES)
def test_only_the_sound_file_is_accepted(
    float_file: Callable[[str], FloatFile], name: str, rules: Rules, tmp_path: Path
) -> None:
    sound = float_file(name)
    verdicts = {"float": sound.judged(sound.data, rules, tmp_path).verdict}
    for kind, spoil in SPOILS.items():
        data = spoilt(sound.data, sound.output, sound.values, spoil)
        verdicts[kind] = sound.judged(data, rules, tmp_path).verdict
    assert {kind: verdict.accepted for kind, verdict in verdicts.items()} == {
        kind: kind == "float" for kind in verdicts
    }, verdicts
