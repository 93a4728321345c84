"""The pages as people see them, in a real browser; and who does not see them."""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from telemetry.database import Database, open_database
from telemetry.database.rows import EventRows
from telemetry.event import Event, format_time
from telemetry.feedback import MESSAGE, FeedbackBook
from telemetry.fleet import Fleet
from telemetry.maintenance import maintain
from telemetry.report_text import describe, read_report
from telemetry.service.settings import Settings
from telemetry.service.status_page import status_page
from telemetry.tokens import Kind
from tests.telemetry.browser import Browser, needs_browser, open_browser
from tests.telemetry.conftest import Service
from tests.telemetry.samples import VERSION, event_json, latency

NEWER = "000002-ba9876543210"
HOSTILE = "<script>alert(1)</script>"


def fill(database: Database, now: datetime, hours: int = 24) -> None:
    """Two versions on two device models; the newer is slower, a device lags, one fell back, one is silent."""
    chance = random.Random(0)
    events = []
    for hour in range(hours):
        start = (now - timedelta(hours=hour)).replace(minute=0, second=0, microsecond=0)
        for number in range(14):
            version = NEWER if hour < 8 and number >= 7 else VERSION
            slow = (1.6 if version == NEWER else 1.0) * (4.0 if number == 3 else 1.0) * chance.uniform(0.95, 1.05)
            changes: dict[str, Any] = {
                "model_version": version,
                "latency_ms": latency(8.0 * slow, 500),
                "num_inferences": 500,
            }
            if number == 5:
                changes |= {"delegate": "builtin", "delegated_fraction": 0.0}
            if number == 6:
                changes |= {"device_model": HOSTILE}
            if hour == 0 and number == 2:
                at = format_time(now - timedelta(minutes=5))
                changes["incidents"] = [
                    {"kind": "rolled_back", "at": at, "model_version": NEWER, "detail": f"self-test {HOSTILE}"}
                ]
            events.append(event_json(f"pi-{number}", window_start=format_time(start), window_seconds=300, **changes))
    events.append(
        event_json(
            "pi-old", window_start=format_time((now - timedelta(days=3)).replace(minute=0, second=0, microsecond=0))
        )
    )
    database.write_events(EventRows.of(Event.model_validate_json(json.dumps(event)) for event in events))
    _fill_ledger(database, now)
    for number in range(4):
        book = FeedbackBook(database)
        book.take(f"pi-{number}", MESSAGE.validate_json(feedback_json(number)), now, 2**20)
    maintain(database, now, timedelta(days=30))


def _fill_ledger(database: Database, now: datetime) -> None:
    """Three days of decisions, as the triggers write them."""
    with database.transaction() as transaction:
        for hour in range(24):
            at = database.time_value(now - timedelta(hours=hour))
            psi = max(0.01, 0.4 - 0.03 * hour)
            numbers = {
                "subject": VERSION,
                "inputs image mean": {"psi": psi, "threshold": 0.1, "num_examples": 900, "num_devices": 30},
            }
            outcome = "suggest" if hour == 2 else "waiting" if psi > 0.1 else "no"
            sentence = f"inputs image mean: PSI {psi:.3f}, threshold 0.100"
            transaction.run(
                "insert into trigger_decision values (?, ?, ?, ?, ?, ?, ?, ?, 1)",
                ("digits", f"key-{hour}", outcome, "input_drift", sentence, json.dumps(numbers), at, at),
            )
        transaction.run(
            "insert into trigger_run values ('k', 'digits', 'input_drift', 'input_drift: dark', 2, 'local', 'x', 'published', ?, ?, ?)",
            (NEWER, database.time_value(now), database.time_value(now)),
        )


def feedback_json(number: int, **changes: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 20 * number).save(buffer, "PNG")
    content = {
        "model_name": "digits", "model_version": VERSION, "captured_at": "2026-01-31T10:00:00Z", "media_type": "image/png",
        "content": base64.b64encode(buffer.getvalue()).decode(), "answer": str(number), "confidence": 0.3 + 0.1 * number,
        "slice": "dark",
    }  # fmt: skip
    return json.dumps(content | changes).encode()


