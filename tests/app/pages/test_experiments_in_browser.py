"""The experiments in a real Chromium, with JavaScript and without."""

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
from tests.app.test_serving import serving
from tests.serving import photo

pytestmark = pytest.mark.browser

JOB = re.compile(r"/jobs/[0-9a-f]{32}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("experiments"), NETWORKS="lenet5,alexnet") as server:
        yield server.url


def add_photos(page: Page, folder: Path, *colours: str) -> None:
    files = []
    for colour in colours:
        file = folder / f"{colour}.jpg"
        file.write_bytes(photo(colour=colour))
        files.append(file)
    page.locator("input[type=file]").set_input_files(files)
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("link", name="Leave out")).to_have_count(len(files))


def occlude(page: Page, folder: Path, square: int = 8, stride: int = 4) -> None:
    page.goto("/experiments/occlusion?network=lenet5")
    add_photos(page, folder, "orange")
    page.get_by_label("Square", exact=True).fill(str(square))
    page.get_by_label("Stride", exact=True).fill(str(stride))
    page.get_by_role("button", name="Run").click()
    page.wait_for_url(JOB)
    expect(page.get_by_text("(d)")).to_be_visible()


def readout(page: Page) -> str:
    return page.locator(".readout").inner_text()


@WITH_AND_WITHOUT
def test_an_occlusion_from_the_photo_to_its_numbers(
    visit: Visit,
    tmp_path: Path,
    scripting: bool,
) -> None:
    page = visit(scripting=scripting).page
    occlude(page, tmp_path, stride=4)
    before = readout(page)
    page.get_by_label("Row", exact=True).fill("0")
    page.get_by_label("column", exact=True).fill("0")
    page.get_by_role("button", name="Read").click()
    expect(page.locator("[data-read=top]")).to_have_text("0")
    assert readout(page) != before or "row 0, column 0" in before


@WITH_AND_WITHOUT
def test_a_panel_that_is_pressed_moves_the_square_there(
    visit: Visit,
    tmp_path: Path,
    scripting: bool,
) -> None:
    page = visit(scripting=scripting).page
    occlude(page, tmp_path)
    if scripting:
        page.locator("#occlusion[data-ready]").wait_for()
    panel = page.get_by_alt_text(re.compile("^Probability"))
    panel.scroll_into_view_if_needed()
    box = panel.bounding_box()
    assert box
    panel.click(position={"x": box["width"] * 28 / 32, "y": box["height"] * 4 / 32})
    expect(page.locator("[data-read=left]")).to_have_text("24")
    expect(page.locator("[data-read=top]")).to_have_text("0")
    assert page.locator("rect[data-square]").first.get_attribute("x") == "24"


def test_the_arrow_keys_move_the_square_and_its_numbers(
    visit: Visit,
    tmp_path: Path,
) -> None:
    page = visit().page
    occlude(page, tmp_path)
    page.locator("#occlusion[data-ready]").wait_for()
    address = page.url
    page.get_by_alt_text(re.compile("^Photo and square")).focus()
    for key in ("ArrowUp", "ArrowLeft"):
        for _ in range(7):
            page.keyboard.press(key)
    expect(page.locator("[data-read=top]")).to_have_text("0")
    page.keyboard.press("ArrowDown")
    expect(page.locator("[data-read=top]")).to_have_text("4")
    expect(page.locator("[data-read=left]")).to_have_text("0")
    found = page.request.get(f"{address}/result").json()
    percent = f"{100 * found['probability'][1][0]:.1f} %"
    expect(page.locator("[data-read=probability]")).to_have_text(percent)


def test_a_running_job_is_watched_shared_and_cancelled(
    visit: Visit,
    tmp_path: Path,
) -> None:
    visitor = visit()
    page = visitor.page
    page.goto("/experiments/occlusion?network=alexnet")
    add_photos(page, tmp_path, "orange")
    page.get_by_label("Stride", exact=True).fill("1")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url(JOB)
    expect(page.locator("#job-bar")).to_be_visible()
    expect(page.get_by_text(re.compile(r"Running: [1-9]\d* of"))).to_be_visible()
    second = visitor.context.new_page()
    second.goto(page.url)
    second.get_by_role("button", name="Cancel it").click()
    expect(second.get_by_text("was cancelled")).to_be_visible()
    expect(page.get_by_role("button", name="Run it again")).to_be_visible()


def test_bad_input_is_a_sentence_where_it_was_asked_for(
    visit: Visit,
    tmp_path: Path,
) -> None:
    page = visit(refused=[422]).page
    page.goto("/experiments/occlusion?network=lenet5")
    add_photos(page, tmp_path, "orange")
    page.get_by_label("Square", exact=True).fill("99")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert")).to_contain_text("square is 1 to 32")
    expect(page.get_by_label("Square", exact=True)).to_have_value("99")


def test_a_part_is_marked_by_the_pointer_and_by_the_keys(
    visit: Visit,
    tmp_path: Path,
) -> None:
    page = visit().page
    page.goto("/experiments/correspondence?network=lenet5")
    add_photos(page, tmp_path, "orange", "red")
    first, second = page.locator(".markable").all()
    box = first.bounding_box()
    assert box
    page.mouse.move(box["x"] + 70, box["y"] + 35)
    page.mouse.down()
    page.mouse.move(box["x"] + 140, box["y"] + 105)
    page.mouse.up()
    edges = [
        page.get_by_label(f"{edge} of the box on photo 1")
        for edge in ("Top", "Left", "Bottom", "Right")
    ]
    assert [each.input_value() for each in edges] == ["5", "10", "15", "20"]
    second.focus()
    page.keyboard.press("ArrowRight")
    page.get_by_label("Name of the part").fill("spot")
    page.get_by_role("button", name="Keep this part").click()
    expect(page.get_by_role("link", name="Remove spot")).to_be_visible()
    page.get_by_label("Draws").fill("2")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url(JOB)
    expect(page.get_by_role("rowheader", name="random")).to_be_visible()


def test_a_part_is_marked_by_numbers_without_javascript(
    visit: Visit,
    tmp_path: Path,
) -> None:
    page = visit(scripting=False).page
    page.goto("/experiments/correspondence?network=lenet5")
    add_photos(page, tmp_path, "orange", "red")
    for number in (1, 2):
        for edge, value in zip(("Top", "Left", "Bottom", "Right"), "2299", strict=True):
            page.get_by_label(f"{edge} of the box on photo {number}").fill(value)
    page.get_by_label("Name of the part").fill("spot")
    page.get_by_role("button", name="Keep this part").click()
    expect(page.get_by_role("link", name="Remove spot")).to_be_visible()
    page.get_by_label("Draws").fill("2")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url(JOB)
    expect(page.get_by_role("rowheader", name="random")).to_be_visible()
    expect(page.locator(".heading .fine")).to_contain_text("parts spot;")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_bars_anybody_from_an_experiment(
    visit: Visit,
    tmp_path: Path,
    scheme: str,
) -> None:
    page = visit(color_scheme=scheme, viewport={"width": 390, "height": 844}).page
    seen = []
    page.goto("/experiments")
    seen.append(Axe().run(page, options=AXE))
    page.goto("/experiments/correspondence?network=lenet5")
    add_photos(page, tmp_path, "orange", "red")
    seen.append(Axe().run(page, options=AXE))
    occlude(page, tmp_path)
    page.get_by_role("link", name="All numbers as tables").click()
    seen.append(Axe().run(page, options=AXE))
    for found in seen:
        assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
