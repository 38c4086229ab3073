"""Comparing views, a map's own page and figures in a real Chromium, with JavaScript and without."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.app.pages.test_browser import (  # noqa: F401  (fixtures)
    AXE,
    WITH_AND_WITHOUT,
    Visit,
    chromium,
    press,
    site,
    visit,
)

pytestmark = pytest.mark.browser


def lists(page: Page) -> list[str]:
    return page.locator(".column-list > p").all_inner_texts()


@WITH_AND_WITHOUT
def test_a_place_pressed_in_one_column_is_chosen_in_all_and_left_again(
    visit: Visit,  # noqa: F811
    scripting: bool,
) -> None:
    visitor = visit(scripting=scripting)
    page = visitor.open_sample()
    page.get_by_role("link", name="Compare", exact=True).click()
    expect(page.locator(".column")).to_have_count(3)
    visitor.mark()
    press(page.locator(".column input[type=image]").nth(1), 0.4, 0.4)
    expect(page.get_by_role("link", name="Back to the strongest maps")).to_be_visible()
    visitor.check_same_document()
    assert re.findall(r"at%3D(\d+)%2C(\d+)|at%3D(\d+),(\d+)", page.url)
    assert all("fire there" in each for each in lists(page)) and len(lists(page)) == 3
    expect(page.locator(".lines .place")).to_have_count(3)
    page.go_back()
    expect(page.locator(".lines .place")).to_have_count(0)
    page.go_forward()
    expect(page.locator(".lines .place")).to_have_count(3)
    page.reload()
    page.get_by_role("link", name="Back to the strongest maps").click()
    expect(page.locator(".lines .place")).to_have_count(0)


@WITH_AND_WITHOUT
def test_a_column_is_changed_and_one_that_cannot_be_is_refused(
    visit: Visit,  # noqa: F811
    scripting: bool,
) -> None:
    page = visit(scripting=scripting, refused=[422]).open_sample()
    page.goto(page.url.replace("/images/", "/compare?left=/images/"))
    page.get_by_role("link", name="learned | random weights").click()
    expect(page.locator(".column")).to_have_count(2)
    right = page.locator(".column").nth(1)
    right.get_by_text("Change this column").click()
    right.get_by_label("Layer").select_option("conv3")
    right.get_by_role("button", name="Show").first.click()
    expect(right.locator("h2")).to_contain_text("conv3")
    right.get_by_text("Change this column").click()
    right.get_by_label("The link of another view").fill("http://elsewhere.example/images/a/b/c")
    right.get_by_role("button", name="Show").nth(1).click()
    expect(page.get_by_role("alert")).to_contain_text("another server")


@WITH_AND_WITHOUT
def test_a_map_has_a_page_of_its_own_that_leads_on(visit: Visit, scripting: bool) -> None:  # noqa: F811
    page = visit(scripting=scripting).open_sample()
    page.get_by_role("link", name=re.compile("All about map")).click()
    expect(page.locator("h1")).to_contain_text("of conv5 of ZFNet")
    expect(page.locator(".pairs li")).to_have_count(9)
    page.locator(".inputs a").first.click()
    expect(page.locator("h1")).to_contain_text("of conv4 of ZFNet")
    page.locator(".pairs a").first.click()
    expect(page.locator("#close-title")).to_be_visible()


@WITH_AND_WITHOUT
def test_a_figure_is_shown_and_saved(visit: Visit, scripting: bool) -> None:  # noqa: F811
    page = visit(scripting=scripting).open_sample()
    page.get_by_role("link", name="Figure for a report").click()
    expect(page.locator(".quoted").first).to_contain_text("ZFNet, conv5: projections")
    assert (
        page.locator("img.figure").evaluate("(each) => each.decode().then(() => 1)")
        if scripting
        else True
    )
    with page.expect_download() as saved:
        page.get_by_role("link", name="PDF").click()
    assert saved.value.suggested_filename == "zfnet-conv5.pdf"
    assert saved.value.path().read_bytes().startswith(b"%PDF-")
    if scripting:
        page.get_by_role("button", name="Copy BibTeX").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied.startswith("@inproceedings{zeiler2014visualizing,")


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_everybody_can_use_these_pages(visit: Visit, scheme: str, width: int) -> None:  # noqa: F811
    size = {"width": width, "height": 844}
    page = visit(viewport=size, color_scheme=scheme).open_sample()
    explorer = page.url.partition("127.0.0.1")[2].partition("/")[2]
    places = [
        f"/{explorer}/172",
        f"/{explorer}/figure",
        f"/compare?left=/{explorer}%3Fat=100,160&right=/{explorer}%3Fweights=random",
        f"/compare?left=/{explorer}",
    ]
    for address in places:
        page.goto(address)
        page.wait_for_load_state("networkidle")
        for closed in page.locator("details").all():
            closed.evaluate("(each) => { each.open = true }")
        found = Axe().run(page, options=AXE)
        assert not found.violations_count, f"{address}: {found.generate_report()}"
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{address} is {wide} wide"


@pytest.mark.parametrize("width", [1440, 390])
def test_every_network_has_its_shapes_on_the_page_of_networks(
    visit: Visit,  # noqa: F811
    width: int,
) -> None:
    page = visit(viewport={"width": width, "height": 844}).page
    page.goto("./networks")
    expect(page.get_by_role("heading", name="VGG-19 (E)", exact=True)).to_be_visible()
    lists = page.locator(".shapes")
    box = lists.first.bounding_box()
    assert box and box["width"] > 0.8 * min(width, 400)
