"""The pages in a real Chromium behind a real nginx, which shows them below a path prefix."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.app.pages.test_browser import (
    EXPLORER,
    WITH_AND_WITHOUT,
    Visit,
    Visitor,
    chromium,  # noqa: F401  (a fixture)
    press,
    visit,  # noqa: F401  (a fixture)
    write,
)
from tests.app.pages.test_download_in_browser import open_vgg11, see, site_in
from tests.app.test_serving import serving
from tests.file_server import FileServer
from tests.models.weights.test_sources import publish
from tests.nginx import PREFIX, behind_nginx
from tests.serving import photo

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("behind")
    with serving(folder, TRUSTED_PROXIES="127.0.0.1") as server:
        with behind_nginx(server.url, folder) as site:
            yield site


@WITH_AND_WITHOUT
def test_a_photo_is_sent_explored_and_forgotten(
    visit: Visit,  # noqa: F811
    tmp_path: Path,
    scripting: bool,
) -> None:
    page = visit(scripting=scripting).page
    page.goto("./")
    page.locator("input[type=file]").first.set_input_files(write(tmp_path, photo()))
    if not scripting:
        page.get_by_role("button", name="Look at it").click()
    page.wait_for_url(re.compile(PREFIX + EXPLORER.pattern))
    press(page.locator(".stage input"), 0.4, 0.4)
    page.wait_for_url("**?at=*")
    page.locator(".card a").first.click()
    page.wait_for_url("**feature=**")
    page.get_by_role("link", name="AlexNet").first.click()
    expect(page.locator("h1")).to_contain_text("AlexNet")
    page.reload(wait_until="networkidle")  # no picture is on its way when its photo is forgotten
    page.get_by_text("Forget this photo").click()
    page.get_by_role("button", name="Forget it").click()
    page.wait_for_url(f"**{PREFIX}/")


@WITH_AND_WITHOUT
def test_an_experiment_is_followed_to_its_result(
    visit: Visit,  # noqa: F811
    tmp_path: Path,
    scripting: bool,
) -> None:
    page = visit(scripting=scripting).page
    page.goto("./experiments")
    page.get_by_role("link", name="Occlusion").first.click()
    page.wait_for_url(f"**{PREFIX}/experiments/occlusion*")
    page.goto("./experiments/occlusion?network=lenet5")
    page.locator("input[type=file]").first.set_input_files(write(tmp_path, photo()))
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("link", name="Leave out")).to_have_count(1)
    page.get_by_label("Square", exact=True).fill("8")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url(re.compile(PREFIX + r"/jobs/[0-9a-f]{32}"))
    # with JavaScript the events say that it has ended; without, the page is read again
    expect(page.get_by_role("link", name="Numbers as CSV")).to_be_visible(timeout=30_000)


@WITH_AND_WITHOUT
def test_views_compare_figures_and_the_language_keep_to_the_prefix(
    visit: Visit,  # noqa: F811
    scripting: bool,
) -> None:
    page = visit(scripting=scripting).open_sample()
    page.get_by_role("link", name="Compare").first.click()
    page.wait_for_url(f"**{PREFIX}/compare?**")
    expect(page.locator("section.column")).to_have_count(3)
    page.get_by_role("link", name="Figure").first.click()
    page.wait_for_url(f"**{PREFIX}/compare/figure?**")
    expect(page.locator("figure img, img").first).to_be_visible()
    page.get_by_role("button", name="Tiếng Việt").click()
    page.wait_for_url(f"**{PREFIX}/compare/figure?**")
    expect(page.locator("html")).to_have_attribute("lang", "vi")
    for name, path in (
        ("Các mạng", "networks"),
        ("Thí nghiệm", "experiments"),
        ("Bài báo", "paper"),
    ):
        page.get_by_role("navigation").get_by_role("link", name=name).click()
        page.wait_for_url(f"**{PREFIX}/{path}")
        expect(page.locator("html")).to_have_attribute("lang", "vi")


def test_the_curl_command_of_a_page_works(
    visit: Visit,  # noqa: F811
    tmp_path: Path,
) -> None:
    page = visit().open_sample()
    command = page.locator("[data-copy]").first.get_attribute("data-copy")
    sheet = tmp_path / "sheet.png"
    asked = [*shlex.split(command or ""), "-s", "-H", "Accept: image/png", "-o", str(sheet)]
    subprocess.run(asked, check=True, timeout=60)
    assert sheet.read_bytes().startswith(b"\x89PNG")


@WITH_AND_WITHOUT
def test_weights_arrive_before_the_eyes(
    chromium: Browser,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scripting: bool,
) -> None:
    publisher = FileServer(b"", piece=4096, seconds=0.1)
    with publisher.running():
        publish(publisher, "vgg11", tmp_path, monkeypatch)
        with (
            site_in(tmp_path, trusted_proxies="127.0.0.1") as server,
            behind_nginx(server, tmp_path) as site,
        ):
            visitor = Visitor(chromium, site, scripting=scripting)
            page = open_vgg11(visitor)
            bar = page.locator("#arrival progress")
            visitor.mark()
            if scripting:
                first = float(bar.get_attribute("value") or 0)
                grown = "first => document.querySelector('#arrival progress')?.value > first"
                page.wait_for_function(grown, arg=first)
                visitor.check_same_document()
            while not scripting and bar.count():
                page.wait_for_timeout(250)
                page.get_by_role("link", name="Reload the page").click()
            see(page, "published")
            visitor.context.close()
            assert not visitor.wrong
