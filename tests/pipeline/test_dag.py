"""A pipeline is built for a place, says nothing about the world, and behaves the same however often it runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import PipelineConfig
from pipeline.config_file import load_config
from pipeline.demo.digits import EXAMPLE, write_images
from pipeline.mlmd import MetadataLocation
from pipeline.place import Place, local_place

pytestmark = pytest.mark.tfx


@pytest.fixture
def digits(tmp_path: Path) -> PipelineConfig:
    """The demo's project."""
    for name in ("config.yaml", "model.py"):
        shutil.copy(EXAMPLE / name, tmp_path / name)
    write_images(tmp_path / "images")
    settings = ("gate.champion_min_ratio=0.9", "gate.champion_channel=stable", f"workspace={tmp_path / 'work'}")
    return load_config(tmp_path / "config.yaml", settings)


def compiled(config: PipelineConfig, place: Place | None = None) -> Any:
    from pipeline.dag import build_pipeline
    from pipeline.running import launching

    return launching.compiled(build_pipeline(config, place or local_place(config)))


def test_what_lies_in_the_world_is_not_compiled_in(digits: PipelineConfig, tmp_path: Path) -> None:
    from pipeline.kubeflow.node_ir import encode
    from tests.releases.samples import make_repository, sample

    before = encode(compiled(digits))
    assert not (tmp_path / "work").exists()
    repository = make_repository(tmp_path / "made")
    repository.publish(sample("a"), "dev", "test")
    (tmp_path / "work").mkdir()
    (tmp_path / "made" / "repository").rename(tmp_path / "work" / "published")
    (tmp_path / "made" / "keys").rename(tmp_path / "work" / "keys")
    (tmp_path / "images" / "3" / "another.png").write_bytes((tmp_path / "images" / "3" / "0003.png").read_bytes())
    assert encode(compiled(digits)) == before


def test_a_place_decides_root_and_beam(digits: PipelineConfig) -> None:
    from tfx.orchestration.local import runner_utils

    from pipeline.running import launching

    place = Place(
        "s3://bucket/digits",
        MetadataLocation("grpc://metadata:8080"),
        ("--runner=FnApiRunner",),
        {"Evaluator": ("--direct_num_workers=2",)},
    )
    ir = launching.bound(compiled(digits, place), "run-1")
    assert ir.runtime_spec.pipeline_root.field_value.string_value == "s3://bucket/digits"
    deployment = runner_utils.extract_local_deployment_config(ir)
    arguments = {
        node: [
            value.value.string_value
            for value in deployment.executor_specs[node].beam_executable_spec.beam_pipeline_args_placeholders
        ]
        for node in ("ImageExampleGen", "Evaluator")
    }
    assert arguments == {
        "ImageExampleGen": ["--runner=FnApiRunner"],
        "Evaluator": ["--runner=FnApiRunner", "--direct_num_workers=2"],
    }
    assert "grpc" not in str(ir)
