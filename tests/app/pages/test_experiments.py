"""The pages of the experiments and of their jobs, as they leave the server."""

import html
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from PIL import Image
from starlette.datastructures import QueryParams
from starlette.testclient import TestClient

import models
from app.pages.jobs import ROWS, read_table
from app.pages.marks import marked, marks
from app.pages.occlusion_view import SHOWN, view_occlusion
from tests.refusals import refused
from tests.serving import client_in, photo, sent, state_of, wait_for

HTML = {"accept": "text/html"}
ASKED = {"network": "lenet5", "square": "8", "stride": "8"}
FOUND: dict[str, Any] = {
    "network": "toy",
    "layer": "c2",
    "feature": 3,
    "unit": None,
    "square": 8,
    "stride": 8,
    "tops": [0, 8, 16],
    "lefts": [0, 8],
    "activation": [[1.0, 2.0], [5.0, 0.5], [3.0, 4.0]],
    "unoccluded": {"activation": 6.0},
}
CLASSES = {
    "target": {"class": 1, "label": "cup"},
    "probability": [[0.5, 0.4], [0.3, 0.2], [0.1, 0.6]],
    "best_label": [["cup", "cat"], ["cup", "dog"], ["cat", "cup"]],
    "unoccluded": {"activation": 6.0, "probability": 0.9, "best_label": "cup"},
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client_in(tmp_path_factory.mktemp("pages")) as client:
        yield client


def take(client: TestClient, experiment: str, *photos: bytes, query: str = "") -> str:
    files = [("image", (f"{number}.jpg", data)) for number, data in enumerate(photos)]
    answer = client.post(
        f"/experiments/{experiment}/photos?{query}", files=files, follow_redirects=False
    )
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def page(client: TestClient, address: str, status: int = 200) -> str:
    answer = client.get(address, headers=HTML)
    assert answer.status_code == status, answer.text
    return answer.text


def send(client: TestClient, text: str, form: str, **changes: str) -> Any:
    """Send a form of a page, as a browser without JavaScript does."""
    found = re.search(rf"<form[^>]*{form}.*?</form>", text, re.DOTALL)
    assert found, form
    action = re.search(r'action="([^"]+)"', found[0])
    assert action
    named = re.findall(r'<input(?=[^>]*name="([^"]+)")(?=[^>]*value="([^"]*)")', found[0])
    data: dict[str, Any] = {}
    for name, value in named:
        data.setdefault(name, []).append(html.unescape(value))
    return client.post(html.unescape(action[1]), data=data | changes, headers=HTML)


def test_the_experiments_are_listed(client: TestClient) -> None:
    text = page(client, "/experiments")
    for name in ("occlusion", "invariance", "correspondence", "evolution", "probe"):
        assert f'href="/experiments/{name}"' in text


@pytest.mark.parametrize("name", ["evolution", "probe"])
def test_an_experiment_on_folders_says_its_command_and_how_folders_are_registered(
    client: TestClient, name: str
) -> None:
    text = page(client, f"/experiments/{name}")
    assert f"deconvnet experiment {name} " in text
    assert "DECONVNET_PHOTO_FOLDERS" in text and '<form id="run"' not in text


def test_an_unknown_experiment_is_404_with_the_known_ones(client: TestClient) -> None:
    assert "there are occlusion, invariance" in page(client, "/experiments/magic", 404)


def test_an_experiment_is_entered_from_the_explorer_with_photo_and_class(
    client: TestClient,
) -> None:
    answer = client.post("/images", **sent(photo()), follow_redirects=False)
    explorer = page(client, f"{answer.headers['location']}/lenet5/c2?fit=pad")
    links = re.findall(r'href="(/experiments/[^"]+)"', explorer)
    occlusion = next(html.unescape(link) for link in links if "/occlusion" in link)
    asked = dict(parse_qsl(urlsplit(occlusion).query))
    assert asked["network"] == "lenet5" and asked["layer"] == "c2" and asked["fit"] == "pad"
    text = page(client, occlusion)
    assert f'name="image_id" value="{asked["image"]}"' in text
    assert f'name="target" value="{asked["target"]}"' in text


def test_from_the_photo_to_what_was_found_without_javascript(client: TestClient) -> None:
    address = take(client, "occlusion", photo(), query="network=lenet5")
    answer = send(client, page(client, address), 'id="run"', square="8", stride="8")
    assert answer.status_code == 200 and answer.url.path.startswith("/jobs/")
    job = answer.url.path
    wait_for(lambda: client.get(job).json()["state"] == "done")
    text = page(client, job)
    assert "Most probable class" in text and 'http-equiv="refresh"' not in text
    assert "square 8 pixels; layer c2" in text
    for panel in re.findall(r'src="(/jobs/[^"]+\.png)"', text):
        picture = client.get(panel)
        assert Image.open(BytesIO(picture.content)).size == (64, 64)
        assert "immutable" in picture.headers["cache-control"]
    for address in re.findall(r'href="(/jobs/[^"]+)" download', text):
        assert client.get(address).status_code == 200


@contextmanager
def busy_device(client: TestClient) -> Iterator[None]:
    free, portal = threading.Event(), client.portal
    assert portal is not None
    held = portal.start_task_soon(state_of(client).engine.on_device, free.wait)
    try:
        yield
    finally:
        free.set()
        held.result()


def ask(client: TestClient, **fields: str) -> str:
    answer = client.post("/experiments/occlusion", **sent(photo()), data={**ASKED, **fields})
    assert answer.status_code == 202
    return str(answer.headers["location"])


def test_an_unfinished_job_refreshes_itself_and_can_be_cancelled_and_run_again(
    client: TestClient,
) -> None:
    with busy_device(client):
        job = ask(client, stride="5", fill="#102030", unit="1,1", layer="c2")
        text = page(client, job)
        assert re.search(r'<noscript><meta http-equiv="refresh" content="\d"></noscript>', text)
        assert f'hx-sse:connect="{job}/events"' in text
        assert "was cancelled" in send(client, text, f'action="{job}/cancel"').text
    again = send(client, page(client, job), 'action="/experiments/occlusion"')
    assert again.url.path == job
    wait_for(lambda: client.get(job).json()["state"] == "done")


def test_a_browser_gets_a_page_and_a_program_a_document(client: TestClient) -> None:
    job = ask(client)
    assert client.get(job, headers=HTML).headers["content-type"].startswith("text/html")
    assert client.get(job).headers["content-type"] == "application/json"
    assert client.get(job, headers={"accept": "*/*"}).json()["experiment"] == "occlusion"
    for headers in (HTML, {}):
        assert "Accept" in client.get(job, headers=headers).headers["vary"]


def test_an_unknown_job_is_a_page_with_a_sentence(client: TestClient) -> None:
    assert "run it again" in page(client, f"/jobs/{'0' * 32}", 404)


def test_what_htmx_sends_is_answered_by_where_to_go_or_by_a_sentence(client: TestClient) -> None:
    headers = HTML | {"hx-request": "true", "hx-request-type": "partial"}
    good = client.post("/experiments/occlusion", **sent(photo()), data=ASKED, headers=headers)
    assert good.headers["hx-redirect"].startswith("/jobs/")
    bad = client.post(
        "/experiments/occlusion", **sent(photo()), data=ASKED | {"square": "99"}, headers=headers
    )
    assert bad.status_code == 422 and "square is 1 to 32" in bad.text
    assert bad.headers["hx-retarget"] == "#problem"


def test_photos_are_added_to_those_there_and_left_out_again(client: TestClient) -> None:
    first = take(client, "invariance", photo(), query="network=lenet5&steps=5")
    both = take(client, "invariance", photo(colour="red"), query=urlsplit(first).query)
    asked = parse_qsl(urlsplit(both).query)
    assert [name for name, _ in asked].count("image") == 2 and ("steps", "5") in asked
    text = page(client, both)
    (without, _) = re.findall(r'href="([^"]+)">Leave out', text)
    assert page(client, html.unescape(without)).count("Leave out") == 1
    for frame in re.findall(r'src="(/experiments/frames/[^"]+)"', text):
        picture = client.get(html.unescape(frame))
        assert Image.open(BytesIO(picture.content)).size == (32, 32)


def test_a_sample_can_be_added(client: TestClient) -> None:
    answer = client.post("/experiments/invariance/photos", data={"sample": "chelsea"})
    assert answer.status_code == 200 and answer.text.count("Leave out") == 1


@pytest.mark.parametrize(
    ("address", "status", "says"),
    [
        ("/experiments/occlusion?image=0", 404, "No photo"),
        ("/experiments/occlusion?network=nonet", 404, "no network"),
        ("/experiments/occlusion?square=big", 422, "square"),
        ("/experiments/correspondence?parts=nose", 422, "names no part"),
        ("/experiments/correspondence?part=nose&top=1", 422, "nose has 0 boxes"),
        ("/experiments/frames/zfnet/0.png", 404, "No photo"),
    ],
)
def test_a_bad_address_is_a_sentence(
    client: TestClient, address: str, status: int, says: str
) -> None:
    assert says in page(client, address, status)


def test_more_photos_than_an_experiment_takes_are_a_sentence(client: TestClient) -> None:
    address = take(client, "occlusion", photo())
    answer = client.post(
        f"/experiments/occlusion/photos?{urlsplit(address).query}",
        **sent(photo(colour="red")),
        headers=HTML,
    )
    assert answer.status_code == 422 and "takes 1 of your photos at most" in answer.text


# Where the square is


def at(query: dict[str, str], **more: Any) -> tuple[int, int]:
    view = view_occlusion("1", FOUND | more, (), query, 32)
    return view.row, view.column


def test_at_first_the_square_is_where_the_network_misses_most() -> None:
    assert at({}) == (1, 1)
    assert at({}, **CLASSES) == (2, 0)


def test_a_pressed_panel_puts_the_middle_of_the_square_there() -> None:
    pixel = SHOWN // 32
    assert at({"at.y": str(21 * pixel), "at.x": str(4 * pixel)}) == (2, 0)
    assert at({"at.y": "0", "at.x": str(SHOWN)}) == (0, 1)


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ({"top": "8", "left": "0"}, (1, 0)),
        ({"top": "13", "left": "99"}, (2, 1)),
        ({"top": "-1", "left": "0"}, (1, 1)),
        ({"top": "8"}, (1, 1)),
        ({"top": "²", "left": "1"}, (1, 1)),
    ],
)
def test_a_named_place_is_the_nearest_that_there_is(
    query: dict[str, str], place: tuple[int, int]
) -> None:
    assert at(query) == place


