"""Latents cached on disk: encode a world once with the frozen VAE, train on it many times.

Stands on `vae` and `worlds`; `objectives` reads batches from here. A shard is one safetensors file with the
posterior means of a few hundred clips of one size, and their facts as JSON, from which captions are written
anew, with other words, whenever a clip is drawn. Finished shards are kept, so a build that was interrupted
goes on where it stopped.

Means, not draws: under a strong KL term much of a draw is noise of the posterior, which the transformer would
be asked for and cannot know. The decoder was trained on draws and forgives errors that small.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from minisora.checkpoint import load_weights, save_weights
from minisora.config import ClipSize, MixEntry
from minisora.vae import VideoVAE
from minisora.worlds import MovingMNIST, Scene, WorldConfig, caption
from minisora.worlds.captions import Level

SHARD = 500  # clips in a file

Writer = Callable[[Scene, Level, np.random.Generator], str]
"""(scene, level of detail, randomness) -> a caption to train with."""


def fingerprint(vae: VideoVAE) -> str:
    """Twelve hex digits that change whenever the VAE's weights change, to tell stale latents."""
    digest = hashlib.sha256()
    for name, value in sorted(vae.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def world_seed(seed: int, size: ClipSize) -> int:
    """Seed of the world whose clips of one size are cached: no two sizes share one."""
    return ((seed * 1000 + size.frames) * 1000 + size.height) * 1000 + size.width


@torch.no_grad()
def build_latents(
    vae: VideoVAE,
    mix: Sequence[MixEntry],
    clips: int,
    folder: Path,
    seed: int,
    batch: int = 10,
    **world: Any,
) -> Iterator[int]:
    """Encode `clips` clips of the world, divided among sizes as `mix` says, into shards in `folder`.

    Args:
        vae: frozen, with its latent statistics set.
        mix: sizes and their shares of the clips.
        clips: clips in all sizes together; each size gets whole shards.
        folder: where shards go.
        seed: of the worlds; each size has one of its own, whatever else is in the mix.
        batch: clips encoded at once.
        world: what else is set in its `WorldConfig`.

    Yields:
        the number of clips done, after every batch.

    Raises:
        ValueError: if `folder` holds latents of another VAE.
    """
    key, done = fingerprint(vae), 0
    total = sum(entry.share for entry in mix)
    device = vae.latent_mean.device
    for entry in mix:
        size = entry.size
        config = WorldConfig(frames=size.frames, height=size.height, width=size.width, **world)
        clips_of_size = MovingMNIST(config, seed=world_seed(seed, size))
        for shard in range(max(1, round(clips * entry.share / total / SHARD))):
            path = folder / f"{size}-{shard:03d}.safetensors"
            if path.exists():
                check_fingerprint(path, key)
                done += SHARD
                continue
            parts, scenes = [], []
            end = (shard + 1) * SHARD
            for first in range(end - SHARD, end, batch):
                drawn = [clips_of_size[i] for i in range(first, min(first + batch, end))]
                videos = torch.stack([clip.video for clip in drawn]).to(device)
                parts.append(vae.encode(videos).half().cpu())
                scenes += [clip.facts.to_dict() for clip in drawn]
                done += len(drawn)
                yield done
            save_weights(path, {"latents": torch.cat(parts)}, {"vae": key, "scenes": scenes})


def check_fingerprint(path: Path, key: str) -> None:
    """Raise ValueError unless the shard at `path` was encoded by the VAE with fingerprint `key`."""
    from minisora.checkpoint import read_config

    theirs = read_config(path)["vae"]
    if theirs != key:
        raise ValueError(
            f"{path} was encoded by another VAE ({theirs}, this one is {key}); use another folder or delete it."
        )


@dataclass
class LatentGroup:
    """All cached clips of one size: latents (N, Z, t, h, w) as fp16, and the facts of each."""

    latents: Tensor
    scenes: list[Scene]

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, list[Scene]]:
        """`count` random clips: ((count, Z, t, h, w) float32, the facts of each)."""
        picks = torch.randint(len(self.scenes), (count,), generator=generator)
        return self.latents[picks].float(), [self.scenes[i] for i in picks.tolist()]

    def first(self, count: int) -> LatentGroup:
        """Its first `count` clips, which share its memory."""
        return LatentGroup(self.latents[:count], self.scenes[:count])


class Group(Protocol):
    """Clips of one size."""

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, list[Scene]]:
        """`count` random clips: what is learned from, (count, C, t, h, w), and the facts of each."""

    def first(self, count: int) -> Self:
        """Its first `count` clips alone."""


G = TypeVar("G", bound=Group)


class MixedDataset(Generic[G]):
    """Clips of a mix of sizes; every batch holds all sizes in their shares.

    Args:
        groups: the clips of each size.
        mix: sizes and their shares of a batch.
        write: writes the captions; by default the world does, true and in new words each time.
    """

    def __init__(
        self, groups: dict[ClipSize, G], mix: Sequence[MixEntry], write: Writer | None = None
    ) -> None:
        self.groups, self.write = groups, write
        self.shares = [entry.share / sum(e.share for e in mix) for entry in mix]

    def counts(self, batch: int, generator: torch.Generator) -> list[int]:
        """How many of `batch` clips have each size: the shares, rounded at random, in sum `batch`."""
        cuts = torch.tensor(self.shares, dtype=torch.float64).cumsum(0) * batch
        offset = torch.rand((), generator=generator, dtype=torch.float64)
        edges = torch.floor(cuts + offset).long()
        edges[-1] = batch
        return torch.diff(edges, prepend=torch.zeros(1, dtype=torch.long)).tolist()

    def batch(
        self, batch: int, generator: torch.Generator, detailed: float = 0.65, dropped: float = 0.10
    ) -> tuple[list[Tensor], list[str]]:
        """A batch of clips of mixed sizes with captions.

        Args:
            batch: clips.
            detailed: share of detailed captions; the rest are short.
            dropped: share of captions left empty, which trains the unconditional model for guidance.

        Returns:
            clips, a list of (C, t, h, w), and as many captions.
        """
        clips: list[Tensor] = []
        texts: list[str] = []
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        write = self.write or caption
        for group, count in zip(self.groups.values(), self.counts(batch, generator), strict=True):
            z, scenes = group.draw(count, generator)
            clips += list(z)
            for scene in scenes:
                level: Level = "detailed" if rng.random() < detailed else "short"
                texts.append("" if rng.random() < dropped else write(scene, level, rng))
        return clips, texts


class LatentDataset(MixedDataset[LatentGroup]):
    """Cached latents (Z, t, h, w) of a mix of sizes.

    Args:
        folder: shards written by `build_latents`.
        mix, write: see `MixedDataset`.

    Raises:
        FileNotFoundError: if a size of the mix has no shard.
    """

    def __init__(self, folder: Path, mix: Sequence[MixEntry], write: Writer | None = None) -> None:
        groups: dict[ClipSize, LatentGroup] = {}
        for entry in mix:
            paths = sorted(folder.glob(f"{entry.size}-*.safetensors"))
            if not paths:
                raise FileNotFoundError(
                    f"No latents of size {entry.size} in {folder}; build them first."
                )
            groups[entry.size] = read_group(paths)
        super().__init__(groups, mix, write)


def read_group(paths: list[Path]) -> LatentGroup:
    """Join the shards of one size; their numbers stay fp16 in memory."""
    parts, scenes = [], []
    for path in paths:
        tensors, config = load_weights(path, dtype=None)
        parts.append(tensors["latents"])
        scenes += [Scene.from_dict(facts) for facts in config["scenes"]]
    return LatentGroup(torch.cat(parts), scenes)
