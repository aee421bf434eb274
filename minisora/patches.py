"""Latents to tokens and back, and clips of any size packed into one sequence without padding.

Where it stands: `worlds -> video -> vae -> [patches] -> text -> dit -> flow -> sample`.

A latent is cut into patches, each patch becomes a token with coordinates (t, h, w), and clips of
different size and length are laid end to end in one sequence (Sora's report, "spacetime patches";
NaViT, Dehghani et al. 2023, arXiv 2307.06304). Clips of equal shape stand together in a `Group`, so
that each group of the packed sequence is a dense tensor by `view`: no padding, no copy.

    packed sequence  [ clip 0: text | video ][ clip 1: text | video ] ...       L tokens
    rows             [ clip 0: text, frame 0, frame 1, ... ][ clip 1: ... ]     R = clips + F rows

A *row* is what conditions tokens: one for each latent frame, and one for the text of each clip.

Legend: B or n clips, Z latent channels, t h w latent grid, L packed tokens, Lv video tokens among
them, Lt text tokens among them, F latent frames packed over clips, P patch dimension, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, wraps

import torch
from torch import Tensor

Grid = tuple[int, int, int]


def patchify(z: Tensor, patch: Grid) -> Tensor:
    """Cut latents into patches.

    Args:
        z: (B, Z, t, h, w) latents; each of t, h, w a multiple of its patch side.
        patch: (pt, ph, pw) sides of a patch.

    Returns:
        (B, Lv, P) tokens with P = Z * pt * ph * pw, ordered by t, then h, then w.

    Raises:
        ValueError: the latent does not divide into whole patches.
    """
    B, Z, *_ = z.shape
    t, h, w = token_grid(z.shape[2:], patch)
    pt, ph, pw = patch
    z = z.reshape(B, Z, t, pt, h, ph, w, pw)  # (B, Z, t, pt, h, ph, w, pw)
    return z.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(B, t * h * w, Z * pt * ph * pw)  # (B, Lv, P)


def unpatchify(tokens: Tensor, grid: Grid, patch: Grid, channels: int) -> Tensor:
    """Undo `patchify`: (B, Lv, P) tokens -> (B, Z, t * pt, h * ph, w * pw) latents.

    Args:
        tokens: (B, Lv, P) with P = Z * pt * ph * pw.
        grid: (t, h, w) in tokens.
        patch: (pt, ph, pw) sides of a patch.
        channels: Z.
    """
    B, (t, h, w), (pt, ph, pw) = tokens.shape[0], grid, patch
    z = tokens.reshape(B, t, h, w, channels, pt, ph, pw)  # (B, t, h, w, Z, pt, ph, pw)
    return z.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(B, channels, t * pt, h * ph, w * pw)


def token_grid(size: Sequence[int], patch: Grid) -> Grid:
    """The grid (t, h, w) in tokens of a latent of `size` (t, h, w).

    Raises:
        ValueError: the latent does not divide into whole patches.
    """
    if any(side < 1 or side % p for side, p in zip(size, patch, strict=True)):
        raise ValueError(
            f"A latent of t, h, w = {tuple(size)} does not divide into patches of {tuple(patch)}; "
            "choose a video size whose latent sides are multiples of the patch."
        )
    t, h, w = (side // p for side, p in zip(size, patch, strict=True))
    return t, h, w


def coordinates(grid: Grid) -> Tensor:
    """(Lv, 3) int64 coordinates (t, h, w) of the tokens of one clip, in `patchify`'s order."""
    return torch.cartesian_prod(*(torch.arange(side) for side in grid)).reshape(-1, 3)


@dataclass(frozen=True)
class Group:
    """Clips of one shape that stand together in a packed sequence.

    Args:
        count: n, number of clips.
        grid: (t, h, w) of the video in tokens.
        text_len: text tokens a clip, at least 1 (an empty prompt is all registers).
    """

    count: int
    grid: Grid
    text_len: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", tuple(self.grid))
        if min(self.count, self.text_len, *self.grid) < 1 or len(self.grid) != 3:
            raise ValueError(
                f"A group needs count, text_len and grid sides of at least 1, got {self}."
            )

    @property
    def video_len(self) -> int:
        """Video tokens a clip."""
        t, h, w = self.grid
        return t * h * w

    @property
    def clip_len(self) -> int:
        """Text and video tokens a clip."""
        return self.text_len + self.video_len


