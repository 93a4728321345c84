"""The user's EvalConfig: completed, or refused in one sentence before anything is scored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from edgeproof_edge.errors import InputError

from components.errors import DataError, ModelError
from components.evaluator.counting.slices import Grouping, SliceBy, SliceKey, SliceSpec
from components.evaluator.tfma.eval_config import (
    check_fit,
    check_metrics,
    metric_modules,
    read_eval_config,
    slicing_features,
)
from components.evaluator.tfma.extracts import ExtractMaker, ScoredRows, probabilities

pytestmark = pytest.mark.tfx

SLICES = (SliceSpec(SliceBy.LABEL), SliceSpec(SliceBy.FEATURE, "site"))
AUC = 'metrics_specs { metrics { class_name: "AUC" } }'


def test_both_models_and_the_gates_slices_are_filled_in() -> None:
    config = read_eval_config(AUC, SLICES, "label")
    assert [(spec.name, spec.is_baseline) for spec in config.model_specs] == [("candidate", False), ("baseline", True)]
    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [[], ["label"], ["site"]]
    assert list(config.metrics_specs[0].model_names) == ["candidate", "baseline"]


def test_slices_of_its_own_stay_and_the_whole_is_always_there() -> None:
    text = AUC + 'slicing_specs { feature_keys: "age" feature_values { key: "site" value: "north" } }'
    config = read_eval_config(text, SLICES, "label")
    assert len(config.slicing_specs) == 2
    assert not config.slicing_specs[0].feature_keys
    assert slicing_features(config) == ("age", "site")


def test_a_file_that_a_stock_evaluator_reads_is_taken() -> None:
    text = 'model_specs { label_key: "label" } slicing_specs {}' + AUC
    assert len(read_eval_config(text, (), "label").model_specs) == 2


THRESHOLD = 'metrics_specs {{ metrics {{ class_name: "AUC" threshold {{ {} }} }} }}'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param(
            'metrics_specs {\n  metrics { class: "AUC" }\n}',
            r"line 2, column 13: .*no field named \"class\"",
            id="typo",
        ),
        pytest.param("metrics_specs { metrics {", r"line 1, column \d+: ", id="cut-off"),
        pytest.param("", "asks for no metric", id="empty"),
        pytest.param(
            THRESHOLD.format("value_threshold { lower_bound { value: 0.9 } }"),
            r"metrics_specs\[0\].metrics\[0\].threshold.value_threshold is not taken: .*gate.min_float_accuracy",
            id="value-threshold",
        ),
        pytest.param(
            THRESHOLD.format("change_threshold { absolute { value: 0.01 } }"),
            "change_threshold is not taken: .*gate.min_ratio",
            id="change-threshold",
        ),
        pytest.param(
            'metrics_specs { thresholds { key: "auc" value { value_threshold { lower_bound { value: 0.9 } } } } }',
            r"thresholds\['auc'\].value_threshold is not taken",
            id="threshold-by-name",
        ),
        pytest.param(
            "metrics_specs { metrics { per_slice_thresholds { threshold { value_threshold { upper_bound { value: 1 } } } } } }",
            r"per_slice_thresholds\[0\].threshold.value_threshold is not taken",
            id="threshold-by-slice",
        ),
        pytest.param('model_specs { name: "mine" }' + AUC, "model_specs names 'mine'", id="other-model"),
        pytest.param(
            'model_specs { signature_name: "edge" }' + AUC, "Edgeproof scores both models itself", id="signature"
        ),
        pytest.param('model_specs { label_key: "y" }' + AUC, "label_key is 'y'.*'label'", id="other-label"),
        pytest.param('metrics_specs { query_key: "user" }' + AUC, "query_key is not taken: .*in memory", id="query"),
        pytest.param('metrics_specs { model_names: "old" }' + AUC, "model_names holds", id="model-names"),
        pytest.param('slicing_specs { slice_keys_sql: "x" }' + AUC, "slice_keys_sql is not taken", id="sql"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=f"^gate.eval_config.*{sentence}") as caught:
        read_eval_config(text, SLICES, "label")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        pytest.param('class_name: "AUCC"', "metric 'AUCC' is unknown; did you mean AUC?", id="typo"),
        pytest.param('class_name: "Gini"', "metric 'Gini' is unknown; ", id="unknown"),
        pytest.param('class_name: "X" module: "no_such"', "cannot be taken from module no_such", id="no-module"),
        pytest.param(
            'class_name: "X" module: "tests.incidents.data"', "cannot be taken from module tests", id="no-class"
        ),
        pytest.param(
            'class_name: "AUC" config: \'{"bins": 3}\'', "metric AUC cannot be made: .*bins", id="unknown-setting"
        ),
        pytest.param('class_name: "AUC" config: "{oops"', "metric AUC cannot be made", id="no-json"),
    ],
)
def test_a_metric_that_cannot_be_made_is_one_sentence(metric: str, sentence: str) -> None:
    config = read_eval_config(f"metrics_specs {{ metrics {{ {metric} }} }}", (), "label")
    with pytest.raises(InputError, match=sentence.replace("?", r"\?")):
        check_metrics(config)


@pytest.mark.parametrize(
    ("spec", "num_classes", "fits"),
    [
        pytest.param('metrics { class_name: "AUC" }', 10, True, id="auc-over-all-classes"),
        pytest.param('metrics { class_name: "BinaryAccuracy" }', 2, True, id="one-unit"),
        pytest.param('metrics { class_name: "SparseCategoricalAccuracy" }', 10, True, id="of-keras"),
        pytest.param(
            'metrics { class_name: "Precision" } binarize { class_ids { values: 99 } }', 10, False, id="no-class-99"
        ),
        pytest.param('metrics { class_name: "TotalAttributions" }', 10, False, id="no-attributions"),
    ],
)
def test_what_fits_no_model_of_the_data_is_found_before_training(spec: str, num_classes: int, fits: bool) -> None:
    config = read_eval_config(f"metrics_specs {{ {spec} }}", (), "label")
    check_metrics(config)
    if fits:
        check_fit(config, num_classes)
        return
    with pytest.raises(InputError, match="does not fit the labels and outputs") as caught:
        check_fit(config, num_classes)
    assert "\n" not in str(caught.value)


def test_modules_of_the_users_own_metrics_are_found() -> None:
    text = 'metrics_specs { metrics { class_name: "A" module: "my.metrics" } metrics { class_name: "B" module: "tf_keras.metrics" } }'
    assert metric_modules(text) == ("my.metrics",)


def rows(of_float: list[list[float]], sites: list[bytes] | None = None, site_slices: bool = False) -> ScoredRows:
    outputs = np.array(of_float, np.float32)
    groupings = (Grouping((SliceKey("site", "a"), SliceKey("site", "(missing)")), np.array([0, 1])),)
    return ScoredRows(
        labels=np.arange(len(outputs)) % 2,
        of_float=outputs,
        of_candidate=outputs * 0.5,
        groupings=groupings if site_slices else (),
        features={"site": np.array(sites or [b""] * len(outputs), object)},
        are_classes=True,
    )


SITES = AUC + 'slicing_specs { feature_keys: "site" }'


def slices_of(extracts: list[dict[str, Any]]) -> list[list[tuple[tuple[str, str], ...]]]:
    return [sorted(extract["_slice_key_types"]) for extract in extracts]


def test_an_example_without_the_feature_is_in_no_slice_of_it() -> None:
    maker = ExtractMaker(read_eval_config(SITES, (), "label"))
    made = list(maker.make(rows([[0.5, 0.5], [0.25, 0.75]], [b"north", b""])))
    assert slices_of(made) == [[(), (("site", "north"),)], [()]]


def test_a_slicing_of_the_gate_has_the_gates_values() -> None:
    maker = ExtractMaker(read_eval_config(SITES, (), "label"))
    made = list(maker.make(rows([[0.5, 0.5], [0.25, 0.75]], site_slices=True)))
    assert slices_of(made) == [[(), (("site", "a"),)], [(), (("site", "(missing)"),)]]


def test_logits_of_both_models_become_probabilities() -> None:
    maker = ExtractMaker(read_eval_config(AUC, (), "label"))
    (made,) = maker.make(rows([[2.0, -1.0, 0.5]]))
    expected = np.exp([2.0, -1.0, 0.5]) / np.exp([2.0, -1.0, 0.5]).sum()
    assert made["predictions"]["baseline"] == pytest.approx(expected)
    assert made["predictions"]["candidate"].sum() == pytest.approx(1)
    assert probabilities(np.array([[3.0], [-800.0]]))[:, 0] == pytest.approx([1 / (1 + np.exp(-3.0)), 0])


def test_probabilities_stay_as_they_are() -> None:
    maker = ExtractMaker(read_eval_config(AUC, (), "label"))
    (made,) = maker.make(rows([[0.1, 0.7, 0.2]]))
    assert made["predictions"]["baseline"].tolist() == np.array([0.1, 0.7, 0.2], np.float32).tolist()


def test_outputs_that_are_both_are_an_error() -> None:
    maker = ExtractMaker(read_eval_config(AUC, (), "label"))
    list(maker.make(rows([[0.1]])))
    with pytest.raises(ModelError, match="probabilities in one batch"):
        list(maker.make(rows([[5.0]])))


def test_a_feature_of_too_many_values_is_an_error() -> None:
    maker = ExtractMaker(read_eval_config(SITES, (), "label"))
    with pytest.raises(DataError, match="more than 1000 slices"):
        list(maker.make(rows([[0.5]] * 1001, [str(number).encode() for number in range(1001)])))
