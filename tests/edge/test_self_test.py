"""The self-test in a child process: what a release did, what it did to its process, and what the machine did."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from edgeproof_edge import self_test as tests
from edgeproof_edge.errors import ModelFileError, SurroundingsError
from edgeproof_edge.manifest import Manifest
from edgeproof_edge.runtime import EdgeModel, RuntimeOptions
from edgeproof_edge.self_test import SelfTestOptions, run_self_test, self_test

from releases.bundles.bundle import build
from tests.edge.bundles import CREATED, golden_draft, unpacked
from tests.edge.world import OLD, World


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("bundles"), golden_draft())


def test_a_good_release_passes_and_says_how(bundle: Path) -> None:
    result = run_self_test(bundle)
    assert result.passed
    assert result.num_examples >= 8
    assert result.largest_difference <= result.tolerance
    assert result.delegated_fraction == 1.0
    assert result.milliseconds is not None


def test_a_release_without_its_model_is_refused(tmp_path: Path) -> None:
    directory = unpacked(tmp_path, golden_draft())
    (directory / "model.tflite").write_bytes(b"")
    result = run_self_test(directory)
    assert (result.passed, result.is_machine_at_fault) == (False, False)
    assert "model.tflite has not the" in result.reason


def test_a_missing_delegate_is_the_machines_fault(bundle: Path) -> None:
    result = run_self_test(bundle, SelfTestOptions(delegate="libmissing.so"))
    assert (result.passed, result.is_machine_at_fault) == (False, True)
    with pytest.raises(SurroundingsError, match=r"libmissing\.so cannot be loaded"):
        self_test(SelfTestOptions(delegate="libmissing.so"))(
            bundle, Manifest.from_json((bundle / "manifest.json").read_bytes())
        )


def test_a_child_that_dies_is_a_refusal_and_no_death(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The child of a "Python" that dies as one does whose model corrupts the heap.
    killer = bundle.parent / "dies"
    killer.write_text("#!/bin/sh\nkill -ABRT $$\n")
    killer.chmod(0o755)
    monkeypatch.setattr(tests.sys, "executable", str(killer))
    assert run_self_test(bundle).reason == "it ended the process with SIGABRT"


def test_a_child_that_hangs_is_stopped(bundle: Path) -> None:
    result = run_self_test(bundle, timeout_seconds=0.01)
    assert (result.passed, result.is_machine_at_fault) == (False, True)
    assert "did not end within 0.01 s" in result.reason


@pytest.mark.usefixtures("no_sync")
def test_the_machines_fault_is_not_held_against_a_release(world: World) -> None:
    with pytest.raises(SurroundingsError, match="cannot be loaded"):
        world.device().update(self_test(SelfTestOptions(delegate="libmissing.so")))
    assert world.version() == OLD
    assert world.device().update(self_test()).is_new


@pytest.mark.exhaustive
def test_a_hundred_corrupt_models_are_refused_or_harmless_and_never_the_end(tmp_path: Path) -> None:
    """The manifest is made for the damaged bytes, as if they had been signed: only loading and golden vectors are left."""
    release = golden_draft()
    chance = random.Random(7)
    num_refused = 0
    for number in range(1, 101):
        data = bytearray(release.files["model.tflite"])
        for _ in range(chance.randint(1, 20)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        files = {name: content for name, content in release.files.items() if name != "golden.npz"}
        damaged = _signed_again(release, {**files, "model.tflite": bytes(data)})
        result = run_self_test(unpacked(tmp_path / str(number), damaged))
        num_refused += not result.passed
        assert result.passed or result.reason
    assert num_refused > 50


def _signed_again(release, files):  # type: ignore[no-untyped-def]
    from dataclasses import replace
    from hashlib import sha256

    complete = {**release.files, **files}
    entries = tuple(
        replace(entry, sha256=sha256(complete[entry.name]).hexdigest(), size_bytes=len(complete[entry.name]))
        for entry in release.manifest.files
    )
    return replace(release, files=complete, manifest=replace(release.manifest, files=entries))


def test_a_truncated_model_never_reaches_the_runtime(tmp_path: Path) -> None:
    release = golden_draft()
    directory = unpacked(tmp_path, release)
    (directory / "model.tflite").write_bytes(release.files["model.tflite"][:-1])
    with pytest.raises(ModelFileError, match="bytes that its manifest says"):
        EdgeModel.open(directory, RuntimeOptions())
    assert build(release, 1, "1", CREATED)
