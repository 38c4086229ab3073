"""Published weights arriving on a page in a real Chromium, with JavaScript and without."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect

from app.main import create_app
from tests.app.pages.test_browser import Visitor, chromium  # noqa: F401  (a fixture)
from tests.app.test_serving import free_port
from tests.file_server import FileServer
from tests.models.weights.test_sources import publish
from tests.serving import settings_in, wait_for

pytestmark = pytest.mark.browser


def with_and_without(network: str) -> pytest.MarkDecorator:
    cases = [(True, network), (False, network)]
    return pytest.mark.parametrize(("scripting", "network"), cases, ids=["js", "no-js"])


@contextmanager
def site_in(folder: Path, **chosen: Any) -> Iterator[str]:
    """Serve from this process, whose list of published weights names a server on loopback."""
    port = free_port()
    config = uvicorn.Config(
        create_app(settings_in(folder, offline=False, **chosen)),
        port=port,
        log_level="error",
        ws="none",
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(lambda: server.started, 60)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def publisher() -> Iterator[FileServer]:
    with FileServer(b"", piece=4096).running() as server:
        yield server


@pytest.fixture
def visitor(
    chromium: Browser,  # noqa: F811
    publisher: FileServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scripting: bool,
    network: str,
) -> Iterator[Visitor]:
    publish(publisher, network, tmp_path, monkeypatch)
    with site_in(tmp_path) as site:
        visitor = Visitor(chromium, site, scripting=scripting)
        yield visitor
        visitor.context.close()
        assert not visitor.wrong


def open_vgg11(visitor: Visitor) -> Page:
    page = visitor.open_sample()
    page.goto(page.url.replace("/zfnet/conv5", "/vgg11/conv5_2"))
    return page


def see(page: Page, source: str) -> None:
    expect(page.locator(".weights").first).to_contain_text(source, timeout=60_000)


@with_and_without("vgg11")
def test_the_first_use_of_a_network_shows_its_weights_arriving(
    visitor: Visitor, publisher: FileServer, scripting: bool
) -> None:
    publisher.seconds = 0.25
    page = open_vgg11(visitor)
    download, bar = page.locator("#arrival"), page.locator("#arrival progress")
    expect(download).to_contain_text("are arriving")
    visitor.mark()
    if scripting:
        first = float(bar.get_attribute("value") or 0)
        grown = "first => document.querySelector('#arrival progress')?.value > first"
        page.wait_for_function(grown, arg=first)
        visitor.check_same_document()
    else:
        while bar.count():
            page.wait_for_timeout(250)
            page.get_by_role("link", name="Reload the page").click()
    see(page, "published")
    assert publisher.asked == [None]


@with_and_without("vgg11")
def test_a_fetch_that_failed_says_why_and_can_be_begun_again(
    visitor: Visitor, publisher: FileServer, scripting: bool
) -> None:
    publisher.status = 404
    page = open_vgg11(visitor)
    if not scripting:
        page.wait_for_timeout(500)
        page.reload()
    expect(page.locator(".absent")).to_contain_text("the server answered 404")
    expect(page.get_by_role("heading", name="VGG-11 (A) has no weights here yet")).to_be_visible()
    publisher.status = 200
    page.get_by_role("button", name="Fetch the published weights").click()
    if not scripting:
        page.wait_for_timeout(1000)
        page.reload()
    see(page, "published")


@with_and_without("zfnet")
def test_published_weights_are_offered_beside_starter_weights(
    visitor: Visitor, publisher: FileServer, scripting: bool
) -> None:
    page = visitor.open_sample()
    see(page, "starter")
    assert not publisher.asked
    page.get_by_role("button", name="Fetch the published weights").click()
    if scripting:
        see(page, "starter")
        page.get_by_role("link", name="Show what they see").click()
    else:
        page.wait_for_timeout(1000)
        page.reload()
    see(page, "published")
