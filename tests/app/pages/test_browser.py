"""The pages in a real Chromium: every flow with JavaScript and without."""

import itertools
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from tests.app.test_serving import serving
from tests.serving import photo

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-quic", "--disable-background-networking"]
EXPLORER = re.compile(r"/images/[0-9a-f]{32}/zfnet/conv5$")
WITH_AND_WITHOUT = pytest.mark.parametrize("scripting", [True, False], ids=["js", "no-js"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("site"), MAX_UPLOAD_BYTES="300000") as server:
        yield server.url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("NO CHROMIUM: no browser test runs; 'sudo apt-get install chromium'")
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Visitor:
    """A browser window on the site that writes down everything that goes wrong in it."""

    def __init__(self, browser: Browser, site: str, *, scripting: bool, **options: object) -> None:
        self.site, self.scripting = site, scripting
        self.context: BrowserContext = browser.new_context(
            base_url=f"{site}/",
            java_script_enabled=scripting,
            permissions=["clipboard-read", "clipboard-write"],
            **{"viewport": {"width": 1440, "height": 900}, **options},  # type: ignore[arg-type]
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.refused: list[tuple[int, str]] = []
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda message: self._hear(message.type, message.text))
        self.page.on("response", lambda answer: self._look(answer.status, answer.url))
        self.page.on("requestfailed", lambda request: self._miss(request.url, request.failure))

    def _hear(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"} and "Failed to load resource" not in text:
            self.wrong.append(text)

    def _look(self, status: int, url: str) -> None:
        if status >= 400:
            self.refused.append((status, urlsplit(url).path))
        if not url.startswith((self.site, "blob:", "data:")):
            self.wrong.append(f"another host: {url}")

    def _miss(self, url: str, why: str | None) -> None:
        if why != "net::ERR_ABORTED":  # what a person leaves behind is not loaded to its end
            self.wrong.append(f"{url}: {why}")

    def open_sample(self, name: str = "Cat") -> Page:
        self.page.goto("./")
        self.page.get_by_role("button", name=name).click()
        self.page.wait_for_url(EXPLORER)
        return self.page

    def mark(self) -> None:
        """Mark the document, so that a new one can be told from the same one changed."""
        if self.scripting:
            self.page.evaluate("window.same = true")

    def check_same_document(self) -> None:
        if self.scripting:
            assert self.page.evaluate("window.same") is True

    def check_alone(self) -> None:
        """Check that the address gives the same view to somebody else."""
        other = self.context.browser.new_context()  # type: ignore[union-attr]
        page = other.new_page()
        page.goto(self.page.url)
        assert headline(page) == headline(self.page)
        assert page.title() == self.page.title()
        other.close()


def headline(page: Page) -> tuple[str, str]:
    close = page.locator("#close-title")
    return page.locator("h1").inner_text(), close.inner_text() if close.count() else ""


Visit = Callable[..., Visitor]


@pytest.fixture
def visit(chromium: Browser, site: str) -> Iterator[Visit]:
    visitors: list[tuple[Visitor, list[tuple[int, str]]]] = []

    def open_(
        *, scripting: bool = True, refused: list[int] | None = None, **options: object
    ) -> Visitor:
        visitor = Visitor(chromium, site, scripting=scripting, **options)
        visitors.append((visitor, [(status, "") for status in refused or []]))
        return visitor

    yield open_
    for visitor, expected in visitors:
        visitor.context.close()
        assert not visitor.wrong
        assert [status for status, _ in visitor.refused] == [status for status, _ in expected]


def press(picture: Locator, x: float, y: float) -> None:
    """Press a picture at shares of its width and height."""
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    assert box is not None
    picture.click(position={"x": x * box["width"], "y": y * box["height"]})


# A photo comes in


def write(folder: Path, data: bytes, name: str = "photo.jpg") -> Path:
    file = folder / name
    file.write_bytes(data)
    return file


@WITH_AND_WITHOUT
def test_a_chosen_photo_is_explored(visit: Visit, tmp_path: Path, scripting: bool) -> None:
    page = visit(scripting=scripting).page
    page.goto("./")
    page.locator("input[type=file]").first.set_input_files(write(tmp_path, photo()))
    if not scripting:
        page.get_by_role("button", name="Look at it").click()
    page.wait_for_url(EXPLORER)
    expect(page.locator(".card")).to_have_count(9)


@WITH_AND_WITHOUT
def test_a_sample_is_explored(visit: Visit, scripting: bool) -> None:
    page = visit(scripting=scripting).open_sample("Cup")
    expect(page.locator("h1")).to_have_text("conv5 of ZFNet")


def give(page: Page, data: bytes, kind: str) -> None:
    page.evaluate(
        """([bytes, kind]) => {
            const given = new DataTransfer();
            given.items.add(new File([new Uint8Array(bytes)], "photo.png", {type: "image/png"}));
            const options = {bubbles: true, cancelable: true};
            const event = kind === "paste"
                ? new ClipboardEvent(kind, {...options, clipboardData: given})
                : new DragEvent(kind, {...options, dataTransfer: given});
            document.body.dispatchEvent(event);
        }""",
        [list(data), kind],
    )


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_photo_dropped_or_pasted_is_explored(visit: Visit, kind: str) -> None:
    page = visit().page
    page.goto("./")
    give(page, photo(60, 40, kind="PNG"), kind)
    page.wait_for_url(EXPLORER)


@WITH_AND_WITHOUT
def test_what_is_no_photo_is_refused_in_a_sentence(
    visit: Visit, tmp_path: Path, scripting: bool
) -> None:
    page = visit(scripting=scripting, refused=[415]).page
    page.goto("./")
    page.locator("input[type=file]").first.set_input_files(write(tmp_path, b"no photo", "a.jpg"))
    if not scripting:
        page.get_by_role("button", name="Look at it").click()
    expect(page.get_by_role("alert")).to_contain_text("picture")
    expect(page.locator("#upload")).to_be_visible()


def test_a_photo_that_is_too_large_is_refused_before_it_is_sent(
    visit: Visit, tmp_path: Path
) -> None:
    page = visit().page
    page.goto("./")
    large = write(tmp_path, photo() + bytes(400_000))
    page.locator("input[type=file]").first.set_input_files(large)
    expect(page.get_by_role("alert")).to_contain_text("larger than 298,976 bytes")


@WITH_AND_WITHOUT
def test_a_photo_can_be_forgotten(visit: Visit, tmp_path: Path, scripting: bool) -> None:
    page = visit(scripting=scripting, refused=[404]).page
    page.goto("./")
    page.locator("input[type=file]").first.set_input_files(write(tmp_path, photo(80, 60)))
    if not scripting:
        page.get_by_role("button", name="Look at it").click()
    page.wait_for_url(EXPLORER)
    page.wait_for_load_state("networkidle")
    address = page.url
    expect(page.get_by_text("for everybody who has a link")).to_be_hidden()
    page.get_by_text("Forget this photo").click()
    expect(page.get_by_text("for everybody who has a link")).to_be_visible()
    page.get_by_role("button", name="Forget it").click()
    page.wait_for_url("**/")
    page.goto(address)
    expect(page.get_by_role("alert")).to_contain_text("upload it again")


def test_a_browser_lists_the_photos_it_explored_until_it_is_cleared(visit: Visit) -> None:
    page = visit().open_sample("Cup")
    page.get_by_role("link", name="conv3", exact=False).first.click()
    expect(page.locator("h1")).to_have_text("conv3 of ZFNet")
    page.goto("./")
    recent = page.get_by_role("region", name="recent photos")
    expect(recent.get_by_role("img", name="Recent photo 1")).to_be_visible()
    expect(recent.locator("a")).to_have_count(1)
    recent.locator("a").click()
    expect(page.locator("h1")).to_have_text("conv3 of ZFNet")
    page.goto("./")
    page.get_by_role("button", name="Clear this list").click()
    expect(recent).to_be_hidden()
    page.reload()
    expect(recent).to_be_hidden()


# The network is walked


@WITH_AND_WITHOUT
def test_a_layer_a_network_a_method_and_a_card_are_a_step_away(
    visit: Visit, scripting: bool
) -> None:
    visitor = visit(scripting=scripting)
    page = visitor.open_sample()
    visitor.mark()
    page.get_by_role("navigation", name="Layers").get_by_role("link", name="conv2").click()
    expect(page.locator("h1")).to_have_text("conv2 of ZFNet")
    page.get_by_role("link", name="AlexNet (one column)").click()
    expect(page.locator("h1")).to_have_text("conv2 of AlexNet (one column)")
    page.locator("#more > summary").click()
    page.get_by_role("link", name="guided").click()
    expect(page.get_by_role("link", name="guided")).to_have_attribute("aria-current", "true")
    expect(page).to_have_url(re.compile("method=guided"))  # a pressed link is marked before that
    page.locator(".card a").nth(3).click()
    expect(page.locator(".card a").nth(3)).to_have_attribute("aria-current", "true")
    assert re.search(r"/alexnet/conv2\?method=guided&feature=\d+#close$", page.url)
    assert page.title() == "conv2 of AlexNet (one column) · deconvnet explorer"
    visitor.check_same_document()
    visitor.check_alone()


@WITH_AND_WITHOUT
def test_back_forward_and_reload_show_what_the_address_says(visit: Visit, scripting: bool) -> None:
    visitor = visit(scripting=scripting)
    page = visitor.open_sample()
    names = ["conv5", "conv3", "conv1"]
    for name in names[1:]:
        page.get_by_role("navigation", name="Layers").get_by_role("link", name=name).click()
        expect(page.locator("h1")).to_have_text(f"{name} of ZFNet")
    for move, name in [
        (page.go_back, "conv3"),
        (page.go_back, "conv5"),
        (page.go_forward, "conv3"),
        (page.reload, "conv3"),
        (page.go_back, "conv5"),
        (page.go_forward, "conv3"),
        (page.go_forward, "conv1"),
    ]:
        move()
        expect(page.locator("h1")).to_have_text(f"{name} of ZFNet")
        assert urlsplit(page.url).path.endswith(f"/zfnet/{name}")
        expect(page.locator(".strip [aria-current]")).to_contain_text(name)
        expect(page.locator(".card")).to_have_count(9)


def test_back_from_the_explorer_leads_to_the_start(visit: Visit) -> None:
    page = visit().open_sample()
    page.get_by_role("link", name="conv4").click()
    expect(page.locator("h1")).to_have_text("conv4 of ZFNet")
    page.go_back()
    page.go_back()
    expect(page.locator("h1")).to_have_text("What did the network see?")
    page.go_forward()
    expect(page.locator("h1")).to_have_text("conv5 of ZFNet")


@WITH_AND_WITHOUT
def test_pressing_the_photo_lists_the_units_that_fire_there(visit: Visit, scripting: bool) -> None:
    visitor = visit(scripting=scripting)
    page = visitor.open_sample()
    visitor.mark()
    press(page.locator(".stage input"), 0.5, 0.5)
    page.wait_for_url(re.compile(r"\?at=1(49|50|51),22[456]"))
    expect(page.locator("#list")).to_contain_text("maps fire here")
    numbers = [
        float(text.split()[-1]) for text in page.locator(".card .activation").all_inner_texts()
    ]
    assert numbers == sorted(numbers, reverse=True)
    assert min(numbers) > 0
    visitor.check_same_document()
    page.locator(".card a").nth(1).click()
    expect(page.locator(".card a").nth(1)).to_have_attribute("aria-current", "true")
    assert "at=" in page.url
    visitor.check_alone()


@WITH_AND_WITHOUT
def test_a_tall_photo_is_pressed_where_it_is_seen(
    visit: Visit, scripting: bool, tmp_path: Path
) -> None:
    page = visit(scripting=scripting).page
    page.goto("./")
    page.locator("input[type=file]").first.set_input_files(write(tmp_path, photo(100, 600)))
    if not scripting:
        page.get_by_role("button", name="Look at it").click()
    page.wait_for_url(EXPLORER)
    press(page.locator(".stage input"), 0.5, 0.5)
    page.wait_for_url(re.compile(r"\?at=(29[89]|30[012]),(49|50|51)"))


@WITH_AND_WITHOUT
def test_pressing_what_was_cropped_away_says_so(visit: Visit, scripting: bool) -> None:
    page = visit(scripting=scripting).open_sample()
    press(page.locator(".stage input"), 0.05, 0.05)
    expect(page.locator("#list")).to_have_text("The network does not see that place")
    page.get_by_role("link", name="Show the whole photo to the network").click()
    expect(page.get_by_role("link", name="whole, padded")).to_have_attribute("aria-current", "true")


@WITH_AND_WITHOUT
@pytest.mark.parametrize("where", ["#close .map", ".card:nth-child(3) .map"])
def test_pressing_an_activation_map_projects_that_unit(
    visit: Visit, scripting: bool, where: str
) -> None:
    visitor = visit(scripting=scripting)
    page = visitor.open_sample()
    visitor.mark()
    name = page.locator(where).get_attribute("alt") or ""
    feature = re.findall(r"\d+", name)[0]
    press(page.locator(where), 4.5 / 13, 7.5 / 13)
    page.wait_for_url(f"**feature={feature}&unit=7,4**")
    expect(page.locator("#close-title")).to_contain_text(f"Map {feature}")
    expect(page.locator("#close-title")).to_contain_text("row 7, column 4 of 13")
    visitor.check_same_document()
    visitor.check_alone()


@WITH_AND_WITHOUT
def test_any_place_can_be_named(visit: Visit, scripting: bool) -> None:
    page = visit(scripting=scripting).open_sample()
    page.get_by_text("Name a place").click()
    page.get_by_role("spinbutton", name="x").fill("225")
    page.get_by_role("spinbutton", name="y").fill("150")
    page.get_by_role("button", name="List", exact=True).click()
    page.wait_for_url("**?at=150,225**")
    expect(page.locator("#list")).to_contain_text("maps fire here")


@WITH_AND_WITHOUT
def test_any_map_and_unit_can_be_named(visit: Visit, scripting: bool) -> None:
    page = visit(scripting=scripting).open_sample()
    page.get_by_label("Map", exact=True).fill("17")
    page.get_by_role("spinbutton", name="row").fill("2")
    page.get_by_role("spinbutton", name="column").fill("12")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#close-title")).to_contain_text("Map 17")
    expect(page.locator("#close-title")).to_contain_text("row 2, column 12")
    expect(page.locator("#close-title")).to_be_in_viewport()


def test_pressing_a_map_marks_its_card(visit: Visit) -> None:
    page = visit().open_sample()
    press(page.locator(".card:nth-child(3) .map"), 4.5 / 13, 7.5 / 13)
    page.wait_for_url("**unit=7,4**")
    expect(page.locator(".card:nth-child(3) a")).to_have_attribute("aria-current", "true")
    expect(page.locator(".card [aria-current]")).to_have_count(1)


def test_one_file_is_asked_for_without_javascript(visit: Visit) -> None:
    page = visit(scripting=False, has_touch=True).page
    page.goto("./")
    shown = [each.is_visible() for each in page.locator("input[type=file]").all()]
    assert shown == [True, False]


@pytest.mark.parametrize("how", ["hover", "focus"])
def test_a_card_shows_its_receptive_field_on_the_photo(visit: Visit, how: str) -> None:
    page = visit().open_sample()
    card, box = page.locator(".card").nth(4), page.locator("#pointed")
    expect(box).to_be_hidden()
    card.hover() if how == "hover" else card.locator("a").focus()
    expect(box).to_be_visible()
    field = (card.get_attribute("data-field") or "").split()
    assert [box.get_attribute(edge) for edge in ("x", "y", "width", "height")] == field
    page.mouse.move(1, 1)
    if how == "hover":
        expect(box).to_be_hidden()


def test_the_arrow_keys_walk_the_layers(visit: Visit) -> None:
    page = visit().open_sample()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("h1")).to_have_text("conv4 of ZFNet")
    page.keyboard.press("ArrowRight")
    expect(page.locator("h1")).to_have_text("conv5 of ZFNet")
    expect(page.locator(".strip [aria-current]")).to_contain_text("conv5")


def test_keys_walk_maps_methods_and_ways_and_lose_no_press(visit: Visit) -> None:
    page = visit(viewport={"width": 900, "height": 600}).open_sample()
    maps = maps_of(page.locator(".folded noscript").inner_html())
    for _ in range(4):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowLeft")
    expect(page.locator("#close-title")).to_contain_text(f"Map {maps[3]}")
    page.keyboard.press("m")
    page.keyboard.press("m")
    page.wait_for_url("**method=gradient**")
    page.keyboard.press("s")
    page.wait_for_url("**show=smooth**")
    expect(page.locator("#close-title")).to_contain_text(f"Map {maps[3]}")
    page.keyboard.press("/")
    expect(page.locator(".strip [aria-current]")).to_be_focused()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()


def maps_of(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"Map (\d+): activation", text)]


