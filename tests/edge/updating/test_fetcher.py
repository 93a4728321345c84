"""The network of an update: it ends, it goes on where it stopped, and it says what is wrong."""

from __future__ import annotations

import datetime
import gc
import ipaddress
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from edgeproof_edge.errors import InputError
from edgeproof_edge.updating.fetcher import Fetcher
from edgeproof_edge.updating.updater import DeadlineError, UnreachableError, Updater

from tests.edge.world import NEW, OLD, World

pytestmark = pytest.mark.usefixtures("no_sync")


@pytest.fixture(autouse=True)
def _connections_end_with_their_test() -> Iterator[None]:
    """A connection that a deadline shut is closed when it is collected, which is to happen here and not in another test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


Answer = Callable[[BaseHTTPRequestHandler, bytes], None]
DEADLINE_SECONDS = 0.6
#: On a busy machine; the old code took minutes to days.
SOON_SECONDS = 60.0


@contextmanager
def server_that(answer: Answer, world: World, part: str) -> Iterator[str]:
    """Serves the world's repository, but answers requests for paths that end in `part` in its own way."""
    stopped = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        stop = stopped

        def do_GET(self) -> None:
            file = world.directory / "repository" / self.path.lstrip("/")
            with suppress(OSError):
                if not file.is_file():
                    self.send_response(404)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                elif self.path.endswith(part):
                    answer(self, file.read_bytes())
                else:
                    _whole(self, file.read_bytes())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _head(request: BaseHTTPRequestHandler, status: int, length: int, **headers: str) -> None:
    request.send_response(status)
    request.send_header("Content-Length", str(length))
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()


def _whole(request: BaseHTTPRequestHandler, data: bytes) -> None:
    _head(request, 200, len(data))
    request.wfile.write(data)


def _drip(request: BaseHTTPRequestHandler, data: bytes) -> None:
    """A byte now and then, never silent for long."""
    _head(request, 200, len(data))
    _drip_bytes(request, data)


def _drip_chunks(request: BaseHTTPRequestHandler, data: bytes) -> None:
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    request.wfile.write(f"{len(data):x}\r\n".encode())
    _drip_bytes(request, data)


def _drip_header(request: BaseHTTPRequestHandler, data: bytes) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    request.wfile.flush()
    _drip_bytes(request, b"x" * 10_000)


def _drip_bytes(request: BaseHTTPRequestHandler, data: bytes) -> None:
    for byte in data:
        if request.stop.wait(0.05):  # type: ignore[attr-defined]
            return
        request.wfile.write(bytes([byte]))
        request.wfile.flush()


def _silent(request: BaseHTTPRequestHandler, data: bytes) -> None:
    request.stop.wait(60)  # type: ignore[attr-defined]


@pytest.mark.parametrize("part", ["timestamp.json", ".tar"])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(_drip, id="a-byte-at-a-time"),
        pytest.param(_drip_chunks, id="a-byte-at-a-time-of-one-chunk"),
        pytest.param(_drip_header, id="a-header-without-end"),
        pytest.param(_silent, id="no-answer"),
    ],
)
def test_an_update_ends_by_its_deadline_and_gives_the_lock_back(world: World, answer: Answer, part: str) -> None:
    with server_that(answer, world, part) as url:
        started = time.monotonic()
        with pytest.raises(UnreachableError, match=r"did not end within 0\.6 s|in time"):
            world.device(url=url, deadline_seconds=DEADLINE_SECONDS).update()
        assert time.monotonic() - started < SOON_SECONDS
    assert world.version() == OLD
    assert world.device().update().is_new


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_to_wait_for_hours_is_not_waited_for(world: World, status: int) -> None:
    def later(request: BaseHTTPRequestHandler, data: bytes) -> None:
        _head(request, status, 0, Retry_After="21600")

    with server_that(later, world, "timestamp.json") as url:
        started = time.monotonic()
        with pytest.raises(UnreachableError, match=f"HTTP {status}"):
            world.device(url=url).update()
        assert time.monotonic() - started < SOON_SECONDS


