"""The development server: ranges, caching, and nothing but the repository."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from releases.server import RepositoryHandler
from tests.releases.samples import noted_no_delay, serving

BODY = bytes(range(100))


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    for name in (
        "metadata/timestamp.json",
        "metadata/1.root.json",
        "targets/models/digits/a.tar",
        ".lock",
        "keys.json",
    ):
        file = tmp_path / "repository" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(BODY)
    (tmp_path / "secret").write_bytes(b"secret")
    with serving(tmp_path / "repository") as url:
        yield urlsplit(url).netloc


def ask(address: str, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def test_only_the_timestamp_is_asked_for_again(address: str) -> None:
    assert ask(address, "/metadata/timestamp.json")[1]["Cache-Control"] == "no-cache"
    for path in ("/metadata/1.root.json", "/targets/models/digits/a.tar"):
        status, headers, body = ask(address, path)
        assert (status, body) == (200, BODY)
        assert "immutable" in headers["Cache-Control"]
    status, headers, _ = ask(address, "/metadata/2.root.json")
    assert (status, headers["Cache-Control"]) == (404, "no-cache")


@pytest.mark.parametrize(
    ("wanted", "status", "body"),
    [
        pytest.param("bytes=0-9", 206, BODY[:10], id="first"),
        pytest.param("bytes=90-", 206, BODY[90:], id="rest"),
        pytest.param("bytes=-5", 206, BODY[-5:], id="last"),
        pytest.param("bytes=50-500", 206, BODY[50:], id="beyond-the-end"),
        pytest.param("bytes=100-", 416, b"", id="nothing-left"),
        pytest.param("bytes=9-1", 416, b"", id="backwards"),
        pytest.param("lines=1-2", 200, BODY, id="another-unit"),
    ],
)
def test_ranges(address: str, wanted: str, status: int, body: bytes) -> None:
    found = ask(address, "/targets/models/digits/a.tar", Range=wanted)
    assert (found[0], found[2]) == (status, body)


def test_head_sends_no_body(address: str) -> None:
    status, headers, body = ask(address, "/metadata/timestamp.json", method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "100", b"")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/metadata",
        "/metadata/",
        "/.lock",
        "/keys.json",
        "/metadata/../../secret",
        "/metadata/%2e%2e/%2e%2e/secret",
    ],
)
def test_nothing_else_is_served(address: str, path: str) -> None:
    assert ask(address, path)[0] == 404


def test_a_body_does_not_wait_for_the_acknowledgement_of_its_headers(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = noted_no_delay(monkeypatch, RepositoryHandler)
    assert ask(address, "/metadata/timestamp.json")[0] == 200
    assert all(options)
    assert options