def test_the_whole_layer_unfolds_when_it_comes_near(visit: Visit) -> None:
    visitor = visit(viewport={"width": 390, "height": 844})
    page = visitor.open_sample()
    maps = maps_of(page.locator(".folded noscript").inner_html())
    assert page.locator(".cells").count() == 0
    page.locator("#glance").scroll_into_view_if_needed()
    expect(page.locator(".cells a")).to_have_count(128)
    assert [int(text) for text in page.locator(".cells a").all_inner_texts()] == maps
    visitor.mark()
    page.get_by_role("link", name=f"map {maps[40]}", exact=True).click()
    expect(page.locator("#close-title")).to_contain_text(f"Map {maps[40]}")
    expect(page.locator(".cells [aria-current]")).to_have_text(str(maps[40]))
    page.go_back()
    expect(page.locator("#close-title")).to_contain_text(f"Map {maps[0]}")
    visitor.check_same_document()
    expect(page.locator(".cells a")).to_have_count(128)
    assert [int(text) for text in page.locator(".cells a").all_inner_texts()] == maps
    visitor.check_alone()


def test_on_a_wide_screen_the_whole_layer_is_there_at_once(visit: Visit) -> None:
    expect(visit().open_sample().locator(".cells a")).to_have_count(128)


def test_a_page_that_one_comes_back_to_has_the_whole_layer(visit: Visit) -> None:
    page = visit(viewport={"width": 900, "height": 600}).open_sample()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("h1")).to_have_text("conv4 of ZFNet")
    page.go_back()
    expect(page.locator("h1")).to_have_text("conv5 of ZFNet")
    expect(page.locator(".cells a")).to_have_count(128)
    assert page.locator(".folded").count() == 0


