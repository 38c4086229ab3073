"""Evolution and probe in a real Chromium, with JavaScript and without."""

# ruff: noqa: F811  (a fixture is imported, and then named by who takes it)

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.app.pages.test_browser import (  # noqa: F401
    AXE,
    WITH_AND_WITHOUT,
    Visit,
    chromium,
    visit,
)
from tests.app.test_folder_experiments import place  # noqa: F401
from tests.app.test_serving import serving

pytestmark = pytest.mark.browser

JOB = re.compile(r"/jobs/[0-9a-f]{32}")


@pytest.fixture(scope="module")
def site(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    registered = {"PHOTO_FOLDERS": f"mine={place}/photos", "RUNS": f"first={place}/run"}
    folder = tmp_path_factory.mktemp("folders")
    with serving(folder, NETWORKS="lenet5", **registered) as server:
        yield server.url


def wait_for_evolution(page: Page, scripting: bool) -> None:
    """Wait for what was found; a page without JavaScript is read again and again."""
    page.wait_for_url(JOB)
    found = page.locator("#evolution")
    for _ in range(0 if scripting else 100):
        if found.count():
            break
        page.wait_for_timeout(300)
        page.reload()
    expect(found).to_be_visible(timeout=30_000)


@WITH_AND_WITHOUT
def test_an_evolution_is_seen_epoch_by_epoch(visit: Visit, scripting: bool) -> None:
    page = visit(scripting=scripting).page
    page.goto("/experiments/evolution")
    page.get_by_label("Layer", exact=True).fill("c2")
    page.get_by_label("Features", exact=True).fill("3,7")
    page.get_by_role("button", name="Run").click()
    wait_for_evolution(page, scripting)
    expect(page.get_by_role("heading", name="c2 of LeNet-5 at epoch 2")).to_be_visible()
    figures = page.locator("#evolution figure")
    expect(figures).to_have_count(2)
    if scripting:
        page.get_by_role("slider").press("ArrowLeft")
    else:
        expect(page.get_by_role("slider")).to_have_count(0)
        page.get_by_role("link", name="epoch 1").click()
    expect(page.get_by_role("heading", name="c2 of LeNet-5 at epoch 1")).to_be_visible()
    expect(page.locator("#evolution [data-at='0']").first).to_be_visible()
    expect(page.locator("#evolution [data-at='1']").first).to_be_hidden()
    if scripting:
        assert not Axe().run(page, options=AXE).response["violations"]


@WITH_AND_WITHOUT
def test_a_folder_is_probed_from_its_page(visit: Visit, scripting: bool) -> None:
    page = visit(scripting=scripting).page
    page.goto("/experiments/probe")
    if scripting:
        assert not Axe().run(page, options=AXE).response["violations"]
    for label, value in (("Train", "3"), ("Folds", "1"), ("Layers", "c1")):
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_role("button", name="Run").click()
    page.wait_for_url(JOB)
    expect(page.get_by_role("row", name=re.compile("^c1 100"))).to_be_visible(timeout=30_000)


def test_too_few_photos_are_a_sentence_where_it_was_asked_for(visit: Visit) -> None:
    page = visit(refused=[422]).page
    page.goto("/experiments/probe")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert")).to_contain_text("has 6 photos: to learn from 30")
