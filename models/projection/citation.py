"""Whom to cite for a figure: the papers of its methods and of its networks, as BibTeX."""

from __future__ import annotations

from collections.abc import Sequence

from models.networks import zfnet
from models.networks.catalogue import ARCHITECTURES
from models.projection.visualize import Visualization

METHODS = {
    "guided": """\
@inproceedings{springenberg2015striving,
  author        = {Springenberg, Jost Tobias and Dosovitskiy, Alexey and Brox, Thomas
                   and Riedmiller, Martin},
  title         = {Striving for Simplicity: The All Convolutional Net},
  booktitle     = {International Conference on Learning Representations, Workshop Track},
  year          = {2015},
  eprint        = {1412.6806},
  archiveprefix = {arXiv}
}""",
    "gradient": """\
@inproceedings{simonyan2014deep,
  author        = {Simonyan, Karen and Vedaldi, Andrea and Zisserman, Andrew},
  title         = {Deep Inside Convolutional Networks: Visualising Image Classification Models
                   and Saliency Maps},
  booktitle     = {International Conference on Learning Representations, Workshop Track},
  year          = {2014},
  eprint        = {1312.6034},
  archiveprefix = {arXiv}
}""",
}


def bibtex(views: Sequence[Visualization]) -> str:
    """Write an entry for each paper that the views rest on, Zeiler and Fergus first."""
    methods = [METHODS.get(view.method, "") for view in views]
    known = [ARCHITECTURES.get(view.network) for view in views]
    networks = [each.bibtex for each in known if each]
    return "\n\n".join(filter(None, dict.fromkeys([zfnet.BIBTEX, *methods, *networks])))