@pytest.fixture
def settings() -> Settings:
    return Settings(is_open=True, class_names={"digits": tuple("0123456789")})


@pytest.fixture
def now() -> datetime:
    return datetime.now(timezone.utc)


@pytest.fixture
def filled(sqlite_service: Service, now: datetime) -> Service:
    fill(sqlite_service.database, now)
    return sqlite_service


@pytest.fixture(params=[pytest.param(390, id="phone"), pytest.param(1280, id="desktop")])
def browser(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Browser]:
    with open_browser(tmp_path, request.param) as opened:
        yield opened


def test_the_page_says_what_the_fleet_does(database: Database, now: datetime) -> None:
    fill(database, now)
    page = status_page(database, None, now)
    assert page.count("<svg") == 4
    for text in (
        "slower version",
        "fallen back",
        "outlier",
        "incident",
        "silent",
        VERSION,
        NEWER,
        "PSI 0.340",
        "of 15 known",
    ):
        assert text in page, text
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page


def test_the_report_names_what_stands_out(database: Database, now: datetime) -> None:
    fill(database, now)
    report = read_report(Fleet(database, "digits"), "digits", now, 6)
    assert [found.device.device_id for found in report.outliers] == ["pi-3"]
    assert {found.device.device_id for found in report.fallbacks} == {"pi-5"}
    assert [(found.before_version, found.after_version) for found in report.regressions] == [(VERSION, NEWER)]
    assert [seen.device_id for seen in report.silent] == ["pi-old"]
    text = describe(report)
    assert "SLOWER VERSION  000002-ba9876543210 on Raspberry Pi 4 Model B Rev 1.4: p50" in text
    assert "FALLEN BACK  pi-5" in text
    assert "edgeproof release rollback" in text


def test_a_quiet_fleet_has_nothing_that_stands_out(database: Database, now: datetime) -> None:
    start = format_time(now.replace(minute=0, second=0, microsecond=0))
    events = [event_json(f"pi-{number}", window_start=start) for number in range(30)]
    database.write_events(EventRows.of(Event.model_validate_json(json.dumps(event)) for event in events))
    maintain(database, now, timedelta(days=30))
    report = read_report(Fleet(database, "digits"), "digits", now, 6)
    assert report.is_quiet
    assert "nothing stands out" in describe(report)


@needs_browser
@pytest.mark.e2e
def test_the_status_page_in_a_browser(filled: Service, browser: Browser, tmp_path: Path) -> None:
    browser.driver.get(filled.url)
    assert browser.driver.find_element(By.TAG_NAME, "h1").text == "digits"
    charts = browser.driver.find_elements(By.CSS_SELECTOR, "figure svg path")
    assert len(charts) == 7  # two versions in three charts, one figure of drift
    assert all(chart.size["width"] > 50 for chart in charts)
    assert browser.overflow() <= 0
    browser.driver.save_screenshot(str(tmp_path / "status.png"))
    assert browser.console() == []
    assert browser.requested_hosts() == {"127.0.0.1"}


@needs_browser
@pytest.mark.e2e
def test_examples_are_labelled_with_the_keyboard(filled: Service, browser: Browser, tmp_path: Path) -> None:
    driver = browser.driver
    driver.get(f"{filled.url}/label?model=digits")
    wait = WebDriverWait(driver, 20)

    def press(key: str, left: int) -> None:
        driver.find_element(By.TAG_NAME, "body").send_keys(key)
        wait.until(lambda _: driver.find_element(By.ID, "left").text == str(left))

    wait.until(lambda _: driver.execute_script("return document.getElementById('picture').naturalWidth") == 8)
    driver.save_screenshot(str(tmp_path / "label.png"))
    assert driver.find_element(By.ID, "answer").text == "0"  # the least sure first
    assert browser.overflow() <= 0
    press("7", 3)
    press(Keys.ENTER, 2)
    press("x", 1)
    press("u", 2)
    press("x", 1)
    driver.find_element(By.CSS_SELECTOR, "button[data-label='9']").click()
    wait.until(lambda _: driver.find_element(By.ID, "done").is_displayed())
    book = FeedbackBook(filled.database)
    assert [(example.answer, example.label) for example in sorted(book.labelled_without_span("digits"), key=lambda e: e.answer)] == [
        ("0", "7"), ("1", "1"), ("3", "9"),
    ]  # fmt: skip
    assert book.counts("digits")["unusable"] == 1
    assert browser.console() == []
    assert browser.requested_hosts() == {"127.0.0.1"}


