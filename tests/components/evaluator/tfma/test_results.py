"""What TFMA's own tools read: both models and every slice, with the figures that TFMA itself computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.evaluator.counting.counts import count_batch
from components.evaluator.counting.deviations import compare_numbers
from components.evaluator.counting.slices import SliceBy, SliceSpec, count_slices, group_rows
from components.evaluator.counting.tally import Tally
from components.evaluator.gate.judgement import judge
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.report.builder import Surroundings, build_report
from components.evaluator.report.gate_report import RuntimeRecord
from components.evaluator.tfma.results import write_tfma_results
from tests.components.evaluator.samples import evidence_of, tally_of

pytestmark = pytest.mark.tfx

SURROUNDINGS = Surroundings(
    "b" * 64, RuntimeRecord(name="ai-edge-litert", version="2", kernels="xnnpack", num_threads=1), "tfx116"
)
SLICES = (SliceSpec(SliceBy.LABEL), SliceSpec(SliceBy.FEATURE, "site"))
RANDOM = np.random.default_rng(9)
LABELS = RANDOM.integers(0, 4, 3000)
SITES = np.array(["north", "south", "west"])[RANDOM.integers(0, 3, 3000)]


def scores(noise: float, seed: int) -> Any:
    noisy = np.eye(4)[LABELS] + np.random.default_rng(seed).normal(0, noise, (3000, 4))
    exponentials = np.exp(noisy - noisy.max(axis=1, keepdims=True))
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)


OUTPUTS = {"baseline": scores(0.5, 1), "candidate": scores(0.7, 2)}


def write(directory: Path, tally: Tally, rules: GateRules, slices: tuple[SliceSpec, ...] = SLICES) -> bool:
    evidence = evidence_of(tally, rules, slices=slices)
    verdict = judge(evidence)
    write_tfma_results(directory, tally, build_report(verdict, evidence, SURROUNDINGS), evidence.case)
    return verdict.accepted


def tallied() -> Tally:
    from components.evaluator.counting.counts import compare

    comparison = compare(LABELS, OUTPUTS["baseline"], OUTPUTS["candidate"])
    groupings = group_rows(SLICES, LABELS, (), 4, {}, {"site": SITES})
    return tally_of(comparison.counts(), slices=count_slices(groupings, comparison.outcomes, np.zeros(3000, np.bool_)))


def figures(directory: Path, model: str) -> dict[tuple[Any, ...], dict[str, float]]:
    """Figures by slice, with TFMA's own reader."""
    import tensorflow_model_analysis as tfma

    result = tfma.load_eval_result(str(directory), model_name=model)
    return {
        tuple((name, str(value)) for name, value in key): {
            name: value["doubleValue"] for name, value in metrics[""][""].items()
        }
        for key, metrics in result.slicing_metrics
    }


def by_tfma(model: str) -> dict[tuple[Any, ...], dict[str, float]]:
    """TFMA run on the same predictions."""
    import pandas
    import tensorflow_model_analysis as tfma
    from tensorflow_model_analysis.proto import config_pb2

    config = config_pb2.EvalConfig()
    config.model_specs.add(label_key="truth", prediction_key="prediction")
    config.slicing_specs.add()
    for name in ("label", "site"):
        config.slicing_specs.add(feature_keys=[name])
    metrics = config.metrics_specs.add()
    for name in ("ExampleCount", "SparseCategoricalAccuracy"):
        metrics.metrics.add(class_name=name)
    data = pandas.DataFrame(
        {"truth": LABELS, "label": LABELS, "site": SITES, "prediction": list(OUTPUTS[model].astype(np.float64))}
    )
    result = tfma.analyze_raw_data(data, config)
    return {
        tuple((name, str(value)) for name, value in key): {
            name: value["doubleValue"] for name, value in found[""][""].items()
        }
        for key, found in result.slicing_metrics
    }


