"""What a node is told when the pipeline is built, and what it must find out in each run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from components.errors import DataError
from components.modules import code_version, own_sources
from components.pusher.provenance import REASON_VARIABLE, SPAN_VARIABLE, TRIGGER_VARIABLE
from pipeline.config import PipelineConfig, validated
from pipeline.config_file import load_config
from pipeline.demo.digits import EXAMPLE, write_images

pytestmark = pytest.mark.tfx


def test_the_champion_is_looked_for_as_late_as_it_can_be(tmp_path: Path) -> None:
    from tfx.dsl.components.common.importer import Importer
    from tfx.orchestration.data_types import RuntimeParameter
    from tfx.types import standard_artifacts

    from pipeline.nodes import champion

    config = validated(
        {
            "name": "digits",
            "workspace": "work",
            "data": {"format": "image_folder", "path": ".", "image": {"height": 8, "width": 8, "channels": 1}},
            "model": {"module": "model.py"},
            "gate": {"champion_min_ratio": 1, "champion_channel": "stable"},
        },
        tmp_path,
    )
    before = Importer("somewhere", standard_artifacts.Model).with_id("TFLiteConverter")
    node = champion(config, before)
    assert node is not None
    assert {upstream.id for upstream in node.upstream_nodes} == {"TFLiteConverter"}
    assert isinstance(node.exec_properties["channel_state"], RuntimeParameter)


@pytest.mark.parametrize(
    ("recipe", "splits"),
    [
        pytest.param("auto", {"calibration": 300, "eval": 400}, id="auto"),
        pytest.param("int8", {"calibration": 300, "eval": 400}, id="int8"),
        pytest.param("int8-qat", {"eval": 400}, id="ranges-from-training"),
        pytest.param("dynamic", {"eval": 400}, id="ranges-on-the-device"),
    ],
)
@pytest.mark.parametrize("data", [{}, {"patterns": {"train": "a/*", "eval": "b/*"}}], ids=["shares", "patterns"])
def test_the_validator_knows_what_later_steps_need(
    tmp_path: Path, recipe: str, splits: dict[str, int], data: dict[str, Any]
) -> None:
    from tfx.dsl.components.common.importer import Importer
    from tfx.types import Channel, standard_artifacts

    from pipeline.nodes import validator

    image = {"height": 8, "width": 8, "channels": 1}
    config = validated(
        {
            "name": "digits",
            "data": {"format": "image_folder", "path": ".", "image": image, **data},
            "model": {"module": "model.py"},
            "convert": {"recipe": recipe, "calibration": {"min_samples": 300}},
            "gate": {"min_examples": 400},
        },
        tmp_path,
    )
    statistics = Importer("statistics", standard_artifacts.ExampleStatistics).with_id("StatisticsGen")
    statistics.outputs["statistics"] = Channel(type=standard_artifacts.ExampleStatistics)
    schema = Importer("schema", standard_artifacts.Schema).with_id("SchemaGen")
    schema.outputs["schema"] = Channel(type=standard_artifacts.Schema)
    properties = validator(config, statistics, schema).exec_properties
    minimums = json.loads(properties["minimums"])
    assert {split: entry["minimum"] for split, entry in minimums.items()} == splits
    assert minimums["eval"]["key"] == "gate.min_examples"
    assert properties["cut_by_shares"] == (not data)


@pytest.fixture
def digits(tmp_path: Path) -> PipelineConfig:
    """The demo's project."""
    for name in ("config.yaml", "model.py"):
        shutil.copy(EXAMPLE / name, tmp_path / name)
    write_images(tmp_path / "images")
    return load_config(tmp_path / "config.yaml")


def other_libraries() -> dict[str, str]:
    return {"tensorflow": "another"}