def test_the_place_of_a_photo_is_as_large_before_it_arrives(visit: Visit) -> None:
    page = visit(viewport={"width": 390, "height": 844}).open_sample()
    arrived = page.locator("#photo").bounding_box()
    page.route("**/photo.jpg", lambda route: route.fulfill(body=b"", content_type="image/jpeg"))
    page.reload()
    before = page.locator("#photo").bounding_box()
    assert arrived and before
    assert list(before.values()) == pytest.approx(list(arrived.values()), abs=1)


def test_arrow_keys_aim_at_a_place_of_the_photo(visit: Visit) -> None:
    page = visit().open_sample()
    page.locator("#photo").focus()
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
    # 451 x 300 from the middle: 2 x 2 % to the right, 10 - 2 % down
    expect(page.locator("#aim")).to_contain_text("x 243, y 174")
    expect(page.locator("h1")).to_have_text("conv5 of ZFNet")
    page.keyboard.press("Enter")
    page.wait_for_url("**?at=174,243**")


@WITH_AND_WITHOUT
def test_a_map_of_the_whole_layer_is_looked_at_and_its_neighbour(
    visit: Visit, scripting: bool
) -> None:
    visitor = visit(scripting=scripting)
    page = visitor.open_sample()
    visitor.mark()
    page.get_by_role("link", name="number").click()
    expect(page.locator(".cells a").first).to_have_text(re.compile("0$"))
    page.locator(".cells a").nth(17).click()
    expect(page.locator("#close-title")).to_contain_text(re.compile(r"Map 17\b"))
    expect(page.locator(".cells [aria-current]")).to_contain_text("17")
    page.get_by_role("link", name="next map").click()
    expect(page.locator("#close-title")).to_contain_text(re.compile(r"Map 18\b"))
    page.get_by_role("link", name="page 2").click()
    expect(page.locator(".cells a").first).to_contain_text("128")
    visitor.check_same_document()
    visitor.check_alone()


