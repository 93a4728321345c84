"""The cache key of a node changes with the code and the libraries that it can run, and only with those."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.modules import code_version as code_version_module
from components.modules import own_sources
from components.modules.code_version import code_version

RUN_FN = "components.trainer.run_fn"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "user"
    folder.mkdir()
    (folder / "model.py").write_text("import layers\n", encoding="utf-8")
    (folder / "layers.py").write_text("WIDTH = 8\n", encoding="utf-8")
    return folder / "model.py"


def version(model: Path) -> str:
    return code_version(RUN_FN, (str(model),))


def test_an_unrelated_file_changes_nothing(model: Path) -> None:
    before = version(model)
    model.with_name("notes.py").write_text("\n", encoding="utf-8")
    assert version(model) == before


@pytest.mark.parametrize("name", ["model.py", "layers.py"])
def test_a_file_that_runs_changes_it(model: Path, name: str) -> None:
    before = version(model)
    with model.with_name(name).open("a", encoding="utf-8") as file:
        file.write("DEPTH = 2\n")
    assert version(model) != before


def test_beside_a_dynamic_import_every_file_counts(model: Path) -> None:
    model.write_text("import importlib\nlayers = importlib.import_module('lay' + 'ers')\n", encoding="utf-8")
    before = version(model)
    model.with_name("notes.py").write_text("\n", encoding="utf-8")
    assert version(model) != before


def test_a_function_of_a_file_counts_as_its_file(model: Path) -> None:
    assert code_version(RUN_FN, (f"{model}:run_fn",)) == version(model)


def test_the_same_content_elsewhere_is_the_same_version(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model.parent, tmp_path / "copy")
    assert version(tmp_path / "copy" / "model.py") == version(model)


@pytest.fixture(scope="module")
def copy_of_the_house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    house = tmp_path_factory.mktemp("house")
    for name, folder in own_sources._PACKAGES.items():
        shutil.copytree(folder, house / name, ignore=shutil.ignore_patterns("__pycache__", "android"))
    return house


@pytest.fixture
def house(copy_of_the_house: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of Edgeproof's packages in which a test may edit files, and restores them."""
    packages = {name: copy_of_the_house / name for name in own_sources._PACKAGES}
    monkeypatch.setattr(own_sources, "_PACKAGES", packages)
    return copy_of_the_house


@contextlib.contextmanager
def edited(file: Path) -> Iterator[None]:
    text = file.read_bytes()
    file.write_bytes(text + b"\n")
    yield
    file.write_bytes(text)


VALIDATOR = "components.example_validator.executor"
EVALUATOR = "components.evaluator.executor"
CONVERTER = "components.tflite_converter.executor"
PUSHER = "components.pusher.executor"


@pytest.mark.parametrize(
    ("module", "file", "counts"),
    [
        pytest.param(VALIDATOR, "components/example_validator/anomalies.py", True, id="a-rule-of-the-validator"),
        pytest.param(VALIDATOR, "components/errors.py", True, id="what-it-shares"),
        pytest.param(VALIDATOR, "components/example_validator/component.py", False, id="its-contract"),
        pytest.param(VALIDATOR, "components/evaluator/gate/judgement.py", False, id="another-node"),
        pytest.param(EVALUATOR, "components/evaluator/page/page.html.j2", True, id="a-template"),
        pytest.param(EVALUATOR, "components/evaluator/gate/slice_rules.py", True, id="imports-of-imports"),
        pytest.param(EVALUATOR, "edgeproof_edge/tensors.py", True, id="the-device-library"),
        pytest.param(CONVERTER, "components/tflite_converter/worker.py", True, id="a-child-process"),
        pytest.param(CONVERTER, "components/repair/search/ladder.py", True, id="what-a-child-process-imports"),
        pytest.param(CONVERTER, "releases/repository.py", False, id="publishing-is-not-converting"),
        pytest.param(PUSHER, "releases/repository.py", True, id="publishing"),
        pytest.param(RUN_FN, "components/trainer/training.py", True, id="training"),
    ],
)
def test_a_node_counts_what_its_executor_reaches(house: Path, module: str, file: str, counts: bool) -> None:
    before = code_version(module)
    with edited(house / file):
        assert (code_version(module) != before) == counts


def test_a_renamed_module_is_another_version(house: Path) -> None:
    before = code_version(VALIDATOR)
    executor = house / "components/example_validator/executor.py"
    moved = executor.rename(executor.with_name("execution.py"))
    assert code_version("components.example_validator.execution") != before
    moved.rename(executor)


def test_what_a_node_does_not_run_as_it_is_set_does_not_count(house: Path) -> None:
    qat = ("components.trainer.qat",)
    before, without = code_version(RUN_FN), code_version(RUN_FN, not_run=qat)
    with edited(house / "components/tflite_converter/worker.py"):
        assert code_version(RUN_FN) != before
        assert code_version(RUN_FN, not_run=qat) == without


def test_a_users_model_may_use_what_the_node_itself_does_not(house: Path, model: Path) -> None:
    model.write_text("from components.evaluator.counting.metric import Metric\n", encoding="utf-8")
    before = version(model)
    with edited(house / "components/evaluator/counting/metric.py"):
        assert version(model) != before


@pytest.mark.parametrize("module", ["", VALIDATOR], ids=["a-node-of-tfx", "a-node-of-ours"])
@pytest.mark.parametrize("name", ["stack_name", "library_versions"])
def test_other_libraries_are_another_version(monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> None:
    before = code_version(module)
    monkeypatch.setattr(code_version_module, name, lambda: "another")
    assert code_version(module) != before


def test_a_module_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match=r"components\.nothing"):
        code_version("components.nothing")
