"""A URI is opened the same way, whether it is a path of this machine or a bucket's address."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from components import artifacts
from components.artifacts import join, local_copy, local_output, name_of, parent_of


@pytest.fixture(params=["directory", pytest.param("memory", marks=pytest.mark.tfx)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A directory, and a bucket in memory (which fileio opens, so TensorFlow is imported)."""
    if request.param == "directory":
        yield str(tmp_path)
        return
    address = f"memory://{uuid4().hex}"
    yield address
    artifacts.remove_tree(address)


def test_what_was_written_is_read(root: str) -> None:
    uri = join(root, "Evaluator", "evaluation", "1", "gate_report.json")
    assert not artifacts.exists(uri)
    assert artifacts.read_bytes_if_there(uri) is None
    with pytest.raises(FileNotFoundError):
        artifacts.read_bytes(uri)
    artifacts.write_bytes(uri, b"{}")
    assert artifacts.exists(uri)
    assert artifacts.exists(parent_of(uri))
    assert artifacts.read_bytes(uri) == artifacts.read_bytes_if_there(uri) == b"{}"


def test_files_of_a_directory_are_listed_in_order_without_hidden_ones(root: str) -> None:
    for name in ("b.gz", "a.gz", ".hidden", "below/c.gz"):
        artifacts.write_bytes(join(root, "Split-train", name), b"x")
    listed = artifacts.list_files(join(root, "Split-train"))
    assert [name_of(uri) for uri in listed if uri.endswith(".gz")] == ["a.gz", "b.gz"]
    assert [uri for uri in listed if uri.endswith(".gz")] == artifacts.matching_files(join(root, "Split-train", "*.gz"))
    assert artifacts.list_files(join(root, "nothing")) == []


def test_a_directory_is_read_from_a_local_copy(root: str) -> None:
    artifacts.write_bytes(join(root, "model", "saved_model.pb"), b"graph")
    artifacts.write_bytes(join(root, "model", "variables", "data"), b"weights")
    with local_copy(join(root, "model")) as directory:
        assert (directory / "saved_model.pb").read_bytes() == b"graph"
        assert (directory / "variables" / "data").read_bytes() == b"weights"
    assert directory.exists() == (not root.startswith("memory"))
    with local_copy(join(root, "model", "saved_model.pb")) as file:
        assert file.read_bytes() == b"graph"


def test_an_output_is_there_when_its_block_ends(root: str) -> None:
    with local_output(join(root, "model")) as directory:
        (directory / "variables").mkdir()
        (directory / "variables" / "data").write_bytes(b"weights")
    assert artifacts.read_bytes(join(root, "model", "variables", "data")) == b"weights"


@pytest.mark.tfx
def test_of_an_output_that_failed_nothing_is_in_the_bucket() -> None:
    uri = f"memory://{uuid4().hex}/model"
    with pytest.raises(IsADirectoryError), local_output(uri) as directory:  # noqa: PT012
        (directory / "data").mkdir()
        (directory / "data").write_bytes(b"half")
    assert not artifacts.exists(uri)


def test_what_crosses_from_workers_goes_with_its_block(root: str) -> None:
    with artifacts.scratch_directory(join(root, "evaluation")) as directory:
        artifacts.write_bytes(join(directory, "result"), b"tally")
        assert artifacts.read_bytes(join(directory, "result")) == b"tally"
    assert not artifacts.exists(directory)


@pytest.mark.tfx
def test_inputs_of_a_node_are_mirrored_and_keep_their_properties() -> None:
    from tfx.types import standard_artifacts

    model = standard_artifacts.Model()
    model.uri = f"memory://{uuid4().hex}/model"
    model.set_string_custom_property("sha256", "ab")
    artifacts.write_bytes(join(model.uri, "model.tflite"), b"TFL3")
    with artifacts.local_inputs({"model": [model], "examples": [model]}, ("model",)) as inputs:
        (mirrored,) = inputs["model"]
        assert Path(mirrored.uri, "model.tflite").read_bytes() == b"TFL3"
        assert mirrored.get_string_custom_property("sha256") == "ab"
        assert inputs["examples"] == [model]
    assert model.uri.startswith("memory://")


def test_an_address_is_never_taken_for_a_path() -> None:
    with pytest.raises(ValueError, match="gs://bucket/model is an address"):
        artifacts.local_path("gs://bucket/model")
