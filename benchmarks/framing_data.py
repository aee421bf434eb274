"""What `framing.py` trains on: latents of wide, tall and square clips, whole or cut to their center squares.

Clips are short and of one digit on a plain background, with short captions: what a small model learns in minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from minisora.checkpoint import save_weights
from minisora.config import ClipSize, MixEntry
from minisora.latents import LatentDataset, check_fingerprint, fingerprint, read_group, world_seed
from minisora.model import MiniSora
from minisora.patches import token_grid
from minisora.presets import mixture
from minisora.vae import VideoVAE
from minisora.worlds import MovingMNIST, Scene, WorldConfig, caption
from minisora.worlds.backgrounds import BACKGROUNDS
from minisora.worlds.captions import Level
from minisora.worlds.digits import Split

Mode = Literal["native", "square"]
MODES: tuple[Mode, ...] = ("native", "square")
MIX = mixture((5, 48, 128, 0.4), (5, 128, 48, 0.4), (5, 80, 80, 0.2))
WORLD = 120  # seed


def world_of(size: ClipSize, split: Split, seed: int) -> MovingMNIST:
    """Clips of one size with one digit on a plain background."""
    return MovingMNIST(
        WorldConfig(
            size.frames,
            size.height,
            size.width,
            max_digits=1,
            split=split,
            backgrounds=tuple(name for name in BACKGROUNDS if " " not in name),
        ),
        seed,
    )


def write_short(scene: Scene, level: Level, rng: np.random.Generator) -> str:
    """A short caption, whatever level is asked for."""
    return caption(scene, "short", rng)


def center_square(video: Tensor) -> Tensor:
    """The square in the middle of a video (3, T, H, W): (3, T, s, s)."""
    height, width = video.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return video[:, :, top : top + side, left : left + side]


def build(vae: VideoVAE, mode: Mode, clips: int, work: Path, per_shard: int = 200) -> Iterator[int]:
    """Encode the world's clips, or their center squares; shards that are there stay. Yields clips done."""
    key, done = fingerprint(vae), 0
    for entry in MIX:
        size, count = entry.size, max(1, round(clips * entry.share))
        world = world_of(size, "train", world_seed(WORLD, size))
        for first in range(0, count, per_shard):
            numbers = range(first, min(first + per_shard, count))
            path = work / mode / f"{size}-{first:06d}.safetensors"
            done += len(numbers)
            if path.exists():
                check_fingerprint(path, key)
                continue
            drawn = [world[i] for i in numbers]
            videos = [
                clip.video if mode == "native" else center_square(clip.video) for clip in drawn
            ]
            with torch.no_grad():
                latents = [
                    vae.encode(torch.stack(videos[i : i + 10])) for i in range(0, len(videos), 10)
                ]
            scenes = [clip.facts.to_dict() for clip in drawn]
            save_weights(
                path, {"latents": torch.cat(latents).half()}, {"vae": key, "scenes": scenes}
            )
            yield done


def token_count(model: MiniSora, size: ClipSize, mode: Mode) -> int:
    """Video tokens of a training clip."""
    height, width = size.height, size.width
    if mode == "square":
        height = width = min(height, width)
    shape = model.config.vae.latent_shape(size.frames, height, width)
    return int(np.prod(token_grid(shape[1:], model.config.dit.patch)))


class FramingLatents(LatentDataset):
    """Latents of one mode. Every size has the same share of the tokens as in the native mix."""

    write = staticmethod(write_short)

    def __init__(self, model: MiniSora, mode: Mode, work: Path) -> None:
        folder = work / mode
        self.groups = {
            e.size: read_group(sorted(folder.glob(f"{e.size}-*.safetensors"))) for e in MIX
        }
        clips = [clips_for(model, entry, mode) for entry in MIX]
        self.clips_per_native = sum(clips)
        self.shares = [n / sum(clips) for n in clips]


def clips_for(model: MiniSora, entry: MixEntry, mode: Mode) -> float:
    """Clips of an entry for each native clip of the mix, so that its tokens are those of the native ones."""
    return (
        entry.share
        * token_count(model, entry.size, "native")
        / token_count(model, entry.size, mode)
    )
