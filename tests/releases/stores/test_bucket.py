"""The bucket store against a server that speaks S3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from edgeproof_edge.errors import SurroundingsError

from releases.errors import ReleaseError
from releases.stores.location import open_store, published_state
from releases.stores.protocol import AlreadyStored, NotStored


def test_only_buckets_with_a_conditional_create_are_opened(tmp_path: Path) -> None:
    for address in ("file:///tmp/releases", "memory://releases", "http://host/releases"):
        with pytest.raises(ReleaseError, match="cannot hold releases"):
            open_store(address)
    with pytest.raises(ReleaseError, match="location of the releases is empty"):
        open_store("")
    assert not open_store(str(tmp_path)).protocol.starts_over


@pytest.mark.e2e
class TestBucket:
    @pytest.fixture
    def address(self, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
        import fsspec

        monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        files = fsspec.filesystem("s3", endpoint_url=s3_endpoint)
        if not files.exists("verbs"):
            files.mkdir("verbs")
        return f"s3://verbs/{abs(hash(request.node.name))}"

    def test_the_verbs(self, address: str) -> None:
        store = open_store(address)
        assert store.protocol.starts_over
        store.check()
        with store.lock():
            store.create("metadata/1.a.json", b"one")
            store.create("metadata/1.a.json", b"one")  # answered late, tried again: still ours
            with pytest.raises(AlreadyStored):
                store.create("metadata/1.a.json", b"two")
            assert store.read("metadata/1.a.json") == b"one"
            store.replace("metadata/t.json", b"old")
            store.replace("metadata/t.json", b"new")
            assert store.read("metadata/t.json") == b"new"
            assert store.list("metadata") == ("1.a.json", "t.json")
            assert store.list("nothing") == ()
            store.remove("metadata/1.a.json")
            store.remove("metadata/1.a.json")
        with pytest.raises(NotStored):
            store.read("metadata/1.a.json")

    def test_a_server_that_overwrites_is_refused(self, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
        store: Any = open_store(address)
        overwrite = store._files.pipe_file

        def ignore_condition(path: str, data: bytes, mode: str = "overwrite") -> None:
            assert mode in ("create", "overwrite")
            overwrite(path, data)

        monkeypatch.setattr(store._files, "pipe_file", ignore_condition)
        with pytest.raises(SurroundingsError, match="overwrites where it should refuse"):
            store.check()

    def test_a_missing_bucket_is_named(self, address: str) -> None:
        with pytest.raises(SurroundingsError, match="cannot write"):
            open_store("s3://no-such-bucket/releases").check()

    def test_an_empty_bucket_has_no_state_to_cache(self, address: str) -> None:
        assert published_state(address, "digits") != published_state(address, "digits")
