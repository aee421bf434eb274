"""Checkers of notebook 02, the video VAE: KL, causal convolution, streams, latent statistics, tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from minisora.course.exercises import Wrong, exercise


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _same(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two tensors agree to single precision."""
    return ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def _tensor(answer: object, shape: Sequence[int], case: str) -> Tensor:
    """The answer as a tensor of that shape, or `Wrong`."""
    if not isinstance(answer, Tensor):
        raise Wrong(f"{case}: your function returns {type(answer).__name__}, not a tensor.")
    if tuple(answer.shape) != tuple(shape):
        raise Wrong(f"{case}: the result has shape {tuple(answer.shape)}, not {tuple(shape)}.")
    return answer.detach()


@exercise("02.1")
def check_kl(kl: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Against torch.distributions, on several shapes and spreads."""
    for seed, shape in enumerate([(1,), (2, 3), (1, 4, 3, 2, 2), (2, 8, 5, 3, 1)]):
        mean, logvar = 1.5 * _random(*shape, seed=seed), _random(*shape, seed=100 + seed)
        case = f"for tensors of shape {shape}"
        given = _tensor(kl(mean, logvar), (), case)
        cloud = torch.distributions.Normal(mean, (0.5 * logvar).exp())
        each = torch.distributions.kl_divergence(cloud, torch.distributions.Normal(0.0, 1.0))
        if _same(given, each.mean()):
            continue
        if _same(given, each.sum()) or (mean.ndim > 1 and _same(given, each.sum() / len(mean))):
            raise Wrong(f"{case} your value is a sum; the KL is averaged over every number.")
        if _same(given, -each.mean()):
            raise Wrong(f"{case} your value is negative; a KL divergence never is.")
        _say_which_part_of_kl(kl)
        raise Wrong(f"{case} your value is {given:.4f}, and it should be {each.mean():.4f}.")


def _say_which_part_of_kl(kl: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Raise `Wrong` about the mean's or the variance's part alone, whichever is off."""
    zero, ones = torch.zeros(3), torch.ones(3)
    at_zero = float(kl(zero, zero))
    if abs(at_zero) > 1e-5:
        raise Wrong(
            f"for mean 0 and log-variance 0 the cloud is N(0, 1) itself, but yours is {at_zero:.3f}."
        )
    shifted = float(kl(2.0 * ones, zero))
    if abs(shifted - 2.0) > 1e-4:
        raise Wrong(f"a mean of 2 with variance 1 costs 2 nats, and yours says {shifted:.3f}.")
    widened = float(kl(zero, ones))
    wanted = 0.5 * (torch.e - 2.0)
    if abs(widened - wanted) > 1e-4:
        raise Wrong(
            f"a log-variance of 1 with mean 0 costs {wanted:.3f} nats, and yours says {widened:.3f}; "
            "is your argument the log of sigma or of sigma squared?"
        )


@exercise("02.2")
def check_causal_convolution(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Against a loop over frames and taps; what depends on the future is named."""
    for seed, (frames, inputs, outputs) in enumerate([(6, 3, 2), (1, 2, 5), (2, 4, 4), (9, 1, 3)]):
        x, weight = _random(frames, inputs, seed=seed), _random(3, inputs, outputs, seed=50 + seed)
        case = f"for x {tuple(x.shape)} and weight {tuple(weight.shape)}"
        given = _tensor(answer(x, weight), (frames, outputs), case)
        if _same(given, _convolve(x, weight)):
            continue
        changed = x.clone()
        changed[-1] += 1.0
        moved = (answer(changed, weight).detach() - given).abs().amax(dim=1) > 1e-5
        if moved[:-1].any():
            first = int(moved.nonzero()[0])
            raise Wrong(
                f"{case}: output {first} changes when frame {frames - 1} does; it looks ahead."
            )
        if _same(given, _convolve(x, weight, first=0.0)):
            raise Wrong(f"{case}: zeros stand before the first frame, and it should be its copy.")
        if _same(given, _convolve(x, weight.flip(0))):
            raise Wrong(f"{case}: the taps are in reverse; the last one belongs to the present.")
        off = int((given - _convolve(x, weight)).abs().amax(dim=1).argmax())
        raise Wrong(f"{case}: output {off} is not what its three frames give.")


def _convolve(x: Tensor, weight: Tensor, first: float = 1.0) -> Tensor:
    """Frame by frame and tap by tap; `first` scales the copies before the first frame."""
    rows = []
    for s in range(len(x)):
        taps = [
            (x[s - 2 + i] if s - 2 + i >= 0 else first * x[0]) @ weight[i]
            for i in range(len(weight))
        ]
        rows.append(torch.stack(taps).sum(0))
    return torch.stack(rows)


@exercise("02.3")
def check_chunk_lengths(answer: Callable[[int, int, int], list[int]]) -> None:
    """Against a count that gives every latent frame its video frames one by one."""
    for frames, temporal, per_chunk in [
        (17, 4, 2), (1, 4, 3), (5, 4, 1), (33, 4, 9), (33, 4, 4), (9, 2, 3), (7, 1, 3), (12, 1, 4),
    ]:  # fmt: skip
        case = f"for {frames} frames, temporal {temporal} and {per_chunk} latent frames a chunk"
        given = [int(n) for n in answer(frames, temporal, per_chunk)]
        held = [1] + [temporal] * ((frames - 1) // temporal)
        wanted = [sum(held[i : i + per_chunk]) for i in range(0, len(held), per_chunk)]
        if given == wanted:
            continue
        if sum(given) != frames:
            raise Wrong(f"{case} your chunks {given} hold {sum(given)} frames together.")
        if min(given) < 1:
            raise Wrong(f"{case} a chunk of {given} is empty.")
        if (given[0] - 1) % temporal:
            raise Wrong(
                f"{case} the first chunk of {given} is not 1 + {temporal}k frames: the first latent frame "
                "is made of one frame."
            )
        if any(n % temporal for n in given[1:]):
            raise Wrong(
                f"{case} a later chunk of {given} is no whole number of groups of {temporal}."
            )
        counts = [1 + (given[0] - 1) // temporal, *(n // temporal for n in given[1:])]
        raise Wrong(f"{case} your chunks {given} hold {counts} latent frames.")


@exercise("02.4")
def check_latent_statistics(
    answer: Callable[[list[Tensor]], tuple[Tensor, Tensor]],
) -> None:
    """Against plain sums in double precision; clips of very different sizes."""
    for seed, shapes in enumerate(
        [[(5, 4, 4)], [(1, 2, 2), (9, 8, 6)], [(3, 2, 5), (1, 3, 3)] * 3]
    ):
        latents = [
            (3.0 * i + 1.0) * _random(4, *shape, seed=10 * seed + i) + i
            for i, shape in enumerate(shapes)
        ]
        sizes = " and ".join(str(tuple(z.shape)) for z in latents[:2])
        case = f"for latents of shapes {sizes}"
        mean, std = answer([z.clone() for z in latents])
        mean, std = _tensor(mean, (4,), f"{case}, mean"), _tensor(std, (4,), f"{case}, deviation")
        count = sum(z[0].numel() for z in latents)
        wanted = torch.stack([z.double().flatten(1).sum(1) for z in latents]).sum(0) / count
        away = [(z.double().flatten(1) - wanted[:, None]).square().sum(1) for z in latents]
        square = torch.stack(away).sum(0)
        if not torch.allclose(mean.double(), wanted, rtol=1e-3, atol=1e-4):
            apart = torch.stack([z.flatten(1).mean(1) for z in latents]).mean(0)
            if _same(mean.float(), apart):
                raise Wrong(
                    f"{case}: your mean is that of the clips' means; a small clip weighs too much."
                )
            raise Wrong(f"{case}: the mean of channel 0 is {wanted[0]:.3f}, not {mean[0]:.3f}.")
        right = [(square / n).sqrt() for n in (count, count - 1)]
        if not any(torch.allclose(std.double(), s, rtol=1e-3) for s in right):
            if any(torch.allclose(std.double(), s.square(), rtol=1e-3) for s in right):
                raise Wrong(f"{case}: what you return is the variance; its root is asked for.")
            raise Wrong(
                f"{case}: the deviation of channel 0 is {right[0][0]:.3f}, not {std[0]:.3f}."
            )


@exercise("02.5")
def check_join_tiles(answer: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    """Against a loop over positions; also two halves of one picture must give the picture."""
    for seed, (n, m, overlap) in enumerate([(8, 8, 4), (5, 7, 3), (6, 4, 1), (9, 9, 2)]):
        case = f"for tiles of {n} and {m} positions that share {overlap}"
        picture = _random(2, n + m - overlap, seed=seed)
        whole = answer(picture[:, :n].clone(), picture[:, n - overlap :].clone(), overlap)
        if not _same(_tensor(whole, picture.shape, case), picture):
            raise Wrong(
                f"{case}: two pieces of one picture do not give it back; do weights sum to 1?"
            )
        left, right = torch.zeros(1, n), torch.ones(1, m)
        given = _tensor(answer(left, right, overlap), (1, n + m - overlap), case)[0]
        wanted = torch.zeros(n + m - overlap)
        for position in range(n + m - overlap):
            inside = position - (n - overlap)
            wanted[position] = min(1.0, max(0.0, (inside + 0.5) / overlap))
        if _same(given, wanted):
            continue
        shared = slice(n - overlap, n)
        if _same(given[shared], 1.0 - wanted[shared]) and overlap > 1:
            raise Wrong(f"{case}: the right tile fades out where it should fade in.")
        shown = ", ".join(f"{w:.3f}" for w in given[shared].tolist())
        raise Wrong(
            f"{case}: where they overlap the right tile weighs {shown}; position i of n should weigh "
            "(i + 1/2) / n."
        )
