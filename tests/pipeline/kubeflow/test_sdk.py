"""Kubeflow's own SDK 2.17 and Kubernetes' schemas take what is compiled, and the tests' server answers the SDK's client.

They live in an environment of their own (``make test-kfp``), because their protobuf and TFX's exclude each other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.projects import Project, make_project
from tests.e2e.test_kubeflow import for_pods
from tests.pipeline.kubeflow.fake_server import Server, serving
from tests.pipeline.kubeflow.test_compilation import config_of

pytestmark = pytest.mark.kfp

SDK = os.environ.get("EDGEPROOF_KFP_PYTHON", "")
ROOT = Path(__file__).parents[3]
#: The oldest that is widely run, and the newest.
KUBERNETES = ("1.28", "1.37")


def asked(question: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    if not SDK:
        pytest.skip("EDGEPROOF_KFP_PYTHON is not set; make test-kfp makes the environment and sets it")
    command = [SDK, str(Path(__file__).parent / "with_sdk.py"), question, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=1800, check=False
    )


def answer(question: str, *arguments: str, **environment: str) -> Any:
    result = asked(question, *arguments, **environment)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def edgeproof(*arguments: str) -> str:
    command = [sys.executable, "-m", "pipeline.cli", "kubeflow", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sdk")
    config_of(directory)
    return directory / "config.yaml"


@pytest.fixture(scope="module", params=["node", "pipeline"])
def compiled(config: Path, request: pytest.FixtureRequest) -> str:
    file = config.parent / f"{request.param}.yaml"
    edgeproof("compile", str(config), "-o", str(file), "--granularity", request.param)
    return str(file)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as server:
        yield server


def test_the_sdk_loads_it_and_compiles_the_same_again(compiled: str) -> None:
    documents = list(yaml.safe_load_all(Path(compiled).read_text(encoding="utf-8")))
    assert answer("compiled_again", compiled) == documents


def test_every_part_is_a_message_of_kubeflow_without_a_field_too_many(compiled: str) -> None:
    assert answer("parsed", compiled) == [
        "KubernetesExecutorConfig",
        "PipelineDeploymentConfig",
        "PipelineSpec",
        "PlatformSpec",
    ]


def test_the_cronjob_and_the_examples_are_valid_in_kubernetes(config: Path) -> None:
    manifest = config.parent / "cronjob.yaml"
    manifest.write_text(edgeproof("cronjob", str(config), "--cron", "0 3 * * *"), encoding="utf-8")
    assert answer("valid_in_kubernetes", str(manifest), *KUBERNETES) == ["CronJob"]
    for name in ("rbac", "secret", "volume"):
        assert answer("valid_in_kubernetes", str(ROOT / f"kubeflow/examples/{name}.yaml"), *KUBERNETES)
    broken = manifest.with_name("broken.yaml")
    broken.write_text(
        manifest.read_text(encoding="utf-8").replace("concurrencyPolicy", "concurrency"), encoding="utf-8"
    )
    assert "concurrency" in asked("valid_in_kubernetes", str(broken), *KUBERNETES).stderr


def test_the_sdks_client_uploads_runs_and_schedules(server: Server, compiled: str) -> None:
    told = answer("used", server.host, compiled)
    assert (told["state"], told["runs"], told["schedules"]) == ("SUCCEEDED", ["by-hand"], ["nightly"])
    assert told["switched"] == ["DISABLED", "ENABLED"]
    assert [told[name][0] for name in ("taken", "bad_cron", "unknown")] == [409, 400, 400]
    assert "Schedule cron is not a supported format" in told["bad_cron"][1]
    assert "not required by pipeline: nosuch" in told["unknown"][1]


@pytest.fixture
def for_a_cluster(tmp_path: Path) -> Project:
    project = make_project(tmp_path / "volume")
    for_pods(project)
    return project


def test_kubeflows_local_orchestrator_runs_it_to_a_release(for_a_cluster: Project) -> None:
    file = for_a_cluster.directory / "pipeline.yaml"
    edgeproof("compile", str(for_a_cluster.config), "-o", str(file))
    refused = asked("ran_with_check", str(file))
    assert (refused.returncode, "You are attempting to run a Container Component" in refused.stderr) == (1, True)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    assert answer("ran", str(file), PATH=path) == "SUCCESS"
    assert list((for_a_cluster.directory / "published").glob("targets/models/*"))
