"""Clips of the world as pixels, drawn when they are needed: what the captioner's eyes learn from.

Stands on `latents`, whose batches it shares, `eyes` and `worlds`. Drawing a clip costs about a millisecond, so
nothing is stored, and a data set may be as large as one likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from minisora.config import MixEntry
from minisora.eyes import tubelets
from minisora.latents import MixedDataset, Writer, world_seed
from minisora.worlds import MovingMNIST, Scene, WorldConfig


@dataclass(frozen=True)
class RenderedGroup:
    """The first `clips` clips of a world, as tubelets of `depth` frames."""

    world: MovingMNIST
    clips: int
    depth: int

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, list[Scene]]:
        """`count` random clips: ((count, 3 depth, t, H, W), the facts of each)."""
        picks = torch.randint(self.clips, (count,), generator=generator).tolist()
        config, drawn = self.world.config, [self.world[i] for i in picks]
        if not drawn:
            t = 1 + (config.frames - 1) // self.depth
            return torch.empty(0, 3 * self.depth, t, config.height, config.width), []
        videos = torch.stack([clip.video for clip in drawn])
        return tubelets(videos, self.depth), [clip.facts for clip in drawn]

    def first(self, count: int) -> RenderedGroup:
        """Its first `count` clips alone."""
        return replace(self, clips=count)


class RenderedDataset(MixedDataset[RenderedGroup]):
    """Tubelets (3 depth, t, H, W) of a mix of sizes.

    Args:
        mix, write: see `MixedDataset`.
        clips: how many there are of each size.
        depth: frames of a tubelet.
        seed: of the worlds; each size has one of its own.
        world: what else is set in its `WorldConfig`.
    """

    def __init__(
        self,
        mix: Sequence[MixEntry],
        clips: int,
        depth: int,
        seed: int,
        write: Writer | None = None,
        **world: Any,
    ) -> None:
        groups = {}
        for entry in mix:
            size = entry.size
            config = WorldConfig(size.frames, size.height, size.width, **world)
            groups[size] = RenderedGroup(MovingMNIST(config, world_seed(seed, size)), clips, depth)
        super().__init__(groups, mix, write)
