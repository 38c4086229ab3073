import base64
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.serving import client_in, photo, png_header, sent, state_of

PNG = {"accept": "image/png"}
NPZ = {"accept": "application/x-npz"}
ZIP = {"accept": "application/zip"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server with the starter weights that ship."""
    with client_in(tmp_path_factory.mktemp("starter"), networks="zfnet,vgg19") as client:
        yield client


def visualize(client: TestClient, headers: Any = None, **fields: Any) -> Any:
    return client.post("/visualize", **sent(photo()), data=fields, headers=headers)


def picture_of(uri: str) -> Image.Image:
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


def assert_problem(answer: Any, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert set(document) == {"type", "title", "status", "detail", "instance"}
    for word in words:
        assert word in document["detail"]


def test_a_photo_alone_gives_the_strongest_nine_of_the_last_conv_layer(client: TestClient) -> None:
    answer = visualize(client)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert (document["network"], document["layer"]) == ("zfnet", "conv5")
    assert (document["method"], document["seed"]) == ("deconvnet", "unit")
    assert document["weights"]["source"] == "starter" and document["weights"]["trained"] is True
    assert len(document["weights"]["sha256"]) == 64
    assert document["image"]["width"] == 320 and document["image"]["height"] == 240
    assert document["input"] == {"width": 224, "height": 224}
    assert len(document["projections"]) == 9
    assert {"decode", "forward", "project", "render"} <= set(document["timings_ms"])
    assert "decode;dur=" in answer.headers["server-timing"]
    strengths = [each["activation"] for each in document["projections"]]
    assert strengths == sorted(strengths, reverse=True)


def test_projections_are_pictures_of_their_receptive_fields(client: TestClient) -> None:
    for each in visualize(client, top="3").json()["projections"]:
        box = each["receptive_field"]
        size = (box["right"] - box["left"], box["bottom"] - box["top"])
        assert picture_of(each["projection"]).size == size
        assert picture_of(each["patch"]).size == size
        assert each["scale"] > 0


def test_probabilities_come_strongest_first(client: TestClient) -> None:
    predictions = visualize(client).json()["predictions"]
    chances = [each["probability"] for each in predictions]
    assert chances == sorted(chances, reverse=True) and 0 < sum(chances) <= 1.0001


@pytest.mark.parametrize("method", ["deconvnet", "guided", "gradient"])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_every_method_and_fit_answers(client: TestClient, method: str, fit: str) -> None:
    document = visualize(client, method=method, fit=fit, layer="conv2", top="2").json()
    assert (document["method"], document["fit"]) == (method, fit)
    assert len(document["projections"]) == 2


def test_a_whole_map_sees_the_whole_input(client: TestClient) -> None:
    (each,) = visualize(client, seed="map", layer="conv3", features="7").json()["projections"]
    assert each["feature"] == 7 and each["unit"] is None
    assert each["receptive_field"] == {"top": 0, "left": 0, "bottom": 224, "right": 224}


def test_chosen_features_and_unit_are_those_answered(client: TestClient) -> None:
    document = visualize(client, layer="conv4", features="3, 17,200", unit="6,7").json()
    assert {each["feature"] for each in document["projections"]} == {3, 17, 200}
    assert all(each["unit"] == [6, 7] for each in document["projections"])


@pytest.mark.parametrize("show", ["smooth", "lit"])
def test_pictures_are_drawn_as_asked_and_arrays_are_exact(client: TestClient, show: str) -> None:
    asked = {"layer": "conv3", "top": "2"}
    usual, other = (visualize(client, **asked, **more) for more in ({}, {"show": show}))
    assert (usual.json()["show"], other.json()["show"]) == ("exact", show)
    for one, two in zip(usual.json()["projections"], other.json()["projections"], strict=True):
        assert one["feature"] == two["feature"] and one["patch"] == two["patch"]
        assert one["projection"] != two["projection"] and one["scale"] != two["scale"]
    arrays = [visualize(client, NPZ, **asked, show=way).content for way in ("exact", show)]
    assert arrays[0] == arrays[1]


def test_a_difference_says_what_remains_of_each(client: TestClient) -> None:
    document = visualize(client, layer="conv3", seed="map", top="3", show="difference").json()
    assert all(0 < each["remaining"] < 1 for each in document["projections"])
    usual = visualize(client, layer="conv3", seed="map", top="3").json()
    assert [each["remaining"] for each in usual["projections"]] == [None] * 3


def test_a_difference_of_several_places_is_refused_with_the_way_out(client: TestClient) -> None:
    assert_problem(
        visualize(client, show="difference"),
        422,
        r"one unit of conv5 (unit), or whole maps (seed=map)",
    )
    assert_problem(visualize(client, show="difference", seed="map", top="1"), 422, "more maps")
    assert_problem(visualize(client, show="dim"), 422, "'exact', 'smooth', 'lit', 'difference'")


def test_maps_are_ranked_by_what_they_contribute_to_a_class(client: TestClient) -> None:
    asked = {"rank": "contribution", "layer": "conv4", "top": "4"}
    document = visualize(client, **asked, target="3").json()
    values = [each["contribution"] for each in document["projections"]]
    assert values == sorted(values, reverse=True) and len(set(values)) == 4
    assert document["rank"] == "contribution" and document["target"]["number"] == 3
    named = visualize(client, **asked, target=document["target"]["label"]).json()
    assert named["projections"] == document["projections"]
    unsaid = visualize(client, **asked).json()
    assert unsaid["target"]["label"] == unsaid["predictions"][0]["label"]
    usual = visualize(client, layer="conv4", top="4").json()
    assert (usual["rank"], usual["target"]) == ("activation", None)
    assert [each["contribution"] for each in usual["projections"]] == [None] * 4


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"features": "3"}, "rank=contribution says which maps are the strongest"),
        ({"layer": "fc8"}, "fc8 holds the class scores themselves"),
        ({"target": "no such thing"}, "zfnet has no class 'no such thing'"),
        ({"rank": "activation", "target": "3"}, "give both"),
    ],
)
def test_a_contribution_that_cannot_be_had_is_refused(
    client: TestClient, asked: dict[str, str], words: str
) -> None:
    assert_problem(visualize(client, **{"rank": "contribution"} | asked), 422, words)


def test_an_unknown_field_is_refused_with_the_list_of_the_known_ones(client: TestClient) -> None:
    assert_problem(
        visualize(client, feature="3", tops="1"),
        422,
        "there is no field feature, tops here",
        "image, image_id, network, layer, method, seed, fit, top, features, unit, show",
    )
    file = client.post("/visualize", files={"image": ("a.jpg", photo()), "photo": ("a", b"a")})
    assert_problem(file, 422, "no field photo")


@pytest.mark.parametrize(
    ("headers", "asked", "name"),
    [
        (PNG, {}, "zfnet-conv5.png"),
        (ZIP, {"layer": "conv3", "show": "lit"}, "zfnet-conv3-lit.zip"),
    ],
)
def test_an_answer_s_file_is_named_after_what_it_shows(
    client: TestClient, headers: Any, asked: dict[str, str], name: str
) -> None:
    answer = visualize(client, headers, top="1", **asked)
    assert answer.headers["content-disposition"] == f'inline; filename="{name}"'


def test_a_dead_unit_has_no_projection(client: TestClient) -> None:
    black = photo(64, 64, "navy")
    every = ",".join(map(str, range(96)))
    answer = client.post(
        "/visualize", **sent(black), data={"layer": "conv1", "features": every, "unit": "50,50"}
    )
    dead = [each for each in answer.json()["projections"] if each["activation"] == 0]
    assert dead and all(each["projection"] is None for each in dead)


def test_one_contact_sheet_as_png(client: TestClient) -> None:
    answer = visualize(client, PNG, top="4")
    assert answer.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.format == "PNG" and min(picture.size) > 100


def test_a_zip_holds_the_pictures_and_the_document(client: TestClient) -> None:
    answer = visualize(client, ZIP, top="2", layer="conv3")
    assert answer.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    names = archive.namelist()
    assert "visualization.json" in names
    document = json.loads(archive.read("visualization.json"))
    assert document["layer"] == "conv3" and len(document["projections"]) == 2
    pictures = [name for name in names if name.endswith(".png")]
    assert len(pictures) >= 4
    for name in pictures:
        Image.open(io.BytesIO(archive.read(name))).verify()


def test_a_zip_holds_the_numbers_and_the_caption_too(client: TestClient) -> None:
    answers = {
        kind["accept"]: visualize(client, kind, top="2", layer="conv3") for kind in (ZIP, NPZ)
    }
    archive = zipfile.ZipFile(io.BytesIO(answers["application/zip"].content))
    assert archive.read("arrays.npz") == answers["application/x-npz"].content
    arrays = np.load(io.BytesIO(archive.read("arrays.npz")))
    maps = np.load(io.BytesIO(archive.read("activation-maps.npz")))
    assert maps["features"].tolist() == arrays["features"].tolist()
    assert maps["maps"].shape == (2, 13, 13) and maps["maps"].dtype == np.float32
    assert maps["maps"].max((1, 2)).tolist() == pytest.approx(arrays["activations"].tolist())
    assert archive.read("caption.txt").startswith(b"ZFNet, conv3: projections of 2 feature maps")
    assert b"@inproceedings{zeiler2014visualizing," in archive.read("citations.bib")


def test_arrays_as_the_contract_has_them(client: TestClient) -> None:
    answer = visualize(client, NPZ, top="3", layer="conv3")
    assert answer.headers["content-type"] == "application/x-npz"
    arrays = np.load(io.BytesIO(answer.content))
    kinds = {name: (arrays[name].dtype.name, arrays[name].shape) for name in arrays.files}
    assert kinds == {
        "features": ("int64", (3,)),
        "units": ("int64", (3, 2)),
        "activations": ("float32", (3,)),
        "receptive_fields": ("int64", (3, 4)),
        "projections": ("float32", (3, 3, 224, 224)),
    }
    for canvas, (top, left, bottom, right) in zip(
        arrays["projections"], arrays["receptive_fields"], strict=True
    ):
        outside = canvas.copy()
        outside[:, top:bottom, left:right] = 0
        assert not outside.any() and canvas.any()


def test_arrays_and_document_tell_the_same(client: TestClient) -> None:
    arrays = np.load(io.BytesIO(visualize(client, NPZ, top="5").content))
    projections = visualize(client, top="5").json()["projections"]
    assert arrays["features"].tolist() == [each["feature"] for each in projections]
    assert arrays["units"].tolist() == [each["unit"] for each in projections]
    assert np.allclose(arrays["activations"], [each["activation"] for each in projections])


@pytest.mark.parametrize("headers", [None, PNG, NPZ, ZIP])
def test_identical_requests_give_identical_bytes(client: TestClient, headers: Any) -> None:
    first = visualize(client, headers, layer="conv4", top="3").content
    assert visualize(client, headers, layer="conv4", top="3").content == first


@pytest.mark.parametrize("headers", [PNG, NPZ])
def test_another_server_gives_the_same_bytes(
    client: TestClient, tmp_path: Path, headers: Any
) -> None:
    with client_in(tmp_path, networks="zfnet") as other:
        assert (
            visualize(other, headers, top="2").content
            == visualize(client, headers, top="2").content
        )


def test_a_photo_is_known_by_its_id_afterwards(client: TestClient) -> None:
    first = visualize(client, NPZ, layer="conv3")
    name = visualize(client).json()["image"]["id"]
    again = client.post("/visualize", data={"image_id": name, "layer": "conv3"}, headers=NPZ)
    assert again.content == first.content


def test_a_forgotten_photo_is_not_known(client: TestClient) -> None:
    answer = client.post("/visualize", **sent(photo(50, 50)), data={"top": "1"})
    name = answer.json()["image"]["id"]
    assert client.delete(f"/images/{name}").status_code == 204
    assert_problem(client.delete(f"/images/{name}"), 404, name)
    assert_problem(client.post("/visualize", data={"image_id": name}), 404, name)


def test_many_at_once_get_the_same_answer(client: TestClient) -> None:
    answers: list[bytes] = []

    def ask() -> None:
        answers.append(visualize(client, PNG, layer="conv2", top="16").content)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8 and len(set(answers)) == 1


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"network": "resnet50"}, 404, ["resnet50", "zfnet"]),
        ({"layer": "conv9"}, 404, ["conv9", "conv5"]),
        ({"top": "0"}, 422, ["top"]),
        ({"top": "-1"}, 422, ["top"]),
        ({"top": "100000"}, 422, ["100000"]),
        ({"top": "nine"}, 422, ["top", "nine"]),
        ({"top": "9" * 400}, 422, ["top"]),
        ({"features": "999999"}, 422, ["999999", "255"]),
        ({"features": "1,2,x"}, 422, ["features"]),
        ({"features": "9" * 500}, 422, ["features"]),
        ({"features": ",".join(["1"] * 300)}, 422, []),
        ({"features": "1,2", "top": "2"}, 422, ["features", "top"]),
        ({"unit": "99,0"}, 422, ["99"]),
        ({"unit": "-1,0"}, 422, ["unit"]),
        ({"unit": "1"}, 422, ["unit"]),
        ({"unit": "1,2,3"}, 422, ["unit"]),
        ({"unit": "1,2", "seed": "map"}, 422, ["unit", "map"]),
        ({"method": "magic"}, 422, ["method", "magic"]),
        ({"seed": "row"}, 422, ["seed"]),
        ({"fit": "tile"}, 422, ["fit"]),
        ({"network": "vgg19"}, 503, ["vgg19"]),
        ({"image_id": "0" * 32}, 422, ["image_id"]),
    ],
)
def test_what_cannot_be_had_is_refused_in_a_sentence(
    client: TestClient, fields: dict[str, str], status: int, words: list[str]
) -> None:
    answer = visualize(client, **fields)
    assert_problem(answer, status, *words)
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 415),
        (b"hello", 415),
        (photo()[:1000], 415),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", 415),
        (png_header(20_000, 20_000), 413),
        (png_header(1, 40_000_000), 413),
    ],
)
def test_a_file_that_is_no_photo_is_refused_in_a_sentence(
    client: TestClient, data: bytes, status: int
) -> None:
    assert_problem(client.post("/visualize", **sent(data)), status)


def test_without_a_photo_the_sentence_says_what_to_send(client: TestClient) -> None:
    assert_problem(client.post("/visualize", data={"top": "1"}), 422, "image")
    assert_problem(client.post("/visualize", files={"image": ("", b"")}), 422, "image")
    assert_problem(client.post("/visualize", data={"image": "not a file"}), 422, "image")


def test_another_kind_of_body_is_refused(client: TestClient) -> None:
    assert_problem(client.post("/visualize", json={"image": "x"}), 415, "multipart/form-data")


def test_a_broken_form_is_refused(client: TestClient) -> None:
    headers = {"content-type": "multipart/form-data"}
    assert_problem(client.post("/visualize", content=b"--b", headers=headers), 400)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
        ("image/*", "image/png"),
        ("application/json;q=0.1, application/zip", "application/zip"),
        ("application/*;q=0.5, application/x-npz", "application/x-npz"),
        ("*/*, application/json;q=0", "image/png"),
    ],
)
def test_the_kind_of_answer_is_the_one_preferred(
    client: TestClient, accept: str, kind: str
) -> None:
    assert visualize(client, {"accept": accept}, top="1").headers["content-type"] == kind


@pytest.mark.parametrize("accept", ["text/csv", "image/jpeg", "application/json;q=0", "x;q=y"])
def test_a_kind_that_cannot_be_given_is_406(client: TestClient, accept: str) -> None:
    assert_problem(visualize(client, {"accept": accept}), 406, "application/json")


def test_the_networks_are_listed_with_their_state(client: TestClient) -> None:
    document = client.get("/networks").json()
    assert document["default"] == "zfnet"
    states = {each["name"]: each["weights"]["state"] for each in document["networks"]}
    assert states == {"zfnet": "ready", "vgg19": "missing"}


def test_a_network_shows_its_layers_and_provenance(client: TestClient) -> None:
    document = client.get("/networks/zfnet").json()
    assert document["weights"]["source"] == "starter"
    layers = {each["name"]: each for each in document["layers"]}
    assert layers["conv1"]["shape"] == [96, 110, 110]
    assert layers["conv5"]["receptive_field"] == 139


def test_a_network_without_weights_shows_its_layers_and_the_way_to_get_them(
    client: TestClient,
) -> None:
    document = client.get("/networks/vgg19").json()
    assert document["weights"]["sha256"] is None
    assert "vgg19" in document["offer"]["how"]
    assert [each["name"] for each in document["layers"]][-1] == "fc8"


def test_an_unknown_network_is_404_with_the_known_ones(client: TestClient) -> None:
    assert_problem(client.get("/networks/resnet50"), 404, "resnet50", "zfnet", "vgg19")


def test_unknown_paths_and_methods_are_problems(client: TestClient) -> None:
    assert_problem(client.get("/nowhere"), 404, "/nowhere")
    answer = client.get("/visualize")
    assert_problem(answer, 405, "POST")
    assert answer.headers["allow"] == "POST"


def test_random_weights_are_flagged(tmp_path: Path) -> None:
    with client_in(tmp_path, networks="lenet5,vgg19", random_weights=True) as client:
        document = visualize(client, network="lenet5").json()
        assert document["weights"]["source"] == "random"
        assert document["weights"]["trained"] is False
        assert client.get("/networks/lenet5").json()["weights"]["trained"] is False


def test_weights_can_be_asked_for_by_source_and_by_hash(tmp_path: Path) -> None:
    with client_in(tmp_path) as client:
        starter, random = client.get("/networks/lenet5").json()["sources"]
        assert (starter["source"], len(starter["sha256"])) == ("starter", 64)
        assert (random["source"], random["sha256"], random["trained"]) == ("random", "", False)
        names = {"starter": starter, starter["sha256"][:8]: starter, "random": random}
        for name, its in names.items():
            assert visualize(client, network="lenet5", weights=name).json()["weights"] == its


def test_random_weights_are_the_same_each_time(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "another"):
        with client_in(tmp_path / name) as client:
            answer = visualize(client, NPZ, network="lenet5", layer="c2", weights="random")
            contents.append(answer.content)
    assert contents[0] == contents[1] and b'"trained": false' in contents[0]


@pytest.mark.parametrize(
    ("weights", "status", "words"),
    [
        ("yours", 404, ("zfnet has no weights 'yours'", "starter", "random")),
        ("published", 404, ("'published'", "starter")),
        ("0a1b2c3d", 404, ("'0a1b2c3d'", "starter")),
        ("mine", 422, ("yours, published, starter, random", "'mine'")),
    ],
)
def test_weights_that_are_not_here_are_a_sentence(
    client: TestClient, weights: str, status: int, words: tuple[str, ...]
) -> None:
    assert_problem(visualize(client, weights=weights), status, *words)


def test_the_openapi_document_tells_every_kind_of_answer_and_problem(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    post = schema["paths"]["/visualize"]["post"]
    assert set(post["responses"]["200"]["content"]) == {
        "application/json",
        "image/png",
        "application/zip",
        "application/x-npz",
    }
    for status in ("400", "401", "403", "404", "406", "410", "413", "415", "422", "503"):
        assert set(post["responses"][status]["content"]) == {"application/problem+json"}
    body = post["requestBody"]["content"]["multipart/form-data"]["schema"]
    form = schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]["properties"]
    assert set(form) == {
        "image", "image_id", "network", "layer", "method", "seed", "top", "features", "unit", "fit",
        "show", "rank", "target", "weights",
    }  # fmt: skip
    assert "HTTPValidationError" not in json.dumps(schema["paths"])


def test_metrics_count_what_was_asked_and_what_is_held(client: TestClient) -> None:
    visualize(client)
    text, uploads = client.get("/metrics").text, state_of(client).uploads
    assert 'deconvnet_requests_total{route="/visualize",status="200"}' in text
    assert "deconvnet_networks_held 1.0" in text
    for name, cache in {**state_of(client).engine.caches(), "photos": uploads.cache}.items():
        assert 0 < cache.nbytes <= cache.budget, name
        assert f"deconvnet_{name}_held {float(len(cache))}" in text
        for what, value in (("bytes", cache.nbytes), ("budget_bytes", cache.budget)):
            (line,) = re.findall(rf"^deconvnet_{name}_held_{what} (\S+)$", text, re.M)
            assert float(line) == value


def test_health_and_readiness(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_the_docs_tell_every_parameter_and_answer_without_javascript(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    for word in ("POST /visualize", "image_id", "deconvnet, guided, gradient", "503"):
        assert word in page.text
    assert "A name from <code>GET /networks</code>" in page.text and "`" not in page.text
    assert "Successful Response" not in page.text, "every answer is described"
    assert "<script" not in page.text and "https://" not in page.text
