"""A report as a PDF: as many pages as its pictures take, and the same bytes each time."""

import io

from PIL import Image

from models.experiments.booklet import Page, to_booklet


def picture(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "orange").save(file, "PNG")
    return file.getvalue()


def pages_in(pdf: bytes) -> int:
    return pdf.count(b"/Type /Page ") + pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page>")


def test_a_section_takes_a_page_and_more_where_its_pictures_do() -> None:
    words = Page("One", ["A sentence. " * 40], ("a", "b"), [("1", "2")])
    assert pages_in(to_booklet([words])) == 1
    wide = Page("Two", ["Few."], pictures=[picture(200, 100)] * 2)
    assert pages_in(to_booklet([words, wide])) == 2
    tall = Page("Three", ["Few."], pictures=[picture(100, 100)] * 2 + [picture(100, 400)])
    assert pages_in(to_booklet([tall])) == 3


def test_the_same_sections_give_the_same_bytes() -> None:
    page = Page("One", ["A sentence."], pictures=[picture(30, 20)])
    assert to_booklet([page]) == to_booklet([page])
