"""The story and the paper: their numbers are the networks' own, their pictures are there."""

import re
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from tests.serving import client_in

HTML = {"accept": "text/html"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client_in(tmp_path_factory.mktemp("story")) as client:
        yield client


@pytest.mark.parametrize(
    "said",
    [
        "has 61,706 of them",  # 6 x 26 + 16 x 151 + 120 x 401 + 84 x 121 + 10 x 85
        "62.4 million parameters, of which",
        "for 18.2 % of the validation photos",
        "smaller, 7 × 7 for 11 × 11, and their stride 2 for 4",  # noqa: RUF001
        "from 55 × 55 to 110 × 110",  # noqa: RUF001
        "fell to 16.5 %; with wider layers 3 to 5, to 16.0 %",
        "7,077,888 against 12,845,056 for 512 maps",
        "138.4 million parameters, 553 MB, and 13 times ZFNet’s",  # noqa: RUF001
    ],
)
def test_the_story_s_numbers_are_those_of_the_networks(client: TestClient, said: str) -> None:
    text = client.get("/story", headers=HTML).text
    assert said in text.replace("\N{NO-BREAK SPACE}", " ")


def test_the_story_s_views_lead_into_the_explorer(client: TestClient) -> None:
    page = client.get("/story", headers=HTML).text
    links = re.findall(r'<a href="(/images/[^"]+/zfnet/conv5)">', page)
    assert len(links) == 1 and client.get(links[0], headers=HTML).status_code == 200
    pictures = re.findall(r'<img src="([^"]+/zfnet/conv3/[^"]+)"', page)
    assert len(pictures) == 6
    for address in pictures[:2]:
        answer = client.get(address.replace("&amp;", "&"))
        assert answer.content.startswith(b"\x89PNG") and "immutable" in str(answer.headers)


def test_the_story_is_told_without_a_network_too(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with client_in(tmp_path_factory.mktemp("bare"), networks=("lenet5",)) as client:
        answer = client.get("/story", headers=HTML)
        assert answer.status_code == 200 and "/images/" not in answer.text


def test_the_paper_names_every_figure_and_table(client: TestClient) -> None:
    page = client.get("/paper", headers=HTML).text
    for number in range(1, 10):
        assert re.search(rf"Fig\. {number}\b", page), number
    for number in range(1, 8):
        assert re.search(rf"Tables? (\d, )*{number}\b", page), number


def test_the_paper_links_to_the_experiments_that_there_are(client: TestClient) -> None:
    page = client.get("/paper", headers=HTML).text
    for address in re.findall(r'href="(/(?:experiments|examples|filters|networks)[^"#]*)', page):
        assert client.get(address, headers=HTML).status_code != 404, address
