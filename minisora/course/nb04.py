"""Checkers of notebook 04, the diffusion transformer: each holds an answer against another way to compute it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisora.course.exercises import Wrong, exercise
from minisora.dit import DiT, DiTConfig
from minisora.ops import row_of_token
from minisora.patches import Grid, Group, Layout
from minisora.text import Tokenizer

PackedAttention = Callable[[Tensor, Tensor, Tensor, list[int]], Tensor]
RowOfToken = Callable[[list[tuple[int, Grid]]], Tensor]


@exercise("04.1")
def packed_attention(answer: PackedAttention) -> None:
    """Against SDPA under a block-diagonal mask, with lengths even and odd, and one clip alone."""
    generator = torch.Generator().manual_seed(1)
    for lengths, d in (([5], 8), ([4, 4], 16), ([1, 6, 3], 10), ([7, 2, 5, 9], 32)):
        q, k, v = torch.randn(3, sum(lengths), d, generator=generator)
        given = answer(q.clone(), k.clone(), v.clone(), list(lengths))
        _expect_shape(given, tuple(q.shape), f"lengths {lengths} and d = {d}")
        clip = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
        mask = clip[:, None] == clip
        right = F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask)[0]
        if torch.allclose(given, right, atol=1e-5):
            continue
        _explain_attention(given, (q, k, v), lengths)
        token = int((given - right).abs().amax(dim=1).argmax())
        raise Wrong(
            f"for lengths {lengths} the output of token {token}, in clip {int(clip[token])}, is wrong."
        )


def _explain_attention(
    given: Tensor, qkv: tuple[Tensor, Tensor, Tensor], lengths: list[int]
) -> None:
    """Raise the message of a common mistake, if it is one."""
    q, k, v = qkv
    if len(lengths) == 1:
        raise Wrong(
            f"with a single clip of {lengths[0]} tokens the output is not plain attention; "
            "look at the scaling and at the axis of the softmax."
        )
    everywhere = F.scaled_dot_product_attention(q[None], k[None], v[None])[0]
    if torch.allclose(given, everywhere, atol=1e-4):
        raise Wrong(f"for lengths {lengths} the tokens of a clip still look into the other clips.")


@exercise("04.2")
def rows(answer: RowOfToken) -> None:
    """Against the package's index on clips of many grids."""
    cases: list[list[tuple[int, Grid]]] = [
        [(2, (1, 1, 1))],
        [(3, (3, 1, 2))],
        [(8, (2, 3, 2)), (8, (2, 3, 2))],
        [(1, (4, 2, 3)), (5, (1, 2, 2)), (2, (2, 1, 5))],
    ]
    for clips in cases:
        given = answer([(text_len, grid) for text_len, grid in clips])
        right = row_of_token(Layout(tuple(Group(1, grid, n) for n, grid in clips)))
        _expect_shape(given, tuple(right.shape), f"clips {clips}")
        if given.is_floating_point() or given.dtype == torch.bool:
            raise Wrong(f"an index is a whole number; yours are of {given.dtype}.")
        wrong = (given.long() != right).nonzero()
        if len(wrong):
            token = int(wrong[0])
            raise Wrong(
                f"for clips {clips} token {token} stands in row {int(given[token])} of yours; "
                f"{_place(clips, token)}."
            )


def _place(clips: list[tuple[int, Grid]], token: int) -> str:
    """What a token of a packed sequence is, in words."""
    for clip, (text_len, (t, h, w)) in enumerate(clips):
        if token < text_len:
            return f"it is text of clip {clip}"
        token -= text_len
        if token < t * h * w:
            return f"it is patch {token % (h * w)} of frame {token // (h * w)} of clip {clip}"
        token -= t * h * w
    raise IndexError(token)


@exercise("04.3")
def saved_parameters(answer: Callable[[int, int], int]) -> None:
    """Against networks built on the meta device."""
    for depth, width in ((1, 64), (2, 64), (6, 192), (13, 96), (28, 1152)):
        with torch.device("meta"):
            dit = DiT(DiTConfig(depth=depth, width=width, num_heads=width // 32))
            own = nn.Linear(width, 6 * width)
        shared = _count(dit.modulation) + sum(block.bias.numel() for block in dit.blocks)  # type: ignore
        right = depth * _count(own) - shared
        given = answer(depth, width)
        if given == right:
            continue
        if depth == 1:
            raise Wrong(
                f"with 1 block of width {width} you give {given}; but then nothing is shared, and "
                "the table of six vectors is the only difference: the number is negative."
            )
        side = "too many" if given > right else "too few"
        raise Wrong(f"for {depth} blocks of width {width} you give {given}: {side}.")


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@exercise("04.4")
def crossover(answer: Callable[[int, int], float]) -> None:
    """The costs at the answer's L, counted product by product, must be equal."""
    for width, hidden in ((64, 128), (192, 384), (1152, 3072), (320, 544)):
        tokens = float(answer(width, hidden))
        if not tokens > 0 or not math.isfinite(tokens):
            raise Wrong(f"for width {width} and hidden size {hidden} you give {tokens} tokens.")
        shapes = [(width, width)] * 4 + [(width, hidden)] * 2 + [(hidden, width)]
        matrices = sum(2 * tokens * rows * columns for rows, columns in shapes)
        scores = values = 2 * tokens * tokens * width
        ratio = (scores + values) / matrices
        if abs(ratio - 1) > 1e-3:
            side = "less" if ratio < 1 else "more"
            raise Wrong(
                f"for width {width} and hidden size {hidden} you give L = {tokens:g}; there "
                f"attention still costs {side} than the matrices, by a factor of {ratio:.3g}."
            )


@exercise("04.5")
def encode(answer: Callable[[str, list[str]], list[int]]) -> None:
    """Against the package's tokenizer: known and unknown words, letters of two bytes, full texts."""
    vocabulary = ["a", "red", "blue", "moving", "up", "down"]
    tokenizer = Tokenizer(vocabulary, multiple=8, max_length=64)
    texts = ["a red", "", "up", "a red a red a red a", "a red a red a red a up", "héron up", "zx"]
    for text in texts:
        given, right = (
            list(map(int, answer(text, list(vocabulary)))),
            tokenizer.encode(text).tolist(),
        )
        if given != right:
            raise Wrong(_first_difference(text, given, right))


def _first_difference(text: str, given: list[int], right: list[int]) -> str:
    """What the first wrong id should have been, in words."""
    for place, (ours, yours) in enumerate(zip(right, given, strict=False)):
        if ours != yours:
            kind = "a register" if ours < 64 else "the end token" if ours == 64 else "a byte"
            kind = "a word of the vocabulary" if ours > 320 else kind
            return f"for {text!r} the id at place {place} is {yours}; there belongs {kind}."
    return f"for {text!r} you give {len(given)} ids, and {len(right)} are right."


def _expect_shape(given: object, shape: tuple[int, ...], case: str) -> None:
    if not isinstance(given, Tensor):
        raise Wrong(f"for {case} you return {type(given).__name__}, not a tensor.")
    if tuple(given.shape) != shape:
        raise Wrong(f"for {case} the shape is {tuple(given.shape)}; it must be {shape}.")
