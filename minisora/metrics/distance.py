"""How far a set of clips is from another, in the features of a judge: MMD, Frechet distance, coverage.

A sample has no right answer, so sets are compared: are the clips as real ones are (distance, precision), and
are all kinds of real ones among them (recall, coverage)? Every figure comes with a bootstrap interval, since
with few clips distances are mostly noise.

Shapes: features (N, D), one row a clip, float. Sources: kernel distance, Binkowski et al. 1801.01401, of videos
as in Unterthiner et al. 1812.01717; Frechet distance, Heusel et al. 1706.08500; precision and recall,
Kynkaanniemi et al. 1904.06991; coverage, Naeem et al. 2002.09797.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Weighted = Callable[[Tensor, Tensor], float]
"""(weights (N,), weights (M,)) -> the figure, with row i of a set counted weights[i] times."""


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def polynomial_kernel(x: Tensor, y: Tensor) -> Tensor:
    """`(x . y / D + 1)^3` for all pairs of rows: (N, D), (M, D) -> (N, M) (1801.01401, eq. 4)."""
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def kernel_distance(x: Tensor, y: Tensor, draws: int = 200, seed: int = 0) -> Interval:
    """Squared maximum mean discrepancy under the cubic kernel, unbiased: 0 on average for sets of one kind.

    `mean k(x, x') - 2 mean k(x, y) + mean k(y, y')` over pairs of different clips (1801.01401, eq. 4); it can be
    negative.

    Args:
        x: (N, D) features of one set, N >= 2.
        y: (M, D) of the other.
        draws: bootstrap draws, of clips of both sets with replacement; 0 gives no interval.
        seed: of the bootstrap.
    """
    x, y = check_features(x, y)
    xx, yy, xy = polynomial_kernel(x, x), polynomial_kernel(y, y), polynomial_kernel(x, y)
    xx.fill_diagonal_(0.0)
    yy.fill_diagonal_(0.0)  # copies of a clip in a bootstrap draw are no pair either

    def figure(a: Tensor, b: Tensor) -> float:
        within_x = a @ xx @ a / (a.sum() ** 2 - a.square().sum())
        within_y = b @ yy @ b / (b.sum() ** 2 - b.square().sum())
        return float(within_x + within_y - 2 * (a @ xy @ b) / (a.sum() * b.sum()))

    return bootstrap(figure, len(x), len(y), draws, seed)


def frechet_distance(x: Tensor, y: Tensor, draws: int = 50, seed: int = 0) -> Interval:
    """`|mu_x - mu_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2))` of two sets, taken as Gaussians (1706.08500, eq. 6).

    Biased upwards for small sets: compare only figures of equally many clips. The interval inherits that bias
    once more and is shifted back to stand around the figure.

    Args:
        x, y, draws, seed: see `kernel_distance`; N and M should be well above D.
    """
    x, y = check_features(x, y)

    def figure(a: Tensor, b: Tensor) -> float:
        (mean_x, cov_x), (mean_y, cov_y) = moments(x, a), moments(y, b)
        root = matrix_sqrt(cov_x)
        cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
        return float((mean_x - mean_y).square().sum() + cov_x.trace() + cov_y.trace() - 2 * cross)

    return bootstrap(figure, len(x), len(y), draws, seed, centred=True)


def moments(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean (D,) and unbiased covariance (D, D) of rows (N, D)."""
    total = weights.sum()
    mean = weights @ x / total
    centred = x - mean
    return mean, (centred * weights[:, None]).T @ centred / (total - 1)


def matrix_sqrt(matrix: Tensor) -> Tensor:
    """Square root of a symmetric positive semi-definite matrix (D, D)."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def bootstrap(
    figure: Weighted, n: int, m: int, draws: int, seed: int, centred: bool = False
) -> Interval:
    """The figure of the whole sets, with the 2.5 and 97.5 percentiles over sets drawn with replacement.

    Args:
        figure: of weighted sets.
        n, m: clips in the two sets.
        draws: 0 gives an empty interval, low = high = value.
        seed: of the draws.
        centred: move the interval so that its median stands at the figure; for biased figures.
    """
    value = figure(torch.ones(n, dtype=torch.float64), torch.ones(m, dtype=torch.float64))
    if not draws:
        return Interval(value, value, value)
    generator = torch.Generator().manual_seed(seed)

    def weights(count: int) -> Tensor:
        picks = torch.randint(count, (count,), generator=generator)
        return torch.bincount(picks, minlength=count).double()

    found = torch.tensor([figure(weights(n), weights(m)) for _ in range(draws)])
    low, middle, high = torch.quantile(found, torch.tensor([0.025, 0.5, 0.975])).tolist()
    shift = value - middle if centred else 0.0
    return Interval(value, low + shift, high + shift)


@dataclass(frozen=True)
class Overlap:
    """How two sets of clips cover each other, shares in [0, 1].

    Attributes:
        precision: samples that lie among the real ones.
        recall: real clips that lie among the samples.
        coverage: real clips with a sample closer than their own k-th real neighbour.
    """

    precision: float
    recall: float
    coverage: float


def overlap(samples: Tensor, real: Tensor, k: int = 5) -> Overlap:
    """Precision, recall and coverage from balls around each clip that reach to its k-th neighbour.

    Args:
        samples: (N, D) features of generated clips, N > k.
        real: (M, D) of real ones, M > k.
        k: neighbours.
    """
    samples, real = check_features(samples, real)
    if min(len(samples), len(real)) <= k:
        raise ValueError(f"Sets of {len(samples)} and {len(real)} clips; give more than k = {k}.")
    between = torch.cdist(samples, real)  # (N, M)
    real_radius, sample_radius = neighbour_distance(real, k), neighbour_distance(samples, k)
    inside = between <= real_radius
    return Overlap(
        precision=inside.any(dim=1).double().mean().item(),
        recall=(between <= sample_radius[:, None]).any(dim=0).double().mean().item(),
        coverage=inside.any(dim=0).double().mean().item(),
    )


def neighbour_distance(x: Tensor, k: int) -> Tensor:
    """Distance of each row (N, D) to its k-th nearest other row, (N,)."""
    return torch.cdist(x, x).kthvalue(k + 1, dim=1).values  # the nearest of all is the row itself


def memorisation(samples: Tensor, train: Tensor, test: Tensor) -> float:
    """Share of samples that lie closer to a training clip than to any test clip; 0.5 if nothing is copied.

    Args:
        samples: (N, D) features.
        train: (M, D) of clips the generator was trained on.
        test: (M, D) of as many clips it never saw, drawn from the same world.

    Raises:
        ValueError: if train and test differ in number: the larger set would be nearer by chance.
    """
    if len(train) != len(test):
        raise ValueError(f"{len(train)} training and {len(test)} test clips; give equally many.")
    nearest = [torch.cdist(samples, known).amin(dim=1) for known in (train, test)]
    return ((nearest[0] < nearest[1]).double() + 0.5 * (nearest[0] == nearest[1])).mean().item()


def check_features(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets in float64, if they are two sets of at least 2 rows of one width.

    Raises:
        ValueError: otherwise.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            f"Features of shapes {tuple(x.shape)} and {tuple(y.shape)}; give (N, D) and (M, D) of at least 2 clips."
        )
    return x.double(), y.double()