@WITH_AND_WITHOUT
def test_terms_are_explained_where_they_are_pressed(visit: Visit, scripting: bool) -> None:
    page = visit(scripting=scripting).open_sample()
    page.get_by_role("button", name="receptive field").click()
    expect(page.locator("#term-field")).to_contain_text("All pixels that a unit is computed from")


def test_what_was_opened_stays_open(visit: Visit) -> None:
    page = visit().open_sample()
    page.locator("#more > summary").click()
    page.get_by_role("link", name="gradient").click()
    page.wait_for_url("**method=gradient")
    page.get_by_role("link", name="deconvnet", exact=True).click()
    page.wait_for_url("**/conv5")
    expect(page.get_by_role("link", name="guided")).to_be_visible()


def test_the_page_says_what_is_computed_until_all_projections_are_here(visit: Visit) -> None:
    page = visit().open_sample()
    page.goto(page.url.replace("conv5", "conv3"))
    page.wait_for_load_state("networkidle")
    expect(page.locator("#busy")).to_be_hidden()
    expect(page.locator("#busy")).to_contain_text("10 of 10 are here")


@WITH_AND_WITHOUT
def test_a_phone_shows_photo_and_projection_and_chooses_networks_from_a_list(
    visit: Visit, scripting: bool
) -> None:
    page = visit(scripting=scripting, viewport={"width": 390, "height": 844}).open_sample()
    if scripting:
        for part in (page.locator("#photo"), page.locator("#close .signed")):
            box = part.bounding_box()
            assert box is not None and box["y"] + box["height"] <= 844
    page.get_by_role("combobox", name="Network").select_option("AlexNet (one column)")
    if not scripting:
        page.get_by_role("button", name="Go").click()
    expect(page.locator("h1")).to_have_text("conv5 of AlexNet (one column)")
    expect(page.get_by_role("link", name="conv1")).to_be_in_viewport()


