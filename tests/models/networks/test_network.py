"""The networks against their papers, torchvision's own and the article's classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import get_model_weights, list_models

from models.errors import UnknownLayer, UnknownNetwork, WeightsInvalid
from models.networks.alexnet import ALEXNET2012
from models.networks.architecture import Normalization
from models.networks.build import build
from models.networks.catalogue import ARCHITECTURES, architecture, build_on_meta, describe_layers
from models.networks.network import Network
from models.networks.preprocessing import Preprocessing
from models.networks.signal import Size
from models.networks.steps import AdaptiveAveragePool
from models.projection.record import record
from tests.oracles import furthest, noise, plain, slim
from tests.refusals import refused

pytestmark = pytest.mark.usefixtures("one_thread")

PARAMETERS = {
    "lenet5": 61_706,
    "alexnet": 61_100_840,
    "alexnet2012": 62_378_344,
    "zfnet": 62_357_608,
    "zfnet_b": 107_627_624,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg16c": 133_638_952,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
}
TORCHVISION = [name for name in ARCHITECTURES if name in list_models()]


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_every_network_is_counted() -> None:
    assert list(PARAMETERS) == list(ARCHITECTURES)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_network_has_as_many_parameters_as_its_paper_says(name: str) -> None:
    assert parameters(build_on_meta(name)) == PARAMETERS[name]
    assert sum(info.parameters for info in describe_layers(name)) == PARAMETERS[name]


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_publishes_as_many_parameters(name: str) -> None:
    assert PARAMETERS[name] == get_model_weights(name)["IMAGENET1K_V1"].meta["num_params"]


def test_the_grouped_alexnet_has_as_many_parameters_as_caffe_s() -> None:
    shapes = {
        key: list(tensor.shape) for key, tensor in build_on_meta("alexnet2012").tensors().items()
    }
    for layer in ("conv2", "conv4", "conv5"):
        shapes[f"{layer}.weight"][1] //= 2
    with torch.device("meta"):
        assert parameters(build(architecture("alexnet2012"), shapes)) == 60_965_224


# Against torchvision


def torchvision_model(name: str) -> nn.Module:
    """Return torchvision's own network with random weights, in full width."""
    with torch.device("meta"):
        model: nn.Module = torchvision.models.get_model(name)
    model.to_empty(device="cpu").eval()
    for key, tensor in model.state_dict().items():
        if tensor.dim() > 1:
            limit = (6 / tensor[0].numel()) ** 0.5
            tensor.uniform_(-limit, limit)
        elif tensor.dim() == 1:
            tensor.uniform_(*((0.5, 1.5) if "var" in key else (-0.1, 0.5)))
    return model


def outputs_of(model: nn.Module, pixels: Tensor) -> list[Tensor]:
    """Run forward and return what each ReLU, max pool and the last layer put out, in order."""
    seen: list[Tensor] = []
    kinds = (nn.ReLU, nn.MaxPool2d)
    for module in [m for m in model.modules() if isinstance(m, kinds)]:
        # ReLUs work in place: what follows would change what was seen
        module.register_forward_hook(lambda _, __, y: seen.append(y.clone()))
    with torch.no_grad():
        scores = model(pixels)
    return [*seen, scores]


