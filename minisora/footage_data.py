"""Footage on disk, ready to train on: crops of pixels for the VAE, latents for the transformer.

Stands on `footage` and `vae`. Both are cached in shards, safetensors files of a few dozen clips each,
so that a build that was interrupted goes on where it stopped, and training reads no video file. A
shard knows the plan of cuts that it belongs to; under another plan it is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from minisora.checkpoint import load_weights, read_config, save_weights
from minisora.config import ClipSize
from minisora.containers import VideoError
from minisora.footage import Cut, CutConfig, read_cut
from minisora.latents import check_fingerprint, fingerprint
from minisora.tiling import encode_tiled
from minisora.vae import VideoVAE
from minisora.video import VideoClip

SHARD = 32  # clips in a file
POOL = 2048  # crops, about, that the VAE is trained on
MOST_CROPS = 32  # of one clip
TILE = 32  # latent cells: larger frames are encoded tile by tile


def plan_digest(cuts: Sequence[Cut], config: CutConfig) -> str:
    """Twelve hex digits that change with any cut, caption or rate."""
    text = json.dumps([asdict(config), [asdict(cut) for cut in cuts]])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def check_plan(path: Path, plan: str) -> None:
    """Raise ValueError unless the shard at `path` belongs to `plan`."""
    if read_config(path)["plan"] != plan:
        raise ValueError(
            f"{path} belongs to other videos, captions or cuts; use another output folder, or delete it."
        )


def shards(cuts: Sequence[Cut], folder: Path) -> Iterator[tuple[Path, range]]:
    """The file of each shard, and the numbers of its cuts."""
    for number, first in enumerate(range(0, len(cuts), SHARD)):
        path = folder / f"shard-{number:05d}.safetensors"
        yield path, range(first, min(first + SHARD, len(cuts)))


Work = Callable[[int, Tensor], dict[str, Tensor]]
"""(number of a cut, its video (3, T, H, W)) -> named tensors to keep."""


def build_shards(
    footage: Path,
    cuts: Sequence[Cut],
    config: CutConfig,
    out: Path,
    facts: dict[str, str],
    work: Work,
) -> Iterator[int]:
    """Read every cut, keep what `work` makes of it, and yield the number done after each.

    A cut whose file can no longer be read is left out; the shard's config says which, and why.
    """
    plan = plan_digest(cuts, config)
    for path, numbers in shards(cuts, out):
        if path.exists():
            check_plan(path, plan)
            if "vae" in facts:
                check_fingerprint(path, facts["vae"])
            yield numbers.stop
            continue
        tensors: dict[str, Tensor] = {}
        unread: dict[str, str] = {}
        for number in numbers:
            try:
                tensors |= work(number, read_cut(footage, cuts[number], config))
            except VideoError as error:
                unread[str(number)] = str(error)
            yield number + 1
        save_weights(path, tensors, {**facts, "plan": plan, "unread": unread})


# ------------------------------------------------------------------------------------------- crops


def crop_size(cuts: Sequence[Cut], crop: tuple[int, int, int]) -> ClipSize:
    """Frames and pixels of the pool's crops: twice a training crop's sides, where every clip is that large."""
    frames, *sides = crop
    least = (min(c.size.height for c in cuts), min(c.size.width for c in cuts))
    height, width = (min(2 * side, have) for side, have in zip(sides, least, strict=True))
    return ClipSize(frames, height, width)


def build_crops(
    footage: Path, cuts: Sequence[Cut], config: CutConfig, size: ClipSize, out: Path, seed: int = 0
) -> Iterator[int]:
    """Cut random crops of one size from every clip, as bytes; a clip that is too short stands still at its end."""
    each = max(1, min(MOST_CROPS, POOL // len(cuts)))

    shape = (size.frames, size.height, size.width)

    def work(number: int, video: Tensor) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(1_000_003 * seed + number)
        missing = max(0, size.frames - video.shape[1])
        video = torch.cat([video, video[:, -1:].expand(-1, missing, -1, -1)], dim=1)
        places = math.prod(h - w + 1 for h, w in zip(video.shape[1:], shape, strict=True))
        count = min(each, places)  # a clip as small as a crop is one crop, not many copies
        crops = torch.stack([random_crop(video, shape, generator) for _ in range(count)])
        return {f"{number:06d}": (crops * 255).round().byte()}

    return build_shards(footage, cuts, config, out, {"crop": str(size)}, work)


def random_crop(video: Tensor, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """A piece (3, T, H, W) of a video that is at least as large, from anywhere in it."""
    starts = [
        int(torch.randint(have - want + 1, (), generator=generator))
        for have, want in zip(video.shape[1:], shape, strict=True)
    ]
    t, y, x = (slice(start, start + want) for start, want in zip(starts, shape, strict=True))
    return video[:, t, y, x]


class CropPool:
    """Crops of footage by number, 0 and up: each once an epoch, in another order every epoch.

    Args:
        folder: shards of `build_crops`.
        size: of the crops.

    Raises:
        ValueError: if the folder holds no crop, or crops of another size.
    """

    def __init__(self, folder: Path, size: ClipSize, seed: int = 0) -> None:
        self.config, self.seed = size, seed
        parts: list[Tensor] = []
        for path in sorted(folder.glob("shard-*.safetensors")):
            if read_config(path)["crop"] != str(size):
                raise ValueError(
                    f"{path} holds crops of another size; delete it, or use another folder."
                )
            tensors = load_weights(path, dtype=None)[0]
            parts += [tensors[name] for name in sorted(tensors)]  # safetensors keeps no order
        if not parts:
            raise ValueError(f"{folder} holds no crops; no clip of the footage could be read.")
        self.crops = torch.cat(parts)  # N 3 T H W, bytes

    def __len__(self) -> int:
        """Crops of one epoch."""
        return len(self.crops)

    def __getitem__(self, index: int) -> VideoClip:
        epoch, place = divmod(index, len(self.crops))
        number = epoch_order(len(self.crops), self.seed, epoch)[place]
        return VideoClip(self.crops[number].float() / 255)


@lru_cache(maxsize=2)
def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """A random order of `count` things, another one each epoch."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    return torch.randperm(count, generator=generator)


