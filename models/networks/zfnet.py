"""ZFNet: Zeiler & Fergus (2013), Fig. 3, and the wider one whose 16.0 % top-5 error they report."""

from models.networks.architecture import (
    Architecture,
    Dense,
    ErrorRate,
    Filters,
    Norm,
    Normalization,
    Pooling,
    Row,
)
from models.networks.preprocessing import Preprocessing

PAPER = "Zeiler and Fergus, Visualizing and understanding convolutional networks, 2013"

BIBTEX = """\
@inproceedings{zeiler2014visualizing,
  author    = {Zeiler, Matthew D. and Fergus, Rob},
  title     = {Visualizing and Understanding Convolutional Networks},
  booktitle = {Computer Vision -- ECCV 2014},
  pages     = {818--833},
  publisher = {Springer},
  year      = {2014},
  doi       = {10.1007/978-3-319-10590-1_53}
}"""


def _rows(conv3: int, conv4: int, conv5: int) -> tuple[Row, ...]:
    """Return Fig. 3's layers with these widths on top."""
    return (
        Filters("conv1", 96, 7, stride=2, padding=1),
        Pooling("pool1", 3, 2, ceil_mode=True),
        Norm("norm1"),
        Filters("conv2", 256, 5, stride=2),
        Pooling("pool2", 3, 2, ceil_mode=True),
        Norm("norm2"),
        Filters("conv3", conv3, 3, padding=1),
        Filters("conv4", conv4, 3, padding=1),
        Filters("conv5", conv5, 3, padding=1),
        Pooling("pool5", 3, 2),
        Dense("fc6", 4096),
        Dense("fc7", 4096),
        Dense("fc8", 1000),
    )


def _zfnet(name: str, title: str, rows: tuple[Row, ...], top1: float, top5: float) -> Architecture:
    return Architecture(
        name,
        title,
        PAPER,
        rows,
        Preprocessing(),
        errors=(ErrorRate("paper", "Table 2", top1, top5),),
        norm=Normalization(),
        dropout=0.5,
        bibtex=BIBTEX,
    )


ZFNET = _zfnet("zfnet", "ZFNet", _rows(384, 384, 256), 38.4, 16.5)
ZFNET_B = _zfnet(
    "zfnet_b", "ZFNet, layers 3-5 of 512, 1024, 512", _rows(512, 1024, 512), 37.5, 16.0
)

ARCHITECTURES = (ZFNET, ZFNET_B)
