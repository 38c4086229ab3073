"""Views beside each other, and the page of a figure, as they leave the server."""

import html
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from starlette.testclient import TestClient

from tests.serving import client_in, photo, sent, state_of

HTML = {"accept": "text/html"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("compare")
    with client_in(folder, networks="alexnet,zfnet,vgg19,lenet5") as client:
        yield client


def send(client: TestClient, width: int, height: int) -> str:
    answer = client.post("/images", **sent(photo(width, height)), follow_redirects=False)
    return str(answer.headers["location"])


@pytest.fixture(scope="module")
def image(client: TestClient) -> str:
    """Return the address of a photo of 480 x 320."""
    return send(client, 480, 320)


def compare(client: TestClient, left: str, right: str, status: int = 200, **more: str) -> str:
    query = {"left": left, "right": right, **more}
    answer = client.get("/compare", params=query, headers=HTML, follow_redirects=False)
    assert answer.status_code == status, answer.text
    return answer.headers["location"] if status == 303 else html.unescape(answer.text)


def sides(address: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address).query))


def columns(text: str) -> list[str]:
    return re.split(r'<section class="column"', text)[1:]


def told(client: TestClient, image: str, **fields: str) -> list[Any]:
    data = {"image_id": image.rpartition("/")[2], **fields}
    return list(client.post("/visualize", data=data).json()["projections"])


def maps(column: str) -> list[int]:
    return [int(name) for name in re.findall(r'class="card-name">map (\d+)', column)]


def test_each_column_shows_what_the_api_says_of_its_view(client: TestClient, image: str) -> None:
    left, right = f"{image}/zfnet/conv2", f"{image}/alexnet/conv3?method=guided&top=4"
    one, other = columns(compare(client, left, right))
    assert maps(one) == [p["feature"] for p in told(client, image, network="zfnet", layer="conv2")]
    said = {"network": "alexnet", "layer": "conv3", "method": "guided", "top": "4"}
    assert maps(other) == [p["feature"] for p in told(client, image, **said)]
    assert "of ZFNet" in one and "of AlexNet" in other
    assert "deconvnet" in one and "guided" in other


def test_every_picture_of_a_comparison_is_there(client: TestClient, image: str) -> None:
    text = compare(client, f"{image}/zfnet/conv1?top=2", f"{image}/zfnet/conv1?top=2&seed=map")
    links = set(re.findall(r'src="(/images/[^"]+)"', text))
    assert len(links) == 1 + 4 + 3
    for link in links:
        assert client.get(link).status_code == 200


def test_a_place_pressed_in_one_column_is_chosen_in_all(client: TestClient, image: str) -> None:
    left, right = f"{image}/zfnet/conv5?feature=3", f"{image}/alexnet/conv5"
    press = {"at-300x200.x": "150", "at-300x200.y": "50"}
    chosen = sides(compare(client, left, right, 303, **press))
    assert chosen == {
        "left": f"{image}/zfnet/conv5?at=80,240",
        "right": f"{image}/alexnet/conv5?at=80,240",
    }
    text = compare(client, chosen["left"], chosen["right"])
    assert text.count("M240 80h0") == 2
    assert f'href="/compare?{urlencode({"left": left.partition("?")[0], "right": right})}"' in text


def test_a_place_is_the_same_share_of_photos_of_other_sizes(client: TestClient, image: str) -> None:
    other = send(client, 240, 240)
    place = {"x": "240", "y": "80"}
    chosen = sides(compare(client, f"{image}/zfnet/conv5", f"{other}/zfnet/conv5", 303, **place))
    assert chosen["left"].endswith("?at=80,240") and chosen["right"].endswith("?at=60,120")
    assert "different photos" in compare(client, chosen["left"], chosen["right"])


def test_all_that_fire_at_a_place_are_counted(client: TestClient, image: str) -> None:
    alone = client.get(f"{image}/zfnet/conv5?at=160,240", headers=HTML).text
    fire = re.search(r"(\d+) maps fire here, the 9 strongest", alone)
    one, other = columns(
        compare(
            client, f"{image}/zfnet/conv5?at=160,240", f"{image}/zfnet/conv5?at=160,240&top=256"
        )
    )
    assert fire and f"{fire[1]} maps fire there, the 9 strongest" in one
    assert f"{fire[1]} maps fire there, strongest first" in other and len(maps(one)) == 9


