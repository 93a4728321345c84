"""The provenance is an in-toto Statement v1 with a SLSA predicate, and tells no machine's paths."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path

from components.pusher.provenance import Build, Commit, Material, git_commit, statement

BUILD = Build(
    model="digits",
    recipe="int8",
    materials=(
        Material("examples", {}, {"artifact_id": 3, "span": 7}),
        Material("calibration examples", {"sha256": "c" * 64}, {"num_examples": 500}),
    ),
    code_version="abc",
    library_versions={"tfx": "1.16.0"},
    git_commit=Commit("f" * 40, is_changed=True),
    artifact_ids={"model": 7},
)
FILES = {"model.tflite": b"model", "labels.txt": b"cat\n", "gate_report.json": b"{}"}


def test_subject_materials_and_byproducts() -> None:
    found = json.loads(statement(FILES, ("gate_report.json", "conversion_report.json"), BUILD))
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    assert [subject["name"] for subject in found["subject"]] == ["labels.txt", "model.tflite"]
    assert found["subject"][1]["digest"] == {"sha256": hashlib.sha256(b"model").hexdigest()}
    materials = found["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert all("digest" in material or "uri" in material for material in materials)
    assert materials[-1] == {"name": "source", "digest": {"gitCommit": "f" * 40}, "annotations": {"changed": True}}
    (byproduct,) = found["predicate"]["runDetails"]["byproducts"]
    assert byproduct["digest"] == {"sha256": hashlib.sha256(b"{}").hexdigest()}


def test_equal_builds_are_equal_bytes() -> None:
    assert statement(FILES, (), BUILD) == statement(dict(reversed(FILES.items())), (), BUILD)


def test_the_commit_is_that_of_the_directory_and_says_when_files_differ(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "model.py").write_text("1\n")
    git("add", "model.py")
    git("commit", "-q", "-m", "first")
    assert git_commit(tmp_path) == Commit(git("rev-parse", "HEAD"), is_changed=False)
    (tmp_path / "model.py").write_text("2\n")
    assert git_commit(tmp_path) == Commit(git("rev-parse", "HEAD"), is_changed=True)


def test_the_reason_of_the_run_is_told_where_there_is_one() -> None:
    def parameters(build: Build) -> dict[str, object]:
        content: dict[str, object] = json.loads(statement(FILES, (), build))["predicate"]["buildDefinition"][
            "internalParameters"
        ]
        return content

    told = replace(BUILD, reason="new_span: span 2 is new [trigger abc, span 2]", trigger_key="abc", data_span="2")
    assert parameters(told)["reason"] == "new_span: span 2 is new [trigger abc, span 2]"
    assert (parameters(told)["triggerKey"], parameters(told)["dataSpan"]) == ("abc", "2")
    assert not {"reason", "triggerKey", "dataSpan"} & parameters(BUILD).keys()