def test_a_phone_shows_in_the_bar_which_page_is_open(visit: Visit) -> None:
    page = visit(viewport={"width": 390, "height": 844}).page
    page.goto("./docs")
    expect(page.locator(".bar [aria-current]")).to_be_in_viewport(ratio=1)
    sizes = page.locator(".bar :is(a, button)").evaluate_all("all => all.map(e => e.offsetHeight)")
    assert min(sizes) >= 24


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_no_layer_is_named_over_another(visit: Visit, width: int) -> None:
    page = visit(viewport={"width": width, "height": 844}, refused=[503]).open_sample()
    page.goto(page.url.replace("zfnet/conv5", "vgg19/conv5_4"))
    boxes = page.locator(".strip .layer").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect()).map(r => [r.left, r.right, r.top])"
    )
    assert len(boxes) == 24
    for (_, right, top), (left, _, next_top) in itertools.pairwise(boxes):
        assert top != next_top or left - right >= 3


def test_no_quick_press_of_an_arrow_key_is_lost(visit: Visit) -> None:
    page = visit().open_sample()
    names = page.locator(".strip .layer").all_inner_texts()
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    wanted = names[names.index("conv5") - 6]
    expect(page.locator("h1")).to_have_text(f"{wanted} of ZFNet")
    page.wait_for_load_state("networkidle")
    assert urlsplit(page.url).path.endswith(f"/{wanted}")
    expect(page.locator(".strip [aria-current]")).to_contain_text(wanted)


