"""An option is declared once, and forms, addresses, links and the command line have it."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
import typer
from fastapi import Depends, FastAPI, Form
from fastapi.testclient import TestClient
from typer.testing import CliRunner

import models
from app.cli.options import command_options
from app.pages.links import Link, read_state
from app.web.choice import form_reader, from_sent, read_query, takes, write_query
from models.networks.rules import RULES
from models.projection.choice import Choice, Fit, Method, option, options_of, same
from tests.refusals import refused


@dataclass(frozen=True)
class Wider(Choice):
    """A choice with one more option, declared in one place."""

    look: Literal["plain", "bright"] = option("plain", "How bright it is.")


@dataclass(frozen=True, kw_only=True)
class WiderLink(Link, Wider):
    """A link to such a choice."""


def test_a_new_option_is_a_field_of_the_form_with_its_words_and_its_meaning() -> None:
    app = FastAPI()

    @app.post("/")
    def ask(choice: Annotated[Wider, Depends(form_reader(Wider, Form))]) -> dict[str, Any]:
        return {"look": choice.look, "unit": choice.unit}

    client = TestClient(app)
    assert client.post("/", data={"look": "bright", "unit": "6,7"}).json() == {
        "look": "bright",
        "unit": [6, 7],
    }
    assert client.post("/").json() == {"look": "plain", "unit": None}
    assert client.post("/", data={"look": "dim"}).status_code == 422
    (form,) = [s for n, s in app.openapi()["components"]["schemas"].items() if "Body" in n]
    assert form["properties"]["look"]["enum"] == ["plain", "bright"]
    assert form["properties"]["look"]["description"] == "How bright it is."


def test_a_new_option_is_read_from_an_address_and_written_into_it() -> None:
    assert read_query(Wider, {"look": "bright"}).look == "bright"
    assert read_query(Wider, {}).look == "plain"
    assert write_query(Wider(look="bright")) == {"look": "bright"}
    assert write_query(Wider()) == {}


def test_a_new_option_travels_in_every_link() -> None:
    link = read_state(WiderLink, {"look": "bright"}, image="a", network="zfnet", layer="conv5")
    assert str(link.into("conv4")) == "/images/a/zfnet/conv4?look=bright"
    assert str(link.to(look="plain")) == "/images/a/zfnet/conv5"


def test_a_new_option_is_one_of_the_command_line() -> None:
    cli, seen = typer.Typer(), []

    @cli.command()
    @takes(command_options(Wider))
    def ask(**options: Any) -> None:
        seen.append(from_sent(Wider, options))

    runner = CliRunner()
    assert runner.invoke(cli, ["--look", "bright", "--features", "3,17"]).exit_code == 0
    assert seen == [Wider(look="bright", features=(3, 17))]
    assert runner.invoke(cli, ["--look", "dim"]).exit_code == 2
    assert "How bright it is." in runner.invoke(cli, ["--help"], env={"COLUMNS": "200"}).output


def test_a_new_option_with_an_unknown_word_is_refused_with_the_known_ones() -> None:
    with refused(models.InvalidChoice, match="look is one of plain, bright, not 'dim'"):
        models.projection.choice.check(Wider(look="dim"))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [each.name for each in options_of()])
def test_every_option_says_what_it_means(name: str) -> None:
    (each,) = [each for each in options_of() if each.name == name]
    assert each.meaning.endswith(".") and each.help.endswith(".")


def test_the_methods_are_the_rows_of_the_table_of_rules() -> None:
    (method,) = [each for each in options_of() if each.hint == Method]
    assert set(method.words) == set(RULES)


def test_another_dataclass_can_have_options_as_a_choice_has_them() -> None:
    @dataclass(frozen=True)
    class Request:
        fit: Fit = same("fit")
        times: int | None = option(None, "How often.")

    fit, _ = options_of(Request)
    assert (fit.meaning, fit.default) == ("How the photo meets the square.", "crop")
    assert read_query(Request, {"times": "3"}) == Request("crop", 3)


@pytest.mark.parametrize(
    "choice",
    [
        Choice(),
        Choice(network="zfnet", layer="conv5", method="guided", seed="map", top=3, fit="pad"),
        Choice(features=(3, 17, 200), unit=(6, 7)),
    ],
)
def test_what_is_written_is_read_again(choice: Choice) -> None:
    assert read_query(Choice, write_query(choice)) == choice