def test_the_numbers_are_those_of_the_place() -> None:
    view = view_occlusion("1", FOUND | CLASSES, (("#fff", "cup"),), {"top": "8", "left": "8"}, 32)
    assert (view.here.activation, view.here.probability, view.here.best) == (0.5, 0.2, "dog")
    assert (view.top, view.left) == (8, 8) and view.whole.probability == 0.9
    assert (view.activation.least, view.activation.most) == (0.5, 5.0)


def test_without_classes_there_is_no_probability() -> None:
    view = view_occlusion("1", FOUND, (), {"table": "all"}, 32)
    assert view.here.probability is None and view.target is None
    assert [name for name, _ in view.matrices] == ["activation"]


# Tables and marks


def test_a_long_table_says_how_many_rows_are_left_out() -> None:
    rows = "\n".join(f"map,{number},{number / 7}" for number in range(ROWS + 5))
    table = read_table(f"name,number,share\n{rows}\n")
    assert len(table.rows) == ROWS and table.more == 5
    assert table.rows[1] == ("map", "1", "0.1429")


def test_a_marked_part_is_added_to_those_there() -> None:
    form = "image=a&image=b&parts=nose:+1,2,3,4;+5,6,7,8&part=eye&steps="
    boxes = "&top=1&left=2&bottom=9&right=9&top=3&left=4&bottom=8&right=8"
    address = str(marked("/experiments/correspondence", QueryParams(form + boxes)))
    query = QueryParams(urlsplit(address).query)
    assert query["parts"] == "nose: 1,2,3,4; 5,6,7,8 | eye: 1,2,9,9; 3,4,8,8"
    assert query.getlist("image") == ["a", "b"] and set(query) == {"image", "parts"}
    nose, eye = marks("/experiments/correspondence", query)
    assert eye.boxes == ((1, 2, 9, 9), (3, 4, 8, 8))
    assert QueryParams(urlsplit(str(nose.without)).query)["parts"].startswith("eye:")