def test_the_last_of_several_quick_choices_wins(visit: Visit) -> None:
    page = visit().open_sample()
    layers = page.get_by_role("navigation", name="Layers")
    for name in ("conv1", "conv2", "conv3", "conv4", "norm2"):
        layers.get_by_role("link", name=name).click(no_wait_after=True)
    expect(page.locator("h1")).to_have_text("norm2 of ZFNet")
    page.wait_for_load_state("networkidle")
    expect(page.locator("h1")).to_have_text("norm2 of ZFNet")
    assert urlsplit(page.url).path.endswith("/norm2")


# What cannot be shown


@WITH_AND_WITHOUT
def test_a_silent_unit_says_so(visit: Visit, scripting: bool) -> None:
    page = visit(scripting=scripting).open_sample()
    page.goto(f"{page.url}?feature=0&unit=0,0")
    expect(page.locator(".silent")).to_contain_text("This unit is silent here.")
    expect(page.locator("#close .none")).to_have_text("nothing to project")


@WITH_AND_WITHOUT
def test_a_network_without_weights_says_how_to_get_them(visit: Visit, scripting: bool) -> None:
    visitor = visit(scripting=scripting, refused=[503])
    page = visitor.open_sample()
    page.get_by_text("more without weights here").click()
    page.get_by_role("link", name="VGG-19 (E)", exact=True).click()
    expect(page.get_by_role("heading", name="VGG-19 (E) has no weights here yet")).to_be_visible()
    expect(page.locator(".absent")).to_contain_text("deconvnet weights fetch vgg19")
    expect(page.locator(".strip li")).to_have_count(24)
    page.get_by_role("link", name="ZFNet", exact=True).click()
    expect(page.locator(".card")).to_have_count(9)


