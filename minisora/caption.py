"""Captions: a clip in, its description out, word by word. The captioner sees pixels, never the facts of a scene.

Where it stands: `captioner`, `vae` -> [caption] -> `recaption`, `rerank`. After DALL-E 3 (Betker et al. 2023), whose
captioner is trained on alt-text, then twice more from there: on short synthetic captions (SSC) and on descriptive ones
(DSC).

Legend: B C T H W video, B Z t h w latents, B C t h w "views", what the captioner's eyes look at.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from minisora.captioner import Captioner, read_captioner
from minisora.decoding import Decoding
from minisora.expand import caption_form
from minisora.eyes import fit_video, tubelets
from minisora.latents import fingerprint
from minisora.loading import checkpoint_folder, load_vae
from minisora.paths import DataError
from minisora.vae import VideoVAE

if TYPE_CHECKING:
    from minisora.video import VideoClip

Style = Literal["detailed", "short"]
FILES = {"detailed": "captioner.safetensors", "short": "captioner-short.safetensors"}


@dataclass(frozen=True)
class VideoCaptioner:
    """A captioner with a VAE: pixels in, captions out; a `detailed` one leaves nothing out, says nothing twice."""

    vae: VideoVAE
    captioner: Captioner
    detailed: bool = False

    def views(self, videos: Tensor) -> Tensor:
        """(B, 3, T, H, W) in [0, 1], fitted -> (B, C, t, h, w), what the captioner's eyes look at."""
        eyes = self.captioner.config.eyes
        return tubelets(videos, eyes.channels // 3) if eyes.sees_pixels else self.vae.encode(videos)

    def fit(self, video: Tensor) -> Tensor:
        """A video on the captioner's device, of a length and size that it takes, see `fit_video`."""
        eyes, vae = self.captioner.config.eyes, self.vae.config
        space, time = (1, eyes.channels // 3) if eyes.sees_pixels else (vae.spatial, vae.temporal)
        _, height, width = eyes.footprint
        return fit_video(video, time, (space * height, space * width)).to(self.captioner.device)

    def caption(
        self,
        videos: Sequence[Tensor],
        decoding: Decoding = Decoding(),
        generator: torch.Generator | None = None,
        batch: int = 32,
    ) -> list[str]:
        """Describe videos of any sizes and lengths.

        Args:
            videos: one (3, T, H, W) in [0, 1] for each clip; see `fit_video`.
            decoding, generator: see `Captioner.caption`.
            batch: clips of one size described at once.
        """
        captions = [""] * len(videos)
        for some, views in self._viewed(videos, batch):
            for i, text in zip(some, self._describe(views, decoding, generator), strict=True):
                captions[i] = text
        return captions

    @torch.inference_mode()
    def caption_latents(
        self, z: Tensor, decoding: Decoding, generator: torch.Generator | None
    ) -> list[str]:
        """Describe clips of one size by their latents (n, Z, t, h, w); eyes that see pixels have them decoded."""
        pixels = self.captioner.config.eyes.sees_pixels
        views = self.views(self.vae.decode(z).clamp(0, 1)) if pixels else z
        return self._describe(views, decoding, generator)

    def _describe(
        self, views: Tensor, decoding: Decoding, drawn: torch.Generator | None
    ) -> list[str]:
        form = caption_form(self.captioner.tokenizer, moving=views.shape[2] > 1)
        rules = [form] * len(views) if self.detailed else None
        return self.captioner.caption(views, decoding, drawn, rules)

    def log_likelihood(
        self, videos: Sequence[Tensor], texts: Sequence[str], batch: int = 32
    ) -> Tensor:
        """How likely each text is for its video, (n,), see `Captioner.log_likelihood`."""
        found = torch.empty(len(videos))
        for some, views in self._viewed(videos, batch):
            scores = self.captioner.log_likelihood(list(views), [texts[i] for i in some])
            found[torch.tensor(some)] = scores.cpu()
        return found

    def _viewed(self, videos: Sequence[Tensor], batch: int) -> Iterator[tuple[list[int], Tensor]]:
        """Numbers and views (n, C, t, h, w) of the videos, clips of one size together."""
        fitted = [self.fit(video) for video in videos]
        members: dict[torch.Size, list[int]] = {}
        for i, video in enumerate(fitted):
            members.setdefault(video.shape, []).append(i)
        for group in members.values():
            for first in range(0, len(group), batch):
                some = group[first : first + batch]
                with torch.inference_mode():
                    views = self.views(torch.stack([fitted[i] for i in some]))
                yield some, views


def open_captioner(
    path: Path, vae: VideoVAE, detailed: bool = False, device: str | torch.device = "cpu"
) -> VideoCaptioner:
    """A captioner from its file, with a VAE.

    Raises:
        CheckpointError: the file is missing, truncated or altered.
        ValueError: the captioner was trained on the latents of another VAE.
    """
    captioner, trained_on = read_captioner(path, device)
    ours = fingerprint(vae)
    if not captioner.config.eyes.sees_pixels and ours != trained_on:
        raise ValueError(
            f"{path} was trained on the latents of another VAE ({trained_on}, this one is {ours}); "
            "train it again with `minisora train-captioner`."
        )
    return VideoCaptioner(vae, captioner, detailed)


def load_captioner(
    name: str | Path = "moving-mnist", style: Style = "detailed", device: str | torch.device = "cpu"
) -> VideoCaptioner:
    """The captioner of a checkpoint, with its VAE.

    Args:
        name: a shipped checkpoint or a folder.
        style: "detailed" (DSC) or "short" (SSC).

    Raises:
        DataError: no such checkpoint, or no such captioner in it.
        ValueError: unknown style, or see `open_captioner`.
    """
    if style not in FILES:
        raise ValueError(f"style={style!r}: choose one of {', '.join(FILES)}.")
    path = (folder := checkpoint_folder(name)) / FILES[style]
    if not path.exists():
        raise DataError(
            f"{folder} holds no {style} captioner ({path.name}); make one with "
            "`minisora train-captioner` and copy it there."
        )
    return open_captioner(path, load_vae(folder, device), style == "detailed", device)


_kept = lru_cache(maxsize=2)(load_captioner)


def caption_clip(
    clip: VideoClip,
    checkpoint: str | Path = "moving-mnist",
    *,
    style: Style = "detailed",
    decoding: Decoding = Decoding(),
    seed: int = 0,
) -> str:
    """What a clip shows, in words; `VideoClip.caption` calls this.

    Args:
        clip: of any size and length.
        checkpoint: whose captioner; it stays in memory for the next clip.
        style: "detailed" or "short".
        decoding: greedy, beam or nucleus.
        seed: of the words that nucleus draws.
    """
    generator = torch.Generator().manual_seed(seed)
    (text,) = _kept(str(checkpoint), style).caption([clip.video], decoding, generator)
    if not text:
        warnings.warn("The captioner found no words for this clip.", stacklevel=2)
    return text
