"""Distances between sets of clips, against naive loops, closed forms and scipy."""

from __future__ import annotations

import math

import pytest
import scipy.linalg
import torch
from tiny import generator
from torch import Tensor

from minisora.metrics.distance import (
    frechet_distance,
    kernel_distance,
    memorisation,
    neighbour_distance,
    overlap,
)


def cloud(n: int, d: int = 8, shift: float = 0.0, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=generator(seed), dtype=torch.float64) + shift


def test_kernel_distance_is_the_naive_double_loop() -> None:
    x, y = cloud(7), cloud(9, shift=0.5, seed=1)

    def k(a: Tensor, b: Tensor) -> float:
        return float((a @ b / 8 + 1) ** 3)

    def within(z: Tensor) -> float:
        n = len(z)
        pairs = [k(z[i], z[j]) for i in range(n) for j in range(n) if i != j]
        return sum(pairs) / len(pairs)

    between = sum(k(a, b) for a in x for b in y) / 63
    wanted = within(x) + within(y) - 2 * between
    assert kernel_distance(x, y, draws=0).value == pytest.approx(wanted, rel=1e-9)


def test_kernel_distance_is_unbiased_and_its_interval_covers() -> None:
    found = [
        kernel_distance(cloud(60, seed=s), cloud(60, seed=s + 1000), draws=50) for s in range(60)
    ]
    values = torch.tensor([f.value for f in found])
    assert values.mean().abs() < 3 * values.std() / math.sqrt(len(values))
    covered = sum(f.low <= 0 <= f.high for f in found)
    assert covered >= 0.8 * len(found)


def test_both_distances_grow_with_the_shift() -> None:
    x = cloud(400)
    shifts = (0.0, 0.2, 0.4, 0.8)
    for distance in (kernel_distance, frechet_distance):
        values = [distance(x, cloud(400, shift=s, seed=1), draws=0).value for s in shifts]
        assert values == sorted(values)


def test_frechet_distance_equals_scipys_matrix_root() -> None:
    x, y = (
        cloud(50),
        cloud(60, shift=0.3, seed=1) @ torch.randn(8, 8, generator=generator(2)).double(),
    )
    cx, cy = (torch.cov(z.T).numpy() for z in (x, y))
    root = scipy.linalg.sqrtm(cx @ cy).real
    gap = float((x.mean(0) - y.mean(0)).square().sum())
    wanted = gap + cx.trace() + cy.trace() - 2 * root.trace()
    assert frechet_distance(x, y, draws=0).value == pytest.approx(wanted, rel=1e-6)
    assert frechet_distance(x, x, draws=0).value == pytest.approx(0, abs=1e-6)


def test_the_frechet_interval_stands_around_the_figure() -> None:
    found = frechet_distance(cloud(100), cloud(100, shift=1.0, seed=1), draws=60)
    assert found.low < found.value < found.high


def test_overlap_of_equal_near_and_far_sets() -> None:
    same = overlap(cloud(500), cloud(500, seed=1))
    assert min(same.precision, same.recall) > 0.9 and same.coverage > 0.85
    far = overlap(cloud(200), cloud(200, shift=50, seed=1))
    assert far.precision == far.recall == far.coverage == 0
    collapsed = overlap(cloud(1).expand(200, -1) + 1e-3 * cloud(200, seed=3), cloud(200, seed=1))
    assert collapsed.recall < 0.1 and collapsed.coverage < 0.2


def test_neighbour_distance_is_by_hand() -> None:
    x = torch.tensor([[0.0], [1.0], [3.0], [10.0]])
    assert neighbour_distance(x, 1).tolist() == [1, 1, 2, 7]
    assert neighbour_distance(x, 2).tolist() == [3, 2, 3, 9]


def test_memorisation_tells_copies_from_new_clips() -> None:
    train, test = cloud(300), cloud(300, seed=1)
    assert memorisation(train[:100] + 1e-4, train, test) == 1.0
    assert 0.4 < memorisation(cloud(300, seed=2), train, test) < 0.6
    with pytest.raises(ValueError, match="equally many"):
        memorisation(train, train, test[:10])


@pytest.mark.parametrize("shapes", [((4, 3), (4, 2)), ((1, 3), (4, 3)), ((4, 3, 1), (4, 3))])
def test_what_cannot_be_compared_is_refused(
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    x, y = (torch.zeros(shape) for shape in shapes)
    for distance in (kernel_distance, frechet_distance):
        with pytest.raises(ValueError, match="of at least 2 clips") as error:
            distance(x, y)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="more than k = 5"):
        overlap(cloud(5), cloud(9))
