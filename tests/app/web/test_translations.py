"""Everything that people read is a message, and every message is said in every language."""

import ast
import re
import string
from collections.abc import Iterator
from gettext import NullTranslations
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog, Message
from safetensors import safe_open
from starlette.testclient import TestClient

import models
from app.cli.translations import gather, path_of, text_of, updated
from app.engine.experiments import EXPERIMENTS
from app.engine.folders import FOLDER_EXPERIMENTS
from app.engine.job_files import Job, Question
from app.engine.registry import NetworkRegistry
from app.web import language
from app.web.fragments import WeightsOffer, job_progress, weights_offer
from app.web.language import ENGLISH, LANGUAGES, LOCALE
from app.web.templates import HEAD, ON_TOP, draw
from tests.serving import client_in, photo, sent, settings_in, state_of

ROOT = Path(__file__).parents[3]
PAGE = {"accept": "text/html"}
OTHERS = [name for name in LANGUAGES if name != ENGLISH]
ADVICE = "run 'make translations', then translate what is new"


@pytest.fixture(scope="module")
def template() -> Catalog:
    return gather()


# The catalogues


def test_the_template_lists_what_is_said_today(template: Catalog) -> None:
    assert (LOCALE / "messages.pot").read_text() == text_of(template), ADVICE


@pytest.mark.parametrize("name", OTHERS)
def test_a_catalogue_has_these_messages_and_no_others(name: str, template: Catalog) -> None:
    assert path_of(name).read_text() == text_of(updated(name, template)), ADVICE


@pytest.mark.parametrize("name", OTHERS)
def test_every_message_is_translated(name: str, template: Catalog) -> None:
    catalogue = updated(name, template)
    untranslated = [each.id for each in catalogue if not all(strings(each))]
    assert not untranslated, ADVICE
    assert not [each.id for each in catalogue if each.id and each.fuzzy], ADVICE
    assert len(catalogue) > 1000


def strings(message: Message) -> list[str]:
    return [message.string] if isinstance(message.string, str) else list(message.string or ())


@pytest.mark.parametrize("name", OTHERS)
def test_a_translation_has_the_places_and_the_marks_of_its_english(
    name: str, template: Catalog
) -> None:
    for message in updated(name, template):
        if message.id:
            english = message.id if isinstance(message.id, str) else message.id[-1]
            for said in strings(message):
                assert frame(said) == frame(english), english


def frame(text: str) -> dict[str, list[Any]]:
    """Find what a translation has to keep: places, tags, code, and who ends as a sentence."""
    fields = [] if "%(" in text else list(string.Formatter().parse(text))
    return {
        "places": sorted(set(re.findall(r"%\(\w+\)s", text))),
        "fields": sorted({f"{f[1]}!{f[3]}:{f[2]}" for f in fields if f[1] is not None}),
        "percent": re.findall("%%", text),
        "tags": re.findall(r"<[^>]*>", text),
        "code": sorted(re.findall(r"`[^`]*`|'deconvnet [^']*'", text)),
        "paragraphs": re.findall(r"\n\n", text),
        "end": re.findall(r"[.:?…]$", text),
    }


def test_what_our_classifier_says_of_itself_is_a_message() -> None:
    (file,) = (ROOT / "models" / "weights" / "heads").glob("*.safetensors")
    with safe_open(file, "numpy") as opened:
        assert f'"{HEAD}"' in opened.metadata()["deconvnet"]
    publishers = (ROOT / "models" / "weights" / "publishers.py").read_text()
    assert f"{{offer.description}}{ON_TOP}{{head" in publishers


def test_no_problem_has_a_sentence_that_is_not_translated() -> None:
    for file in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            name = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and name == "Problem" and len(node.args) > 1:
                said = node.args[1]
                assert not isinstance(said, ast.JoinedStr), f"{file}:{node.lineno}"
                assert not (isinstance(said, ast.Constant) and said.value), f"{file}:{node.lineno}"


# Every word on every page is in a message


class Brackets(NullTranslations):
    """A language that puts what it says in brackets, but for what is put into its places."""

    def gettext(self, message: str) -> str:
        apart = re.sub(r"(%\(\w+\)s|{[^}]*})", r"⟧\1⟦", message)
        return f"⟦{apart}⟧"

    def ngettext(self, one: str, many: str, count: int) -> str:
        return self.gettext(one if count == 1 else many)


