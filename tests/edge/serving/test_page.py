"""The page of a device in a real browser: it shows the release, answers a picture, asks nobody else, and fits a phone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeproof_edge.agent.enrollment import Enrollment
from edgeproof_edge.agent.loop import Agent
from edgeproof_edge.agent.updating import UpdateReport
from edgeproof_edge.serving.server import make_server
from edgeproof_edge.updating.updater import Subscription, Updater
from PIL import Image

from tests.edge.bundles import golden_draft
from tests.releases.samples import make_repository, serving

pytest.importorskip("selenium", reason="the dev extra brings selenium")
from selenium.webdriver.common.by import By

from tests.telemetry.browser import needs_browser, open_browser

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("no_sync"), needs_browser]
SECONDS = 20.0


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A device that serves a model of pictures of 8 x 8 pixels."""
    repository = make_repository(tmp_path)
    repository.publish(golden_draft("hard_swish_int8.tflite"), "dev", "test")
    with serving(tmp_path / "repository") as url:
        Updater(tmp_path / "home", Subscription(url, "digits", "dev", "pi-0042"), repository.anchor).update()
        agent = Agent(
            tmp_path / "home", Enrollment(url, "digits", "dev", "pi-0042"), lambda _: UpdateReport(None, False)
        )
        agent.load()
        server = make_server(agent, "127.0.0.1", 0)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        server.server_close()
        thread.join()
        agent.close()


@pytest.mark.parametrize("width", [1200, 390])
def test_a_picture_is_tried_on_the_page(address: str, tmp_path: Path, width: int) -> None:
    for name, size in (("right", (8, 8)), ("large", (9, 8))):
        Image.new("RGB", size, (200, 30, 40)).save(tmp_path / f"{name}.png")
    with open_browser(tmp_path, width) as browser:
        browser.driver.get(address)
        assert "000001-" in browser.driver.title
        assert "pi-0042" in browser.driver.find_element(By.TAG_NAME, "table").text
        assert "class " in _tried(browser.driver, tmp_path / "right.png", "%)")
        assert "the model takes 8 x 8" in _tried(browser.driver, tmp_path / "large.png", "pixels")
        assert browser.overflow() <= 0
        assert browser.requested_hosts() - {""} == {"127.0.0.1"}  # the picture itself is a blob
        assert [line for line in browser.console() if "400" not in line] == []


def _tried(driver: object, picture: Path, wanted: str) -> str:
    """What the page says of a picture."""
    driver.find_element(By.NAME, "picture").send_keys(str(picture))  # type: ignore[attr-defined]
    driver.find_element(By.TAG_NAME, "button").click()  # type: ignore[attr-defined]
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        text = str(driver.find_element(By.ID, "answer").text)  # type: ignore[attr-defined]
        if wanted in text:
            return text
        time.sleep(0.05)
    raise AssertionError(f"the page does not answer: {text!r}")
