"""A bundle: the same content is the same bytes, and nothing strange is let out of one."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from edgeproof_edge.bundle import BundleError, content_sha256, open_bundle, pack, unpack, unpack_to

from releases.bundles.bundle import build
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


def _with_header(**fields: str) -> bytes:
    """A file whose extended header says something of its own."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={}) as archive:
        entry = tarfile.TarInfo("model.tflite")
        entry.pax_headers = {key.replace("_", "."): value for key, value in fields.items()}
        entry.size, entry.mode = 512, 0o644
        archive.addfile(entry, io.BytesIO(b"0\n".ljust(512, b"\0")))
    return buffer.getvalue()


#: 64 MiB of nothing, in 2 KiB.
SPARSE = _with_header(GNU_sparse_major="1", GNU_sparse_minor="0", GNU_sparse_realsize=str(2**26), GNU_sparse_name="m")


def _reordered() -> bytes:
    one, other = pack({"b": b"1"})[:1024], pack({"a": b"1"})
    return one + other


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(SPARSE, id="sparse"),
        pytest.param(_with_header(path="b"), id="another-name-in-an-extended-header"),
        pytest.param(_reordered(), id="not-in-order"),
        pytest.param(pack({"a": b"1"}) + b"junk".ljust(512), id="junk-behind-the-end"),
        pytest.param(pack({"a": b"1"})[:1024], id="no-end"),
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


def test_a_sparse_file_is_refused_before_it_is_spread_out() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BundleError):
            unpack(SPARSE)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_an_archive_is_what_the_standard_library_writes() -> None:
    files = {"a": b"1" * 513, "b": b"", "model.tflite": b"2" * 10_240}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    assert pack(files) == buffer.getvalue()


def test_a_large_bundle_is_unpacked_in_small_pieces(tmp_path: Path) -> None:
    built = build(sample("x" * 2**23), 7, "000007-abc", CREATED)
    (tmp_path / "bundle.tar").write_bytes(built)
    (tmp_path / "to").mkdir()
    tracemalloc.start()
    try:
        manifest = unpack_to(tmp_path / "bundle.tar", tmp_path / "to")
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
    assert {path.name: path.read_bytes() for path in (tmp_path / "to").iterdir()} == open_bundle(built).files
    assert manifest.sequence == 7


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
