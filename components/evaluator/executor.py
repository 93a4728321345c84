"""Opens the artifacts, has both models scored on the whole split, and writes the verdict.

A refusal is a finished execution: raising would make TFX delete the evidence. What is raised is the user's to mend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from edgeproof_edge.progress import progress
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_beam_executor
from tfx.types import Artifact, artifact_utils

from components.artifacts import join, local_inputs, local_output, local_path, read_bytes_if_there, write_bytes
from components.data.buckets import quantile_edges
from components.data.data_summary import DataSummary, split_sizes
from components.data.examples import Batch, ExampleSpec, check_class_names, read_batches, split_files
from components.errors import DataError
from components.evaluator.case import NOTHING_BLESSED, Case, Champion, NoChampion
from components.evaluator.counting.extra_figures import features_without_slices
from components.evaluator.counting.flips import write_flips
from components.evaluator.counting.metric import LabelKind
from components.evaluator.counting.slices import NUM_LABEL_BUCKETS, SliceBy, slices_from_json, with_label_buckets
from components.evaluator.counting.tally import Tally
from components.evaluator.evaluation import Judgement, judge_case
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.page.page import write_page
from components.evaluator.page.run_facts import JUDGED_AT, JUDGED_BY, RunFacts, data_text, train_counts
from components.evaluator.report.gate_report import GateReport, LineageRecord, write_report
from components.evaluator.scoring.both_models import Candidate, rows_per_batch
from components.evaluator.scoring.observation import observe, summarize
from components.evaluator.scoring_pipeline import ScoringJob, score_files
from components.evaluator.tfma.eval_config import check_metrics, read_eval_config, slicing_features
from components.evaluator.tfma.results import write_tfma_results
from components.saved_models.saved_model import artifact_of, saved_model_dir
from releases.bundles.observation import Observation, with_golden, write_observation

#: Inputs that are read as directories here; the examples are read by Beam's workers alone.
LOCAL_INPUTS = ("float_model", "tflite_model", "champion", "statistics")
#: Rows that a float model with few right answers is tried on, in another class order and pixel range.
PROBE_ROWS = 256
#: Files under the artifacts that other components write.
TFLITE_FILE = "model.tflite"
STATISTICS_FILE = "FeatureStats.pb"
#: Rows of the split that golden rows are to come from: many times those that are chosen.
MAX_GOLDEN_ROWS = 512


class Executor(base_beam_executor.BaseBeamExecutor):
    """Scores, judges, writes ``gate_report.json``, TFMA's files and the blessing."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Runs the evaluation.

        Args:
            input_dict: ``examples``, ``statistics``, ``float_model``, ``tflite_model``, and ``champion`` where a model is
                released now and the rules compare with it.
            output_dict: ``evaluation``, ``blessing``.
            exec_properties: As in :class:`components.evaluator.component.EvaluatorSpec`.

        Raises:
            EdgeproofError: The data, the rules or the float model cannot be used.
        """
        evaluation = artifact_utils.get_single_instance(output_dict["evaluation"])
        with local_inputs(input_dict, LOCAL_INPUTS) as local, local_output(evaluation.uri) as directory:
            case = replace(read_case(local, exec_properties), lineage=read_lineage(input_dict))
            files = files_of_split(input_dict["examples"], case.split)

            def sample() -> Batch | None:
                spec = read_example_spec(exec_properties, case.eval_config)
                return next(iter(read_batches(files, spec, PROBE_ROWS)), None)

            judgement = judge_case(case, self._scoring(case, input_dict, evaluation.uri, exec_properties), sample)
            facts = read_run_facts(self._context, input_dict["examples"])
            write_evaluation(directory, judgement, case, facts)
            if judgement.report.verdict.accepted:  # only an accepted model is released
                observation = observe_case(case, judgement, input_dict["examples"], exec_properties)
                if observation is not None:
                    write_observation(observation, directory)
        describe_evaluation(evaluation, judgement.report)
        evaluation.set_string_custom_property(JUDGED_BY, facts.run)
        evaluation.set_string_custom_property(JUDGED_AT, facts.time)
        accepted = judgement.report.verdict.accepted
        write_blessing(artifact_utils.get_single_instance(output_dict["blessing"]), accepted, input_dict)
        num_scored = judgement.tally.num_examples if judgement.tally else 0
        progress.info("evaluator: %d examples of split %s scored with both models", num_scored, case.split)

    def _scoring(
        self, case: Case, input_dict: Mapping[str, list[Artifact]], scratch: str, exec_properties: Mapping[str, Any]
    ) -> Callable[[Candidate], Tally]:
        """Has a candidate scored on Beam; its workers get URIs, because they may be on other machines."""
        files = files_of_split(input_dict["examples"], case.split)
        uris = {
            name: artifact_utils.get_single_instance(input_dict[name]).uri for name in ("float_model", "tflite_model")
        }
        champion = input_dict["champion"][0].uri if isinstance(case.champion, Champion) else ""

        def score(candidate: Candidate) -> Tally:
            job = ScoringJob(
                saved_model=uris["float_model"],
                tflite=join(uris["tflite_model"], TFLITE_FILE),
                sha256=candidate.sha256,
                example_spec=read_example_spec(exec_properties, case.eval_config),
                plan=case.plan,
                champion=join(champion, TFLITE_FILE) if isinstance(case.champion, Champion) else None,
                eval_config=case.eval_config,
                num_files=len(files),
            )
            return score_files(self._make_beam_pipeline, files, job, scratch)

        return score


def write_evaluation(directory: Path, judgement: Judgement, case: Case, facts: RunFacts) -> None:
    """Writes the report, the page and what TFMA reads into the artifact's directory."""
    write_report(judgement.report, directory)
    if judgement.tally is not None and judgement.tally.whole is not None:
        write_flips(judgement.tally.flips, directory)
        write_tfma_results(directory, judgement.tally, judgement.report, case)
        if judgement.tally.extra is not None:
            warn_of_empty_slices(features_without_slices(case.eval_config, judgement.tally.extra))
    write_page(directory, case.tflite.parent, artifact_of(case.saved_model), facts)