@dataclass(frozen=True)
class Layout:
    """A packed sequence: which groups follow each other. Hashable, holds no tensor.

    Tensors that follow from it are cached functions: `ops.row_of_token`, `rope.positions`.
    """

    groups: tuple[Group, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", tuple(self.groups))
        if not self.groups:
            raise ValueError("A layout needs at least one group of clips, got none.")

    @cached_property
    def num_clips(self) -> int:
        """Clips over all groups."""
        return sum(g.count for g in self.groups)

    @cached_property
    def num_frames(self) -> int:
        """F: latent frames (in tokens) over all clips."""
        return sum(g.count * g.grid[0] for g in self.groups)

    @property
    def num_rows(self) -> int:
        """R: one conditioning row for each frame and one for each clip's text."""
        return self.num_clips + self.num_frames

    @cached_property
    def num_text(self) -> int:
        """Lt: text tokens over all clips."""
        return sum(g.count * g.text_len for g in self.groups)

    @cached_property
    def num_video(self) -> int:
        """Lv: video tokens over all clips."""
        return sum(g.count * g.video_len for g in self.groups)

    @property
    def num_tokens(self) -> int:
        """L: all tokens."""
        return self.num_text + self.num_video

    def _views(self, x: Tensor, length: Callable[[Group], int]) -> list[Tensor]:
        lengths = [length(g) for g in self.groups]
        if len(lengths) == 1:
            return [x.unflatten(0, (self.groups[0].count, lengths[0]))]
        parts = x.split([g.count * n for g, n in zip(self.groups, lengths, strict=True)])
        shaped = zip(parts, self.groups, lengths, strict=True)
        return [part.unflatten(0, (g.count, n)) for part, g, n in shaped]

    def split(self, x: Tensor) -> list[Tensor]:
        """(L, ...) -> a view (n, text_len + video_len, ...) for each group."""
        return self._views(x, lambda g: g.clip_len)

    def split_video(self, x: Tensor) -> list[Tensor]:
        """(Lv, ...) -> a view (n, video_len, ...) for each group."""
        return self._views(x, lambda g: g.video_len)

    def split_text(self, x: Tensor) -> list[Tensor]:
        """(Lt, ...) -> a view (n, text_len, ...) for each group."""
        return self._views(x, lambda g: g.text_len)

    def split_frames(self, x: Tensor) -> list[Tensor]:
        """(F, ...) -> a view (n, t, ...) for each group."""
        return self._views(x, lambda g: g.grid[0])

    def split_rows(self, x: Tensor) -> list[Tensor]:
        """(R, ...) -> a view (n, 1 + t, ...) for each group; the text's row first."""
        return self._views(x, lambda g: 1 + g.grid[0])

    def merge(self, parts: Sequence[Tensor]) -> Tensor:
        """Views (n, m, ...), one for each group -> (sum of n * m, ...)."""
        flat = [part.flatten(0, 1) for part in parts]
        return flat[0] if len(flat) == 1 else torch.cat(flat)

    def join(self, text: Tensor, video: Tensor) -> Tensor:
        """Interleave (Lt, ...) text and (Lv, ...) video tokens into the packed (L, ...)."""
        pairs = zip(self.split_text(text), self.split_video(video), strict=True)
        return self.merge([torch.cat(pair, dim=1) for pair in pairs])

    def video(self, x: Tensor) -> Tensor:
        """Take the (Lv, ...) video tokens out of the packed (L, ...)."""
        views = zip(self.split(x), self.groups, strict=True)
        return self.merge([view[:, g.text_len :] for view, g in views])


def cached_by_layout(function: Callable[[Layout], Tensor]) -> Callable[..., Tensor]:
    """Cache a tensor of a layout on a device; few, as a batch of mixed sizes may never come again."""

    @lru_cache(maxsize=16)
    @wraps(function)
    def cached(layout: Layout, device: torch.device | str = "cpu") -> Tensor:
        # A tensor born in inference mode can never be used in training: the cache outlives it.
        with torch.inference_mode(False), torch.device("cpu"):
            return function(layout).to(device)

    return cached


@dataclass(frozen=True)
class Packed:
    """Clips packed into one sequence, and what undoes it.

    Args:
        tokens: (Lv, P) patches of all clips.
        text_ids: (Lt,) text token ids of all clips.
        layout: how the clips follow each other.
        order: the i-th packed clip is the caller's clip `order[i]`.
        patch: (pt, ph, pw).
        channels: Z.
    """

    tokens: Tensor
    text_ids: Tensor
    layout: Layout
    order: tuple[int, ...]
    patch: Grid
    channels: int

    def frames(self, values: Sequence[Tensor]) -> Tensor:
        """Pack per-frame values: one (t, ...) for each clip in the caller's order -> (F, ...)."""
        return torch.cat([values[i] for i in self.order])


def pack(latents: Sequence[Tensor], texts: Sequence[Tensor], patch: Grid) -> Packed:
    """Pack clips of any sizes with their texts; clips of equal shape are put together.

    Args:
        latents: one (Z, t, h, w) for each clip.
        texts: one (text_len,) int64 for each clip.
        patch: (pt, ph, pw).

    Raises:
        ValueError: no clip, as many texts as clips not given, or a latent not of whole patches.
    """
    if not latents or len(latents) != len(texts):
        raise ValueError(
            f"Got {len(latents)} latents and {len(texts)} texts; give at least one of each, in pairs."
        )
    members: dict[tuple[torch.Size, int], list[int]] = {}
    for i, (latent, text) in enumerate(zip(latents, texts, strict=True)):
        members.setdefault((latent.shape, len(text)), []).append(i)
    packed = pack_groups(
        [torch.stack([latents[i] for i in group]) for group in members.values()],
        [torch.stack([texts[i] for i in group]) for group in members.values()],
        patch,
    )
    order = tuple(i for group in members.values() for i in group)
    return Packed(packed.tokens, packed.text_ids, packed.layout, order, patch, packed.channels)


def pack_groups(latents: Sequence[Tensor], texts: Sequence[Tensor], patch: Grid) -> Packed:
    """Pack clips that come already grouped: the training path.

    Args:
        latents: one (n, Z, t, h, w) for each group.
        texts: one (n, text_len) int64 for each group.
        patch: (pt, ph, pw).
    """
    groups = tuple(
        Group(z.shape[0], token_grid(z.shape[2:], patch), text.shape[1])
        for z, text in zip(latents, texts, strict=True)
    )
    tokens = torch.cat([patchify(z, patch).flatten(0, 1) for z in latents])  # (Lv, P)
    text_ids = torch.cat([text.flatten() for text in texts])  # (Lt,)
    layout = Layout(groups)
    order = tuple(range(layout.num_clips))
    return Packed(tokens, text_ids, layout, order, patch, latents[0].shape[1])


def unpack_groups(tokens: Tensor, packed: Packed) -> list[Tensor]:
    """(Lv, P) tokens -> one (n, Z, t, h, w) for each group, in packed order."""
    views = zip(packed.layout.split_video(tokens), packed.layout.groups, strict=True)
    return [unpatchify(view, g.grid, packed.patch, packed.channels) for view, g in views]


def unpack(tokens: Tensor, packed: Packed) -> list[Tensor]:
    """(Lv, P) tokens -> one (Z, t, h, w) for each clip, in the caller's order."""
    clips = [clip for group in unpack_groups(tokens, packed) for clip in group.unbind()]
    place = dict(zip(packed.order, clips, strict=True))
    return [place[i] for i in range(len(clips))]