# ----------------------------------------------------------------------------------------- latents


@torch.no_grad()
def encode_frames(vae: VideoVAE, video: Tensor) -> Tensor:
    """Latents (1, Z, t, h, w) of a video (1, 3, T, H, W), tile by tile where its frames are large."""
    if max(video.shape[-2:]) <= TILE * vae.config.spatial:
        return vae.encode(video)
    return encode_tiled(vae, video, TILE, TILE // 4)


def build_footage_latents(
    vae: VideoVAE, footage: Path, cuts: Sequence[Cut], config: CutConfig, out: Path
) -> Iterator[int]:
    """Encode every clip with the frozen VAE; yields the number done after each.

    Raises:
        ValueError: if `out` holds latents of another VAE or other cuts.
    """
    device = vae.latent_mean.device

    def work(number: int, video: Tensor) -> dict[str, Tensor]:
        return {f"{number:06d}": encode_frames(vae, video[None].to(device))[0].half().cpu()}

    return build_shards(footage, cuts, config, out, {"vae": fingerprint(vae)}, work)


class FootageLatents:
    """Cached latents of footage with their captions; every clip is drawn equally often.

    Args:
        folder: shards of `build_footage_latents`.
        cuts: the plan they were built from.

    Raises:
        ValueError: if no clip could be read.
    """

    def __init__(self, folder: Path, cuts: Sequence[Cut]) -> None:
        self.latents: list[Tensor] = []
        self.captions: list[tuple[str, ...]] = []
        self.unread: dict[str, str] = {}
        for path, numbers in shards(cuts, folder):
            tensors, facts = load_weights(path, dtype=None)
            self.unread |= {cuts[int(n)].file: why for n, why in facts["unread"].items()}
            for number in numbers:
                if (name := f"{number:06d}") in tensors:
                    self.latents.append(tensors[name])
                    self.captions.append(cuts[number].captions)
        if not self.latents:
            raise ValueError(f"{folder} holds no latents; no clip of the footage could be read.")

    def batch(
        self, batch: int, generator: torch.Generator, detailed: float = 0.65, dropped: float = 0.10
    ) -> tuple[list[Tensor], list[str]]:
        """Random clips, as latents (Z, t, h, w), and a caption of each.

        Args:
            batch: clips.
            detailed: unused: footage has captions of one kind.
            dropped: share of captions left empty, for guidance; where there is none it is empty, too.
        """
        picks = torch.randint(len(self.latents), (batch,), generator=generator).tolist()
        chance = torch.rand(2, batch, generator=generator).tolist()
        texts = []
        for pick, keep, which in zip(picks, *chance, strict=True):
            choices = self.captions[pick]
            kept = choices and keep >= dropped
            texts.append(choices[int(which * len(choices))] if kept else "")
        return [self.latents[pick].float() for pick in picks], texts
