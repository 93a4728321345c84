"""An EvalConfig through the executor: TFMA's metrics on the predictions that the gate counted, in the files that TFMA reads."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeproof_edge.errors import InputError
from edgeproof_edge.interpreter import TFLiteModel

from components.evaluator.counting.slices import SliceBy, SliceSpec, slices_to_json
from components.evaluator.report.gate_report import GateReport
from components.saved_models.saved_model import FloatModel
from tests.components.evaluator.test_executor import (
    LABELS,
    ROWS,
    Bench,
    Models,
    bench,
    interpreted_by_hand,
    models,
    softmax_by_hand,
)

__all__ = ["bench", "models"]  # fixtures
pytestmark = pytest.mark.tfx

SITES = np.array([b"north", b"south", b"west"])[np.random.default_rng(3).integers(0, 3, len(LABELS))]
EVAL_CONFIG = """
    metrics_specs {
      metrics { class_name: "SparseCategoricalAccuracy" config: '{"name": "accuracy_by_tfma"}' }
      metrics { class_name: "SparseCategoricalCrossentropy" }
      metrics { class_name: "ExampleCount" }
      metrics { class_name: "MultiClassConfusionMatrixPlot" }
    }
    metrics_specs {
      metrics { class_name: "CalibrationPlot" }
      binarize { class_ids { values: [0] } }
    }
    metrics_specs {
      metrics { class_name: "AUC" }
      binarize { class_ids { values: [2] } }
      aggregate { macro_average: true class_weights { key: 0 value: 1 } class_weights { key: 2 value: 1 } }
    }
"""
COUNT = 'metrics_specs { metrics { class_name: "ExampleCount" config: \'{"name": "n"}\' } }'


def ask(bench: Bench, text: str = EVAL_CONFIG, sites: Any = SITES) -> Bench:
    """Sets the bench up for an EvalConfig, with slices by label and by site."""
    slices = (SliceSpec(SliceBy.LABEL), SliceSpec(SliceBy.FEATURE, "site"))
    bench.properties.update(eval_config=text, slices=slices_to_json(slices))
    bench.features["site"] = [None if site is None else bytes(site) for site in sites]
    return bench


def results(directory: Path, model: str) -> Any:
    import tensorflow_model_analysis as tfma

    return tfma.load_eval_result(str(directory / "evaluation"), model_name=model)


def figures(result: Any) -> dict[Any, dict[str, float]]:
    """Numbers by slice and by name, a class's as ``auc 2``."""
    found: dict[Any, dict[str, float]] = {}
    for key, metrics in result.slicing_metrics:
        for part, values in metrics[""].items():
            for name, value in values.items():
                title = f"{name} {part}".strip()
                found.setdefault(key, {})[title] = value.get("doubleValue")
    return found


def area(positives: Any, scores: Any) -> float:
    """Area under the ROC curve by its definition: pairs in the right order."""
    higher = scores[positives][:, None] - scores[~positives][None]
    return float((higher > 0).mean() + 0.5 * (higher == 0).mean())


@dataclass(frozen=True)
class Outcome:
    """One evaluation that several tests look at, and how many rows each kind of model was given."""

    root: Path
    report: GateReport
    scored: Counter[str]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Outcome:
    bench = ask(Bench(tmp_path_factory.mktemp("extra"), models))
    bench.properties["kernel_sample_size"] = 0
    with pytest.MonkeyPatch.context() as patch:
        scored = count_rows(patch)
        return Outcome(bench.root, bench.run(models.int8).report, scored)


def count_rows(patch: pytest.MonkeyPatch) -> Counter[str]:
    """Rows that models predict from now on, by kind of model; Beam's local workers are threads of this process."""
    scored: Counter[str] = Counter()
    for kind in (FloatModel, TFLiteModel):

        def count(model: Any, rows: Any, *, kind: Any = kind, predict: Any = kind.predict) -> Any:
            scored[kind.__name__] += len(next(iter(rows.values())))
            return predict(model, rows)

        patch.setattr(kind, "predict", count)
    return scored


def test_tfmas_accuracy_is_the_counted_one_in_every_slice(outcome: Outcome) -> None:
    for model in ("baseline", "candidate"):
        found = figures(results(outcome.root, model))
        assert len(found) == 1 + 3 + 3
        for of_slice in found.values():
            assert of_slice["accuracy_by_tfma"] == pytest.approx(of_slice["sparse_categorical_accuracy"], abs=1e-6)


def test_metrics_that_the_gate_does_not_count_equal_plain_numpy(outcome: Outcome, models: Models) -> None:
    for model, scores in {
        "baseline": softmax_by_hand(ROWS),
        "candidate": interpreted_by_hand(models.int8, ROWS),
    }.items():
        found = figures(results(outcome.root, model))
        for key, rows in {(): np.full(len(LABELS), True), (("site", "north"),): SITES == b"north"}.items():
            of_label = np.clip(scores[np.arange(len(LABELS)), LABELS][rows], 1e-7, 1)
            shares = scores.sum(axis=1)[rows]
            expected = -np.log(of_label / shares).mean()
            assert found[key]["sparse_categorical_crossentropy"] == pytest.approx(expected, rel=1e-3)
            assert found[key]["auc classId:2"] == pytest.approx(area(LABELS[rows] == 2, scores[rows][:, 2]), abs=1e-3)


