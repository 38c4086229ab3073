"""AlexNet: the network of Krizhevsky et al. (2012), and torchvision's later, slimmer one."""

from models.networks.architecture import (
    Architecture,
    Dense,
    ErrorRate,
    Filters,
    Norm,
    Normalization,
    Pooling,
)
from models.networks.preprocessing import Preprocessing

HEAD = (Dense("fc6", 4096), Dense("fc7", 4096), Dense("fc8", 1000))

ALEXNET = Architecture(
    name="alexnet",
    title="AlexNet (one column)",
    paper="Krizhevsky, One weird trick for parallelizing CNNs, 2014",
    rows=(
        Filters("conv1", 64, 11, stride=4, padding=2),
        Pooling("pool1", 3, 2),
        Filters("conv2", 192, 5, padding=2),
        Pooling("pool2", 3, 2),
        Filters("conv3", 384, 3, padding=1),
        Filters("conv4", 256, 3, padding=1),
        Filters("conv5", 256, 3, padding=1),
        Pooling("pool5", 3, 2),
        *HEAD,
    ),
    preprocessing=Preprocessing(),
    adaptive=6,
    dropout=0.5,
    bibtex="""\
@misc{krizhevsky2014weird,
  author        = {Krizhevsky, Alex},
  title         = {One Weird Trick for Parallelizing Convolutional Neural Networks},
  year          = {2014},
  eprint        = {1404.5997},
  archiveprefix = {arXiv}
}""",
)

ALEXNET2012 = Architecture(
    name="alexnet2012",
    title="AlexNet (2012)",
    paper="Krizhevsky, Sutskever and Hinton, ImageNet classification with deep CNNs, 2012",
    rows=(
        Filters("conv1", 96, 11, stride=4),
        Pooling("pool1", 3, 2, ceil_mode=True),
        Norm("norm1"),
        Filters("conv2", 256, 5, padding=2),
        Pooling("pool2", 3, 2, ceil_mode=True),
        Norm("norm2"),
        Filters("conv3", 384, 3, padding=1),
        Filters("conv4", 384, 3, padding=1),
        Filters("conv5", 256, 3, padding=1),
        Pooling("pool5", 3, 2, ceil_mode=True),
        *HEAD,
    ),
    preprocessing=Preprocessing(size=227),
    errors=(ErrorRate("paper", "Table 2", 40.7, 18.2),),
    norm=Normalization(),
    dropout=0.5,
    bibtex="""\
@inproceedings{krizhevsky2012imagenet,
  author    = {Krizhevsky, Alex and Sutskever, Ilya and Hinton, Geoffrey E.},
  title     = {{ImageNet} Classification with Deep Convolutional Neural Networks},
  booktitle = {Advances in Neural Information Processing Systems 25},
  pages     = {1097--1105},
  year      = {2012}
}""",
)

ARCHITECTURES = (ALEXNET, ALEXNET2012)
