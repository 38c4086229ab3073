"""Shown below a path prefix, every address that the server writes is below it too."""

import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image
from starlette.testclient import TestClient

from app.main import create_app
from tests.file_server import FileServer
from tests.models.weights.test_sources import publish
from tests.serving import LOCAL, client_in, photo, sent, settings_in

ROOT = Path(__file__).parents[3]
PREFIX = "/proxy/8000"
WRITES_ADDRESS = re.compile(
    r"""\b(href|src|srcset|poster|action|formaction|hx-[\w:-]+|data-\w+)=["']/"""
)
ADDRESSES = {"href", "src", "action", "formaction", "hx-get", "hx-post", "hx-sse:connect"}
PAGE = {"accept": "text/html"}


def below(client: TestClient, path: str, **headers: str) -> tuple[int, str]:
    answer = client.get(path, headers=PAGE | headers, follow_redirects=False)
    return answer.status_code, answer.headers.get("location", answer.text)


@pytest.fixture(scope="module")
def prefixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client_in(tmp_path_factory.mktemp("below"), root_path=PREFIX) as client:
        yield client


@pytest.fixture(scope="module")
def fetching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Meet an application that finds the weights that zfnet publishes on loopback."""
    folder = tmp_path_factory.mktemp("fetching")
    publisher = FileServer(b"")
    with pytest.MonkeyPatch.context() as patch, publisher.running():
        publish(publisher, "zfnet", folder, patch)
        with client_in(folder, root_path=PREFIX, offline=False) as client:
            yield client


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Meet an application that believes one network, as a proxy of that network."""
    folder = tmp_path_factory.mktemp("trusting")
    app = create_app(settings_in(folder, trusted_proxies="10.1.0.0/16,::1"))
    with TestClient(app, base_url=LOCAL, client=("10.1.2.3", 50000)) as client:
        yield client


def test_no_template_writes_an_address_without_its_prefix() -> None:
    for template in (ROOT / "templates").rglob("*.html"):
        assert not WRITES_ADDRESS.search(template.read_text()), template


def test_no_script_writes_an_address_without_its_prefix() -> None:
    for script in (ROOT / "static").glob("*.js"):
        assert not re.search(r"""["'`]/[a-z]""", script.read_text()), script


