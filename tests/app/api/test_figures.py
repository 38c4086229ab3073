import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.serving import client_in, photo, sent


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client_in(tmp_path_factory.mktemp("figures"), networks="zfnet,vgg19") as client:
        yield client


@pytest.fixture(scope="module")
def image(client: TestClient) -> str:
    answer = client.post("/visualize", **sent(photo()), data={"layer": "conv1", "top": "1"})
    return str(answer.json()["image"]["id"])


def figure(client: TestClient, image: str, layer: str = "conv3", **query: str) -> Any:
    return client.get(f"/figures/{image}/zfnet/{layer}", params={"top": "2", **query})


@pytest.mark.parametrize(
    ("form", "media_type", "begins"),
    [
        ("svg", "image/svg+xml", b"<?xml"),
        ("pdf", "application/pdf", b"%PDF-"),
        ("png", "image/png", b"\x89PNG"),
    ],
)
def test_a_view_is_drawn_as_svg_pdf_or_png(
    client: TestClient, image: str, form: str, media_type: str, begins: bytes
) -> None:
    answer = figure(client, image, format=form, dpi="50")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == media_type
    assert f'filename="zfnet-conv3.{form}"' in answer.headers["content-disposition"]
    assert answer.content.startswith(begins)
    assert figure(client, image, format=form, dpi="50").content == answer.content


def test_a_png_has_300_pixels_an_inch_where_nothing_is_said(client: TestClient, image: str) -> None:
    drawn = Image.open(io.BytesIO(figure(client, image, format="png").content))
    assert drawn.width == 7 * 300


def test_a_figure_takes_the_fields_of_visualize(client: TestClient, image: str) -> None:
    data = {"image_id": image, "layer": "conv3", "method": "guided", "unit": "3,4", "top": "2"}
    told = client.post("/visualize", data=data).json()["projections"]
    text = figure(client, image, method="guided", unit="3,4").text
    named = re.findall(r"<text[^>]*>map (\d+): ([^<]+)</text>", text)
    assert named == [(str(p["feature"]), f"{p['activation']:#.3g}") for p in told]
    assert "(a) Projections: guided" in text


def test_an_svg_has_no_script_and_may_run_none(client: TestClient, image: str) -> None:
    answer = figure(client, image)
    policy = answer.headers["content-security-policy"]
    assert "<script" not in answer.text
    assert "default-src 'none'" in policy and "script-src" not in policy


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("zfnet/conv9", 404, "conv1"),
        ("resnet/conv1", 404, "zfnet"),
        ("vgg19/conv5_4", 503, "vgg19"),
        ("zfnet/conv3?format=gif", 422, "format"),
        ("zfnet/conv3?format=png&dpi=1000", 422, "dpi is 50 to 600, not 1000"),
        ("zfnet/conv3?dpi=x", 422, "dpi"),
        ("zfnet/conv3?colour=red", 422, "no field colour here; there are dpi, "),
        ("zfnet/conv3?show=difference", 422, "projections of one place"),
        ("zfnet/conv3?top=0", 422, "top"),
        ("zfnet/conv3?features=1&top=2", 422, "features"),
        ("zfnet/conv3?unit=99,0", 422, "rows 0 to 12"),
    ],
)
def test_what_cannot_be_drawn_is_a_problem(
    client: TestClient, image: str, path: str, status: int, words: str
) -> None:
    answer = client.get(f"/figures/{image}/{path}")
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]


def test_a_photo_that_nobody_has_has_no_figure(client: TestClient) -> None:
    assert client.get(f"/figures/{'0' * 32}/zfnet/conv3").status_code == 404


