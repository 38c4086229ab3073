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
