"""The executor on real models and a real gzip TFRecord split: verdict, blessing and evidence, closed by default."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from edgeproof_edge.errors import InputError
from numpy.typing import NDArray

from components.compat import library_versions
from components.data.examples import ExampleSpec, TensorFeature
from components.device.outcome import DeviceMeasurement
from components.errors import DataError, ModelError
from components.evaluator.arrays import evaluate_arrays
from components.evaluator.counting.slices import SliceBy, SliceSpec, slices_to_json
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.report.explanation import explain
from components.evaluator.report.gate_report import GateReport, read_report
from releases.bundles.observation import read_observation
from tests.components.device.samples import UNREACHABLE_BY_SSH

pytestmark = pytest.mark.tfx

BEAM_ARGUMENTS = ["--runner=FnApiRunner", "--sdk_container_image=local"]
SPEC = ExampleSpec(class_names=("low", "middle", "high"), features=(TensorFeature("x", "float32", (4,)),))
#: A linear classifier of three overlapping clouds: its weights are the clouds' centers.
CENTERS = np.array([[1, 0, 0, 0.5], [0, 1, 0, -0.5], [0, 0, 1, 0.1]], np.float32)
BIAS = -0.5 * (CENTERS**2).sum(axis=1)


def clouds(num_examples: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, num_examples)
    return (CENTERS[labels] + random.normal(0, 0.4, (num_examples, 4))).astype(np.float32), labels


ROWS, LABELS = clouds(600, seed=5)


@dataclass(frozen=True)
class Models:
    """Directories and files that the tests share; nobody writes into them."""

    saved_model: Path
    float32: Path
    int8: Path
    badly_calibrated: Path
    two_classes: Path


def export(directory: Path, num_classes: int) -> Path:
    import tensorflow as tf

    module = tf.Module()
    module.weights = tf.Variable(CENTERS[:num_classes].T)
    signature = [tf.TensorSpec([None, 4], tf.float32, name="x")]
    module.edge = tf.function(
        lambda x: {"probs": tf.nn.softmax(tf.linalg.matmul(x, module.weights) + BIAS[:num_classes])},
        input_signature=signature,
    )
    tf.saved_model.save(module, str(directory), signatures={"edge": module.edge})
    return directory


def convert(saved_model: Path, file: Path, calibration: NDArray[np.float32] | None = None) -> Path:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=["edge"])
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ({"x": row[None]} for row in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    file.write_bytes(converter.convert())
    return file


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    root = tmp_path_factory.mktemp("models")
    saved_model, calibration = export(root / "float", 3), clouds(200, seed=6)[0]
    return Models(
        saved_model=saved_model,
        float32=convert(saved_model, root / "float.tflite"),
        int8=convert(saved_model, root / "int8.tflite", calibration),
        badly_calibrated=convert(saved_model, root / "bad.tflite", calibration * 0.02),
        two_classes=convert(export(root / "two", 2), root / "two.tflite"),
    )


def as_feature(value: Any) -> Any:
    import tensorflow as tf

    values = value if isinstance(value, list) else [value]
    if isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


@dataclass
class Bench:
    """Artifacts of one evaluation, to be spoilt by a test before it runs."""

    root: Path
    models: Models
    rows: NDArray[np.float32] = field(default_factory=lambda: ROWS)
    labels: NDArray[np.int64] = field(default_factory=lambda: LABELS)
    expected: int | None = len(LABELS)
    recorded_sha256: str | None = None
    num_files: int = 2
    split: str = "eval"
    features: dict[str, list[Any]] = field(default_factory=dict)
    champion: Path | None = None
    champion_properties: dict[str, str] = field(default_factory=dict)
    float_file: Path | None = None
    properties: dict[str, Any] = field(default_factory=dict)

    def write_examples(self) -> None:
        import tensorflow as tf

        split = self.root / "examples" / "Split-eval"
        split.mkdir(parents=True)
        for number in range(self.num_files):
            with tf.io.TFRecordWriter(str(split / f"data-{number:05}.gz"), options="GZIP") as writer:
                for position in range(number, len(self.rows), self.num_files):
                    values = {name: column[position] for name, column in self.features.items()}
                    values.update(x=self.rows[position].tolist(), label=self.labels[position].item())
                    feature = {name: as_feature(value) for name, value in values.items() if value is not None}
                    writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())

    def write_statistics(self) -> None:
        from tensorflow_metadata.proto.v0 import statistics_pb2

        split = self.root / "statistics" / "Split-eval"
        split.mkdir(parents=True)
        if self.expected is not None:
            record = statistics_pb2.DatasetFeatureStatisticsList()
            dataset = record.datasets.add(num_examples=self.expected)
            if self.labels.dtype.kind == "f":
                self.add_quantiles(dataset.features.add())
            (split / "FeatureStats.pb").write_bytes(record.SerializeToString())

    def add_quantiles(self, feature: Any) -> None:
        """Tenths of the labels, as StatisticsGen writes them."""
        from tensorflow_metadata.proto.v0 import statistics_pb2

        feature.path.step.append("label")
        histogram = feature.num_stats.histograms.add(type=statistics_pb2.Histogram.QUANTILES)
        edges = np.quantile(self.labels, np.linspace(0, 1, 11))
        for low, high in pairwise(edges):
            histogram.buckets.add(low_value=low, high_value=high, sample_count=len(self.labels) / 10)

    def artifact(self, kind: str, folder: str) -> Any:
        from tfx.types import standard_artifacts

        artifact = getattr(standard_artifacts, kind)()
        artifact.uri = str(self.root / folder)
        artifact.set_string_custom_property("tfx_version", library_versions()["tfx"])
        if kind in ("Examples", "ExampleStatistics"):
            artifact.split_names = '["train", "eval"]'
        return artifact

    def run(self, tflite: Path | bytes | None) -> SimpleNamespace:
        """Writes the artifacts, runs the executor; returns the output artifacts and the report."""
        from components.evaluator.executor import Executor

        data = tflite.read_bytes() if isinstance(tflite, Path) else tflite
        (self.root / "converted").mkdir()
        if data is not None:
            (self.root / "converted" / "model.tflite").write_bytes(data)
        if self.float_file is not None:
            (self.root / "converted" / "float.tflite").write_bytes(self.float_file.read_bytes())
        self.write_examples()
        self.write_statistics()
        float_model, candidate = self.artifact("Model", "trained"), self.artifact("Model", "converted")
        (self.root / "trained").mkdir()
        (self.root / "trained" / "Format-Serving").symlink_to(self.models.saved_model)
        float_model.id, candidate.id = 7, 8
        recorded = hashlib.sha256(data or b"").hexdigest() if self.recorded_sha256 is None else self.recorded_sha256
        candidate.set_string_custom_property("sha256", recorded)
        candidate.set_string_custom_property("recipe", "int8")
        evaluation, blessing = (
            self.artifact("ModelEvaluation", "evaluation"),
            self.artifact("ModelBlessing", "blessing"),
        )
        properties = {
            "eval_split": self.split,
            "example_spec": SPEC.to_json(),
            "num_classes": 3,
            "decision_threshold": 0.5,
            "rules": GateRules().to_json(),
            "slices": "[]",
            "kernel_sample_size": 100,
            "code_version": "test",
        }
        context = Executor.Context(beam_pipeline_args=list(BEAM_ARGUMENTS), tmp_dir=str(self.root), unique_id="1")
        inputs = {
            "examples": [self.artifact("Examples", "examples")],
            "statistics": [self.artifact("ExampleStatistics", "statistics")],
            "float_model": [float_model],
            "tflite_model": [candidate],
        }
        if self.champion is not None:
            inputs["champion"] = [self.artifact("Model", "champion")]
            for name, value in self.champion_properties.items():
                inputs["champion"][0].set_string_custom_property(name, value)
            (self.root / "champion").mkdir()
            if self.champion.is_file():
                (self.root / "champion" / "model.tflite").write_bytes(self.champion.read_bytes())
        Executor(context).Do(
            inputs,
            {"evaluation": [evaluation], "blessing": [blessing]},
            {**properties, **self.properties},
        )
        report = read_report(self.root / "evaluation")
        return SimpleNamespace(evaluation=evaluation, blessing=blessing, report=report)


@pytest.fixture
def bench(tmp_path: Path, models: Models) -> Bench:
    return Bench(tmp_path, models)


def softmax_by_hand(rows: NDArray[np.float32]) -> NDArray[Any]:
    logits = rows @ CENTERS.T + BIAS
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[Any] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def interpreted_by_hand(file: Path, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Row by row through LiteRT: round, clip, cast; the reference that shares nothing with our scorer."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file), num_threads=1)
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for row in rows:
        if source["dtype"] == np.int8:
            scale, zero_point = source["quantization"]
            row = np.clip(np.rint(row.astype(np.float64) / scale) + zero_point, -128, 127).astype(np.int8)
        interpreter.set_tensor(source["index"], row[None])
        interpreter.invoke()
        output = interpreter.get_tensor(sink["index"])[0]
        if sink["dtype"] == np.int8:
            output = (output.astype(np.float32) - sink["quantization"][1]) * np.float32(sink["quantization"][0])
        found.append(output)
    return np.stack(found)


def broken(report: GateReport) -> set[str]:
    return {rule.name for rule in report.verdict.rules if not rule.passed}


@pytest.mark.parametrize("recipe", ["float32", "int8", "badly_calibrated"])
def test_counts_equal_plain_numpy_on_every_example(bench: Bench, models: Models, recipe: str) -> None:
    file: Path = getattr(models, recipe)
    report = bench.run(file).report
    float_right = softmax_by_hand(ROWS).argmax(axis=1) == LABELS
    candidate_right = interpreted_by_hand(file, ROWS).argmax(axis=1) == LABELS
    assert report.counts.num_examples == len(LABELS)
    assert report.counts.num_both_correct == int((float_right & candidate_right).sum())
    assert report.counts.num_only_float_correct == int((float_right & ~candidate_right).sum())
    assert report.counts.num_only_candidate_correct == int((~float_right & candidate_right).sum())
    assert report.counts.correct_float_by_label == tuple(np.bincount(LABELS[float_right], minlength=3).tolist())
    assert report.counts.correct_candidate_by_label == tuple(np.bincount(LABELS[candidate_right], minlength=3).tolist())


def test_an_accepted_model_is_blessed_as_tfx_does(bench: Bench, models: Models) -> None:
    outcome = bench.run(models.int8)
    assert outcome.report.verdict.accepted
    assert [path.name for path in (bench.root / "blessing").iterdir()] == ["BLESSED"]
    assert outcome.blessing.get_int_custom_property("blessed") == 1
    assert outcome.blessing.get_int_custom_property("current_model_id") == 8
    assert outcome.blessing.get_string_custom_property("current_model") == str(bench.root / "converted")
    assert outcome.blessing.get_int_custom_property("baseline_model_id") == 7
    assert outcome.blessing.get_string_custom_property("baseline_model") == str(bench.root / "trained")
    accuracy = outcome.report.counts.num_correct_float / len(LABELS)
    assert outcome.evaluation.get_float_custom_property("float_accuracy") == pytest.approx(accuracy)
    assert outcome.evaluation.get_float_custom_property("candidate_accuracy") > 0.8
    assert outcome.evaluation.get_int_custom_property("num_examples") == len(LABELS)
    assert sorted(path.name for path in (bench.root / "evaluation").iterdir()) == [
        "eval_config.json",
        "flipped.npz",
        "gate_report.json",
        "golden.npz",
        "metrics-00000-of-00001.tfrecord",
        "observation.json",
        "report.html",
        "validations.tfrecord",
    ]


def test_the_report_names_what_was_judged_and_with_what(bench: Bench, models: Models) -> None:
    report = bench.run(models.int8).report
    data = models.int8.read_bytes()
    assert report.candidate.sha256 == report.candidate.recorded_sha256 == hashlib.sha256(data).hexdigest()
    assert report.candidate.size_bytes == len(data)
    assert (report.runtime.name, report.runtime.kernels, report.runtime.num_threads) == ("ai-edge-litert", "xnnpack", 1)
    assert report.runtime.version == library_versions()["ai-edge-litert"]
    assert report.class_names == SPEC.class_names
    assert len(report.baseline.sha256) == 64


def test_a_refusal_is_a_finished_run_with_evidence(bench: Bench, models: Models) -> None:
    outcome = bench.run(models.badly_calibrated)
    assert not outcome.report.verdict.accepted
    assert [path.name for path in (bench.root / "blessing").iterdir()] == ["NOT_BLESSED"]
    assert outcome.blessing.get_int_custom_property("blessed") == 0
    assert "accuracy_kept" in broken(outcome.report)
    assert outcome.evaluation.get_string_custom_property("verdict").startswith("REFUSED  int8 keeps")
    assert "worst class:" in explain(outcome.report)


@pytest.mark.parametrize("cut", [0, 1, 100, 0.5, -1], ids=["empty", "one-byte", "100-bytes", "half", "last-byte"])
def test_a_truncated_candidate_is_refused_with_its_reason(bench: Bench, models: Models, cut: float) -> None:
    data = models.int8.read_bytes()
    report = bench.run(data[: int(len(data) * cut) if cut == 0.5 else int(cut)]).report
    assert broken(report) == {"candidate_usable"}
    assert report.counts is None
    assert report.verdict.sentence.startswith("REFUSED  int8: the candidate cannot be loaded: ")


@pytest.mark.parametrize(
    ("recorded", "reason"),
    [
        pytest.param("a" * 64, "the file was changed after it was made", id="other-bytes"),
        pytest.param("", "recorded no SHA-256", id="nothing-recorded"),
    ],
)
def test_bytes_that_nobody_vouches_for_are_refused(bench: Bench, models: Models, recorded: str, reason: str) -> None:
    bench.recorded_sha256 = recorded
    report = bench.run(models.int8).report
    assert broken(report) == {"candidate_unchanged"}
    assert reason in report.verdict.sentence


def test_an_absent_candidate_is_refused(bench: Bench) -> None:
    report = bench.run(None).report
    assert broken(report) == {"candidate_usable"}
    assert report.candidate.sha256 is None


@pytest.mark.parametrize("expected", [len(LABELS) + 1, len(LABELS) - 1, None], ids=["more", "less", "unknown"])
def test_a_count_that_differs_from_the_split_is_refused(bench: Bench, models: Models, expected: int | None) -> None:
    bench.expected = expected
    assert broken(bench.run(models.int8).report) == {"every_example_scored"}


def test_the_one_pass_leaves_golden_rows_and_histograms_for_the_release(bench: Bench, models: Models) -> None:
    bench.run(models.int8)
    observation = read_observation(bench.root / "evaluation")
    assert observation is not None
    assert observation.golden is not None
    assert observation.reference.num_examples == sum(observation.reference.predictions) == len(LABELS)
    assert observation.golden.entry.num_examples >= 8
    assert observation.delegated_fraction is not None


def test_golden_rows_come_from_the_split_that_is_named(bench: Bench, models: Models) -> None:
    import tensorflow as tf

    split = bench.root / "examples" / "Split-train"
    split.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(split / "data.gz"), options="GZIP") as writer:
        for row, label in zip(ROWS[:40] + 0.001, LABELS[:40], strict=True):
            feature = {"x": as_feature(row.tolist()), "label": as_feature(label.item())}
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    bench.properties["golden_split"] = "train"
    bench.run(models.int8)
    observation = read_observation(bench.root / "evaluation")
    assert observation is not None
    assert observation.golden is not None
    assert observation.reference.num_examples == len(LABELS)
    with np.load(io.BytesIO(observation.golden.data)) as arrays:
        golden = arrays["input:x"]
    assert {tuple(row) for row in golden.tolist()} <= {tuple(row) for row in (ROWS[:40] + 0.001).tolist()}


def test_a_split_for_golden_rows_that_is_not_there_is_named(bench: Bench, models: Models) -> None:
    bench.properties["golden_split"] = "selftest"
    with pytest.raises(DataError, match="no split 'selftest'"):
        bench.run(models.int8)


def test_a_refused_model_leaves_no_golden_rows(bench: Bench, models: Models) -> None:
    bench.expected = len(LABELS) + 1
    bench.run(models.int8)
    assert read_observation(bench.root / "evaluation") is None


def test_an_empty_split_is_refused(bench: Bench, models: Models) -> None:
    bench.rows, bench.labels, bench.expected = ROWS[:0], LABELS[:0], 0
    report = bench.run(models.int8).report
    assert broken(report) == {"scored"}
    assert report.verdict.sentence == "REFUSED  int8: split eval holds no example, so nothing was scored."


def test_a_missing_split_is_an_error_that_names_what_is_there(bench: Bench, models: Models) -> None:
    bench.split = "holdout"
    with pytest.raises(DataError, match=r"no split 'holdout'; found \['train', 'eval'\]"):
        bench.run(models.int8)


def test_a_split_without_files_is_an_error(bench: Bench, models: Models) -> None:
    bench.num_files = 0
    with pytest.raises(DataError, match="holds no files"):
        bench.run(models.int8)


def test_nan_outputs_are_refused(bench: Bench, models: Models) -> None:
    bench.rows = ROWS.copy()
    bench.rows[17, 2] = np.nan
    report = bench.run(models.float32).report
    assert broken(report) == {"finite_outputs"}
    assert (report.counts.num_nonfinite_float, report.counts.num_nonfinite_candidate) == (1, 1)


def test_labels_out_of_range_are_refused(bench: Bench, models: Models) -> None:
    bench.labels = LABELS.copy()
    bench.labels[:3] = 3
    assert "labels_in_range" in broken(bench.run(models.int8).report)


def test_two_models_at_chance_are_refused(bench: Bench, models: Models) -> None:
    bench.labels = np.random.default_rng(8).integers(0, 3, len(LABELS))
    assert "float_accuracy" in broken(bench.run(models.float32).report)


def test_a_candidate_with_other_outputs_is_one_clear_error(bench: Bench, models: Models) -> None:
    with pytest.raises(ModelError, match=r"output has shape \[256, 3\] and the candidate's \[256, 2\]") as caught:
        bench.run(models.two_classes)
    assert "apache_beam" not in str(caught.value)


def test_a_missing_feature_is_one_clear_error(bench: Bench, models: Models) -> None:
    spec = ExampleSpec(features=(TensorFeature("x", "float32", (4,)), TensorFeature("z", "float32", (1,))))
    bench.properties["example_spec"] = spec.to_json()
    with pytest.raises(DataError, match=r"Split-eval.*does not fit.*z"):
        bench.run(models.int8)


def test_number_of_files_changes_nothing(tmp_path: Path, models: Models) -> None:
    sites = {"site": [b"north" if n % 3 else b"south" for n in range(len(LABELS))]}
    properties = {"slices": slices_to_json((SliceSpec(SliceBy.LABEL), SliceSpec(SliceBy.FEATURE, "site")))}
    reports = [
        Bench(tmp_path / str(n), models, num_files=n, features=sites, properties=properties).run(models.int8).report
        for n in roots(tmp_path, (1, 5))
    ]
    assert reports[0].model_copy(update={"lineage": ()}) == reports[1].model_copy(update={"lineage": ()})
    flips = [(tmp_path / str(n) / "evaluation" / "flipped.npz").read_bytes() for n in (1, 5)]
    assert flips[0] == flips[1]


def roots(tmp_path: Path, numbers: Sequence[int]) -> Iterator[int]:
    for number in numbers:
        (tmp_path / str(number)).mkdir()
        yield number


def test_bytes_that_change_under_the_workers_are_refused(bench: Bench, models: Models) -> None:
    import apache_beam as beam

    from components.evaluator.case import Case
    from components.evaluator.evaluation import judge_case
    from components.evaluator.scoring.both_models import Candidate
    from components.evaluator.scoring_pipeline import ScoringJob, score_files

    bench.write_examples()
    files = sorted(str(path) for path in (bench.root / "examples" / "Split-eval").iterdir())

    case = Case(models.saved_model, models.int8, "int8", "eval", len(LABELS), GateRules())

    def score(candidate: Candidate) -> Any:
        job = ScoringJob(str(models.saved_model), str(models.badly_calibrated), candidate.sha256, SPEC, case.plan)
        return score_files(lambda: beam.Pipeline(argv=BEAM_ARGUMENTS), files, job, str(bench.root / "evaluation"))

    report = judge_case(case, score).report
    assert broken(report) == {"candidate_usable"}
    assert "the file was changed after it was made" in report.verdict.sentence
    assert list((bench.root / "evaluation").iterdir()) == []


def test_arrays_are_judged_as_a_split_is(bench: Bench, models: Models) -> None:
    in_pipeline = bench.run(models.int8).report
    on_arrays = evaluate_arrays(
        models.saved_model, models.int8, {"x": ROWS}, LABELS, GateRules(), candidate_name="int8"
    ).report
    assert on_arrays.counts == in_pipeline.counts
    assert on_arrays.verdict.sentence == in_pipeline.verdict.sentence
    assert on_arrays.candidate.recorded_sha256 is None


def test_a_float_model_that_fails_is_one_clear_error(tmp_path: Path, models: Models) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.edge = tf.function(
        lambda x: {"probs": tf.ensure_shape(tf.boolean_mask(x, x[:, 0] > 0), [600, 4])},
        input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")],
    )
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"edge": module.edge})
    with pytest.raises(ModelError, match="the float model fails on a batch of the holdout"):
        evaluate_arrays(tmp_path / "model", models.int8, {"x": ROWS}, LABELS, GateRules())


def test_a_damaged_file_on_arrays_is_refused(tmp_path: Path, models: Models) -> None:
    (tmp_path / "model.tflite").write_bytes(models.int8.read_bytes()[:500])
    report = evaluate_arrays(models.saved_model, tmp_path / "model.tflite", {"x": ROWS}, LABELS, GateRules()).report
    assert broken(report) == {"candidate_usable"}


def test_component_refuses_rules_that_cannot_be_meant() -> None:
    from tfx.types import channel_utils, standard_artifacts

    from components.evaluator.component import Evaluator

    def channel(kind: str) -> Any:
        return channel_utils.as_channel([getattr(standard_artifacts, kind)()])

    def build(**changes: Any) -> Any:
        arguments = {
            "example_spec": SPEC.to_json(),
            "rules": GateRules().to_json(),
            "code_version": "1",
            "num_classes": 3,
        }
        return Evaluator(
            channel("Examples"),
            channel("Model"),
            channel("Model"),
            channel("ExampleStatistics"),
            **{**arguments, **changes},
        )

    node = build()
    assert set(node.outputs) == {"evaluation", "blessing"}
    assert json.loads(node.exec_properties["rules"])["min_ratio"] == "97/100"
    with pytest.raises(InputError, match="less than or equal to 1"):
        build(rules='{"min_ratio": 97}')
    with pytest.raises(InputError, match="2 classes and 3 class names"):
        build(num_classes=2)


def test_slices_by_features_equal_plain_numpy(bench: Bench, models: Models) -> None:
    sites = np.array(["north", "south", "west"])[np.arange(len(LABELS)) % 3]
    ages = np.arange(len(LABELS)) % 90
    bench.features = {
        "site": [None if number < 6 else site.encode() for number, site in enumerate(sites)],
        "age": [int(age) for age in ages],
        "weight": [float(age) for age in ages],
    }
    specs = (
        SliceSpec(SliceBy.LABEL),
        SliceSpec(SliceBy.FEATURE, "site"),
        SliceSpec(SliceBy.FEATURE, "age", (18.0, 65.0)),
        SliceSpec(SliceBy.FEATURE, "weight", (45.0,)),
    )
    bench.properties["slices"] = slices_to_json(specs)
    report = bench.run(models.badly_calibrated).report
    right_float = softmax_by_hand(ROWS).argmax(axis=1) == LABELS
    right = interpreted_by_hand(models.badly_calibrated, ROWS).argmax(axis=1) == LABELS
    wanted = {("label", name): label == LABELS for label, name in enumerate(SPEC.class_names)}
    known = np.arange(len(LABELS)) >= 6
    wanted |= {("site", name): (sites == name) & known for name in ("north", "south", "west")} | {
        ("site", "(missing)"): ~known
    }
    wanted |= {
        ("age", "[-inf, 18)"): ages < 18,
        ("age", "[18, 65)"): (ages >= 18) & (ages < 65),
        ("age", "[65, inf)"): ages >= 65,
    }
    wanted |= {("weight", "[-inf, 45)"): ages < 45, ("weight", "[45, inf)"): ages >= 45}
    found = {
        (part.name, part.value): (
            part.num_examples,
            part.num_correct_float,
            part.num_correct_candidate,
            part.num_only_float_correct,
        )
        for part in report.slices
    }
    assert found == {
        key: tuple(int((here & rows).sum()) for rows in (here, right_float, right, right_float & ~right))
        for key, here in wanted.items()
    }


def test_a_feature_that_no_example_has_is_refused(bench: Bench, models: Models) -> None:
    bench.properties["slices"] = slices_to_json((SliceSpec(SliceBy.FEATURE, "site"),))
    report = bench.run(models.int8).report
    assert broken(report) == {"slices_found"}
    assert "no example has a value of site" in report.verdict.sentence


def test_confusion_adds_up_to_the_predictions(bench: Bench, models: Models) -> None:
    report = bench.run(models.badly_calibrated).report
    assert report.confusion is not None
    table = np.zeros((3, 3), int)
    np.add.at(table, (LABELS, interpreted_by_hand(models.badly_calibrated, ROWS).argmax(axis=1)), 1)
    assert report.confusion.candidate == tuple(map(tuple, table.tolist()))
    assert np.array(report.confusion.float_model).sum(axis=0).tolist() == list(report.counts.predicted_float)
    changed = softmax_by_hand(ROWS).argmax(axis=1) != interpreted_by_hand(models.badly_calibrated, ROWS).argmax(axis=1)
    assert sum(change.num_examples for change in report.changes) == int(changed.sum())


def test_other_kernels_are_compared_on_the_sample(bench: Bench, models: Models) -> None:
    from edgeproof_edge.interpreter import Kernels, TFLiteModel

    bench.properties["kernel_sample_size"] = len(LABELS)
    report = bench.run(models.int8).report
    builtin, xnnpack = (
        next(iter(TFLiteModel.load(models.int8, kernels).predict({"x": ROWS}).values()))
        for kernels in (Kernels.BUILTIN, Kernels.XNNPACK)
    )
    found = report.kernel_agreement
    assert found is not None
    assert found.num_examples == len(LABELS)
    assert found.num_same_answer == int((builtin.argmax(axis=1) == xnnpack.argmax(axis=1)).sum())
    assert found.worst_difference == pytest.approx(float(np.abs(builtin - xnnpack).max()))
    assert found.num_correct_builtin == int((builtin.argmax(axis=1) == LABELS).sum())
    assert found.num_correct_float == report.counts.num_correct_float
    assert f"same answer on {found.num_same_answer} of 600 sampled" in explain(report)


def test_the_kernel_sample_can_be_switched_off(bench: Bench, models: Models) -> None:
    bench.properties["kernel_sample_size"] = 0
    assert bench.run(models.int8).report.kernel_agreement is None


@pytest.mark.parametrize(
    ("champion", "candidate", "accepted", "problem"),
    [
        pytest.param("badly_calibrated", "int8", True, None, id="better"),
        pytest.param("int8", "int8", True, None, id="the-same"),
        pytest.param("int8", "badly_calibrated", False, None, id="worse"),
        pytest.param("two_classes", "int8", False, "cannot be compared on this holdout", id="other-classes"),
        pytest.param("absent", "int8", False, "the current release", id="its-file-is-gone"),
    ],
)
def test_the_candidate_is_no_worse_than_the_champion(
    bench: Bench, models: Models, champion: str, candidate: str, accepted: bool, problem: str | None
) -> None:
    bench.champion = bench.root / "nothing" if champion == "absent" else getattr(models, champion)
    bench.properties["rules"] = GateRules.of({"min_ratio": "0.01", "champion_min_ratio": "1"}).to_json()
    report = bench.run(getattr(models, candidate)).report
    assert broken(report) - {"not_collapsed", "no_class_lost"} == (set() if accepted else {"no_worse_than_release"})
    assert report.champion is not None
    if problem:
        assert problem in (report.champion.problem or "")
    else:
        right = interpreted_by_hand(getattr(models, champion), ROWS).argmax(axis=1) == LABELS
        assert report.champion.num_correct == int(right.sum())


def test_the_first_model_has_nothing_to_be_worse_than(bench: Bench, models: Models) -> None:
    bench.properties["rules"] = GateRules.of({"champion_min_ratio": "1"}).to_json()
    report = bench.run(models.int8).report
    assert report.verdict.accepted
    assert report.champion is None


def test_a_refusal_names_the_release_that_was_better(bench: Bench, models: Models) -> None:
    bench.champion = models.int8
    bench.champion_properties = {"release_version": "000012-4b8aa8afd22f", "channel": "stable"}
    bench.properties["rules"] = GateRules.of({"min_ratio": "0.01", "champion_min_ratio": "1"}).to_json()
    report = bench.run(models.badly_calibrated).report
    assert report.champion is not None
    assert (report.champion.version, report.champion.channel) == ("000012-4b8aa8afd22f", "stable")
    assert report.champion.sha256 == hashlib.sha256(models.int8.read_bytes()).hexdigest()
    reason = next(rule.reason for rule in report.verdict.rules if rule.name == "no_worse_than_release")
    assert "right where release 000012-4b8aa8afd22f on channel stable got" in reason
    page = (bench.root / "evaluation" / "report.html").read_text(encoding="utf-8")
    assert "Release 000012-4b8aa8afd22f on channel stable" in page


def test_a_channel_without_a_release_passes_with_that_reason(bench: Bench, models: Models) -> None:
    bench.champion = bench.root / "nothing"
    bench.champion_properties = {"reason": "channel stable of /releases offers no release of digits yet."}
    bench.properties["rules"] = GateRules.of({"champion_min_ratio": "1"}).to_json()
    report = bench.run(models.int8).report
    assert report.verdict.accepted
    assert report.champion is None
    assert bench.champion_properties["reason"] in {rule.reason for rule in report.verdict.rules}


def test_size_and_latency_are_compared_with_the_float_file(bench: Bench, models: Models) -> None:
    bench.float_file = models.float32
    bench.properties["rules"] = GateRules.of({"max_size_ratio": "100", "max_latency_ratio": "1000"}).to_json()
    report = bench.run(models.int8).report
    assert report.verdict.accepted
    assert report.candidate.float_size_bytes == models.float32.stat().st_size
    assert [record.name for record in report.latency] == ["int8", "float.tflite"]
    assert all(0 < record.median_ms <= record.p90_ms for record in report.latency)


def test_without_the_float_file_sizes_and_latencies_are_refused(bench: Bench, models: Models) -> None:
    bench.properties["rules"] = GateRules.of({"max_size_ratio": "100", "max_latency_ratio": "1000"}).to_json()
    assert broken(bench.run(models.int8).report) == {"size_ratio", "latency_ratio"}


def test_a_device_is_measured_on_rows_of_the_holdout(bench: Bench, models: Models) -> None:
    bench.float_file = models.float32
    device = {"local": True, "runs": 5, "examples": 16, "max_p50_ms": 1000, "max_latency_ratio": 1000}
    bench.properties["rules"] = GateRules.model_validate({"device": device}).to_json()
    report = bench.run(models.int8).report
    assert report.verdict.accepted
    assert isinstance(report.device, DeviceMeasurement)
    assert report.device.num_rows == 16
    assert all(each.holds for each in report.device.agreement)
    assert GateReport.model_validate_json(report.model_dump_json()) == report


def test_a_device_that_cannot_be_reached_refuses_with_the_reason(bench: Bench, models: Models) -> None:
    bench.properties["rules"] = GateRules.model_validate({"device": {"ssh": "ssh://127.0.0.1:1"}}).to_json()
    report = bench.run(models.int8).report
    assert broken(report) == {"device_measured"}
    assert UNREACHABLE_BY_SSH in report.verdict.sentence


def test_labels_in_another_order_are_refused(bench: Bench, models: Models) -> None:
    bench.labels = (LABELS + 1) % 3
    assert "float_accuracy" in broken(bench.run(models.int8).report)


def test_a_candidate_with_classes_in_another_order_is_refused(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.CENTERS", np.roll(CENTERS, 1, axis=0))
    monkeypatch.setattr(f"{__name__}.BIAS", np.roll(BIAS, 1))
    rolled = convert(export(tmp_path / "rolled", 3), tmp_path / "rolled.tflite")
    assert "accuracy_kept" in broken(bench.run(rolled).report)


def test_an_absent_baseline_is_an_error(tmp_path: Path, models: Models) -> None:
    with pytest.raises(ModelError, match="holds no SavedModel"):
        evaluate_arrays(tmp_path, models.int8, {"x": ROWS}, LABELS, GateRules())


def with_types(saved_model: Path, file: Path, kind: str) -> Path:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=["edge"])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ({"x": row[None]} for row in clouds(200, seed=6)[0])
    ops = tf.lite.OpsSet
    is_16 = kind == "int16"
    converter.target_spec.supported_ops = [
        ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8 if is_16 else ops.TFLITE_BUILTINS_INT8
    ]
    converter.inference_input_type = converter.inference_output_type = getattr(tf, kind)
    file.write_bytes(converter.convert())
    return file


def scored_by_numpy(file: Path, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Row by row, any type of input and output: round, clip, cast; and back."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file), num_threads=1)
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for row in rows:
        if source["dtype"] != np.float32:
            scale, zero_point = source["quantization"]
            limits = np.iinfo(source["dtype"])
            codes = np.round(row.astype(np.float64) / np.float64(scale)) + zero_point
            row = np.minimum(np.maximum(codes, limits.min), limits.max).astype(source["dtype"])
        interpreter.set_tensor(source["index"], row[None])
        interpreter.invoke()
        output = interpreter.get_tensor(sink["index"])[0].astype(np.float64)
        scale, zero_point = sink["quantization"]
        found.append((output - zero_point) * scale if scale else output)
    return np.stack(found)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "float32"])
def test_scores_equal_plain_numpy_for_every_type_and_saturating_inputs(
    tmp_path: Path, models: Models, kind: str
) -> None:
    file = with_types(models.saved_model, tmp_path / "model.tflite", kind)
    rows = np.concatenate([ROWS[:200], ROWS[200:400] * 50, -ROWS[400:] * 50]).astype(np.float32)
    judgement = evaluate_arrays(models.saved_model, file, {"x": rows}, LABELS, GateRules(), kernel_sample_size=0)
    of_float, found = softmax_by_hand(rows).argmax(axis=1), scored_by_numpy(file, rows).argmax(axis=1)
    assert judgement.tally is not None
    table = np.zeros((3, 3, 3), int)
    np.add.at(table, (LABELS, of_float, found), 1)
    assert judgement.tally.whole.confusion == {
        tuple(cell): int(table[tuple(cell)]) for cell in np.argwhere(table).tolist()
    }


@pytest.mark.parametrize("metric", ["f1", "auc"])
def test_a_binary_model_is_judged_by_other_figures(tmp_path: Path, metric: str) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.edge = tf.function(
        lambda x: {"score": tf.sigmoid(tf.linalg.matmul(x, [[3.0], [0.0], [0.0], [0.0]]))},
        input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")],
    )
    tf.saved_model.save(module, str(tmp_path / "binary"), signatures={"edge": module.edge})
    labels = (ROWS[:, 0] + np.random.default_rng(1).normal(0, 0.3, len(ROWS)) > 0).astype(np.int64)
    file = convert(tmp_path / "binary", tmp_path / "binary.tflite", ROWS[:200])
    report = evaluate_arrays(tmp_path / "binary", file, {"x": ROWS}, labels, GateRules.of({"metric": metric})).report
    assert report.verdict.accepted, report.verdict.sentence
    scores = 1 / (1 + np.exp(-3 * ROWS[:, 0].astype(np.float64)))
    assert report.metric is not None
    if metric == "auc":
        pairs = np.sign(scores[labels == 1][:, None] - scores[labels == 0][None, :])
        expected = float((pairs + 1).mean() / 2)
    else:
        answers = scores > 0.5
        expected = 2 * (answers & (labels == 1)).sum() / (answers.sum() + labels.sum())
    assert float(report.metric.float_value or 0) == pytest.approx(expected, abs=2e-4)


def regression(directory: Path) -> Path:
    import tensorflow as tf

    module = tf.Module()
    module.edge = tf.function(
        lambda x: {"y": tf.linalg.matmul(x, [[2.0], [-1.0], [0.5], [0.0]])},
        input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")],
    )
    tf.saved_model.save(module, str(directory), signatures={"edge": module.edge})
    return directory


@pytest.mark.parametrize(
    ("share", "accepted"), [(1.0, True), (0.05, False)], ids=["whole-range", "calibrated-on-a-twentieth"]
)
def test_a_regression_is_judged_by_its_error(tmp_path: Path, models: Models, share: float, accepted: bool) -> None:
    saved_model = regression(tmp_path / "float")
    truth = ROWS @ np.array([2.0, -1.0, 0.5, 0.0], np.float32)
    labels = (truth + np.random.default_rng(2).normal(0, 0.2, len(ROWS))).astype(np.float32)
    bench = Bench(tmp_path, replace(models, saved_model=saved_model), labels=labels)
    bench.features = {"site": [b"a" if n % 2 else b"b" for n in range(len(ROWS))]}
    bench.properties = {
        "rules": GateRules.of({"metric": "mae"}).to_json(),
        "slices": slices_to_json((SliceSpec(SliceBy.FEATURE, "site"), SliceSpec(SliceBy.LABEL))),
        "num_classes": 0,
        "example_spec": ExampleSpec(label_dtype="float32", features=SPEC.features).to_json(),
    }
    file = convert(saved_model, tmp_path / "int8.tflite", clouds(200, seed=6)[0] * share)
    outcome = bench.run(file)
    report = outcome.report
    assert report.verdict.accepted is accepted, report.verdict.sentence
    assert report.counts is None
    expected = np.abs(interpreted_by_hand(file, ROWS)[:, 0].astype(np.float64) - labels).mean()
    assert report.errors[0].mean_absolute_error_candidate == pytest.approx(expected, rel=1e-6)
    of_label = [part.num_examples for part in report.errors if part.name == "label"]
    assert sum(of_label) == 600
    assert of_label == pytest.approx([150] * 4, abs=15)  # quarters, from the quantiles of the statistics
    others = [part for part in report.errors if part.name != "label"]
    assert [(part.value, part.num_examples) for part in others] == [("", 600), ("a", 300), ("b", 300)]
    assert outcome.evaluation.get_int_custom_property("num_examples") == 600
    assert float(outcome.evaluation.get_string_custom_property("candidate_error")) == pytest.approx(expected, rel=1e-6)
