"""What a model module opens in its folder is known, whoever opens it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from components.errors import ModelError
from components.modules import opened_files
from components.modules.opened_files import watching
from components.modules.user_module import files_opened_by, load_module
from components.trainer.module_files import module_files


def test_opens_by_python_by_libraries_and_by_other_processes_are_seen(tmp_path: Path) -> None:
    names = ["a.npy", "sub/b.h5", "c.bin", "never.npy", "module.py"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with watching(tmp_path) as opened:
        (tmp_path / "a.npy").read_bytes()
        (tmp_path / "module.py").read_bytes()
        stream = ctypes.CDLL(None).open(os.fsencode(tmp_path / "sub/b.h5"), os.O_RDONLY)
        os.close(stream)
        subprocess.run([sys.executable, "-c", f"open({str(tmp_path / 'c.bin')!r})"], check=True)
        assert opened == set()
    assert opened == {tmp_path / "a.npy", tmp_path / "sub/b.h5", tmp_path / "c.bin"}


def test_hidden_folders_are_not_watched(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/index").write_bytes(b"x")
    with watching(tmp_path) as opened:
        (tmp_path / ".git/index").read_bytes()
    assert opened == set()


def test_more_folders_than_are_watched_warn_and_name_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(opened_files, "MAX_FOLDERS", 2)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "w.npy").write_bytes(b"x")
    with watching(tmp_path) as opened:
        (tmp_path / "a/w.npy").read_bytes()
        (tmp_path / "b/w.npy").read_bytes()
    assert opened == {tmp_path / "a/w.npy"}
    assert "more than 2 folders" in caplog.text
    assert "model.files" in caplog.text


def test_a_module_that_reads_weights_when_it_is_imported(tmp_path: Path) -> None:
    np.save(tmp_path / "backbone.npy", np.zeros(3))
    module = tmp_path / "model.py"
    module.write_text(
        "import numpy\nfrom pathlib import Path\nWEIGHTS = numpy.load(Path(__file__).with_name('backbone.npy'))\n"
    )
    load_module(str(module))
    assert files_opened_by(str(module)) == (tmp_path / "backbone.npy",)
    before = module_files(str(module))
    assert list(before) == ["backbone.npy"]
    np.save(tmp_path / "backbone.npy", np.ones(3))
    assert module_files(str(module)) != before


def test_files_that_the_config_names(tmp_path: Path) -> None:
    folder = tmp_path / "weights" / "v1"
    folder.mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"a")
    module = tmp_path / "code" / "train.py"
    module.parent.mkdir()
    module.write_text("def run_fn(fn_args): ...\n")
    assert list(module_files(f"{module}:run_fn", [str(tmp_path / "weights")])) == ["../weights/v1/a.bin"]
    assert list(module_files(f"{module}:run_fn", [str(tmp_path / "weights/*/*.bin")])) == ["../weights/v1/a.bin"]


def test_a_pattern_without_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.files: .*none\.npy matches no file"):
        module_files(str(tmp_path / "model.py"), [str(tmp_path / "none.npy")])