@pytest.mark.parametrize("name", ["nose", "", "random"])
def test_a_part_cannot_have_the_name_of_another_or_none(name: str) -> None:
    query = QueryParams(f"image=a&parts=nose:+1,2,3,4&part={name}&top=1&left=2&bottom=3&right=4")
    with refused(models.InvalidChoice, match="name"):
        marked("/experiments/correspondence", query)


def test_the_object_is_marked_after_a_part_and_goes_with_the_last_one() -> None:
    form = "image=a&parts=nose:+1,2,3,4&part=object&top=0&left=0&bottom=9&right=9"
    query = QueryParams(
        urlsplit(str(marked("/experiments/correspondence", QueryParams(form)))).query
    )
    nose, thing = marks("/experiments/correspondence", query)
    assert (nose.name, thing.boxes) == ("nose", ((0, 0, 9, 9),))
    assert "parts" not in QueryParams(urlsplit(str(nose.without)).query)


def test_a_name_may_hold_what_separates_parts() -> None:
    query = QueryParams("image=a&part=a|b: c&top=1&left=2&bottom=3&right=4")
    address = str(marked("/experiments/correspondence", query))
    assert QueryParams(urlsplit(address).query)["parts"] == "a/b: c: 1,2,3,4"


def test_a_job_s_page_shows_the_table_and_the_figure_of_other_experiments(
    client: TestClient, tmp_path: Path
) -> None:
    asked = {"network": "lenet5", "steps": "3"}
    answer = client.post("/experiments/invariance", **sent(photo()), data=asked)
    job = answer.headers["location"]
    wait_for(lambda: client.get(job).json()["state"] == "done")
    text = page(client, job)
    assert text.count("<tr>") == 1 + 9 and f'src="{job}/result.svg"' in text