class Addresses(HTMLParser):
    """The addresses that a page holds, and those of them that are asked for without a press."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.posted: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        is_posted = ("method", "post") in attrs
        for name, value in attrs:
            if name in ADDRESSES and value and not value.startswith(("#", "http", "data:")):
                self.found.add(value)
                if is_posted or name in {"formaction", "hx-post"}:
                    self.posted.add(value)


def test_every_address_of_every_page_is_below_the_prefix(prefixed: TestClient) -> None:
    answer = prefixed.post(f"{PREFIX}/images", **sent(photo()), headers=PAGE)
    pages = [f"{PREFIX}/", str(answer.url.path), f"{answer.url.path}?method=guided&at=20,20"]
    seen, shapes = set(pages), set()
    while pages:
        answer = prefixed.get(pages.pop(), headers=PAGE)
        assert answer.status_code in {200, 503}, answer.url
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        addresses = Addresses(answer.text)
        for address in addresses.found - seen:
            seen.add(address)
            assert address.startswith(f"{PREFIX}/"), f"{address} on {answer.url}"
            shape = re.sub(r"\d+|(?<=images)(/\w+){1,3}", "*", urlsplit(address).path)
            if shape not in shapes and address not in addresses.posted:
                shapes.add(shape)
                pages.append(address)
    assert len(shapes) > 10


@pytest.mark.parametrize("path", ["/", PREFIX, f"{PREFIX}/"])
def test_a_proxy_may_cut_the_prefix_off_or_leave_it_on(prefixed: TestClient, path: str) -> None:
    assert below(prefixed, path)[0] == 200
    assert below(prefixed, f"{path.rstrip('/')}/docs")[0] == 200


def test_a_path_that_only_begins_like_the_prefix_is_another(prefixed: TestClient) -> None:
    assert below(prefixed, f"{PREFIX}1/docs")[0] == 404


def test_redirects_lead_below_the_prefix(prefixed: TestClient) -> None:
    answer = prefixed.post("/images", **sent(photo()), headers=PAGE, follow_redirects=False)
    assert answer.headers["location"].startswith(f"{PREFIX}/images/")
    status, location = below(prefixed, answer.headers["location"])
    assert status == 303 and location.startswith(f"{PREFIX}/images/")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"{LOCAL}{PREFIX}/images/1/zfnet/conv1?top=4", "/images/1/zfnet/conv1?top=4"),
        (f"http://evil.example{PREFIX}/docs", "/"),
        (f"{LOCAL}{PREFIX}//evil.example", "/"),
        (f"{LOCAL}/elsewhere", "/"),
        ("", "/"),
    ],
)
def test_after_a_fetch_one_is_back_on_the_page_before(
    fetching: TestClient, before: str, after: str
) -> None:
    headers = PAGE | {"referer": before}
    answer = fetching.post("/networks/zfnet/fetch", headers=headers, follow_redirects=False)
    assert answer.headers["location"] == PREFIX + after


def test_the_api_names_its_prefix(prefixed: TestClient) -> None:
    assert prefixed.get("/openapi.json").json()["servers"] == [{"url": PREFIX}]
    assert f"at {PREFIX}/docs" in prefixed.get("/nothing").json()["detail"]
    assert f"{LOCAL}{PREFIX}/visualize" in below(prefixed, "/docs")[1]


def test_health_needs_no_token_below_a_prefix(tmp_path: Path) -> None:
    with client_in(tmp_path, root_path=PREFIX, api_token="secret") as client:
        assert client.get(f"{PREFIX}/healthz").status_code == 200
        assert client.get(f"{PREFIX}/networks").status_code == 401


@pytest.mark.parametrize(
    ("said", "written"),
    [("/lab", "/lab"), ("/lab/", "/lab"), ("/", ""), ("", ""), ("/~ann/a%20b", "/~ann/a%20b")],
)
def test_a_trusted_proxy_says_the_prefix(trusting: TestClient, said: str, written: str) -> None:
    status, page = below(trusting, "/", **{"x-forwarded-prefix": said})
    assert status == 200 and f'href="{written}/docs"' in page


def test_a_prefix_with_escapes_may_be_left_on(trusting: TestClient) -> None:
    assert below(trusting, "/~ann/a%20b/docs", **{"x-forwarded-prefix": "/~ann/a%20b"})[0] == 200


def test_the_next_request_has_no_prefix_of_the_one_before(trusting: TestClient) -> None:
    below(trusting, "/", **{"x-forwarded-prefix": "/lab"})
    assert 'href="/docs"' in below(trusting, "/")[1]


@pytest.mark.parametrize(
    "said", ["lab", "//evil.example", "/a/../b", "/a b", "/a, /b", "/<script>", "/a%2", "/a?b"]
)
def test_what_is_no_prefix_is_refused_in_a_sentence(trusting: TestClient, said: str) -> None:
    answer = trusting.get("/networks", headers={"x-forwarded-prefix": said})
    assert answer.status_code == 400 and "X-Forwarded-Prefix" in answer.json()["detail"]


@pytest.mark.parametrize("sender", ["10.2.0.1", "127.0.0.1", "testclient", ""])
def test_a_stranger_is_not_believed(trusting: TestClient, sender: str) -> None:
    stranger = TestClient(trusting.app, base_url=LOCAL, client=(sender, 1))
    headers = {"x-forwarded-prefix": "/evil", "x-forwarded-proto": "https"}
    status, page = below(stranger, "/docs", **headers)
    assert status == 200 and 'href="/docs"' in page and f"{LOCAL}/visualize" in page


def test_a_trusted_proxy_says_whether_the_world_sees_https(trusting: TestClient) -> None:
    page = below(trusting, "/docs", **{"x-forwarded-proto": "https"})[1]
    assert "https://127.0.0.1:8000/visualize" in page


@pytest.mark.parametrize("path", ["/", "/networks", "/static/explorer.css", "/openapi.json"])
def test_text_is_packed_for_who_takes_it(prefixed: TestClient, path: str) -> None:
    packed = prefixed.get(path, headers={"accept-encoding": "gzip"})
    plain = prefixed.get(path, headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip" and packed.content == plain.content
    assert int(packed.headers["content-length"]) < 0.6 * len(plain.content)
    assert "content-encoding" not in plain.headers
    for answer in (packed, plain):
        assert "Accept-Encoding" in answer.headers["vary"]


@pytest.mark.parametrize("path", ["/samples/chelsea.jpg", "/networks/zfnet/progress"])
def test_pictures_and_events_are_sent_as_they_are(prefixed: TestClient, path: str) -> None:
    answer = prefixed.get(path, headers={"accept-encoding": "gzip"})
    assert answer.status_code == 200 and "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("image/avif,image/webp,*/*;q=0.8", "image/webp"),
        ("image/png,*/*", "image/jpeg"),
        ("", "image/jpeg"),
    ],
)
def test_thumbnails_are_webp_for_who_takes_it(
    prefixed: TestClient, accept: str, media_type: str
) -> None:
    answer = prefixed.get("/samples/chelsea.jpg", headers={"accept": accept})
    assert answer.headers["content-type"] == media_type and "Accept" in answer.headers["vary"]
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.size == (288, 216) and Image.MIME[picture.format or ""] == media_type