def read_run_facts(context: Any, examples: Sequence[Artifact]) -> RunFacts:
    """What is known while the model is judged: the pipeline, this run, the time, the data. The release is the Pusher's to make.

    Args:
        context: TFX's, of the executor; None outside a pipeline.
        examples: One artifact, or several, which count as nobody's data.
    """
    summary, properties = None, {}
    if len(examples) == 1:
        summary = DataSummary.read(examples[0].uri)
        properties = properties_of(examples[0])
    info = getattr(context, "pipeline_info", None)
    return RunFacts(
        model=info.id if info is not None else "",
        run=getattr(context, "pipeline_run_id", None) or "",
        time=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M}",
        data=data_text(properties),
        num_examples=split_sizes(properties),
        num_train_by_class=train_counts(summary),
    )


def properties_of(artifact: Artifact) -> dict[str, Any]:
    """Its properties, those of its type and its own."""
    record = artifact.mlmd_artifact
    return {
        name: getattr(value, value.WhichOneof("value") or "string_value")
        for name, value in [*record.properties.items(), *record.custom_properties.items()]
    }


def value_ranges(spec: ExampleSpec) -> dict[str, tuple[float, float]]:
    """Images are pixels 0..255, as a camera gives them; other inputs mean what their owner knows."""
    return {} if spec.image is None or spec.parse_module else {spec.image_feature: (0.0, 255.0)}


