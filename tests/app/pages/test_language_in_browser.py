"""The switch between languages and the pages in Vietnamese, in a real Chromium."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.app.pages.test_browser import (  # noqa: F401  (fixtures)
    ALONE,
    AXE,
    STATES,
    WITH_AND_WITHOUT,
    Visit,
    chromium,
    site,
    visit,
)

pytestmark = pytest.mark.browser

VIETNAMESE = {"locale": "vi-VN"}


def switch(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()
    page.wait_for_load_state("networkidle")


@WITH_AND_WITHOUT
def test_the_switch_says_the_same_page_in_the_other_language(
    visit: Visit,  # noqa: F811
    scripting: bool,
) -> None:
    visitor = visit(scripting=scripting)
    page = visitor.open_sample()
    page.get_by_role("link", name="conv4").click()
    expect(page.locator("h1")).to_have_text("conv4 of ZFNet")
    page.locator(".card a").nth(1).click()
    page.wait_for_url("**feature=*")
    before = page.url
    switch(page, "Tiếng Việt")
    expect(page.locator("h1")).to_have_text("conv4 của ZFNet")
    assert page.locator("html").get_attribute("lang") == "vi"
    assert page.url.partition("#")[0] == before.partition("#")[0]
    page.get_by_role("link", name="conv3").click()
    expect(page.locator("h1")).to_have_text("conv3 của ZFNet")
    switch(page, "English")
    expect(page.locator("h1")).to_have_text("conv3 of ZFNet")


def test_what_scripts_say_is_in_the_language_of_the_page(visit: Visit) -> None:  # noqa: F811
    visitor = visit(**VIETNAMESE)
    page = visitor.page
    page.goto("./")
    page.locator("input[type=file]").first.set_input_files(
        {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": b"\xff" * 310_000}
    )
    expect(page.locator("#problem")).to_have_text(
        re.compile(r"Ảnh lớn hơn 29\d\.\d\d\d byte: hãy gửi một ảnh nhỏ hơn\.")
    )
    visitor.open_sample("Mèo")
    page.get_by_role("button", name="Chép liên kết").click()
    expect(page.get_by_role("button", name="Đã chép")).to_be_visible()
    page.locator("#photo").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#aim")).to_have_text(re.compile("nhấn Enter để liệt kê"))


@pytest.mark.parametrize(("width", "scheme"), [(1440, "dark"), (390, "light")])
def test_everybody_can_use_every_page_in_vietnamese(
    visit: Visit,  # noqa: F811
    scheme: str,
    width: int,
) -> None:
    size = {"width": width, "height": 844}
    visitor = visit(viewport=size, color_scheme=scheme, refused=[503, 404], **VIETNAMESE)
    page = visitor.open_sample("Mèo")
    explorer = page.url
    for name, address in STATES.items():
        place = f".{address}" if name in ALONE else f"{explorer}{address}"
        if name == "no weights":
            place = explorer.replace("/zfnet/conv5", address)
        elif address.startswith("/") and place.startswith("http"):
            place = explorer.replace("/conv5", address)
        page.goto(place)
        page.wait_for_load_state("networkidle")
        assert page.locator("html").get_attribute("lang") == "vi"
        found = Axe().run(page, options=AXE)
        assert not found.violations_count, f"{name}: {found.generate_report()}"
        if name != "docs":
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{name} is {wide} wide"