def test_plots_are_read_by_tfma(outcome: Outcome) -> None:
    plots = dict(results(outcome.root, "candidate").plots)
    assert set(plots) == {
        (),
        *((("label", name),) for name in ("low", "middle", "high")),
        *((("site", name),) for name in ("north", "south", "west")),
    }
    kinds = {kind for parts in plots[()][""].values() for kind in parts}
    assert {"multiClassConfusionMatrixAtThresholds", "calibrationHistogramBuckets"} <= kinds


def test_the_stored_config_holds_the_gates_metrics_and_the_users(outcome: Outcome) -> None:
    config = results(outcome.root, "candidate").config
    assert [[metric.class_name for metric in spec.metrics] for spec in config.metrics_specs] == [
        ["ExampleCount", "SparseCategoricalAccuracy"],
        ["SparseCategoricalAccuracy", "SparseCategoricalCrossentropy", "ExampleCount", "MultiClassConfusionMatrixPlot"],
        ["CalibrationPlot"],
        ["AUC"],
    ]
    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [[], ["label"], ["site"]]


def test_the_report_and_the_page_show_the_whole_for_both_models(outcome: Outcome) -> None:
    shown = {figure.name: figure for figure in outcome.report.extra_metrics}
    assert set(shown) == {
        "accuracy_by_tfma",
        "auc, class 2",
        "auc, macro average",
        "example_count",
        "sparse_categorical_crossentropy",
    }
    counts = outcome.report.counts
    assert counts is not None
    assert shown["accuracy_by_tfma"].float_value == pytest.approx(counts.num_correct_float / len(LABELS))
    assert shown["accuracy_by_tfma"].candidate_value == pytest.approx(counts.num_correct_candidate / len(LABELS))
    page = (outcome.root / "evaluation" / "report.html").read_text(encoding="utf-8")
    assert "auc, class 2" in page


def test_the_gates_verdict_is_the_one_without_tfma(outcome: Outcome, tmp_path: Path, models: Models) -> None:
    plain = ask(Bench(tmp_path, models), "")
    plain.properties["kernel_sample_size"] = 0
    without = json.loads(plain.run(models.int8).report.model_dump_json(exclude={"lineage"}))
    with_tfma = json.loads(outcome.report.model_dump_json(exclude={"lineage"}))
    assert with_tfma.pop("extra_metrics")
    assert without.pop("extra_metrics") == []
    assert with_tfma == without
    assert not list((tmp_path / "evaluation").glob("plots*"))


def test_nothing_is_scored_twice(outcome: Outcome) -> None:
    """Beside the candidate, built-in kernels score the rows of which golden ones are chosen."""
    assert outcome.scored["FloatModel"] == len(LABELS)
    assert len(LABELS) <= outcome.scored["TFLiteModel"] < 2 * len(LABELS)


def test_slices_of_the_config_are_cut_by_any_feature(
    bench: Bench, models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    bench.features["age"] = [int(age) for age in np.arange(len(LABELS)) % 4]
    ask(
        bench,
        COUNT + 'slicing_specs { feature_keys: ["age", "site"] } '
        'slicing_specs { feature_values { key: "label" value: "high" } } slicing_specs { feature_keys: "agee" }'
        'cross_slicing_specs { baseline_spec {} slicing_specs { feature_keys: "age" } }',
        [None, *SITES[1:]],
    ).run(models.int8)
    assert "cuts by 'agee', and no example is in such a slice" in caplog.text
    found = figures(results(bench.root, "candidate"))
    old = np.arange(len(LABELS)) % 4 == 3
    assert found[(("age", 3), ("site", "south"))]["n"] == int((old & (SITES == b"south")).sum())
    assert found[(("label", "high"),)]["n"] == found[(("label", "high"),)]["example_count"]
    assert found[(("age", 0), ("site", "(missing)"))]["n"] == 1
    assert found[((), (("age", 1),))]["n"] == len(LABELS) - found[(("age", 1),)]["n"]


def test_examples_that_no_metric_can_take_are_refused_by_the_gate_and_left_out_by_tfma(
    bench: Bench, models: Models
) -> None:
    bench.labels = LABELS.copy()
    bench.labels[:5] = 9
    report = ask(bench, COUNT).run(models.int8).report
    assert not report.verdict.accepted
    assert report.counts.num_label_out_of_range == 5
    (count,) = [figure for figure in report.extra_metrics if figure.name == "n"]
    assert count.float_value == len(LABELS) - 5


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        pytest.param(
            'metrics { class_name: "Precision" } binarize { class_ids { values: 7 } }',
            "metric Precision does not fit the labels and outputs: class_id",
            id="no-such-class",
        ),
        pytest.param('metrics { class_name: "Prcision" }', "did you mean Precision", id="unknown-class"),
    ],
)
def test_a_metric_that_does_not_fit_is_one_sentence(bench: Bench, models: Models, spec: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        ask(bench, f"metrics_specs {{ {spec} }}").run(models.int8)
    assert "\n" not in str(caught.value)