def observe_case(
    case: Case, judgement: Judgement, examples: list[Artifact], exec_properties: Mapping[str, Any]
) -> Observation | None:
    """Golden rows and histograms of the holdout, gathered while it was scored; golden rows of another split where one is named.

    Raises:
        DataError: There is no such split.
    """
    observed = judgement.tally.observed if judgement.tally is not None else None
    if observed is None:
        return None
    candidate = Candidate.read(case.tflite)
    spec = ExampleSpec.from_json(exec_properties["example_spec"])
    model = candidate.load()
    output = next((spec for spec in model.outputs if spec.name == judgement.candidate.output), None)
    if output is None:  # several outputs, and none was named
        return None
    ranges = value_ranges(spec)
    watch = case.plan.watch(output)
    observation = summarize(observed, watch, ranges, judgement.candidate.delegated_fraction)
    golden_split = exec_properties.get("golden_split")
    if not golden_split:
        return observation
    batch_size = rows_per_batch(model.inputs)
    batches = (batch.inputs for batch in read_batches(files_of_split(examples, golden_split), spec, batch_size))
    of_split = observe(
        candidate.data, islice(batches, -(-MAX_GOLDEN_ROWS // batch_size)), ranges, watch.threshold, output.name
    )
    return with_golden(observation, of_split.golden if of_split is not None else None)


def warn_of_empty_slices(features: Sequence[str]) -> None:
    """Tells of features of an EvalConfig that cut nothing."""
    for name in features:
        progress.warning("gate.eval_config cuts by %r, and no example is in such a slice; check slicing_specs", name)


def read_example_spec(exec_properties: Mapping[str, Any], eval_config: Any = None) -> ExampleSpec:
    """How examples are read: with the features that slices are cut by, and labels that fit the metric."""
    spec = ExampleSpec.from_json(exec_properties["example_spec"])
    slices = slices_from_json(exec_properties["slices"])
    features = tuple(part.feature for part in slices if part.by is SliceBy.FEATURE)
    if eval_config is not None:
        names = {part.name for part in slices}
        features += tuple(name for name in slicing_features(eval_config) if name not in names)
    is_value = GateRules.from_json(exec_properties["rules"]).metric.labels is LabelKind.VALUE
    return replace(spec, slice_features=features, label_dtype="float32" if is_value else spec.label_dtype)


def read_case(input_dict: Mapping[str, list[Artifact]], exec_properties: Mapping[str, Any]) -> Case:
    """What is judged, read from the properties and the local paths of the artifacts.

    Raises:
        DataError: The class names are not those of the examples.
        ModelError: There is no SavedModel.
    """
    tflite_model = artifact_utils.get_single_instance(input_dict["tflite_model"])
    float_model = artifact_utils.get_single_instance(input_dict["float_model"])
    class_names = ExampleSpec.from_json(exec_properties["example_spec"]).class_names
    for examples in input_dict["examples"]:
        check_class_names(examples.uri, class_names)
    split, rules = exec_properties["eval_split"], GateRules.from_json(exec_properties["rules"])
    slices = slices_from_json(exec_properties["slices"])
    if rules.metric.labels is LabelKind.VALUE:
        slices = with_label_buckets(
            slices, label_edges(input_dict["statistics"], split, read_example_spec(exec_properties))
        )
    return Case(
        saved_model=saved_model_dir(float_model.uri),
        tflite=local_path(tflite_model.uri) / TFLITE_FILE,
        candidate_name=tflite_model.get_string_custom_property("recipe") or "candidate",
        split=split,
        expected_num_examples=count_in_statistics(input_dict["statistics"], split),
        rules=rules,
        checks_recorded_sha256=True,
        recorded_sha256=tflite_model.get_string_custom_property("sha256"),
        class_names=class_names,
        num_classes=exec_properties["num_classes"],
        decision_threshold=exec_properties["decision_threshold"],
        output=exec_properties.get("output") or "",
        slices=slices,
        kernel_sample_size=exec_properties["kernel_sample_size"],
        champion=read_champion(input_dict),
        lineage=read_lineage(input_dict),
        eval_config=read_extra_metrics(exec_properties),
        is_observed=True,
    )


def read_extra_metrics(exec_properties: Mapping[str, Any]) -> Any:
    """The EvalConfig of metrics that TFMA computes beside the counts, or None.

    Raises:
        InputError: It cannot be meant.
    """
    text = exec_properties.get("eval_config")
    if not text:
        return None
    label = ExampleSpec.from_json(exec_properties["example_spec"]).label
    config = read_eval_config(text, slices_from_json(exec_properties["slices"]), label)
    check_metrics(config)
    return config


def read_champion(input_dict: Mapping[str, list[Artifact]]) -> Champion | NoChampion:
    """The model released now, where a node before found one; a missing file is the rule's to refuse.

    Where there is none: what the ReleaseImporter notes, or that nothing was blessed.
    """
    models = input_dict.get("champion") or []
    reasons = [reason for model in models if (reason := model.get_string_custom_property("reason"))]
    if not models or reasons:
        return NoChampion(next(iter(reasons), NOTHING_BLESSED))
    model = artifact_utils.get_single_instance(models)
    version, channel = (model.get_string_custom_property(name) for name in ("release_version", "channel"))
    return Champion(local_path(model.uri) / TFLITE_FILE, model.id, version, channel)


def read_lineage(input_dict: Mapping[str, list[Artifact]]) -> tuple[LineageRecord, ...]:
    """What went into the verdict, by the names of the component's inputs."""
    return tuple(
        LineageRecord(role=role, artifact_id=artifact.id, uri=artifact.uri)
        for role, artifacts in sorted(input_dict.items())
        for artifact in artifacts
    )


def files_of_split(examples: list[Artifact], split: str) -> list[str]:
    """TFRecord files of one split, of all Examples artifacts.

    Raises:
        DataError: There is no such split, or it holds no files.
    """
    for artifact in examples:
        split_names = artifact_utils.decode_split_names(artifact.split_names)
        if split not in split_names:
            raise DataError(
                f"the examples at {artifact.uri} have no split {split!r}; found {split_names}. The gate needs a holdout of "
                "that name."
            )
    return [file for uri in artifact_utils.get_split_uris(examples, split) for file in split_files(uri)]


def count_in_statistics(statistics: list[Artifact], split: str) -> int | None:
    """Examples that StatisticsGen counted in a split; None where it did not."""
    dataset = _statistics_of_split(statistics, split)
    return int(dataset.num_examples) if dataset is not None else None


def label_edges(statistics: list[Artifact], split: str, spec: ExampleSpec) -> tuple[float, ...]:
    """Edges that cut a split into quarters by its real-valued label, from the quantiles that StatisticsGen measured.

    Empty where it did not look at the label, or a module's own parser may have changed it.
    """
    dataset = _statistics_of_split(statistics, split)
    if dataset is None or spec.parse_module:
        return ()
    feature = next((feature for feature in dataset.features if list(feature.path.step) == [spec.label]), None)
    histograms = feature.num_stats.histograms if feature is not None else ()
    quantiles = next((h for h in histograms if h.type == statistics_pb2.Histogram.QUANTILES and h.buckets), None)
    if quantiles is None:
        return ()
    values = [quantiles.buckets[0].low_value, *(bucket.high_value for bucket in quantiles.buckets)]
    counts = np.cumsum([0.0, *(bucket.sample_count for bucket in quantiles.buckets)])
    return quantile_edges(values, NUM_LABEL_BUCKETS, (counts / counts[-1]).tolist()) if counts[-1] else ()


def _statistics_of_split(statistics: list[Artifact], split: str) -> Any | None:
    artifact = artifact_utils.get_single_instance(statistics)
    if split not in artifact_utils.decode_split_names(artifact.split_names):
        return None
    data = read_bytes_if_there(join(artifact_utils.get_split_uri(statistics, split), STATISTICS_FILE))
    if data is None:
        return None
    record = statistics_pb2.DatasetFeatureStatisticsList.FromString(data)
    return record.datasets[0] if len(record.datasets) == 1 else None


def describe_evaluation(evaluation: Artifact, report: GateReport) -> None:
    """Puts the numbers that people list runs by on the artifact."""
    evaluation.set_string_custom_property("verdict", report.verdict.sentence)
    counts = report.counts
    if report.errors and report.metric is not None:
        evaluation.set_int_custom_property("num_examples", report.errors[0].num_examples)
        evaluation.set_string_custom_property("metric", report.metric.name)
        of_float, of_candidate = report.errors[0].of(report.metric.name)
        for name, error in (("float_error", of_float), ("candidate_error", of_candidate)):
            if error is not None:
                evaluation.set_string_custom_property(name, repr(error))  # MLMD keeps six decimals of a float
    if counts is None or counts.num_examples <= 0:
        return
    evaluation.set_int_custom_property("num_examples", counts.num_examples)
    evaluation.set_float_custom_property("float_accuracy", counts.num_correct_float / counts.num_examples)
    evaluation.set_float_custom_property("candidate_accuracy", counts.num_correct_candidate / counts.num_examples)


def write_blessing(blessing: Artifact, accepted: bool, input_dict: Mapping[str, list[Artifact]]) -> None:
    """Writes the blessing as TFX's own Evaluator does, so that its resolvers and Pusher understand it."""
    tflite_model = artifact_utils.get_single_instance(input_dict["tflite_model"])
    float_model = artifact_utils.get_single_instance(input_dict["float_model"])
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, tflite_model.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, tflite_model.id)
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, float_model.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, float_model.id)
    value = constants.BLESSED_VALUE if accepted else constants.NOT_BLESSED_VALUE
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)
    name = constants.BLESSED_FILE_NAME if accepted else constants.NOT_BLESSED_FILE_NAME
    write_bytes(join(blessing.uri, name), b"")