def test_every_node_that_runs_code_has_its_version_in_the_cache_key(
    digits: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfx.orchestration.data_types import RuntimeParameter

    from pipeline.dag import build_pipeline
    from pipeline.place import local_place

    def properties() -> dict[str, dict[str, Any]]:
        return {node.id: dict(node.exec_properties) for node in build_pipeline(digits, local_place(digits)).components}

    before = properties()
    monkeypatch.setattr(code_version, "library_versions", other_libraries)
    after = properties()
    for node, state in (("Pusher", "published_state"), ("ImageExampleGen", "fingerprint")):
        assert all(isinstance(those[node].pop(state), RuntimeParameter) for those in (before, after))
    changed = {node: [key for key in after[node] if after[node][key] != before[node].get(key)] for node in after}
    assert changed == {node: ["custom_config" if node == "Trainer" else "code_version"] for node in after}


@pytest.mark.exhaustive
def test_a_stricter_rule_and_another_stack_are_never_served_from_the_cache(
    digits: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = {name: tmp_path / "house" / name for name in own_sources._PACKAGES}
    for name, folder in own_sources._PACKAGES.items():
        shutil.copytree(folder, house[name], ignore=shutil.ignore_patterns("__pycache__", "android"))
    monkeypatch.setattr(own_sources, "_PACKAGES", house)

    assert set(_run_to_the_validator(digits, tmp_path).values()) == {"complete"}
    assert set(_run_to_the_validator(digits, tmp_path).values()) == {"cached"}
    with monkeypatch.context() as other_stack:
        other_stack.setattr(code_version, "library_versions", other_libraries)
        assert set(_run_to_the_validator(digits, tmp_path).values()) == {"complete"}

    with (house["components"] / "example_validator" / "anomalies.py").open("a", encoding="utf-8") as rules:
        rules.write("# stricter\n")
    monkeypatch.setattr("components.example_validator.executor.problems_of", lambda split, _: [split])
    monkeypatch.setattr("components.example_validator.executor.anomalies_message", "stricter".format)
    with pytest.raises(DataError, match="stricter"):
        _run_to_the_validator(digits, tmp_path)


def _run_to_the_validator(config: PipelineConfig, directory: Path) -> dict[str, str]:
    """Node -> state of the run's executions."""
    from pipeline import nodes
    from pipeline.description import describe_data
    from pipeline.mlmd import MetadataLocation
    from pipeline.running import launching
    from pipeline.running.world import DataPlace

    data = describe_data(config)
    examples, schema = nodes.examples(config, data), nodes.schema(config, data)
    statistics = nodes.statistics(config, data, examples, schema)
    chain = [examples, schema, statistics, nodes.validator(config, statistics, schema)]
    ir = launching.bound(_compiled(config, directory, chain), uuid4().hex)
    location = MetadataLocation.of_file(directory / "metadata.sqlite")
    data_place = DataPlace(config.data, directory)
    return {node_id: launching.launch(ir, node_id, location, data_place).state for node_id in launching.node_ids(ir)}


def _compiled(config: PipelineConfig, directory: Path, chain: list[Any]) -> Any:
    from tfx.orchestration import pipeline

    from pipeline.place import IN_PROCESS_BEAM_ARGS
    from pipeline.running import launching

    dag = pipeline.Pipeline(
        config.name,
        str(directory / "artifacts"),
        components=chain,
        enable_cache=True,
        beam_pipeline_args=list(IN_PROCESS_BEAM_ARGS),
    )
    return launching.compiled(dag)


def test_a_run_is_for_the_span_that_it_reads_unless_it_was_started_for_one(
    digits: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline import nodes
    from pipeline.description import describe_data
    from pipeline.mlmd import MetadataLocation, RunPurpose, RunStore
    from pipeline.running import launching
    from pipeline.running.world import DataPlace

    (tmp_path / "images").rename(tmp_path / "span-4")
    data = digits.data.model_copy(update={"path": tmp_path, "pattern": "span-{SPAN}/*/*"})
    config = digits.model_copy(update={"data": data})
    for variable in (REASON_VARIABLE, TRIGGER_VARIABLE, SPAN_VARIABLE):
        monkeypatch.setenv(variable, "")
    messages: list[str] = []
    monkeypatch.setattr(launching.progress, "info", lambda text, *words: messages.append(text % words))
    location = MetadataLocation.of_file(tmp_path / "metadata.sqlite")
    store = RunStore(location)
    for purpose in (RunPurpose("by hand"), RunPurpose("drift", "drift-7", data_span="3")):
        ir = launching.bound(_compiled(config, tmp_path, [nodes.examples(config, describe_data(config))]), uuid4().hex)
        run_id = ir.runtime_spec.pipeline_run_id.field_value.string_value
        store.begin(run_id, purpose)
        (node_id,) = launching.node_ids(ir)
        launching.launch(ir, node_id, location, DataPlace(data, tmp_path))
    by_hand, triggered = store.runs()
    assert by_hand.purpose == RunPurpose("by hand", data_span="4")
    assert triggered.purpose == RunPurpose("drift", "drift-7", data_span="3")
    assert messages[-1] == "the run is for span 3; span 4 is the newest, and it is what was read"
    assert os.environ[TRIGGER_VARIABLE] == "drift-7"


def test_what_the_gate_section_says_reaches_the_evaluator(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from tfx.types import Channel, standard_artifacts

    from components.evaluator.gate.thresholds import GateRules
    from pipeline.description import describe_data
    from pipeline.nodes import evaluator

    (tmp_path / "metrics.pbtxt").write_text('metrics_specs { metrics { class_name: "AUC" } }')
    gate = {
        "decision_threshold": 0.25,
        "output": "scores",
        "slices": [{"by": "label"}],
        "champion_min_ratio": 1,
        "champion_channel": "stable",
        "kernel_sample": 7,
        "eval_config": "metrics.pbtxt",
    }
    data = {"format": "csv", "path": ".", "label": "y", "class_names": ["a", "b"], "features": {"x": {}}}
    (tmp_path / "model.py").write_text("")
    config = validated({"name": "digits", "data": data, "model": {"module": "model.py"}, "gate": gate}, tmp_path)
    outputs = {
        "examples": standard_artifacts.Examples,
        "statistics": standard_artifacts.ExampleStatistics,
        "model": standard_artifacts.Model,
        "tflite_model": standard_artifacts.Model,
    }
    upstream: Any = SimpleNamespace(outputs={name: Channel(type=kind) for name, kind in outputs.items()})
    node = evaluator(config, describe_data(config), upstream, upstream, upstream, upstream, upstream)
    properties = node.exec_properties
    given = {name: properties[name] for name in ("decision_threshold", "output", "kernel_sample_size")}
    assert given == {"decision_threshold": 0.25, "output": "scores", "kernel_sample_size": 7}
    assert GateRules.from_json(properties["rules"]) == config.gate.rules
    assert json.loads(properties["slices"]) == [{"buckets": [], "by": "label", "feature": ""}]
    assert "AUC" in properties["eval_config"]
    assert "champion" in node.inputs
