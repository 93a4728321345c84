"""Pairing of names, hashes and bytes: what needs no TensorFlow."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from edgeproof_edge.tensors import TensorSpec

from components.errors import ModelError
from components.evaluator.counting.metric import Metric
from components.evaluator.measurements.table import measurement_of
from components.evaluator.scoring.both_models import (
    Candidate,
    CandidateError,
    Scorer,
    ScoringPlan,
    paired_names,
    paired_outputs,
    rename_inputs,
    sha256_of_directory,
)

ROWS = np.zeros((2, 3), np.float32)


def spec(name: str) -> TensorSpec:
    return TensorSpec(name, (-1, 3), "float32")


def test_a_single_input_fits_whatever_its_name() -> None:
    assert set(rename_inputs({"image": ROWS}, [spec("serving_default_image:0")])) == {"serving_default_image:0"}


def test_several_inputs_need_equal_names() -> None:
    assert set(rename_inputs({"a": ROWS, "b": ROWS}, [spec("b"), spec("a")])) == {"a", "b"}
    with pytest.raises(ModelError, match=r"\['a', 'c'\] are not the float model's \['a', 'b'\]"):
        rename_inputs({"a": ROWS, "b": ROWS}, [spec("a"), spec("c")])


def test_outputs_pair_as_the_only_ones_or_by_the_common_name() -> None:
    assert paired_outputs({"probs": ROWS}, {"Identity": ROWS + 1})[1][0, 0] == 1
    assert paired_outputs({"probs": ROWS, "embedding": ROWS}, {"probs": ROWS + 1})[1][0, 0] == 1


@pytest.mark.parametrize(
    ("float_names", "candidate_names"), [("ab", "ab"), ("ab", "cd"), ("ab", "c")], ids=["two-common", "none", "other"]
)
def test_outputs_that_cannot_be_paired_are_an_error(float_names: str, candidate_names: str) -> None:
    with pytest.raises(ModelError, match="the gate judges one"):
        paired_outputs(dict.fromkeys(float_names, ROWS), dict.fromkeys(candidate_names, ROWS))


def test_candidate_is_hashed_from_the_bytes_that_were_read(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"bytes")
    candidate = Candidate.read(tmp_path / "model.tflite")
    assert candidate.sha256 == hashlib.sha256(b"bytes").hexdigest()
    assert candidate.size_bytes == 5


def test_an_absent_candidate_is_the_candidates_fault(tmp_path: Path) -> None:
    with pytest.raises(CandidateError, match=r"model\.tflite cannot be read: No such file"):
        Candidate.read(tmp_path / "model.tflite")


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"\x1c\x00\x00\x00TFL3" + bytes(20)])
def test_a_damaged_candidate_is_the_candidates_fault(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(CandidateError, match="cannot be loaded"):
        Candidate.read(tmp_path / "model.tflite").load()


def test_other_bytes_than_expected_are_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"bytes")
    with pytest.raises(CandidateError, match="the file was changed after it was made"):
        Scorer(
            tmp_path, tmp_path / "model.tflite", ScoringPlan(measurement_of(Metric.TOP1)), expected_sha256="a" * 64
        ).load()


def test_directory_hash_sees_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "data").write_bytes(b"1")
    before = sha256_of_directory(tmp_path)
    assert before == sha256_of_directory(tmp_path)
    (tmp_path / "variables" / "data").rename(tmp_path / "variables" / "other")
    renamed = sha256_of_directory(tmp_path)
    (tmp_path / "variables" / "other").write_bytes(b"2")
    assert len({before, renamed, sha256_of_directory(tmp_path)}) == 3


def test_a_named_output_is_the_one_that_is_judged() -> None:
    assert paired_names(["boxes", "scores"], ["boxes", "scores"], "scores") == ("scores", "scores")
    with pytest.raises(ModelError, match=r"the output 'prob' is not in both models: .* \['boxes', 'scores'\]"):
        paired_names(["boxes", "scores"], ["boxes", "scores"], "prob")