def test_class_scores_are_called_by_their_classes(client: TestClient, image: str) -> None:
    one, _ = columns(compare(client, f"{image}/alexnet/fc8?top=1", f"{image}/alexnet/conv5"))
    data = {"image_id": image.rpartition("/")[2], "network": "alexnet"}
    label = client.post("/visualize", data=data).json()["predictions"][0]["label"]
    name = re.escape(label.replace("_", " "))
    assert re.search(rf'class="card-name">map \d+ {name}[ <]', one)


def test_the_title_says_what_tells_the_columns_apart(client: TestClient, image: str) -> None:
    text = compare(client, f"{image}/zfnet/conv5", f"{image}/zfnet/conv5?method=guided")
    assert "<title>conv5 of ZFNet, deconvnet | conv5 of ZFNet, guided · deconvnet explorer" in text


def test_a_column_says_when_it_has_nothing_to_show(client: TestClient, image: str) -> None:
    one, other = columns(
        compare(client, f"{image}/zfnet/conv5?at=1,1", f"{image}/zfnet/conv5?at=1,1&fit=pad")
    )
    assert "cropped away" in one and "cropped away" not in other


def test_one_view_alone_is_compared_by_its_methods(client: TestClient, image: str) -> None:
    answer = client.get("/compare", params={"left": f"{image}/zfnet/conv3"}, follow_redirects=False)
    assert sides(answer.headers["location"]) == {
        "left": f"{image}/zfnet/conv3",
        "right": f"{image}/zfnet/conv3?method=guided",
        "third": f"{image}/zfnet/conv3?method=gradient",
    }


def test_the_comparisons_offered_are_of_networks_that_are_here(
    client: TestClient, image: str
) -> None:
    text = compare(client, f"{image}/zfnet/conv5", f"{image}/zfnet/conv5?weights=random")
    offered = re.findall(r'<li><a href="(/compare[^"]+)"[^>]*>([^<]+)</a>', text)
    assert [name for _, name in offered] == [
        "deconvnet | guided | gradient",
        "learned | random weights",
        "AlexNet | ZFNet, conv1",
        "AlexNet | ZFNet, conv2",
    ]
    for link, _ in offered:
        assert client.get(link, headers=HTML).status_code == 200
    assert "sanity check" in text and "nothing was learned" in text


def test_the_page_answers_before_anything_is_projected(client: TestClient, image: str) -> None:
    compare(client, f"{image}/alexnet/conv4", f"{image}/zfnet/conv4")
    held = state_of(client).engine.answers.keys()
    assert not [key for key in held if key[0] in {"walk", "view"} and "conv4" in str(key)]


def test_what_two_starters_share_is_said(client: TestClient, image: str) -> None:
    text = compare(client, f"{image}/alexnet/conv1", f"{image}/zfnet/conv1")
    assert "both learned from one trained AlexNet" in text and "one-column network" in text
    alone = compare(client, f"{image}/zfnet/conv1", f"{image}/zfnet/conv2")
    assert "imitating" not in alone and "one-column" not in alone


@pytest.mark.parametrize(
    ("change", "right"),
    [
        ({"method": "guided", "weights": "random"}, "zfnet/conv4?method=guided&weights=random"),
        ({"network": "alexnet", "layer": "conv4"}, "alexnet/conv4"),
        ({"network": "lenet5", "layer": "conv4"}, "lenet5/c2"),
        ({"layer": "conv2"}, "zfnet/conv2"),
    ],
)
def test_a_column_is_changed_by_its_form(
    client: TestClient, image: str, change: dict[str, str], right: str
) -> None:
    left = f"{image}/zfnet/conv5"
    there = compare(client, left, f"{image}/zfnet/conv4", 303, change="right", **change)
    assert sides(there) == {"left": left, "right": f"{image}/{right}"}


