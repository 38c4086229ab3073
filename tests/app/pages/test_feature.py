"""The page of one feature map, as it leaves the server."""

import html
import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient
from torch import Tensor

import models
from app.web.templates import number
from models.workbench import activations
from tests.serving import client_in, photo, sent, state_of

HTML = {"accept": "text/html"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("feature")
    with client_in(folder, networks="zfnet,lenet5,vgg19") as client:
        yield client


@pytest.fixture(scope="module")
def image(client: TestClient) -> str:
    answer = client.post("/images", **sent(photo(480, 320)), follow_redirects=False)
    return str(answer.headers["location"])


def page(client: TestClient, address: str, status: int = 200) -> str:
    answer = client.get(address, headers=HTML)
    assert answer.status_code == status, answer.text
    return html.unescape(answer.text)


def told(client: TestClient, image: str, **fields: str) -> list[Any]:
    data = {"image_id": image.rpartition("/")[2], "network": "zfnet", **fields}
    return list(client.post("/visualize", data=data).json()["projections"])


def strongest(client: TestClient, image: str, layer: str) -> Any:
    return told(client, image, layer=layer, top="1")[0]


def maxima(client: TestClient, layer: str) -> Tensor:
    """Return the largest activation of every map of ZFNet in the photo."""
    network = state_of(client).engine.registry.load("zfnet")
    picture = Image.open(io.BytesIO(photo(480, 320)))
    record = models.record_photo(network, models.frame_photo(picture, network.preprocessing))
    return activations(record, layer)[0].amax((1, 2))


def places(text: str) -> list[list[int]]:
    pairs = r'row </span>(\d+), <span class="unseen">column </span>(\d+)'
    return [[int(row), int(column)] for row, column in re.findall(pairs, text)]


def test_the_first_place_is_the_strongest_unit_of_the_api(client: TestClient, image: str) -> None:
    first = strongest(client, image, "conv4")
    text = page(client, f"{image}/zfnet/conv4/{first['feature']}")
    assert f"Map {first['feature']} " in text
    found = places(text)
    assert len(found) == 9 and found[0] == first["unit"]
    assert f">{number(first['activation'])}</span>, it ranks 1 of the layer\u2019s 384 maps" in text


def test_every_place_leads_to_its_unit_in_the_explorer(client: TestClient, image: str) -> None:
    first = strongest(client, image, "conv4")
    text = page(client, f"{image}/zfnet/conv4/{first['feature']}?fit=pad")
    row, column = places(text)[0]
    link = f"{image}/zfnet/conv4?fit=pad&feature={first['feature']}&unit={row},{column}"
    assert f'href="{link}#close"' in text
    assert client.get(link, headers=HTML).status_code == 200


def test_every_picture_is_as_large_as_the_page_says(client: TestClient, image: str) -> None:
    text = page(client, f"{image}/zfnet/conv2/{strongest(client, image, 'conv2')['feature']}")
    tags = re.findall(r'<img[^>]*src="(/images/[^"]+)" width="(\d+)" height="(\d+)"', text)
    assert len(tags) == 2 + 2 * 9 + 4 + 9
    for link, width, height in tags:
        answer = client.get(link)
        assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"]
        assert Image.open(io.BytesIO(answer.content)).size == (int(width), int(height))


def test_the_three_methods_stand_side_by_side(client: TestClient, image: str) -> None:
    text = page(client, f"{image}/zfnet/conv3/{strongest(client, image, 'conv3')['feature']}")
    (row,) = re.findall(r'<ol class="quartet">(.*?)</ol>', text, re.DOTALL)
    assert re.findall(r"</?span>(\w+)</span></a>", row) == ["deconvnet", "guided", "gradient"]
    assert "/compare?left=" in text and "/figure?feature=" in text


def test_the_maps_below_that_feed_it_lead_to_their_pages(client: TestClient, image: str) -> None:
    text = page(client, f"{image}/zfnet/conv2/{strongest(client, image, 'conv2')['feature']}")
    (row,) = re.findall(r'<ol class="inputs">(.*?)</ol>', text, re.DOTALL)
    pages = re.findall(r'<a href="([^"]+)">', row)
    assert 0 < len(pages) <= 9 and all("/zfnet/norm1/" in link for link in pages)
    assert client.get(pages[0], headers=HTML).status_code == 200
    added = [float(each) for each in re.findall(r">\+([\d.]+)<", row)]
    assert added == sorted(added, reverse=True)


def test_a_map_of_the_first_layer_shows_its_filter(client: TestClient, image: str) -> None:
    text = page(client, f"{image}/zfnet/conv1/3")
    assert "Its filter" in text and 'src="data:image/png;base64,' in text
    assert "Its filter" not in page(client, f"{image}/zfnet/conv2/3")


@pytest.mark.parametrize(("layer", "below"), [("pool5", "conv5"), ("norm2", "pool2")])
def test_a_map_that_is_passed_on_names_the_one_it_reads(
    client: TestClient, image: str, layer: str, below: str
) -> None:
    text = page(client, f"{image}/zfnet/{layer}/7?method=guided")
    assert f'<a href="{image}/zfnet/{below}/7?method=guided">map 7 of {below}</a>' in text


def test_the_neighbours_are_those_by_number_and_by_strength(client: TestClient, image: str) -> None:
    ranked = maxima(client, "conv5").sort(descending=True, stable=True).indices.tolist()
    at = ranked[100]
    text = page(client, f"{image}/zfnet/conv5/{at}")
    named = re.findall(r">(Previous|Next|Next \w+ here): map (\d+)</a>", text)
    expected = {"Next stronger here": ranked[99], "Next weaker here": ranked[101]}
    expected |= {"Previous": at - 1, "Next": at + 1}
    assert {name: int(feature) for name, feature in named} == expected
    first = page(client, f"{image}/zfnet/conv5/0")
    assert ">Previous:" not in first and ">Next: map 1</a>" in first


def test_a_class_is_called_by_its_name(client: TestClient, image: str) -> None:
    data = {"image_id": image.rpartition("/")[2], "network": "zfnet", "layer": "fc8", "top": "1"}
    answer = client.post("/visualize", data=data).json()
    feature = answer["projections"][0]["feature"]
    text = page(client, f"{image}/zfnet/fc8/{feature}")
    assert f"Map {feature}, {answer['predictions'][0]['label'].replace('_', ' ')}," in text
    assert "Its projection" in text and "The whole map" not in text


def test_a_place_is_kept_for_what_an_index_will_show(client: TestClient, image: str) -> None:
    assert '<section id="examples"' in page(client, f"{image}/zfnet/conv5/3")


def test_a_silent_map_is_said_to_be_silent(client: TestClient, image: str) -> None:
    strengths = maxima(client, "conv5")
    assert strengths.min() == 0
    text = page(client, f"{image}/zfnet/conv5/{int(strengths.argmin())}")
    assert "silent in this photo" in text and "By each method" not in text


def test_the_explorer_leads_to_the_page_and_back(client: TestClient, image: str) -> None:
    text = page(client, f"{image}/zfnet/conv3?method=guided&weights=starter&feature=5")
    link = f"{image}/zfnet/conv3/5?method=guided&weights=starter"
    assert f'href="{link}"' in text
    assert f'href="{image}/zfnet/conv3?method=guided&feature=5&weights=starter"' in page(
        client, link
    )


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("zfnet/conv5/256", 422, "0 to 255, not 256"),
        ("zfnet/conv5/x", 422, "whole number"),
        ("zfnet/conv5/-1", 422, "whole number"),
        ("zfnet/conv9/1", 404, "zfnet has no layer"),
        ("resnet/conv1/1", 404, "no network"),
        ("vgg19/conv1_1/1", 503, "vgg19"),
        ("zfnet/conv5/1?method=x", 422, "method is one of"),
        ("zfnet/conv5/1?show=difference", 200, "Map 1 "),
    ],
)
def test_what_is_no_map_is_a_sentence(
    client: TestClient, image: str, address: str, status: int, words: str
) -> None:
    assert words in page(client, f"{image}/{address}", status)


def test_a_photo_that_nobody_has_has_no_maps(client: TestClient) -> None:
    page(client, f"/images/{'0' * 32}/zfnet/conv5/1", 404)
