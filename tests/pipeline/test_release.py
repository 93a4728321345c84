"""`edgeproof release` from the outside: its answers, its questions and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from edgeproof_edge.errors import EdgeproofError

from pipeline.commands.release import command
from releases.repository import Repository
from tests.releases.samples import make_repository, sample

pytestmark = pytest.mark.usefixtures("no_sync")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Releases 1 and 2, `dev` at 2."""
    repository = make_repository(tmp_path)
    for text in "ab":
        repository.publish(sample(text), "dev", "pipeline")
    return repository


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def answer(*arguments: str) -> Any:
    """What a command prints for machines."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*arguments: str) -> EdgeproofError:
    result = run(*arguments)
    assert isinstance(result.exception, EdgeproofError), result.output
    return result.exception


@pytest.fixture
def target(repository: Repository) -> str:
    return repository.store.location


def test_init_makes_a_repository_and_says_what_to_do_next(tmp_path: Path) -> None:
    result = run("init", str(tmp_path / "repository"), "--channel", "dev", "--channel", "stable")
    assert result.exit_code == 0, result.output
    assert "channels dev, stable" in result.stdout
    assert "root.json" in result.stdout
    assert "release refresh" in result.stdout
    assert run("init", str(tmp_path / "repository")).exit_code == 0


def test_list_names_releases_and_where_they_are_offered(target: str) -> None:
    run("promote", target, "1", "stable", "--yes")
    run("promote", target, "2", "stable", "--rollout", "10", "--yes")
    lines = run("list", target).stdout.splitlines()
    assert "stable 90 %" in lines[0]
    assert "dev, stable 10 %" in lines[1]
    assert [release["sequence"] for release in answer("list", target)["releases"]] == [1, 2]


def test_list_counts_one_release_as_one(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    repository.publish(sample("a"), "dev", "pipeline")
    assert run("list", repository.store.location).stderr.startswith("1 release; fresh until")


def test_show_checks_the_bundle_and_extracts_it(target: str, tmp_path: Path) -> None:
    shown = answer("show", target, "dev", "--extract", str(tmp_path / "files"))
    assert shown["manifest"]["sequence"] == 2
    assert (tmp_path / "files/model.tflite").is_file()


def test_show_writes_a_bill_of_materials_that_its_schema_accepts(target: str, tmp_path: Path) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json", reason="the dev extra brings cyclonedx-python-lib")
    from cyclonedx.schema import SchemaVersion

    file = tmp_path / "bom.json"
    assert run("show", target, "1", "--ml-bom", str(file), "--license", "Apache-2.0").exit_code == 0
    assert validation.JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read_text()) is None
    content = json.loads(file.read_text())
    model = content["metadata"]["component"]
    assert (content["bomFormat"], model["type"]) == ("CycloneDX", "machine-learning-model")
    assert model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0]["value"] == "9300/10000"
    components = {each["name"]: each for each in content["components"]}
    assert {name: each["type"] for name, each in components.items()} == {
        "gate_report.json": "file",
        "labels.txt": "data",
        "model.tflite": "machine-learning-model",
        "provenance.dsse.json": "file",
        "provenance.intoto.json": "file",
        "tensorflow": "library",
    }
    assert components["model.tflite"]["licenses"] == model["licenses"] == [{"expression": "Apache-2.0"}]
    assert components["tensorflow"]["licenses"] == [{"license": {"name": "Apache Software License"}}]


def test_a_bill_of_materials_says_no_licence_that_nobody_said(target: str, tmp_path: Path) -> None:
    file = tmp_path / "bom.json"
    assert run("show", target, "1", "--ml-bom", str(file)).exit_code == 0
    assert "licenses" not in json.loads(file.read_text())["metadata"]["component"]


def test_promote_rollback_and_audit(target: str) -> None:
    assert answer("promote", target, "1", "stable", "--yes", "--by", "anna")["pointer"]["release"]["sequence"] == 1
    assert answer("promote", target, "dev", "stable", "--yes", "--by", "ben")["pointer"]["release"]["sequence"] == 2
    assert answer("rollback", target, "stable", "--yes", "--by", "carl")["pointer"]["release"]["sequence"] == 1
    again = run("rollback", target, "stable")  # asks nothing: it changes nothing
    assert again.exit_code == 0
    assert "already" in again.stderr
    events = answer("audit", target, "--channel", "stable")
    assert [event["by"] for event in events if event["action"] == "point"] == ["anna", "ben", "carl"]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["promote", "1", "stable"], id="promote"),
        pytest.param(["rollback", "dev"], id="rollback"),
        pytest.param(["retire", "1", "--reason", "bad"], id="retire"),
        pytest.param(["keys", "rotate", "online"], id="keys-rotate"),
        pytest.param(["prune", "--keep", "1"], id="prune"),
    ],
)
def test_what_changes_a_fleet_needs_an_answer(arguments: Sequence[str], repository: Repository) -> None:
    target = repository.store.location
    verb = arguments[:2] if arguments[0] == "keys" else arguments[:1]
    error = refused(*verb, target, *arguments[len(verb) :])
    assert "--yes" in str(error)
    assert error.exit_code == 2
    assert [event.action for event in _events(repository)].count("point") == 2


def _events(repository: Repository) -> Sequence[Any]:
    from releases.history import audit

    return audit(repository.store, repository.anchor)


def test_retire_refresh_rotate_prune_and_verify_speak_json(target: str) -> None:
    assert answer("retire", target, "1", "--reason", "bad", "--yes")["retired"]["reason"] == "bad"
    assert answer("refresh", target)["signed"] == ["timestamp"]
    assert answer("keys", "rotate", target, "stable", "--yes")["old"].startswith("file2:stable-")
    (version,) = answer("prune", target, "--keep", "1", "--yes")["releases"]
    assert version.startswith("000001-")
    assert answer("verify", target)["problems"] == []


def test_verify_exits_with_1_where_a_device_would_refuse(target: str, repository: Repository) -> None:
    bundle = Path(target) / repository.find("1").file
    bundle.write_bytes(b"<html>")
    command_line = [sys.executable, "-m", "pipeline.cli", "release", "verify", target]
    result = subprocess.run(command_line, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "PROBLEM" in result.stdout


def test_a_stranger_trusts_the_root_that_is_given(target: str, tmp_path: Path) -> None:
    other = make_repository(tmp_path / "other")
    assert run("verify", target, "--root", str(other.ring.anchor_file)).exit_code == 1
    assert run("verify", target, "--root", str(tmp_path / "keys/root.json")).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["list", "nowhere"], "no release repository in nowhere", id="missing-repository"),
        pytest.param(["promote", "nowhere", "1", "dev", "--yes"], "no release repository", id="promote-nowhere"),
        pytest.param(["serve", "nowhere"], "no release repository", id="serve-nowhere"),
        pytest.param(["serve", "s3://bucket"], "served by its cloud", id="serve-a-bucket"),
        pytest.param(["list", "ftp://host/path"], "cannot hold releases", id="unknown-scheme"),
        pytest.param(["list", "missing.yaml"], "missing.yaml does not exist", id="missing-config"),
    ],
)
def test_a_wrong_target_is_named(
    arguments: Sequence[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in str(refused(*arguments))
    assert list(tmp_path.iterdir()) == []


def test_a_config_names_repository_keys_and_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = make_repository(tmp_path)
    for model in ("digits", "voices"):
        repository.publish(sample("a", model), "dev", "test")
    config = tmp_path / "config.yaml"
    config.write_text(
        "name: digits\ndata: {format: image_folder, path: d, image: {height: 8, width: 8, channels: 1}}\n"
        "model: {module: m.py}\nrelease: {path: repository, keys: keys}\n",
        encoding="utf-8",
    )
    assert [release["model"] for release in answer("list", str(config))["releases"]] == ["digits"]
    assert answer("promote", str(config), "1", "stable", "--yes")["model"] == "digits"


@pytest.mark.parametrize("verb", ["list", "verify", "audit", "refresh", "serve"])
def test_before_the_first_accepted_run_it_is_said_who_makes_the_repository(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the workspace lies under the current directory
    config = tmp_path / "config.yaml"
    data = "{format: image_folder, path: photos, image: {height: 8, width: 8, channels: 3}}"
    config.write_text(f"name: digits\ndata: {data}\nmodel: {{module: model.py}}\n")
    assert "the first accepted run makes it" in str(refused(verb, str(config)))
    config.write_text(config.read_text() + "release: {keys: keys}\n")
    assert "release init" in str(refused(verb, str(config)))
