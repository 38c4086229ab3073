"""Thirty people behind one address, each with a view of 64 maps: a real server, as browsers ask."""

import asyncio
import html
import re
from collections import Counter
from pathlib import Path

import httpx2 as httpx
import pytest

from app.settings import Settings
from tests.app.test_serving import serving
from tests.serving import client_in, photo, sent, state_of

PUPILS, MAPS = 30, 64
CONNECTIONS = 6
"""How many a browser opens to one server."""
PICTURE = re.compile(r'src="(/images/[^"]+\.(?:png|jpg)[^"]*)"')


async def look(site: str, number: int) -> Counter[int]:
    """Send a photo, open its page, and fetch every picture on it; count the statuses."""
    limits = httpx.Limits(max_connections=CONNECTIONS)
    async with httpx.AsyncClient(base_url=site, limits=limits, timeout=120) as browser:
        data = photo(300 + number, 200)
        taken = await browser.post("/images", files={"image": ("a.jpg", data)})
        entry = await browser.get(taken.headers["location"])
        layer = entry.headers["location"].rpartition("/")[0] + f"/conv1?top={MAPS}"
        page = await browser.get(layer)
        assert (taken.status_code, entry.status_code, page.status_code) == (303, 303, 200)
        pictures = set(map(html.unescape, PICTURE.findall(page.text)))
        shown = [each for each in pictures if "/patch.png" not in each and "/map.png" not in each]
        assert sum("/projection.png" in each for each in shown) >= MAPS
        answers = await asyncio.gather(*(browser.get(each) for each in shown))
        return Counter(answer.status_code for answer in answers)


def test_a_class_sees_every_picture_of_every_page_that_was_answered(tmp_path: Path) -> None:
    limit = Settings().queue_limit
    assert PUPILS * CONNECTIONS > 2 * limit

    async def learn(site: str) -> Counter[int]:
        counts = await asyncio.gather(*(look(site, number) for number in range(PUPILS)))
        return sum(counts, Counter())

    with serving(tmp_path, NETWORKS="alexnet") as server:
        statuses = asyncio.run(learn(server.url))
        assert statuses.keys() == {200} and statuses[200] > PUPILS * MAPS, statuses
        assert b"deconvnet_queue_places_taken 0.0" in server.get("/metrics")[1]
    assert "Traceback" not in server.log.read_text()


def test_a_picture_that_is_held_takes_no_place(tmp_path: Path) -> None:
    with client_in(tmp_path, networks="lenet5", random_weights=True, queue_limit=1) as client:
        taken = client.post("/images", **sent(photo()), follow_redirects=False)
        here = f"{taken.headers['location']}/lenet5/c2"
        address = f"{here}/3/patch.png?features=3"
        picture = client.get(address)
        assert picture.status_code == 200
        with state_of(client).engine.places.one():
            assert client.get(address).content == picture.content
            assert client.get(f"{here}/4/patch.png?features=4").status_code == 503
        assert client.delete(taken.headers["location"]).status_code == 204
        assert client.get(address).status_code == 404


@pytest.mark.parametrize("page", ["", "/lenet5/c2", "/lenet5/c2/3"])
def test_pages_that_were_answered_have_their_pictures_in_a_full_queue(
    tmp_path: Path, page: str
) -> None:
    with client_in(tmp_path, networks="lenet5", random_weights=True, queue_limit=1) as client:
        taken = client.post("/images", **sent(photo()), follow_redirects=False)
        answer = client.get(f"{taken.headers['location']}{page}")
        pictures = set(map(html.unescape, PICTURE.findall(answer.text)))
        assert answer.status_code == 200 and len(pictures) > 9
        with state_of(client).engine.places.one():
            assert {client.get(each).status_code for each in pictures} == {200}