def test_a_download_that_broke_goes_on_where_it_stopped(world: World) -> None:
    asked: list[str | None] = []

    def breaks(request: BaseHTTPRequestHandler, data: bytes) -> None:
        asked.append(request.headers.get("Range"))
        _head(request, 200, len(data))
        request.wfile.write(data[:5_000])
        request.wfile.flush()
        request.connection.shutdown(socket.SHUT_RDWR)
        request.close_connection = True

    with server_that(breaks, world, ".tar") as url:
        with pytest.raises(UnreachableError, match="the connection broke"):
            world.device(url=url).update()
    part = next(world.home.glob(".part-*"))
    size_bytes = part.stat().st_size
    assert 0 < size_bytes <= 5_000
    world.replies.requests.clear()
    world.replies.num_bytes = 0
    assert world.device().update().is_new
    assert world.version() == NEW
    assert asked == [None]
    bundle_bytes = len(world.file(world.bundle))
    assert world.replies.num_bytes < bundle_bytes - size_bytes + 4_000
    assert list(world.home.glob(".part-*")) == []


@pytest.mark.parametrize("answers_ranges", [True, False])
def test_a_part_that_was_damaged_or_that_the_server_cannot_go_on_from_is_fetched_anew(
    world: World, answers_ranges: bool
) -> None:
    bundle = world.file(world.bundle)
    release = world.repository.find("stable")
    part = world.home / f".part-{release.bundle_sha256}"
    part.write_bytes(bytes(3_000))

    def ranges_or_not(request: BaseHTTPRequestHandler, data: bytes) -> None:
        asked = request.headers.get("Range")
        if asked and answers_ranges:
            _head(request, 206, len(data) - 3_000, Content_Range=f"bytes 3000-{len(data) - 1}/{len(data)}")
            request.wfile.write(data[3_000:])
        else:
            _whole(request, data)

    with server_that(ranges_or_not, world, ".tar") as url:
        assert world.device(url=url).update().is_new
    assert len(bundle) > 3_000
    assert world.version() == NEW


@contextmanager
def _tls_server(certificate: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with suppress(OSError), context.wrap_socket(connection, server_side=True):
                        pass

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _self_signed(path: Path) -> Path:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def _cause(world: World, url: str) -> str:
    with pytest.raises(UnreachableError) as refusal:
        world.device(url=url).update()
    return str(refusal.value)


def test_a_refused_port_is_named(world: World) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    assert _cause(world, url) == (
        f"{url} cannot be reached: the port refuses connections (is the server running?). The device stays as it is."
    )


def test_an_unknown_host_is_named(world: World) -> None:
    assert "the host name is unknown here" in _cause(world, "https://no-such-host.invalid")


def test_a_certificate_that_is_not_trusted_is_named(world: World, tmp_path: Path) -> None:
    with _tls_server(_self_signed(tmp_path / "server.pem")) as port:
        assert "TLS refuses the server's certificate: self" in _cause(world, f"https://127.0.0.1:{port}")


def test_https_on_a_port_that_speaks_http_is_named(world: World) -> None:
    assert "TLS failed" in _cause(world, world.url.replace("http:", "https:"))


@pytest.mark.parametrize("url", ["ftp://models", "models.example.com", "file:///etc"])
def test_an_address_that_is_none_is_refused(world: World, url: str) -> None:
    with pytest.raises(InputError, match="https://"):
        world.device(url=url)


def test_what_is_fetched_behind_the_deadline_is_refused() -> None:
    with Fetcher(0.0) as fetcher, pytest.raises(Exception) as refusal:
        fetcher.download_bytes("http://127.0.0.1:9/", 10)
    assert isinstance(refusal.value.__cause__, DeadlineError)


def test_an_updater_may_be_used_again(world: World) -> None:
    device: Updater = world.device()
    device.check()
    assert device.update().is_new