class TestClosed:
    """Without ``--open-pages``, as it is by default."""

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings()

    @pytest.mark.parametrize("path", ["/", "/label", "/metrics", "/examples/digits/x/picture"])
    def test_pages_ask_for_a_token(self, sqlite_service: Service, path: str) -> None:
        answer = sqlite_service.request("GET", path)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
        assert sqlite_service.request("GET", path, token=sqlite_service.token()).status == 401  # a device's

    def test_a_viewer_looks_and_does_not_label(self, sqlite_service: Service, now: datetime) -> None:
        fill(sqlite_service.database, now, hours=1)
        password = base64.b64encode(f"jo:{sqlite_service.token('jo', Kind.VIEWER)}".encode()).decode()
        assert sqlite_service.request("GET", "/", Authorization=f"Basic {password}").status == 200
        assert sqlite_service.request("GET", "/label", Authorization=f"Basic {password}").status == 401


def give(service: Service, digest: str, **headers: str) -> int:
    body = json.dumps({"state": "labelled", "label": "7"}).encode()
    given = {"Content_Type": "application/json", **headers}
    return service.request("POST", f"/examples/digits/{digest}", body, **given).status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 200, id="a-program"),
        pytest.param({"Sec_Fetch_Site": "same-origin"}, 200, id="our-page"),
        pytest.param({"Sec_Fetch_Site": "cross-site"}, 403, id="another-page"),
        pytest.param({"Origin": "http://evil.example"}, 403, id="another-origin"),
        pytest.param({"Content_Type": "text/plain"}, 415, id="a-form"),
        pytest.param({"Host": "evil.example"}, 403, id="another-name-that-points-here"),
        pytest.param({"Host": "["}, 403, id="no-name"),
    ],
)
def test_a_label_is_taken_from_our_page_only(
    sqlite_service: Service, now: datetime, headers: dict[str, str], status: int
) -> None:
    fill(sqlite_service.database, now, hours=1)
    (example, *_) = FeedbackBook(sqlite_service.database).waiting("digits", 1)
    assert give(sqlite_service, example.content_sha256, **headers) == status


def test_what_a_span_holds_is_not_labelled_again(sqlite_service: Service, now: datetime) -> None:
    fill(sqlite_service.database, now, hours=1)
    book = FeedbackBook(sqlite_service.database)
    (example, *_) = book.waiting("digits", 1)
    assert give(sqlite_service, example.content_sha256) == 200
    book.set_span("digits", book.labelled_without_span("digits"), 2)
    assert give(sqlite_service, example.content_sha256) == 409


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        pytest.param({}, 200, id="a-picture"),
        pytest.param({"label": "3"}, 200, id="with-its-label"),
        pytest.param({"media_type": "image/jpeg"}, 422, id="of-another-type"),
        pytest.param({"content": "%%%"}, 422, id="no-base64"),
        pytest.param({"label": "../x"}, 422, id="a-label-that-is-a-path"),
        pytest.param({"slice": "Dark/1"}, 422, id="a-slice-that-is-a-path"),
        pytest.param({"content": base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"x" * 2**20).decode()}, 422, id="too-large"),
    ],
)
def test_a_device_sends_what_it_was_unsure_of(sqlite_service: Service, changes: dict[str, Any], status: int) -> None:
    token = sqlite_service.token()
    body = feedback_json(3, **changes)
    assert sqlite_service.post(body, token, "/v1/feedback").status == status
    if status == 200:
        again = sqlite_service.post(body, token, "/v1/feedback")
        assert json.loads(again.data) == {"num_accepted": 0, "num_known": 1}


def test_the_database_of_a_service_may_be_looked_at_beside_it(sqlite_service: Service, now: datetime) -> None:
    fill(sqlite_service.database, now, hours=1)
    beside = open_database(sqlite_service.database.name)
    assert Fleet(beside, "digits").last_seen()
    beside.close()
