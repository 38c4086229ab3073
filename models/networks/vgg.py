"""VGG: the five configurations of Simonyan & Zisserman (2014), plain and with batch norm."""

from collections.abc import Iterator

from models.networks.architecture import Architecture, Dense, ErrorRate, Filters, Pooling, Row
from models.networks.preprocessing import Preprocessing

BIBTEX = """\
@inproceedings{simonyan2015very,
  author        = {Simonyan, Karen and Zisserman, Andrew},
  title         = {Very Deep Convolutional Networks for Large-Scale Image Recognition},
  booktitle     = {International Conference on Learning Representations},
  year          = {2015},
  eprint        = {1409.1556},
  archiveprefix = {arXiv}
}"""

WIDTHS = (64, 128, 256, 512, 512)

KERNELS = {
    "vgg11": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "vgg13": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "vgg16": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "vgg16c": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "vgg19": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}
LETTERS = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg16c": "C", "vgg19": "E"}
ERRORS = {
    "vgg11": (29.6, 10.4),
    "vgg13": (28.7, 9.9),
    "vgg16": (25.6, 8.1),
    "vgg16c": (27.3, 8.8),
    "vgg19": (25.5, 8.0),
}
"""The lowest top-1 and top-5 error that the paper's Table 3 has for a single scale of the test."""


def _rows(name: str) -> Iterator[Row]:
    """Yield the blocks of filters, each closed by a pool, and the head."""
    for block, (width, kernels) in enumerate(zip(WIDTHS, KERNELS[name], strict=True), 1):
        for number, kernel in enumerate(kernels, 1):
            yield Filters(f"conv{block}_{number}", width, kernel, padding=kernel // 2)
        yield Pooling(f"pool{block}", 2, 2)
    yield from (Dense("fc6", 4096), Dense("fc7", 4096), Dense("fc8", 1000))


def _vgg(name: str, *, batch_norm: bool) -> Architecture:
    title = f"VGG-{name.removeprefix('vgg').removesuffix('c')} ({LETTERS[name]})"
    return Architecture(
        name=f"{name}_bn" if batch_norm else name,
        title=f"{title} with batch norm" if batch_norm else title,
        paper="Simonyan and Zisserman, Very deep convolutional networks, 2014",
        rows=tuple(_rows(name)),
        preprocessing=Preprocessing(),
        errors=() if batch_norm else (ErrorRate("paper", "Table 3", *ERRORS[name]),),
        batch_norm=batch_norm,
        adaptive=7,
        dropout=0.5,
        smooth_from="conv3_1",  # its small pools scatter a deep signal over single pixels
        bibtex=BIBTEX,
    )


ARCHITECTURES = (
    *(_vgg(name, batch_norm=False) for name in KERNELS),
    *(_vgg(name, batch_norm=True) for name in KERNELS if name != "vgg16c"),
)
