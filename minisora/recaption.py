"""Recaptioning: new captions beside the clips of a folder, the old ones kept; training mixes the two.

Where it stands: `caption` -> [recaption] -> `recipe`. DALL-E 3 (Betker et al. 2023) found 95 % synthetic captions best,
the rest keeping the generator used to what people write. Two kinds of folder are served:

    clip.mp4                       -> clip.captions.json: original (what the file says of itself) and synthetic
    17x64x64-000.safetensors       -> 17x64x64-000.captions.json: a list of both for each clip of the shard

and `recaption.json` says in which blend training is to use them. A file that has its captions is not read again, so
a run that was stopped goes on where it stopped.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from minisora.caption import Style, VideoCaptioner
from minisora.checkpoint import load_weights, read_config
from minisora.decoding import Decoding
from minisora.latents import check_fingerprint, fingerprint
from minisora.sealed import write_atomic
from minisora.video import read_video
from minisora.worlds import Scene
from minisora.worlds.alt_text import alt_text
from minisora.worlds.captions import Level

PLAN = "recaption.json"
VIDEO_SUFFIXES = (".mp4", ".webm", ".mkv", ".mov", ".avi", ".gif", ".webp")
ALT_SEED = 400  # of the alt-text of clips that have only facts


@dataclass(frozen=True)
class Captions:
    """Both captions of a clip."""

    original: str
    synthetic: str


def blend_captions(both: Captions, blend: float, rng: np.random.Generator) -> str:
    """The synthetic caption with chance `blend`, else the original, if the clip has one."""
    return both.synthetic if rng.random() < blend or not both.original else both.original


def sidecar(path: Path) -> Path:
    """Where the captions of a clip or a shard lie."""
    return path.with_name(f"{path.stem}.captions.json")


def clip_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """(video files, shards of latents) directly in a folder, sorted.

    Raises:
        ValueError: it is no folder, or there is nothing to describe.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give one that holds clips or shards of latents.")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    videos = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
    shards = [path for path in files if path.suffix == ".safetensors"]
    if not videos and not shards:
        raise ValueError(
            f"{folder} holds no clip; give a folder with files that end in one of "
            f"{', '.join(VIDEO_SUFFIXES)}, or with shards of latents."
        )
    return videos, shards


def recaption(
    folder: Path,
    describer: VideoCaptioner,
    *,
    blend: float = 0.95,
    style: Style = "detailed",
    decoding: Decoding = Decoding(),
    batch: int = 50,
) -> Iterator[tuple[int, int]]:
    """Write captions beside all clips of a folder.

    Args:
        folder: videos or shards of latents.
        describer: writes the new captions.
        blend: share of new captions that training is to use, in [0, 1].
        style: of the captioner, to be noted.
        decoding: greedy or beam; nucleus draws, from a seed of each file's name.
        batch: clips of a shard described at once.

    Yields:
        (clips done, clips in all), at first for what was done before.

    Raises:
        ValueError: `blend` is no share, or the folder holds no clip, captions of another captioner, or latents of
            another VAE.
    """
    if not 0 <= blend <= 1:
        raise ValueError(f"blend={blend}: give the share of new captions, from 0 to 1.")
    videos, shards = clip_files(folder)
    plan = {"blend": blend, "style": style, "captioner": identity(describer)}
    _check_plan(folder, plan)
    sizes = dict.fromkeys(videos, 1) | {path: shard_length(path) for path in shards}
    done = sum(size for path, size in sizes.items() if sidecar(path).exists())
    total = sum(sizes.values())
    write_atomic(folder / PLAN, (json.dumps(plan, indent=2) + "\n").encode())
    yield done, total
    for path in sizes:
        if sidecar(path).exists():
            continue
        entries: list[dict[str, Any]] = []
        described = _describe_shard if path in shards else _describe_video
        for some in described(path, describer, decoding, batch):
            entries += some
            done += len(some)
            yield done, total
        content: Any = entries if path in shards else entries[0]
        write_atomic(sidecar(path), (json.dumps(content, indent=1) + "\n").encode())


def _describe_video(
    path: Path, describer: VideoCaptioner, decoding: Decoding, _: int
) -> Iterator[list[dict[str, Any]]]:
    clip = read_video(path)
    (text,) = describer.caption([clip.video], decoding, _generator(path))
    yield [asdict(Captions(clip.prompt, text))]


def _describe_shard(
    path: Path, describer: VideoCaptioner, decoding: Decoding, batch: int
) -> Iterator[list[dict[str, Any]]]:
    check_fingerprint(path, fingerprint(describer.vae))
    tensors, config = load_weights(path)
    scenes, generator = [Scene.from_dict(facts) for facts in config["scenes"]], _generator(path)
    for first in range(0, len(scenes), batch):
        z = tensors["latents"][first : first + batch].to(describer.vae.latent_mean.device)
        texts = describer.caption_latents(z, decoding, generator)
        pairs = zip(scenes[first : first + batch], texts, strict=True)
        yield [asdict(Captions(original_caption(scene), text)) for scene, text in pairs]


def _generator(path: Path) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(path.name.encode()))


def original_caption(scene: Scene) -> str:
    """The alt-text of a clip of the world, always the same."""
    digest = zlib.crc32(json.dumps(scene.to_dict()).encode())
    return alt_text(scene, np.random.default_rng((ALT_SEED, digest)))


def identity(describer: VideoCaptioner) -> str:
    """Eight hex digits that change whenever the captioner's weights do."""
    digest = 0
    for name, value in sorted(describer.captioner.state_dict().items()):
        digest = zlib.crc32(name.encode() + value.cpu().numpy().tobytes(), digest)
    return f"{digest:08x}"


def _check_plan(folder: Path, plan: dict[str, Any]) -> None:
    theirs = read_plan(folder)
    if theirs is not None and theirs["captioner"] != plan["captioner"]:
        raise ValueError(
            f"{folder} holds captions of another captioner ({theirs['captioner']}, this one is "
            f"{plan['captioner']}); remove its *.captions.json and {PLAN} to describe it anew."
        )


def read_plan(folder: Path) -> dict[str, Any] | None:
    """What `recaption` noted about a folder; None if it was not recaptioned."""
    path = folder / PLAN
    return json.loads(path.read_text()) if path.exists() else None


def shard_length(path: Path) -> int:
    """Clips in a shard of latents."""
    return len(read_config(path)["scenes"])


class BlendedCaptions:
    """Captions of a recaptioned folder of latents, mixed anew whenever a clip is drawn: a `latents.Writer`.

    Args:
        folder: shards and the captions beside them.
        blend: share of synthetic captions; None takes what `recaption` noted.

    Raises:
        ValueError: a shard has no captions yet.
    """

    def __init__(self, folder: Path, blend: float | None = None) -> None:
        plan = read_plan(folder) or {"blend": 1.0}
        self.blend: float = plan["blend"] if blend is None else blend
        self.table: dict[Scene, Captions] = {}
        for path in sorted(folder.glob("*.safetensors")):
            if not sidecar(path).exists():
                raise ValueError(f"{path} has no captions yet; run `minisora recaption {folder}`.")
            entries = json.loads(sidecar(path).read_text())
            for facts, entry in zip(read_config(path)["scenes"], entries, strict=True):
                self.table[Scene.from_dict(facts)] = Captions(**entry)

    def __call__(self, scene: Scene, level: Level, rng: np.random.Generator) -> str:
        """A caption of the clip with these facts; `level` changes nothing."""
        return blend_captions(self.table[scene], self.blend, rng)
