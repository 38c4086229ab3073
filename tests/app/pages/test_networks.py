"""The networks side by side, as a page and as a document."""

import re
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

import models
from app.pages.article import article_numbers
from app.web.negotiation import prefers_page
from tests.serving import client_in

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client_in(tmp_path_factory.mktemp("networks")) as client:
        yield client


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        (CHROMIUM, True),
        ("text/html", True),
        ("text/html, application/json;q=0.5", True),
        ("application/json, text/html;q=0.9", False),
        ("application/json", False),
        ("*/*", False),
        ("", False),
        ("image/png", False),
        ("text/html;q=0", False),
        ("text/html;q=x", False),
    ],
)
def test_who_prefers_a_page_gets_it_and_everybody_else_the_document(
    client: TestClient, accept: str, is_page: bool
) -> None:
    answer = client.get("/networks", headers={"accept": accept})
    kind = "text/html" if is_page else "application/json"
    assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
    assert "Accept" in re.split(r",\s*", answer.headers["vary"])
    assert prefers_page(accept) is is_page


def test_the_page_shows_every_network_with_its_numbers(client: TestClient) -> None:
    page = client.get("/networks", headers={"accept": CHROMIUM}).text
    for name, architecture in models.architectures().items():
        assert f'id="{name}"' in page and architecture.title in page
    # counted by hand: 96 filters of 11 x 11 x 3 and a bias, at 55 x 55 places
    assert '<td class="n">34,944</td><td class="n">105,415,200</td>' in page
    assert "138,357,544" in page and "<b>38.4 / 16.5</b>" in page


def test_errors_are_those_that_their_sources_print() -> None:
    printed = {
        "lenet5": [("paper", 0.95, None)],
        "alexnet": [("torchvision", 43.48, 20.93)],
        "alexnet2012": [("paper", 40.7, 18.2)],
        "zfnet": [("paper", 38.4, 16.5), ("pytorchcv", 39.79, 17.27)],
        "zfnet_b": [("paper", 37.5, 16.0), ("pytorchcv", 36.37, 14.9)],
        "vgg16": [("paper", 25.6, 8.1), ("torchvision", 28.41, 9.62)],
    }
    for name, rates in printed.items():
        found = [(rate.source, rate.top1, rate.top5) for rate in models.error_rates(name)]
        assert found == rates


def test_the_article_s_numbers_are_counted() -> None:
    numbers = article_numbers()
    assert [round(each.nbytes / 1e6) for each in numbers.vggs] == [531, 532, 535, 553, 575]
    assert (numbers.three_small, numbers.one_large) == (27 * 512**2, 49 * 512**2)
