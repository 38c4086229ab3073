"""How tests say that something is refused: by the error's class, and by what people read of it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import models
from app.web.sentences import sentence


@contextmanager
def refused(kind: type[models.DeconvnetError], match: str) -> Iterator[None]:
    """Expect an error of that kind whose sentence matches."""
    with pytest.raises(kind) as caught:
        yield
    said = sentence(caught.value)
    assert re.search(match, said), f"{match!r} is not in {said!r}"
