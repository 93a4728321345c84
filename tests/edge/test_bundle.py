"""A bundle: the same content is the same bytes, and nothing strange is let out of one."""

from __future__ import annotations

import io
import tarfile

import pytest
from edgeproof_edge.bundle import BundleError, content_sha256, open_bundle, pack, unpack

from releases.bundle import build
from tests.releases.samples import sample

CREATED = "2026-11-21T09:00:00Z"


def test_equal_content_is_equal_bytes_in_any_order() -> None:
    assert pack({"a": b"1", "b": b"2"}) == pack({"b": b"2", "a": b"1"})
    assert build(sample("x"), 1, "1", CREATED) == build(sample("x"), 1, "1", CREATED)
    assert unpack(pack({"a": b"1", "b": b"2"})) == {"a": b"1", "b": b"2"}


def test_a_bundle_opens_as_what_its_manifest_says() -> None:
    bundle = open_bundle(build(sample("x"), 7, "000007-abc", CREATED))
    assert bundle.manifest.sequence == 7
    assert bundle.files["labels.txt"] == b"cat\ndog\nx\n"


def _tar(name: str, kind: bytes = tarfile.REGTYPE, times: int = 1) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for _ in range(times):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"<html>", id="no-archive"),
        pytest.param(_tar("../boot.cfg"), id="outside"),
        pytest.param(_tar("/etc/passwd"), id="absolute"),
        pytest.param(_tar("link", tarfile.SYMTYPE), id="symbolic-link"),
        pytest.param(_tar("link", tarfile.LNKTYPE), id="hard-link"),
        pytest.param(_tar("device", tarfile.CHRTYPE), id="device"),
        pytest.param(_tar("twice", times=2), id="same-name-twice"),
        pytest.param(pack({"model.tflite": b""}), id="no-manifest"),
        pytest.param(pack({"manifest.json": b"{}"}), id="empty-manifest"),
        pytest.param(build(sample("x"), 1, "1", CREATED)[:2000], id="cut-off"),
    ],
)
def test_what_is_no_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError):
        open_bundle(data)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"labels.txt": b"dog\ncat\n"}, id="other-bytes"),
        pytest.param({"extra.sh": b"rm"}, id="a-file-more"),
    ],
)
def test_a_bundle_that_differs_from_its_manifest_is_refused(change: dict[str, bytes]) -> None:
    files = unpack(build(sample("x"), 1, "1", CREATED))
    with pytest.raises(BundleError):
        open_bundle(pack({**files, **change}))


def test_the_content_hash_is_over_what_a_device_runs() -> None:
    digests = {"model.tflite": "a" * 64, "labels.txt": "b" * 64}
    assert content_sha256(digests) == content_sha256({**digests, "gate_report.json": "c" * 64})
    assert content_sha256(digests) != content_sha256({**digests, "labels.txt": "c" * 64})
