"""``edgeproof release export``: a release as files for microcontrollers."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from edgeproof_edge.errors import InputError

from pipeline.commands.release import command
from tests.releases.samples import make_repository, sample


@pytest.mark.usefixtures("no_sync")
def test_a_release_is_exported_and_nothing_is_overwritten(tmp_path: Path) -> None:
    make_repository(tmp_path).publish(sample("a"), "dev", "test")
    arguments = ["export", str(tmp_path / "repository"), "dev", "--format", "c-array", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["digits_model.cc", "digits_model.h"]
    again = CliRunner().invoke(command, arguments)
    assert isinstance(again.exception, InputError)
    assert "is there already" in str(again.exception)
