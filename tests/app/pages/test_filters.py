"""First layers side by side on a page: honest of what the weights can show."""

import io
import json
from collections.abc import Iterator

import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.serving import client_in
from tests.weight_files import own, save

HTML = {"accept": "text/html"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("filters")
    (folder / "weights").mkdir()
    save(own("alexnet2012", classes=10), folder / "weights" / "alexnet2012.pth")
    (folder / "weights" / "vgg11.pth").write_bytes(b"no weights")
    with client_in(folder) as client:
        yield client


def test_starters_are_said_to_be_no_evidence(client: TestClient) -> None:
    page = client.get("/filters?networks=alexnet,vgg16", headers=HTML).text
    assert "AlexNet (one column), starter weights: no evidence" in page
    assert "was asked to be smooth" in page and "Missing for the comparison" in page
    assert "holds no wave longer than 3 pixels" in page


def test_one_s_own_weights_are_counted_and_named_as_such(client: TestClient) -> None:
    page = client.get("/filters?networks=alexnet2012", headers=HTML).text
    assert "AlexNet (2012), your own weights:" in page and "a stride of 4 aliases" in page


def test_networks_that_cannot_be_shown_say_why_beside_those_that_can(client: TestClient) -> None:
    page = client.get("/filters?networks=zfnet_b,vgg11,alexnet2012", headers=HTML)
    assert page.status_code == 200 and 'id="alexnet2012"' in page.text
    assert "<b>ZFNet, layers 3-5 of 512, 1024, 512</b>: " in page.text
    assert "<b>VGG-11 (A)</b>: vgg11.pth is" in page.text


@pytest.mark.parametrize("part", ["filters", "spectra"])
def test_grids_are_pictures_that_can_be_kept(client: TestClient, part: str) -> None:
    page = client.get("/filters?networks=alexnet", headers=HTML).text
    (address,) = {each for each in page.split('"') if f"/alexnet/{part}.png" in each}
    answer = client.get(address)
    assert "immutable" in answer.headers["cache-control"]
    assert f'width="{Image.open(io.BytesIO(answer.content)).width}"' in page
    assert client.get(address.split("?")[0]).headers["cache-control"] == "no-cache"


def test_the_numbers_can_be_taken_along(client: TestClient) -> None:
    document = json.loads(client.get("/filters/alexnet.json").content)
    assert document["stride"] == 4 and len(document["rms"]) == 64
    assert client.get("/filters/alexnet.csv").text.count("\n") == 65


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/filters?networks=resnet", 404, "there is no network 'resnet'"),
        ("/filters?networks=lenet5", 422, "see grey"),
        ("/filters?networks=" + ",".join(f"n{n}" for n in range(9)), 422, "name up to 8"),
        ("/filters/lenet5/filters.png", 422, "see grey"),
        ("/filters/alexnet/phases.png", 422, "part"),
        ("/filters/alexnet.xml", 422, "form"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_sentence(
    client: TestClient, path: str, status: int, words: str
) -> None:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == status and words.replace("'", "&#39;") in answer.text