def test_the_openapi_document_tells_of_figures(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    get = schema["paths"]["/figures/{image}/{network}/{layer}"]["get"]
    assert set(get["responses"]["200"]["content"]) == {
        "image/svg+xml",
        "application/pdf",
        "image/png",
    }
    named = {each["name"] for each in get["parameters"]}
    assert {"image", "network", "layer", "method", "features", "format", "dpi"} <= named


# Several views beside each other


def compare(client: TestClient, left: str, right: str, **more: str) -> Any:
    return client.get("/figures/compare", params={"left": left, "right": right, **more})


def drawn_names(text: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", text)[:6]


def test_views_are_drawn_beside_each_other(client: TestClient, image: str) -> None:
    view = f"/images/{image}/zfnet/conv2?top=1"
    answer = compare(client, view, f"{view}&method=guided", third=f"{view}&method=gradient")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert drawn_names(answer.text)[:6] == [
        part for method in ("deconvnet", "guided", "gradient") for part in ("ZFNet, conv2", method)
    ]


def test_a_view_may_be_named_by_its_whole_address_here(client: TestClient, image: str) -> None:
    path = f"/images/{image}/zfnet/conv1?top=1"
    whole = f"http://127.0.0.1:8000{path}#close"
    assert compare(client, whole, path).content == compare(client, path, path).content


def test_a_close_up_is_drawn_as_the_one_unit(client: TestClient, image: str) -> None:
    view = f"/images/{image}/zfnet/conv3?feature=7&unit=2,3"
    text = compare(client, view, f"{view}&weights=random").text
    assert len(re.findall(r">map 7: ", text)) == 2
    assert "random weights" in drawn_names(text)


def test_what_speaks_for_a_class_is_drawn_and_named(client: TestClient, image: str) -> None:
    data = {"image_id": image, "layer": "conv5", "rank": "contribution", "top": "2"}
    told = client.post("/visualize", data=data).json()
    text = figure(client, image, "conv5", rank="contribution").text
    named = re.findall(r">map (\d+)", text)
    assert named == [str(each["feature"]) for each in told["projections"]]
    assert told["target"]["label"] in text
    view = f"/images/{image}/zfnet/conv5?rank=contribution&top=1"
    assert compare(client, view, f"{view}&feature=3").status_code == 200


def test_a_place_is_drawn_by_the_units_that_fire_there(client: TestClient, image: str) -> None:
    view = f"/images/{image}/zfnet/conv4?at=120,160&top=2"
    text = compare(client, view, view).text
    assert len(re.findall(r">map \d+: ", text)) == 4


@pytest.mark.parametrize(
    ("left", "status", "words"),
    [
        ("", 422, "'left' is missing"),
        ("http://elsewhere.example/images/a/zfnet/conv1", 422, "another server"),
        ("//elsewhere.example/images/a/zfnet/conv1", 422, "another server"),
        ("javascript:alert(1)", 422, "another server"),
        ("http://[", 422, "not the address of a view"),
        ("/compare?left=/images/a/b/c&right=/images/a/b/c", 422, "not the address of a view"),
        ("/images/a/zfnet", 422, "not the address of a view"),
        ("/images/{image}/zfnet/conv9", 404, "conv9"),
        ("/images/{image}/resnet/conv1", 404, "resnet"),
        ("/images/{image}/vgg19/conv1_1", 503, "vgg19"),
        ("/images/{image}/zfnet/conv1?method=magic", 422, "magic"),
        ("/images/{image}/zfnet/conv1?at=9999,1", 422, "outside the photo"),
        ("/images/{image}/zfnet/conv1?at=120,1", 422, "nothing to draw"),
        ("/images/{image}/zfnet/conv1?feature=x", 422, "whole number"),
        ("/images/{image}/zfnet/conv1?show=nicely", 422, "show is one of"),
        ("/images/{image}/zfnet/conv1?" + "&".join("abcdefghijklmnopqrstuvwxyz" * 2), 422, "view"),
        ("/images/00000000000000000000000000000000/zfnet/conv1", 404, "photo"),
    ],
)
def test_what_cannot_be_compared_is_a_problem(
    client: TestClient, image: str, left: str, status: int, words: str
) -> None:
    view = left.replace("{image}", image)
    answer = compare(client, view, f"/images/{image}/zfnet/conv1?top=1")
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
