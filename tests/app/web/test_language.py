"""Pages and sentences in the reader's language, and figures in English for all."""

import html
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.datastructures import Headers
from starlette.testclient import TestClient

import models
from app.engine import jobs
from app.web.language import LANGUAGE, choose, written
from app.web.sentences import sentence
from app.web.templates import fixed, number, percent, rough
from tests.serving import client_in, photo, sent, state_of

PAGE = {"accept": "text/html"}
VIETNAMESE = {"accept-language": "vi"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client_in(tmp_path_factory.mktemp("language")) as client:
        yield client


@pytest.fixture(scope="module")
def image(client: TestClient) -> str:
    answer = client.post("/images", **sent(photo()), follow_redirects=False)
    return answer.headers["location"]


@pytest.fixture
def in_vietnamese() -> Iterator[None]:
    token = LANGUAGE.set("vi")
    yield
    LANGUAGE.reset(token)


@pytest.mark.parametrize(
    ("cookie", "accept", "language"),
    [
        ("", "", "en"),
        ("", "vi", "vi"),
        ("", "vi-VN, vi;q=0.9, en;q=0.8", "vi"),
        ("", "en-GB, vi;q=0.9", "en"),
        ("", "fr, de;q=0.9, vi;q=0.3, en;q=0.2", "vi"),
        ("", "en;q=0.5, VI;q=0.7", "vi"),
        ("", "fr, *;q=0.5", "en"),
        ("", "vi;q=0, en;q=0", "en"),
        ("", "vi;q=much", "en"),
        ("language=vi", "en", "vi"),
        ("language=en", "vi", "en"),
        ("a=b; language=vi; c=d", "en", "vi"),
        ("language=fr", "vi", "vi"),
        ("language=", "vi", "vi"),
    ],
)
def test_a_cookie_counts_more_than_what_the_browser_prefers(
    cookie: str, accept: str, language: str
) -> None:
    assert choose(Headers({"cookie": cookie, "accept-language": accept})) == language


def test_numbers_are_written_as_the_language_does(in_vietnamese: None) -> None:
    assert written("1,234.5") == "1.234,5"
    assert (number(1234.4), number(-0.25), number(0)) == ("1.234", "\N{MINUS SIGN}0,25", "0")
    assert (fixed(61_000_840), percent(0.915), rough(0.0123)) == ("61.000.840", "91,5 %", "0,012")
    error = models.InvalidChoice("dpi_out_of_range", least=50, most=1600, dpi=0.5)
    assert "0,5" in sentence(error)


def test_a_page_says_its_language_and_what_it_hangs_on(client: TestClient, image: str) -> None:
    for path in ("/", "/docs", f"{image}/zfnet/conv5", "/nothing"):
        for language in ("en", "vi"):
            answer = client.get(path, headers=PAGE | {"accept-language": language})
            assert f'<html lang="{language}">' in answer.text
            named = {each.strip() for each in answer.headers["vary"].split(",")}
            assert {"Accept-Language", "Cookie"} <= named
            assert answer.headers["cache-control"] == "no-store"


def test_a_problem_says_what_its_sentence_hangs_on(client: TestClient) -> None:
    answer = client.get("/networks/none")
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"Accept-Language", "Cookie"} <= set(answer.headers["vary"].split(", "))


def test_the_next_request_has_no_language_of_the_one_before(client: TestClient) -> None:
    assert '<html lang="vi">' in client.get("/", headers=PAGE | VIETNAMESE).text
    assert '<html lang="en">' in client.get("/", headers=PAGE).text


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/networks/none", 404, "không có mạng 'none'; có lenet5,"),
        ("{image}/zfnet/conv9", 404, "zfnet không có lớp 'conv9'; mạng này có conv1,"),
        ("/nothing", 404, "Không có gì tại '/nothing'; API được mô tả ở /docs."),
        ("/jobs/none", 404, "Ở đây không có thí nghiệm 'none'; hãy chạy lại."),
        ("/networks", 405, "Không dùng được DELETE tại '/networks'; ở đó nhận GET."),
        (
            "/figures/{id}/zfnet/conv1?dpi=x",
            422,
            "'dpi' phải là một số nguyên không âm, không phải 'x'.",
        ),
        ("/figures/{id}/zfnet/conv1?dpi=9", 422, "dpi là từ 50 đến 600, không phải 9"),
        ("/images/0/zfnet/conv1", 404, "Ở đây không giữ ảnh nào mang mã '0'"),
    ],
)
def test_what_goes_wrong_is_said_in_vietnamese(
    client: TestClient, image: str, path: str, status: int, sentence: str
) -> None:
    address = path.format(image=image, id=image.rpartition("/")[2])
    for headers in (VIETNAMESE, PAGE | VIETNAMESE):
        method = "DELETE" if status == 405 else "GET"
        answer = client.request(method, address, headers=headers)
        assert answer.status_code == status and sentence in html.unescape(answer.text)


def test_a_problem_has_its_title_in_the_same_language(client: TestClient) -> None:
    answer = client.get("/networks/none", headers=VIETNAMESE)
    assert (answer.json()["title"], answer.reason_phrase) == ("Không tìm thấy", "Not Found")


def test_an_unreadable_photo_is_refused_in_vietnamese(client: TestClient) -> None:
    for headers in (VIETNAMESE, PAGE | VIETNAMESE):
        path = "/images" if "accept" in headers else "/visualize"
        answer = client.post(path, **sent(b"no photo"), headers=headers)
        assert answer.status_code == 415
        assert "Tệp này không phải là hình đọc được: hãy gửi JPEG, PNG" in answer.text


