"""How to cite this software, beside the papers that it implements."""

from collections.abc import Sequence

import models
from app import VERSION

YEAR = 2026
"""Of the release, as CITATION.cff has it."""

SOFTWARE = f"""\
@software{{deconvnet_explorer,
  author  = {{{{The deconvnet explorer's authors}}}},
  title   = {{deconvnet explorer}},
  version = {{{VERSION}}},
  year    = {{{YEAR}}}
}}"""


def bibtex(views: Sequence[models.Visualization]) -> str:
    """Write the bibliography of a figure: papers, then this software."""
    return f"{models.bibtex(views)}\n\n{SOFTWARE}\n"
