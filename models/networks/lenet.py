"""LeNet-5 as the article has it (after LeCun et al., 1998): sigmoids and average pools."""

from models.networks.architecture import Architecture, Dense, ErrorRate, Filters, Pooling
from models.networks.preprocessing import Preprocessing
from models.networks.steps import Sigmoid

LENET5 = Architecture(
    name="lenet5",
    title="LeNet-5",
    paper="LeCun, Bottou, Bengio and Haffner, Gradient-based learning, 1998",
    rows=(
        Filters("c1", 6, 5),
        Pooling("p1", 2, 2, average=True),
        Filters("c2", 16, 5),
        Pooling("p2", 2, 2, average=True),
        Dense("fc1", 120),
        Dense("fc2", 84),
        Dense("fc3", 10),
    ),
    # 28 x 28 digits, white on black, with a black margin of two pixels
    preprocessing=Preprocessing(
        size=32, resize=28, channel_order="L", mean=(0.1307,), std=(0.3081,)
    ),
    errors=(ErrorRate("paper", "III-B", 0.95, None, "MNIST"),),
    activation=Sigmoid,
    bibtex="""\
@article{lecun1998gradient,
  author  = {LeCun, Yann and Bottou, L{\\'e}on and Bengio, Yoshua and Haffner, Patrick},
  title   = {Gradient-Based Learning Applied to Document Recognition},
  journal = {Proceedings of the IEEE},
  volume  = {86},
  number  = {11},
  pages   = {2278--2324},
  year    = {1998},
  doi     = {10.1109/5.726791}
}""",
)

ARCHITECTURES = (LENET5,)
