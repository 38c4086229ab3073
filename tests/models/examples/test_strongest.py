"""What is strongest does not depend on the order of images, nor on how they are grouped."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.examples.strongest import NOBODY, Strongest, nothing_found, see
from models.networks.network import Network
from models.projection.record import record

K = 3
values = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0])
"""Few of them, so that many are equal."""


def table(values: list[float], first: int) -> Strongest:
    """One map's activations in images numbered from ``first``, each its own table, merged."""
    found = Strongest.nothing(1, K)
    for number, value in enumerate(values, first):
        one = Strongest.nothing(1, K)
        one.activation[0, 0], one.image[0, 0] = value, number
        one.y[0, 0], one.x[0, 0] = number % 5, number % 7
        found = found.merge(one)
    return found


def rows(found: Strongest) -> list[tuple[float, ...]]:
    return list(zip(*(column[0].tolist() for column in found.columns), strict=True))


@given(st.lists(values, max_size=12))
def test_the_strongest_are_what_sorting_all_gives(all_values: list[float]) -> None:
    wanted = sorted((-value, number) for number, value in enumerate(all_values))[:K]
    found = table(all_values, 0)
    kept = [(-value, number) for value, number, *_ in rows(found) if number != NOBODY]
    assert kept == wanted
    assert all((y, x) == (n % 5, n % 7) for _, n, y, x in rows(found) if n != NOBODY)


@given(st.lists(values, max_size=6), st.lists(values, max_size=6), st.lists(values, max_size=6))
def test_merging_is_associative_and_commutes(
    a: list[float], b: list[float], c: list[float]
) -> None:
    one, two, three = table(a, 0), table(b, 10), table(c, 20)
    left, right = one.merge(two).merge(three), one.merge(two.merge(three))
    assert rows(left) == rows(right) == rows(three.merge(one).merge(two))
    assert rows(left.merge(Strongest.nothing(1, K))) == rows(left)


@given(st.lists(values, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_any_grouping_in_any_order_gives_the_same(all_values: list[float], chance: object) -> None:
    singles = [table([value], number) for number, value in enumerate(all_values)]
    chance.shuffle(singles)  # type: ignore[attr-defined]
    assert rows(reduce(Strongest.merge, singles)) == rows(table(all_values, 0))


def test_other_numbers_keep_what_was_found() -> None:
    found = table([1.0, 2.0], 4).renumber({4: 0, 5: 7})
    assert [(value, image) for value, image, *_ in rows(found)] == [
        (2.0, 7),
        (1.0, 0),
        (-np.inf, NOBODY),
    ]


@pytest.mark.parametrize("seed", [*range(10), 750, 779])  # in two, a norm is silent
def test_what_is_seen_is_what_a_record_says(toy: Network, seed: int) -> None:
    pixels = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    layers = [layer.name for layer in toy.layers]
    found, maxima = nothing_found(toy, layers, 2), record(toy, pixels).maxima
    see(toy, pixels, {0: 3, 1: 5, 2: 6, 3: 8}, found)  # the fifth row only fills up the batch
    for layer in layers:
        positive = layer.startswith(("conv", "pool", "norm")) or layer == "fc3"
        for feature in range(len(found[layer].image)):
            there = maxima[layer].rows[:, feature], maxima[layer].columns[:, feature]
            every = [
                (-float(maxima[layer].values[row, feature]), number, *(int(c[row]) for c in there))
                for row, number in enumerate([3, 5, 6, 8])
            ]
            wanted = sorted(each for each in every if not positive or each[0] < 0)[:2]
            kept = rows(found[layer].of(np.array([feature])))
            assert [(-v, n, y, x) for v, n, y, x in kept if n != NOBODY] == wanted


def test_equal_activations_in_a_map_count_where_they_are_first(toy: Network) -> None:
    found = nothing_found(toy, ["conv1"], 1)
    see(toy, torch.zeros(2, 3, 32, 32), {0: 0, 1: 1}, found)
    inner = toy.layers[0](torch.zeros(1, 3, 32, 32))[0]
    for feature, row in enumerate(inner.flatten(1)):
        if row.max() > 0:
            at = int((row == row.max()).nonzero()[0])
            assert (found["conv1"].y[feature, 0], found["conv1"].x[feature, 0]) == divmod(at, 15)
            assert found["conv1"].image[feature, 0] == 0  # the first of two equal photos


def test_a_silent_map_has_no_examples(dead: Network) -> None:
    found = nothing_found(dead, ["conv2"], 2)
    see(dead, torch.rand(2, 3, 32, 32), {0: 0, 1: 1}, found)
    assert not found["conv2"].found[3].any() and found["conv2"].found.any()