@pytest.mark.parametrize("name", TORCHVISION)
def test_every_layer_puts_out_what_torchvision_s_own_does(name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = torchvision_model(name)
    state = [v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")]
    network = build_on_meta(name)
    keys = network.tensors()
    assert [tensor.shape for tensor in keys.values()] == [tensor.shape for tensor in state]
    network.assign_tensors(dict(zip(keys, state, strict=True)))
    network.requires_grad_(requires_grad=False)
    pixels = noise(network, 64, 71)
    seen = record(network, pixels, keep=[layer.name for layer in network.layers])
    expected = outputs_of(model, pixels)
    for (layer, maps), theirs in zip(seen.kept.items(), expected, strict=True):
        assert furthest([maps.reshape(theirs.shape)], [theirs]) < 1e-5, layer
    assert furthest([network(pixels).flatten(1)], expected[-1:]) < 1e-5


# Against the article: its classes, rewritten from what it prints; `thin` divides the widths


class ArticleLeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, 5)
        self.p1 = nn.AvgPool2d(2, 2)
        self.c2 = nn.Conv2d(6, 16, 5)
        self.p2 = nn.AvgPool2d(2, 2)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Iterator[Tensor]:
        yield (x := torch.sigmoid(self.c1(x)))
        yield (x := self.p1(x))
        yield (x := torch.sigmoid(self.c2(x)))
        yield (x := self.p2(x))
        yield (x := torch.sigmoid(self.fc1(x.flatten(1))))
        yield (x := torch.sigmoid(self.fc2(x)))
        yield self.fc3(x)


class ArticleAlexNet(nn.Module):
    """The article's, with the ReLUs after fc6 and fc7 that it forgets."""

    def __init__(self, thin: int) -> None:
        super().__init__()
        a, b, c, d, e = (maps // thin for maps in (96, 256, 384, 384, 256))
        self.layer1_conv = nn.Conv2d(3, a, 11, stride=4)
        self.layer2_conv = nn.Conv2d(a, b, 5, padding=2)
        self.layer3_conv = nn.Conv2d(b, c, 3, padding=1)
        self.layer4_conv = nn.Conv2d(c, d, 3, padding=1)
        self.layer5_conv = nn.Conv2d(d, e, 3, padding=1)
        self.fc6 = nn.Linear(6 * 6 * e, 4096 // thin)
        self.fc7 = nn.Linear(4096 // thin, 4096 // thin)
        self.fc8 = nn.Linear(4096 // thin, 10)

    def forward(self, x: Tensor) -> Iterator[Tensor]:
        lrn = nn.LocalResponseNorm(size=5, k=2.0, alpha=1e-4, beta=0.75)
        pool = nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)
        for conv in (self.layer1_conv, self.layer2_conv):
            yield (x := F.relu(conv(x)))
            yield (x := lrn(x))
            yield (x := pool(x))
        for conv in (self.layer3_conv, self.layer4_conv, self.layer5_conv):
            yield (x := F.relu(conv(x)))
        yield (x := pool(x))
        yield (x := F.relu(self.fc6(x.flatten(1))))
        yield (x := F.relu(self.fc7(x)))
        yield self.fc8(x)


ARTICLE_VGG = {
    "vgg11": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "vgg13": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "vgg16c": "64 64 M 128 128 M 256 256 v1 M 512 512 v1 M 512 512 v1 M",
    "vgg16": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "vgg19": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}


class ArticleVGG(nn.Module):
    def __init__(self, columns: str, thin: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        channels = 3
        for word in columns.split():
            if word == "M":
                parts.append(nn.MaxPool2d(2, 2))
            elif word == "v1":
                parts += [nn.Conv2d(channels, channels, 1), nn.ReLU()]
            else:
                parts += [nn.Conv2d(channels, int(word) // thin, 3, padding=1), nn.ReLU()]
                channels = int(word) // thin
        self.feature = nn.Sequential(*parts)
        self.classifer = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * 7 * 7, 4096 // thin),
            nn.ReLU(),
            nn.Linear(4096 // thin, 4096 // thin),
            nn.ReLU(),
            nn.Linear(4096 // thin, 10),
        )

    def forward(self, x: Tensor) -> Iterator[Tensor]:
        shown = (nn.ReLU, nn.MaxPool2d)
        parts = [*self.feature, *self.classifer]
        for part in parts:
            x = part(x)
            if isinstance(part, shown) or part is parts[-1]:
                yield x


def filled(article: nn.Module, name: str, norm: Normalization | None = None) -> Network:
    """Build our network around the article's tensors, which come in the same order."""
    state = list(article.state_dict().values())
    names = build_on_meta(name).tensors()
    tensors = dict(zip(names, state, strict=True))
    network = build(architecture(name), {k: v.shape for k, v in tensors.items()}, norm=norm)
    network.assign_tensors(tensors)
    return network


def assert_same_layers(network: Network, article: nn.Module) -> None:
    pixels = noise(network, *network.input_size[1:], images=2)
    seen = record(network, pixels, keep=[layer.name for layer in network.layers])
    with torch.no_grad():
        expected = list(article(pixels))
    for (layer, maps), theirs in zip(seen.kept.items(), expected, strict=True):
        assert maps.shape[:2] == theirs.shape[:2], layer
        torch.testing.assert_close(
            maps.reshape(theirs.shape), theirs, rtol=1e-12, atol=1e-12, msg=layer
        )


def drawn(article: nn.Module) -> nn.Module:
    """Give the article's network random weights that keep its layers alive, in float64."""
    article.double().requires_grad_(requires_grad=False)
    chance = torch.Generator().manual_seed(2)
    for tensor in article.state_dict().values():
        spread = (2 / tensor[0].numel()) ** 0.5 if tensor.dim() > 1 else 0.1
        tensor.normal_(0, spread, generator=chance)
    return article


def test_lenet_is_the_article_s() -> None:
    article = drawn(ArticleLeNet())
    network = filled(article, "lenet5")
    assert set(network.tensors()) == set(article.state_dict())
    assert_same_layers(network, article)


def test_alexnet_is_the_article_s_with_its_alpha() -> None:
    article = drawn(ArticleAlexNet(thin=16))
    norm = Normalization("norm-pool", alpha=1e-4)
    assert_same_layers(filled(article, "alexnet2012", norm), article)


@pytest.mark.parametrize("name", ARTICLE_VGG)
def test_vgg_is_the_article_s(name: str) -> None:
    article = drawn(ArticleVGG(ARTICLE_VGG[name], thin=32))
    assert_same_layers(filled(article, name), article)


@pytest.mark.parametrize("name", ARTICLE_VGG)
def test_the_article_s_vgg_has_as_many_parameters(name: str) -> None:
    with torch.device("meta"):
        body = ArticleVGG(ARTICLE_VGG[name], thin=1)
    assert parameters(body) + (1000 - 10) * (4096 + 1) == PARAMETERS[name]


# Sizes and receptive fields


def sides(name: str) -> dict[str, int]:
    return {info.name: info.shape.height for info in describe_layers(name)}


def test_zfnet_has_the_sizes_that_its_paper_prints() -> None:
    found = sides("zfnet")
    layers = ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")
    assert [found[layer] for layer in layers] == [110, 55, 26, 13, 13, 13, 13, 6]


def test_alexnet_of_2012_has_the_sizes_that_its_paper_prints() -> None:
    found = sides("alexnet2012")
    assert [found[layer] for layer in ("conv1", "conv2", "conv3", "pool5")] == [55, 27, 13, 6]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        (
            "zfnet",
            {
                "conv1": 7,
                "pool1": 11,
                "conv2": 27,
                "pool2": 43,
                "conv3": 75,
                "conv4": 107,
                "conv5": 139,
                "pool5": 171,
            },
        ),
        (
            "alexnet",
            {
                "conv1": 11,
                "pool1": 19,
                "conv2": 51,
                "pool2": 67,
                "conv3": 99,
                "conv4": 131,
                "conv5": 163,
                "pool5": 195,
            },
        ),
        ("vgg16", {"conv3_3": 40, "conv4_3": 92, "conv5_3": 196, "pool5": 212}),
    ],
)
def test_receptive_fields_are_as_wide_as_the_literature_says(
    name: str, fields: dict[str, int]
) -> None:
    found = {info.name: info.receptive_field for info in describe_layers(name)}
    assert {layer: found[layer] for layer in fields} == fields


def test_strides_are_the_product_of_those_below() -> None:
    found = {info.name: info.stride for info in describe_layers("zfnet")}
    assert [found[layer] for layer in ("conv1", "pool1", "conv2", "conv5")] == [2, 4, 8, 16]


@pytest.mark.parametrize("name", TORCHVISION)
def test_a_photo_takes_as_many_multiply_adds_as_torchvision_says(name: str) -> None:
    billions = get_model_weights(name)["IMAGENET1K_V1"].meta["_ops"]
    layers = describe_layers(name)
    assert sum(info.multiply_adds for info in layers) / 1e9 == pytest.approx(billions, abs=6e-4)


def test_filters_in_groups_multiply_with_their_own_maps_only() -> None:
    whole = build_on_meta("alexnet2012")
    shapes = {key: tuple(tensor.shape) for key, tensor in whole.tensors().items()}
    with torch.device("meta"):
        parted = build(ALEXNET2012, {**shapes, "conv2.weight": (256, 48, 5, 5)})
    plain, grouped = (
        {info.name: info.multiply_adds for info in network.describe()}
        for network in (whole, parted)
    )
    assert plain["conv1"] == 55 * 55 * 96 * 3 * 11 * 11
    assert plain["conv2"] == 27 * 27 * 256 * 96 * 5 * 5 == 2 * grouped["conv2"]
    assert plain["fc7"] == 4096 * 4096 and plain["pool1"] == plain["norm1"] == 0


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_fully_connected_layer_sees_the_whole_input(name: str) -> None:
    network = build_on_meta(name)
    side = network.input_size.height
    for info in network.describe():
        if info.kind == "fc":
            assert (info.receptive_field, info.shape[1:]) == (side, (1, 1))
            field = network.receptive_field(info.name, (0, 0), network.input_size)
            assert tuple(field) == (0, 0, side, side)


SEEN = {
    "lenet5": (37, 30),
    "alexnet": (140, 151),
    "alexnet2012": (139, 131),
    "zfnet": (130, 141),
    "vgg11": (47, 66),
    "vgg16c": (40, 52),
}


@pytest.mark.parametrize("name", SEEN)
def test_a_receptive_field_is_the_support_of_a_gradient(name: str) -> None:
    network = positive(slim(name))
    size = Size(network.input_size.channels, *SEEN[name])
    pixels = noise(network, *SEEN[name]).abs().requires_grad_()
    x = pixels
    for (layer, sizes), part in zip(network.sizes(size), averaging(plain(network)), strict=False):
        x = part(x)
        height, width = sizes[-1][1:]
        rows, columns = ({0, 1, n // 2, n - 1} for n in (height, width))
        for y, column in [(y, c) for y in rows for c in columns if y < height and c < width]:
            unit = x.reshape(1, *sizes[-1])[0, :, y, column].sum()
            (gradient,) = torch.autograd.grad(unit, pixels, retain_graph=True)
            seen = gradient[0].abs().sum(0) > 0
            top, left, bottom, right = network.receptive_field(layer.name, (y, column), size)
            expected = torch.zeros_like(seen)
            expected[int(top) : int(bottom), int(left) : int(right)] = True
            assert torch.equal(seen, expected), (layer.name, y, column)


def positive(network: Network) -> Network:
    """Make every weight positive, so that nothing that a unit sees can cancel out."""
    for tensor in network.tensors().values():
        tensor.data.abs_().mul_(0.1 if tensor.dim() > 1 else 1)
    return network


def averaging(model: nn.Sequential) -> nn.Sequential:
    """Let pools average: the gradient of a maximum reaches only one of the cells it sees."""
    for layer in model:
        for name, step in list(layer.named_children()):
            if isinstance(step, nn.MaxPool2d):
                window = (step.kernel_size, step.stride, step.padding)
                setattr(layer, name, nn.AvgPool2d(*window, ceil_mode=step.ceil_mode))
    return model


def test_a_network_ends_where_its_maps_have_shrunk_to_nothing() -> None:
    def reached(height: int, width: int) -> list[str]:
        return [layer.name for layer, _ in build_on_meta("zfnet").sizes(Size(3, height, width))]

    assert reached(20, 300) == ["conv1", "pool1", "norm1"]
    assert reached(6, 3) == []
    assert reached(224, 190)[-1] == "pool5" and reached(224, 224)[-1] == "fc8"


# What weights decide


def shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in slim(name).tensors().items()}


def test_normalisation_comes_before_or_after_its_pool_as_the_weights_were_trained() -> None:
    def first(order: str) -> list[str]:
        network = slim("alexnet2012", norm=Normalization(order))  # type: ignore[arg-type]
        return [layer.name for layer in network.layers][:6]

    assert first("pool-norm") == ["conv1", "pool1", "norm1", "conv2", "pool2", "norm2"]
    assert first("norm-pool") == ["conv1", "norm1", "pool1", "conv2", "norm2", "pool2"]


def test_a_file_of_convolutional_layers_makes_a_network_that_ends_after_them() -> None:
    shapes = {k: v for k, v in shapes_of("zfnet").items() if k.startswith(("conv1", "conv2"))}
    network = build(architecture("zfnet"), shapes)
    assert [layer.name for layer in network.layers] == [
        *("conv1", "pool1", "norm1", "conv2", "pool2", "norm2")
    ]
    assert (network.last_conv, network.last_fc) == ("conv2", None)
    with refused(UnknownLayer, match=r"it has conv1, pool1, norm1, conv2, pool2, norm2$"):
        network.layer("fc6")


def test_widths_and_classes_come_from_the_tensors() -> None:
    shapes = shapes_of("alexnet") | {"fc8.weight": (3, 12), "fc8.bias": (3,)}
    described = build(architecture("alexnet"), shapes).describe()
    assert described[-1].shape == (3, 1, 1)
    assert described[0].shape == (6, 55, 55)


def test_another_input_size_makes_another_head() -> None:
    shapes = shapes_of("alexnet2012")
    shapes["fc6.weight"] = (12, 3 * 3 * shapes["conv5.weight"][0])
    network = build(architecture("alexnet2012"), shapes, preprocessing=Preprocessing(size=131))
    assert network.input_size == (3, 131, 131)
    assert record(network, noise(network, 131, 131)).scores is not None


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"conv3.weight": (12, 5, 3, 3)}, "conv3.weight is 12 x 5 x 3 x 3, which does not fit"),
        ({"conv1.weight": (6, 3, 11, 11)}, "conv1.weight is 6 x 3 x 11 x 11"),
        ({"conv1.weight": (6, 3, 7)}, "conv1.weight is 6 x 3 x 7"),
        ({"conv2.weight": (0, 6, 5, 5)}, "conv2.weight is 0 x 6 x 5 x 5"),
        ({"fc6.weight": (12, 400)}, "fc6.weight is 12 x 400"),
        ({"fc8.weight": (12, 13)}, "fc8.weight is 12 x 13"),
    ],
)
def test_tensors_that_make_no_chain_are_refused(
    changed: dict[str, tuple[int, ...]], sentence: str
) -> None:
    with refused(WeightsInvalid, match=sentence):
        build(architecture("zfnet"), shapes_of("zfnet") | changed)


def test_a_file_with_a_gap_is_refused() -> None:
    shapes = shapes_of("zfnet")
    del shapes["conv3.weight"]
    with refused(WeightsInvalid, match="the file holds conv4 but not conv3 before it"):
        build(architecture("zfnet"), shapes)
    with refused(WeightsInvalid, match="none of the convolutional layers"):
        build(architecture("zfnet"), {})


def test_an_unknown_network_is_answered_with_those_that_there_are() -> None:
    with refused(UnknownNetwork, match=r"no network 'resnet'; there are lenet5, alexnet, "):
        architecture("resnet")


def test_a_record_of_vgg16_holds_switches_and_signs_in_a_few_megabytes() -> None:
    names = [key for key in build_on_meta("vgg16").tensors() if key.startswith("conv")]
    shapes = {key: build_on_meta("vgg16").tensors()[key].shape for key in names}
    network = build(architecture("vgg16"), shapes).requires_grad_(requires_grad=False)
    seen = record(network, noise(network, 224, 224))
    assert seen.nbytes - seen.pixels.nbytes < 4e6


@pytest.mark.parametrize("name", ["lenet5", "zfnet", "vgg11_bn"])
def test_forward_and_record_agree_on_every_layer(name: str) -> None:
    network = slim(name)
    pixels = noise(network, *network.input_size[1:])
    last = network.layers[-1].name
    seen = record(network, pixels, keep=(last,))
    torch.testing.assert_close(network(pixels), seen.kept[last], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("inputs", "side"), [(8 * 49, 7), (8 * 16, 4), (8, 1)])
def test_a_head_may_be_made_for_fewer_averages_than_the_paper_s(inputs: int, side: int) -> None:
    shapes = {"conv1_1.weight": (8, 3, 3, 3), "fc8.weight": (5, inputs)}
    rows = [row for row in architecture("vgg11").rows if row.name in {"conv1_1", "pool1", "fc8"}]
    network = build(replace(architecture("vgg11"), rows=tuple(rows)), shapes)
    assert network(torch.rand(1, 3, 224, 224)).shape == (1, 5, 1, 1)
    pools = [step.side for step in network.modules() if isinstance(step, AdaptiveAveragePool)]
    assert pools == [side]


def test_a_head_of_another_shape_is_refused() -> None:
    shapes = {"conv1_1.weight": (8, 3, 3, 3), "fc8.weight": (5, 8 * 15)}
    rows = [row for row in architecture("vgg11").rows if row.name in {"conv1_1", "pool1", "fc8"}]
    with refused(WeightsInvalid, match="fc8.weight is 5 x 120, which does not fit"):
        build(replace(architecture("vgg11"), rows=tuple(rows)), shapes)
