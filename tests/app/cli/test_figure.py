from pathlib import Path

import pytest

from tests.serving import Run, client_in, photo, sent


@pytest.fixture
def dog(tmp_path: Path) -> Path:
    file = tmp_path / "dog.jpg"
    file.write_bytes(photo())
    return file


def test_a_photo_becomes_a_figure_with_a_caption_and_whom_to_cite(
    run: Run, dog: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new" / "out.pdf"
    code, said, complaints = run("figure", dog, "--layer", "conv3", "--top", "2", "-o", output)
    assert (code, complaints) == (0, "")
    assert output.read_bytes().startswith(b"%PDF-")
    assert said.startswith("ZFNet, conv3: projections of 2 feature maps")
    assert "@inproceedings{zeiler2014visualizing" in said and "@software" in said


def test_the_command_line_draws_what_the_server_draws(run: Run, dog: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.svg"
    run("figure", dog, "--layer", "conv2", "--features", "1,2", "-o", output)
    with client_in(tmp_path) as client:
        image = client.post("/visualize", **sent(dog.read_bytes()), data={"top": "1"}).json()
        address = f"/figures/{image['image']['id']}/zfnet/conv2?features=1,2"
        assert client.get(address).content == output.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "out.gif"], ".svg, .pdf, .png"),
        (["-o", "out"], ".svg, .pdf, .png"),
        (["-o", "out.png", "--dpi", "7"], "dpi is 50 to 600, not 7"),
        (["-o", "out.png", "--dpi", "many"], "--dpi"),
        (["-o", "out.svg", "--layer", "conv9"], "conv9"),
    ],
)
def test_a_figure_that_cannot_be_had_is_a_sentence(
    run: Run,
    dog: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, complaints = run("figure", dog, *arguments)
    assert code != 0 and words in complaints
    assert not list(tmp_path.glob("out*"))
