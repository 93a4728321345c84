"""What Kubeflow gets: the same bytes each time, the cluster's paths and never this machine's, or one sentence that says what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import PipelineConfig
from pipeline.config_file import load_config
from pipeline.demo.digits import EXAMPLE
from pipeline.errors import ConfigError

GOLDEN = Path(__file__).parent / "digits.yaml"
IMAGE = "registry.example/edgeproof@sha256:" + "0" * 64
KUBEFLOW: dict[str, Any] = {
    "image": IMAGE,
    "project": "/project",
    "root": "s3://runs/digits",
    "metadata": "mysql://mlmd@db/mlmd",
    "volumes": [{"claim": "edgeproof", "path": "/mnt/edgeproof"}],
    "secrets": [{"name": "mlmd", "key": "password", "variable": "EDGEPROOF_METADATA_PASSWORD"}],
    "nodes": {"Trainer": {"cpu": 4, "memory_gb": 8, "gpu": 1}},
    "node_selector": {"kubernetes.io/arch": "amd64"},
}


def config_of(directory: Path, **changes: Any) -> PipelineConfig:
    """The demo's project as a team would put it onto a cluster."""
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(EXAMPLE / "model.py", directory / "model.py")
    settings = yaml.safe_load((EXAMPLE / "config.yaml").read_text(encoding="utf-8"))
    settings["data"] |= {"path": "/mnt/edgeproof/images", "class_names": [str(digit) for digit in range(10)]}
    settings["release"] = {"path": "/mnt/edgeproof/published", "keys": "/mnt/edgeproof/keys"}
    settings["kubeflow"] = KUBEFLOW
    for key, value in changes.items():
        section, _, name = key.partition("__")
        target = settings[section] if name else settings
        if value is None:
            target.pop(name or section, None)
        else:
            target[name or section] = value
    (directory / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return load_config(directory / "config.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"kubeflow": {**KUBEFLOW, "image": None}}, "kubeflow.image is missing", id="no-image"),
        pytest.param({"data__class_names": None}, "data.class_names is missing", id="classes-of-today"),
        pytest.param({"data__path": "/var/images"}, "data.path /var/images is a path of this machine", id="local-data"),
        pytest.param({"release": None}, "release.path and release.keys are needed", id="no-repository"),
        pytest.param(
            {"kubeflow": {**KUBEFLOW, "project": None}},
            "model.module /.*model.py is a path of this machine",
            id="local-model",
        ),
        pytest.param(
            {"kubeflow": {**KUBEFLOW, "root": "/var/runs"}},
            "kubeflow.root /var/runs is on no volume",
            id="root-in-the-pod",
        ),
        pytest.param({"kubeflow": {**KUBEFLOW, "root": None}}, "kubeflow.root is missing", id="no-root"),
    ],
)
def test_what_a_pod_would_not_find_is_told(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    from pipeline.kubeflow.compilation import compile_for_kubeflow

    with pytest.raises(ConfigError, match=message):
        compile_for_kubeflow(config_of(tmp_path / "project", **changes), tmp_path / "project")


@pytest.mark.tfx
def test_two_compiles_from_two_places_are_equal_and_as_the_golden_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.kubeflow.compilation import compile_for_kubeflow
    from pipeline.kubeflow.node_ir import decode

    monkeypatch.setattr("pipeline.nodes.code_version", lambda *_: "code")  # another edit, another golden file
    texts = [
        compile_for_kubeflow(config_of(tmp_path / place / "project"), tmp_path / place / "project")
        for place in ("a", "b")
    ]
    assert texts[0] == texts[1]
    assert str(tmp_path) not in texts[0]
    documents = list(yaml.safe_load_all(texts[0]))
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        arguments = executor["container"]["args"]
        position = arguments.index("--ir") + 1
        ir = decode(arguments[position])
        assert str(tmp_path) not in str(ir)
        assert IMAGE in str(ir)
        arguments[position] = "IR"  # of the one library version or the other
    assert yaml.safe_dump_all(documents, sort_keys=True) == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.tfx
def test_one_pod_for_all_asks_for_the_most_and_a_node_that_is_not_there_is_told(tmp_path: Path) -> None:
    from pipeline.kubeflow.compilation import compile_for_kubeflow
    from pipeline.kubeflow.specification import Granularity

    project = tmp_path / "project"
    text = compile_for_kubeflow(config_of(project), project, granularity=Granularity.PIPELINE)
    (executor,) = next(yaml.safe_load_all(text))["deploymentSpec"]["executors"].values()
    resources = executor["container"]["resources"]
    assert (resources["memoryRequest"], resources["cpuLimit"], resources["accelerator"]["count"]) == (8, 4, "1")
    misspelt = config_of(project, kubeflow={**KUBEFLOW, "nodes": {"trainer": {"memory_gb": 8}}})
    with pytest.raises(ConfigError, match=r"kubeflow\.nodes\.trainer is no node of this pipeline; it has .*Trainer"):
        compile_for_kubeflow(misspelt, project)


@pytest.mark.tfx
def test_what_lies_in_the_world_changes_no_byte(tmp_path: Path) -> None:
    from pipeline.kubeflow.compilation import compile_for_kubeflow
    from tests.releases.samples import make_repository, sample

    volume = tmp_path / "volume"
    project = tmp_path / "project"
    kubeflow = {**KUBEFLOW, "volumes": [{"claim": "edgeproof", "path": str(volume)}]}
    release = {"path": f"{volume}/repository", "keys": f"{volume}/keys"}
    changes = {"kubeflow": kubeflow, "release": release, "data__path": f"{volume}/images"}
    before = compile_for_kubeflow(config_of(project, **changes), project)
    make_repository(volume).publish(sample("a"), "dev", "test")
    (volume / "images" / "3").mkdir(parents=True)
    (volume / "images" / "3" / "new.png").write_bytes(b"new")
    assert compile_for_kubeflow(config_of(project, **changes), project) == before


@pytest.mark.tfx
def test_another_image_is_another_key_of_the_cache(tmp_path: Path) -> None:
    from pipeline.kubeflow.compilation import compiled_for_pods

    config = config_of(tmp_path / "project")
    first, second = (compiled_for_pods(config, tmp_path / "project", image) for image in ("edgeproof:1", "edgeproof:2"))
    for one, other in zip(first.nodes, second.nodes, strict=True):
        assert one.pipeline_node.parameters != other.pipeline_node.parameters


@pytest.mark.tfx
def test_the_cronjob_runs_the_whole_pipeline_and_is_a_valid_manifest(tmp_path: Path) -> None:
    from pipeline.kubeflow.compilation import compiled_for_pods
    from pipeline.kubeflow.cron import Schedule
    from pipeline.kubeflow.cronjob import cronjob
    from pipeline.kubeflow.node_ir import decode

    config = config_of(tmp_path / "project")
    ir = compiled_for_pods(config, tmp_path / "project", IMAGE)
    manifest = yaml.safe_load(cronjob(ir, config, IMAGE, Schedule.parse("0 3 * * *"), "{}"))
    assert (manifest["kind"], manifest["spec"]["schedule"], manifest["spec"]["concurrencyPolicy"]) == (
        "CronJob",
        "0 3 * * *",
        "Forbid",
    )
    pod = manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert len(decode(container["args"][1]).nodes) == len(ir.nodes)
    assert container["resources"]["limits"] == {"memory": "8G", "cpu": "4", "nvidia.com/gpu": "1"}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {"name": "CUDA_VISIBLE_DEVICES", "value": "0"} in container["env"]
    without = config_of(tmp_path / "project", kubeflow={**KUBEFLOW, "metadata": None})
    with pytest.raises(ConfigError, match=r"kubeflow\.metadata is missing"):
        cronjob(ir, without, IMAGE, Schedule.parse("0 3 * * *"), "{}")