@pytest.mark.parametrize("model", [pytest.param("baseline", marks=pytest.mark.exhaustive), "candidate"])
def test_tfma_computes_the_same_accuracy_per_slice(tmp_path: Path, model: str) -> None:
    write(tmp_path, tallied(), GateRules())
    ours, theirs = figures(tmp_path, model), by_tfma(model)
    assert set(ours) == set(theirs)
    assert len(ours) == 1 + 4 + 3
    for key, expected in theirs.items():
        assert ours[key]["example_count"] == expected["example_count"]
        assert ours[key]["sparse_categorical_accuracy"] == pytest.approx(
            expected["sparse_categorical_accuracy"], abs=1e-6
        )


def test_the_validation_says_what_the_gate_said(tmp_path: Path) -> None:
    import tensorflow_model_analysis as tfma

    assert not write(tmp_path / "refused", tallied(), GateRules())
    refused = tfma.load_validation_result(str(tmp_path / "refused"))
    assert not refused.validation_ok
    (failed,) = refused.metric_validations_per_slice
    assert [failure.metric_key.name for failure in failed.failures] == ["accuracy_kept"]
    assert "required 97.00 %" in failed.failures[0].message
    assert write(tmp_path / "accepted", tallied(), GateRules.of({"min_ratio": "0.5"}))
    assert tfma.load_validation_result(str(tmp_path / "accepted")).validation_ok


def test_the_config_names_models_slices_and_metrics(tmp_path: Path) -> None:
    import tensorflow_model_analysis as tfma

    write(tmp_path, tallied(), GateRules())
    config = tfma.load_eval_result(str(tmp_path), model_name="candidate").config
    assert [(spec.name, spec.is_baseline) for spec in config.model_specs] == [("candidate", False), ("baseline", True)]
    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [[], ["label"], ["site"]]
    assert [metric.class_name for metric in config.metrics_specs[0].metrics] == [
        "ExampleCount",
        "SparseCategoricalAccuracy",
    ]


def test_errors_of_a_regression_are_there(tmp_path: Path) -> None:
    labels = RANDOM.normal(size=800)
    tally = Tally(compare_numbers(labels, (labels + 0.5)[:, None], (labels - 0.25)[:, None], np.zeros(800, np.bool_)))
    write(tmp_path, tally, GateRules.of({"metric": "mae"}), ())
    assert figures(tmp_path, "candidate")[()]["mean_absolute_error"] == pytest.approx(0.25)
    assert figures(tmp_path, "baseline")[()]["root_mean_squared_error"] == pytest.approx(0.5)


def test_f1_is_beside_the_accuracy(tmp_path: Path) -> None:
    outputs = np.array([[0.9], [0.8], [0.1], [0.6]] * 200, np.float32)
    tally = tally_of(count_batch(np.array([1, 1, 0, 0] * 200), outputs, outputs))
    write(tmp_path, tally, GateRules.of({"metric": "f1"}), ())
    assert figures(tmp_path, "candidate")[()]["f1_score"] == pytest.approx(0.8)


def test_the_stock_resolver_finds_the_last_blessed_model(tmp_path: Path) -> None:
    """TFX's own strategy over what our executor writes: a refused model is skipped, and so are float models."""
    from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
    from tfx.types import standard_artifacts

    from components.evaluator.executor import write_blessing

    def artifact(kind: str, number: int) -> Any:
        made = getattr(standard_artifacts, kind)()
        made.id, made.uri = number, str(tmp_path / f"{kind}-{number}")
        return made

    models, blessings = [], []
    for number, accepted in enumerate([True, True, False], start=1):
        float_model, tflite_model = artifact("Model", 10 * number), artifact("Model", 10 * number + 1)
        blessing = artifact("ModelBlessing", 100 + number)
        write_blessing(blessing, accepted, {"float_model": [float_model], "tflite_model": [tflite_model]})
        models += [float_model, tflite_model]
        blessings.append(blessing)
    resolved = LatestBlessedModelStrategy().resolve_artifacts(None, {"model": models, "model_blessing": blessings})
    assert resolved is not None
    assert [model.id for model in resolved["model"]] == [21]
    assert not LatestBlessedModelStrategy().resolve_artifacts(None, {"model": models, "model_blessing": blessings[2:]})[
        "model"
    ]