def test_a_full_queue_says_so_in_vietnamese(tmp_path: Path) -> None:
    with client_in(tmp_path, queue_limit=1) as client:
        with state_of(client).engine.places.one():
            answer = client.post("/visualize", **sent(photo()), headers=VIETNAMESE)
        assert answer.status_code == 503
        seconds = answer.headers["retry-after"]
        assert answer.json()["detail"] == f"Máy chủ đang bận: hãy hỏi lại sau {seconds} giây."


def test_what_failed_long_ago_is_said_to_each_in_their_language() -> None:
    """What is kept of a failure are the fields of its error, and not its sentence."""
    failed = jobs.JobOverdue(seconds=1234.0)
    assert "1234 s" in sentence(failed) and "giây" not in sentence(failed)
    token = LANGUAGE.set("vi")
    assert "mất hơn 1234 giây" in sentence(failed)
    LANGUAGE.reset(token)


class Links(HTMLParser):
    """Collects the addresses that a page leads to, and what its forms send."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if named.get("name") != "language":  # the switch leads to the other one
            names = ("href", "src", "action", "hx-get", "hx-post", "data-link", "name", "value")
            self.found += [f"{name}={named[name]}" for name in names if name in named]


@pytest.mark.parametrize("place", ["zfnet/conv5", "zfnet/conv5?at=100,100&top=16", "zfnet/conv2/3"])
def test_links_carry_no_language(client: TestClient, image: str, place: str) -> None:
    pages = []
    for language in ("en", "vi"):
        links = Links()
        address = f"{image}/{place}"
        links.feed(client.get(address, headers=PAGE | {"accept-language": language}).text)
        pages.append(links.found)
    assert len(pages[0]) > 30 and pages[0] == pages[1]


@pytest.mark.parametrize(
    "path",
    [
        "/figures/{id}/zfnet/conv5?top=2",
        "/figures/{id}/zfnet/conv5?top=2&format=png&dpi=50",
        "/figures/compare?left={image}/zfnet/conv1%3Ftop%3D2&right={image}/zfnet/conv2%3Ftop%3D2",
        "/images/{id}/zfnet/conv5/view.zip?top=2",
        "/images/{id}/zfnet/conv5/3/card.png",
        "/openapi.json",
    ],
)
def test_files_are_the_same_bytes_in_both_languages(
    client: TestClient, image: str, path: str
) -> None:
    address = path.format(id=image.rpartition("/")[2], image=image)
    english, vietnamese = client.get(address), client.get(address, headers=VIETNAMESE)
    assert english.status_code == 200 and english.content == vietnamese.content
    if not address.endswith(".json"):
        assert "Accept-Language" not in english.headers.get("vary", "")


def test_an_answer_that_is_kept_is_the_same_in_both_languages(
    client: TestClient, image: str
) -> None:
    data = {"image_id": image.rpartition("/")[2], "network": "zfnet", "top": "2"}
    for accept in ("application/json", "application/zip", "application/x-npz", "image/png"):
        answers = [
            client.post("/visualize", data=data, headers={"accept": accept} | headers)
            for headers in (VIETNAMESE, {})
        ]
        documents = [re.sub(rb'"timings_ms":{.*?}', b"", each.content) for each in answers]
        assert documents[0] == documents[1]


# The switch


def back_of(text: str) -> str:
    (back,) = re.findall(r'name="back" value="([^"]*)"', text)
    return html.unescape(back)


@pytest.mark.parametrize("prefix", ["", "/proxy/8000"])
def test_the_switch_comes_back_to_its_page_in_the_other_language(
    tmp_path: Path, prefix: str
) -> None:
    with client_in(tmp_path, root_path=prefix) as client:
        address = f"{prefix}/filters?networks=zfnet"
        text = client.get(address, headers=PAGE).text
        assert '<button name="language" value="vi" lang="vi">Tiếng Việt</button>' in text
        assert back_of(text) == address
        form = {"language": "vi", "back": back_of(text)}
        switched = client.post(f"{prefix}/language", data=form, follow_redirects=False)
        assert (switched.status_code, switched.headers["location"]) == (303, address)
        cookie = switched.headers["set-cookie"]
        assert f"Path={prefix or '/'};" in cookie and "SameSite=lax" in cookie
        text = client.get(switched.headers["location"], headers=PAGE).text
        assert '<html lang="vi">' in text and 'value="en" lang="en">English</button>' in text


@pytest.mark.parametrize(
    "back",
    ["https://elsewhere.test/", "//elsewhere.test", "/\\elsewhere.test", "http://[", "", "story"],
)
def test_the_switch_leads_nowhere_else(client: TestClient, back: str) -> None:
    form = {"language": "en", "back": back}
    answer = client.post("/language", data=form, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_page_that_answers_a_form_is_left_for_the_start(client: TestClient) -> None:
    answer = client.post("/images", **sent(b"no photo"), headers=PAGE)
    assert answer.status_code == 415 and back_of(answer.text) == "/"


@pytest.mark.parametrize("form", [{"language": "fr"}, {}, {"language": "vi", "colour": "red"}])
def test_the_switch_knows_its_languages(client: TestClient, form: dict[str, str]) -> None:
    assert client.post("/language", data=form).status_code == 422