NAMES = {
    "deconvnet explorer",  # who we are
    "deconvnet",
    "AlexNet",
    "ZFNet",
    "Tiếng Việt",  # the switch
    "SVG",
    "PDF",
    "PNG",
    "JSON",
    "CSV",
    "npz",
    "curl",
    "MB",
    "dpi",
    "torchvision",
    "pytorchcv",
    "IMAGENET1K_V1",
    "MIT",
    "/docs",
    "/openapi.json",
}
"""What is called the same in every language, beside layers, networks and classes."""
ECHOED = {"eye", "left", "none", "nothing", "nowhere", "loud"}
"""What the tests below ask for, which answers name."""
HASH = re.compile(r"\b[0-9a-f]{6,64}\b|doi:\S+|'[^']*'")
"""What is as good as code: ids and hashes, DOIs, and what is quoted."""
SILENT = {"code", "pre", "script", "style", "kbd", "cite"}
READ = {"alt", "title", "aria-label", "placeholder", "label"}
READ |= {"data-large", "data-record", "data-project", "data-at", "data-done", "data-words"}
VOID = {"meta", "link", "input", "img", "br", "rect", "path", "use", "image", "stop"}


class Reader(HTMLParser):
    """Collects what a page says outside of brackets."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0
        self.open: list[tuple[str, bool]] = []
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        for name in READ & named.keys():
            self.found.append(re.sub("⟦[^⟧]*⟧", " ", named[name] or ""))
        if tag not in VOID:
            is_english = named.get("lang") == "en" and tag != "html"
            quiet = tag in SILENT or is_english or any(was for _, was in self.open)
            self.open.append((tag, quiet))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            opened, _ = self.open.pop()
            assert opened == tag, f"<{opened}> is ended by </{tag}>"

    def handle_data(self, data: str) -> None:
        if any(quiet for _, quiet in self.open):
            return
        for part in re.split("([⟦⟧])", data):
            self.depth += {"⟦": 1, "⟧": -1}.get(part, 0)
            if part not in ("⟦", "⟧") and self.depth <= 0:
                self.found.append(part)


def words_outside(text: str, known: set[str]) -> set[str]:
    """Return the words that a page says outside of messages and are no names."""
    reader = Reader()
    reader.feed(text)
    assert reader.depth == 0
    names = re.compile("|".join(sorted(map(re.escape, known | NAMES), key=len, reverse=True)))
    names = re.compile(rf"{HASH.pattern}|{names.pattern}")
    left = " ".join(names.sub(" ", each) for each in reader.found)
    return {word for word in re.findall(r"[^\W\d_]{2,}", left)}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client_in(tmp_path_factory.mktemp("brackets"), queue_limit=4) as client:
        yield client


@pytest.fixture(scope="module")
def image(client: TestClient) -> str:
    answer = client.post("/images", **sent(photo()), follow_redirects=False)
    return answer.headers["location"]


@pytest.fixture(scope="module")
def known(client: TestClient, image: str) -> set[str]:
    """Name the layers, the classes and the photo: what pages call by their own names."""
    registry = state_of(client).engine.registry
    names = {image.rpartition("/")[2][:6], "conv", "pool", "norm", "fc"}
    names |= {f"class {number}" for number in range(1000)}  # those of random weights
    for asked in (models.Choice, models.FigureFile, *(e.request for e in EXPERIMENTS.values())):
        for option in models.options_of(asked):
            names |= {option.name, *option.words}
    names |= EXPERIMENTS.keys() | FOLDER_EXPERIMENTS.keys()
    for name, architecture in registry.architectures.items():
        names |= {name, architecture.title, *(row.name for row in models.describe_layers(name))}
        if registry.weights(name).state == "ready":
            classes = registry.load(name).classes or ()
            names |= {label.replace("_", " ") for label in classes}
    return names


@pytest.fixture
def in_brackets(monkeypatch: pytest.MonkeyPatch, known: set[str]) -> None:
    monkeypatch.setattr(language, "catalogue", lambda name: Brackets())


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/docs",
        "/networks",
        "/filters?networks=zfnet,alexnet,vgg16,vgg19",
        "/story",
        "/paper",
        "/experiments",
        "/experiments/occlusion?network=lenet5&image={id}",
        "/experiments/invariance?network=lenet5&image={id}",
        "/experiments/correspondence?network=lenet5&image={id}&parts=eye: 1,1,9,9",
        "/examples/zfnet/conv5",
        "/experiments/evolution",
        "/experiments/probe",
        "{image}/zfnet/conv5",
        "{image}/zfnet/conv5?feature=3&unit=0,0&show=difference&top=4",
        "{image}/zfnet/conv5?at=120,160&seed=map&show=lit",
        "{image}/zfnet/conv5?at=1,1",
        "{image}/zfnet/conv5?rank=contribution&top=2&method=guided",
        "{image}/zfnet/conv5?features=1,2&order=contribution",
        "{image}/zfnet/conv5?weights=random&fit=pad",
        "{image}/zfnet/conv5?weights=01234567",
        "{image}/zfnet/fc7?feature=0&order=number",
        "{image}/zfnet/pool1/3",
        "{image}/zfnet/conv1/3",
        "{image}/zfnet/norm1/3",
        "{image}/zfnet/conv5/3?method=gradient",
        "{image}/zfnet/fc6/3",
        "{image}/zfnet/conv5/3/legend",
        "{image}/zfnet/conv5/figure?top=2",
        "/compare?left={image}/zfnet/conv5%3Ftop%3D2",
        "/compare?left={image}/zfnet/conv5%3Ftop%3D2&right={image}/alexnet/conv5%3Ftop%3D2",
        "/compare?left={image}/zfnet/conv5%3Fat%3D1,1&right={image}/zfnet/conv5%3Fweights%3Drandom",
        # refused
        "/nothing",
        "/jobs/none",
        "/experiments/none",
        "/filters?networks=lenet5",
        "{image}/vgg19/conv5_4",
        "{image}/zfnet/conv9",
        "{image}/none/conv1",
        "{image}/zfnet/conv5?unit=x",
        "{image}/zfnet/conv5?show=loud",
        "{image}/zfnet/conv5/999",
        "/figures/{id}/zfnet/conv5?format=gif&dpi=x",
        "/compare?left=nowhere&right=nowhere",
    ],
)
def test_no_word_stands_outside_of_a_message(
    client: TestClient, image: str, known: set[str], in_brackets: None, address: str
) -> None:
    filled = address.format(image=image, id=image.rpartition("/")[2])
    answer = client.get(filled, headers=PAGE)
    assert "⟦" in answer.text
    assert not words_outside(answer.text, known | ECHOED)


def test_no_word_of_a_result_stands_outside_of_a_message(
    client: TestClient, image: str, known: set[str], in_brackets: None
) -> None:
    data = {"image_id": image.rpartition("/")[2], "network": "lenet5"}
    asked = [
        ("occlusion", {"stride": "16", "square": "8"}),
        ("invariance", {"steps": "3"}),
        ("correspondence", {"parts": "eye: 1,1,9,9", "draws": "2"}),
    ]
    other = client.post("/images", **sent(photo(colour="red")), follow_redirects=False)
    for name, options in asked:
        ids = [data["image_id"]]
        if name == "correspondence":
            ids.append(other.headers["location"].rpartition("/")[2])
            options["parts"] += "; 2,2,9,9"
        form = {**data, **options, "image_id": ids}
        done = client.post(f"/experiments/{name}", data=form, headers={"prefer": "wait=60"})
        assert done.status_code == 200, done.text
        job = client.post(f"/experiments/{name}", data=form, headers=PAGE, follow_redirects=False)
        for query in ("", "?table=all"):
            text = client.get(job.headers["location"] + query, headers=PAGE).text
            assert not words_outside(text, known | ECHOED), name


@pytest.mark.parametrize("state", ["queued", "running", "done", "failed", "cancelled"])
def test_no_word_of_a_job_stands_outside_of_a_message(
    state: Any, known: set[str], in_brackets: None
) -> None:
    question = Question("occlusion", ("0",), "lenet5", "starter")
    failure = models.OutOfMemory("c1") if state == "failed" else None
    job = Job("0", question).to(state=state, done=1, total=2, detail="c1", failure=failure)
    assert not words_outside(draw("_job.html", job_progress(job)), known)


def offers(tmp_path: Path) -> Iterator[WeightsOffer]:
    registry = NetworkRegistry(settings_in(tmp_path, offline=False))
    for name in ("lenet5", "zfnet", "vgg16", "vgg19"):
        info = registry.weights(name)
        yield weights_offer(info)
        yield weights_offer(info, inside=True)


def test_no_word_of_an_offer_stands_outside_of_a_message(
    tmp_path: Path, known: set[str], in_brackets: None
) -> None:
    for offer in offers(tmp_path):
        assert not words_outside(draw("_download.html", offer), known)
