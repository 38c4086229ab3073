"""What is said to people, gathered into the catalogues of ``app/locale``.

``make translations`` runs it: ``messages.pot`` lists every message in English, and each language's
``messages.po`` is brought up to date with it. New messages stand there without a translation, those
that resemble an old one are marked fuzzy, and those that are no longer said are left out.
"""

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po, write_po
from jinja2.ext import babel_extract

import models
from app.engine.experiments import EXPERIMENTS, Experiment
from app.engine.folders import FOLDER_EXPERIMENTS, FolderExperiment
from app.engine.registry import NetworkRegistry
from app.main import create_app
from app.photos.samples import SAMPLES
from app.settings import Settings
from app.web.errors import STATUS, phrase_of
from app.web.folders import folder
from app.web.language import ENGLISH, LANGUAGES, LOCALE
from app.web.sentences import SENTENCES
from app.web.templates import origin

APP = Path(__file__).parents[1]
KEYWORDS = {**DEFAULT_KEYWORDS, "noted": None}
TEMPLATES = {"newstyle_gettext": "true", "trimmed": "true", "silent": "false"}
BESIDE_ERRORS = (400, 401, 403, 405, 500)
"""Statuses of problems that no error of ours has."""
PASSING = re.compile(
    r'^"(POT-Creation-Date|PO-Revision-Date|Project-Id-Version|Report-Msgid-Bugs-To|'
    r"Last-Translator|Language-Team|Generated-By): .*\n",
    re.MULTILINE,
)
"""What a catalogue's head says of when and with what it was written."""
WORD = re.compile(r"[^\W\d_]{2}")


def main() -> None:
    """Bring all catalogues up to date."""
    template = gather()
    (LOCALE / "messages.pot").write_text(text_of(template))
    for language in LANGUAGES:
        if language != ENGLISH:
            path_of(language).parent.mkdir(parents=True, exist_ok=True)
            path_of(language).write_text(text_of(updated(language, template)))


def path_of(language: str) -> Path:
    """Return where a language's catalogue is."""
    return LOCALE / language / "LC_MESSAGES" / "messages.po"


def gather() -> Catalog:
    """Collect every message in English, with the files that say it."""
    catalog = Catalog(
        header_comment="# What is said to people: `make translations` gathers it.", fuzzy=False
    )
    written = [
        (APP, "**.py", "python", {}),
        (folder("templates"), "**.html", babel_extract, TEMPLATES),
    ]
    for place, pattern, method, options in written:
        found = extract_from_dir(place, [(pattern, method)], {pattern: options}, KEYWORDS)  # type: ignore[list-item]
        for file, _, message, comments, context in sorted(found, key=lambda one: one[:2]):
            catalog.add(message, None, [(f"{place.name}/{file}", 1)], (), comments, context=context)
    for where, messages in data():
        for message in messages:
            if WORD.search(message):
                catalog.add(message, None, [(where, 1)])
    return catalog


def data() -> Iterator[tuple[str, Iterable[str]]]:
    """Yield what is said and stands in tables rather than in calls, with where it stands."""
    yield "app/web/sentences.py", SENTENCES.values()
    yield "app/photos/samples.py", (text for each in SAMPLES for text in (each.title, each.credit))
    experiments: list[Experiment | FolderExperiment]
    experiments = [*EXPERIMENTS.values(), *FOLDER_EXPERIMENTS.values()]
    for each in experiments:
        yield "app/engine", _of_name(each.name, each.does)
        yield "models/experiments/requests.py", _of_options(each.request)
    for field in [field for each in FOLDER_EXPERIMENTS.values() for field in each.folders]:
        yield "app/engine", _of_name(field.name, field.meaning)
    for architecture in models.architectures().values():
        yield "models/networks", (architecture.title, *(rate.place for rate in architecture.errors))
    yield "models/weights", _of_weights()
    statuses = sorted({*STATUS.values(), *BESIDE_ERRORS})
    yield "app/web/errors.py", (phrase_of(status) for status in statuses)
    yield "app/api", dict.fromkeys(_descriptions(create_app(Settings()).openapi()))


def _of_name(name: str, *meanings: str) -> Iterator[str]:
    """Yield a name as a page writes it in a sentence and at a field, and what is said of it."""
    yield from (name, name.capitalize(), *meanings)


def _of_options(request: type) -> Iterator[str]:
    for option in models.options_of(request):
        yield from _of_name(option.name, option.meaning, option.when_absent)


def _of_weights() -> Iterator[str]:
    """Yield what is said of the weights that ship with the project or can be fetched."""
    with TemporaryDirectory() as empty:
        here = Path(empty)
        registry = NetworkRegistry(Settings(weights_dir=here, cache_dir=here, data_dir=here))
        for name in registry.architectures:
            for publisher in registry.weights(name).publishers:
                yield publisher.description
            if starter := registry.provenance(name):
                yield origin(starter)


def _descriptions(document: object) -> Iterator[str]:
    """Yield the descriptions in an OpenAPI document, which its page shows."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            if key == "description" and isinstance(value, str):
                yield value
            else:
                yield from _descriptions(value)
    elif isinstance(document, list):
        for value in document:
            yield from _descriptions(value)


def updated(language: str, template: Catalog) -> Catalog:
    """Return a language's catalogue with all messages of a template and no others."""
    path = path_of(language)
    if not path.exists():
        catalog = Catalog(
            language,
            header_comment=f"# {LANGUAGES[language]}: docs/translations.md says how.",
            fuzzy=False,
        )
    else:
        with path.open("rb") as file:
            catalog = read_po(file, locale=language)
    catalog.update(template)
    return catalog


def text_of(catalog: Catalog) -> str:
    """Write a catalogue as it is kept: by file, without dates and numbers of lines."""
    file = io.BytesIO()
    write_po(file, catalog, 100, sort_by_file=True, ignore_obsolete=True, include_lineno=False)
    return PASSING.sub("", file.getvalue().decode())


if __name__ == "__main__":
    main()