def test_columns_are_added_and_removed(client: TestClient, image: str) -> None:
    left, right = f"{image}/zfnet/conv1", f"{image}/zfnet/conv2"
    two = compare(client, left, right)
    assert "Remove this column" not in two
    (more,) = re.findall(r'href="(/compare[^"]+)">Add a column', two)
    three = compare(client, left, right, third=sides(more)["third"])
    assert len(columns(three)) == 3 and "Add a column" not in three
    removed = re.findall(r'href="(/compare[^"]+)">Remove this column', three)
    assert sides(removed[0]) == {"left": right, "right": right}


@pytest.mark.parametrize(
    ("left", "more", "status", "words"),
    [
        ("http://elsewhere.example/images/a/zfnet/conv1", {}, 422, "another server"),
        ("/compare?left=/images/a/b/c", {}, 422, "not the address of a view"),
        ("/images/{id}/zfnet/conv9", {}, 404, "zfnet has no layer"),
        ("/images/{id}/vgg19/conv1_1", {}, 503, "vgg19"),
        ("/images/00000000000000000000000000000000/zfnet/conv1", {}, 404, "photo"),
        ("/images/{id}/zfnet/conv1", {"change": "middle"}, 422, "'middle' is missing"),
        ("/images/{id}/zfnet/conv1", {"change": "left", "network": "x"}, 404, "no network 'x'"),
        ("/images/{id}/zfnet/conv1", {"change": "left", "method": "x"}, 422, "method is one of"),
        ("/images/{id}/zfnet/conv1", {"x": "480", "y": "0"}, 422, "outside the photo"),
        ("/images/{id}/zfnet/conv1", {"x": "a", "y": "0"}, 422, "row and a column"),
    ],
)
def test_what_cannot_be_compared_is_a_sentence(
    client: TestClient, image: str, left: str, more: dict[str, str], status: int, words: str
) -> None:
    view = left.replace("/images/{id}", image)
    query = {"left": view, "right": f"{image}/zfnet/conv1", **more}
    answer = client.get("/compare", params=query, headers=HTML)
    assert answer.status_code == status, answer.text
    assert words in html.unescape(answer.text)


# The page of a figure


def test_the_page_of_a_figure_has_its_files_its_caption_and_whom_to_cite(
    client: TestClient, image: str
) -> None:
    answer = client.get(f"{image}/zfnet/conv2/figure?method=gradient&top=2", headers=HTML)
    text = html.unescape(answer.text)
    files = re.findall(r'class="button" href="([^"]+)" download', text)
    assert [parse_qsl(urlsplit(link).query)[-1][1] for link in files] == ["svg", "pdf", "png"]
    drawn = client.get(files[0])
    assert drawn.status_code == 200 and "Projections: gradient" in drawn.text
    (caption,) = re.findall(r'<p class="quoted">([^<]+)</p>', text)
    assert caption in html.unescape(drawn.text)
    assert "@inproceedings{simonyan2014deep" in text and "@software" in text


def test_a_figure_shows_the_unit_that_the_explorer_looks_at(client: TestClient, image: str) -> None:
    text = client.get(f"{image}/zfnet/conv2", headers=HTML).text
    assert f'href="{image}/zfnet/conv2/figure"' in text
    answer = client.get(f"{image}/zfnet/conv2/figure?feature=7&unit=3,4", headers=HTML)
    assert "projections of one feature map" in answer.text and "7 (3, 4)" in answer.text


def test_the_page_of_a_comparisons_figure_tells_both(client: TestClient, image: str) -> None:
    query = {"left": f"{image}/zfnet/conv1?top=1", "right": f"{image}/alexnet/conv1?top=1"}
    text = html.unescape(client.get("/compare/figure", params=query, headers=HTML).text)
    assert "ZFNet, conv1: projections" in text and "AlexNet (one column), conv1: " in text
    files = re.findall(r'class="button" href="(/figures/compare[^"]+)" download', text)
    assert len(files) == 3 and client.get(files[0]).status_code == 200


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/zfnet/conv9/figure", 404, "conv9"),
        ("/zfnet/conv5/figure?at=1,1", 422, "nothing to draw"),
        ("/zfnet/conv5/figure?method=x", 422, "method"),
    ],
)
def test_a_figure_that_cannot_be_is_a_sentence(
    client: TestClient, image: str, address: str, status: int, words: str
) -> None:
    answer = client.get(f"{image}{address}", headers=HTML)
    assert answer.status_code == status and words in answer.text