@WITH_AND_WITHOUT
def test_a_wrong_address_is_explained(visit: Visit, scripting: bool) -> None:
    page = visit(scripting=scripting, refused=[404, 422]).open_sample()
    address = page.url
    page.goto(address.replace("conv5", "conv9"))
    expect(page.get_by_role("alert")).to_contain_text("zfnet has no layer 'conv9'")
    page.goto(f"{address}?feature=999")
    expect(page.get_by_role("alert")).to_contain_text("0 to 255, not 999")
    expect(page.get_by_role("img", name="The photo")).to_be_visible()
    page.get_by_role("link", name="conv5", exact=True).click()
    expect(page.locator("h1")).to_have_text("conv5 of ZFNet")


def test_a_refusal_is_said_on_the_page_that_asked(visit: Visit) -> None:
    visitor = visit(refused=[422])
    page = visitor.open_sample()
    address = page.url
    page.get_by_label("Map", exact=True).fill("999")
    page.locator(".list .go").evaluate("form => form.noValidate = true")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("alert")).to_contain_text("0 to 255, not 999")
    expect(page.locator(".card")).to_have_count(9)
    assert page.url == address
    page.get_by_role("link", name="conv4").click()
    expect(page.locator("#problem")).to_be_empty()


# What can be kept


@WITH_AND_WITHOUT
def test_a_card_and_the_list_can_be_saved(visit: Visit, scripting: bool, tmp_path: Path) -> None:
    page = visit(scripting=scripting).open_sample()
    with page.expect_download() as card:
        page.get_by_role("link", name="Card as PNG").click()
    assert card.value.suggested_filename.startswith("zfnet-conv5-")
    assert card.value.path().read_bytes().startswith(b"\x89PNG")
    with page.expect_download() as archive:
        page.get_by_role("link", name="List as ZIP").click()
    names = zipfile.ZipFile(archive.value.path()).namelist()
    assert len(names) == 19 + 4
    assert {"arrays.npz", "activation-maps.npz", "caption.txt", "citations.bib"} < {*names}
    assert "visualization.json" in names


def test_the_link_and_the_curl_line_are_copied(visit: Visit) -> None:
    page = visit().open_sample()
    page.locator(".card a").nth(2).click()
    expect(page).to_have_url(re.compile("feature="))
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    short = page.locator(".weights code").inner_text()
    assert copied == page.url.replace("#close", f"&weights={short}#close")
    page.get_by_text("curl", exact=True).click()
    page.get_by_role("button", name="Copy curl").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator(".take code").inner_text()
    assert copied.startswith("curl -F image_id=")
    expect(page.locator(".note")).to_have_count(0)


# How it looks to everybody


AXE = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
AXE_OF_COLOURS = {
    "resultTypes": ["violations"],
    "runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]},
}
"""What another colour scheme may violate: it changes colours alone."""
STATES = {
    "start": "/",
    "explorer": "",
    "at": "?at=150,225",
    "outside": "?at=1,1",
    "silent": "?feature=0&unit=0,0",
    "whole map": "?seed=map&fit=pad&top=16",
    "classes": "/fc8",
    "no weights": "/vgg19/conv1_1",
    "problem": "/conv9",
    "docs": "/docs",
    "networks": "/networks",
    "filters": "/filters",
    "story": "/story",
    "paper": "/paper",
    "examples": "/examples/zfnet/conv5",
}
ALONE = ("start", "docs", "networks", "filters", "story", "paper", "examples")
"""The pages that no photo belongs to."""


@pytest.mark.parametrize("width", [1440, 390])
def test_everybody_can_use_every_page(visit: Visit, width: int) -> None:
    size = {"width": width, "height": 844}
    visitor = visit(viewport=size, color_scheme="light", refused=[503, 404])
    page = visitor.open_sample()
    explorer = page.url
    for name, address in STATES.items():
        place = f".{address}" if name in ALONE else f"{explorer}{address}"
        if name == "no weights":
            place = explorer.replace("/zfnet/conv5", address)
        elif address.startswith("/") and place.startswith("http"):
            place = explorer.replace("/conv5", address)
        page.goto(place)
        page.wait_for_load_state("networkidle")
        page.evaluate("document.querySelector('.folded')?.scrollIntoView()")
        expect(page.locator(".folded")).to_have_count(0)
        found = Axe().run(page, options=AXE)
        assert not found.violations_count, f"{name}: {found.generate_report()}"
        if name != "docs":
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{name} is {wide} wide"
        page.emulate_media(color_scheme="dark")
        found = Axe().run(page, options=AXE_OF_COLOURS)
        assert not found.violations_count, f"{name}, dark: {found.generate_report()}"
        page.emulate_media(color_scheme="light")
