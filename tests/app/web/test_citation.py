import re
from pathlib import Path

from app.web.citation import SOFTWARE

CITATION = (Path(__file__).parents[3] / "CITATION.cff").read_text()


def said(key: str) -> str:
    (found,) = re.findall(rf"^(?:- |  - )?{key}: (.+)$", CITATION, re.MULTILINE)
    return str(found)


def test_the_software_is_cited_as_its_citation_file_says() -> None:
    entry = dict(re.findall(r"(\w+) += \{+([^}]+)\}+", SOFTWARE))
    assert entry == {
        "author": said("name"),
        "title": re.findall(r"^title: (.+)$", CITATION, re.MULTILINE)[0],
        "version": said("version"),
        "year": said("date-released")[:4],
    }
