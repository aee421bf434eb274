"""Clips of video: read them from files, look at them, lay them side by side, write them to files.

Above the data worlds, below the video VAE. `VideoClip` is what `generate` returns. The work on
files is done by `video_reader` and `video_writer`, whose functions are offered here too; PyAV is
imported when a file is first read or written. Legend: C colour channels, T frames, H W pixels.
"""

from __future__ import annotations

import base64
import html
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from minisora.containers import VideoError
from minisora.video_pixels import Fit, Shaper
from minisora.video_reader import Picture, iter_frames, sample
from minisora.video_writer import VideoWriter, encode_video, write_video

__all__ = [
    "VideoClip",
    "VideoError",
    "VideoWriter",
    "grid",
    "iter_frames",
    "read_video",
    "strip",
    "write_video",
]

_DISPLAY_WIDTH = 256  # pixels on a notebook page that a small clip is enlarged to


@dataclass(frozen=True, eq=False, repr=False)
class VideoClip:
    """A video in memory that shows itself in notebooks and saves itself to files.

    Args:
        video: float tensor (C, T, H, W) in [0, 1], C 1 (grey) or 3 (RGB).
        fps: frames per second.
        prompt: the words it was made from, or the title of the file; may be empty.
    """

    video: torch.Tensor
    fps: float = 8.0
    prompt: str = ""

    def __post_init__(self) -> None:
        shape = tuple(self.video.shape)
        if len(shape) != 4 or shape[0] not in (1, 3) or min(shape) < 1:
            raise VideoError(f"A tensor {shape} is no clip; give (C, T, H, W) with C 1 or 3.")
        if not self.video.is_floating_point():
            raise VideoError(f"Pixels of {self.video.dtype} are no clip; give floats in [0, 1].")
        if not 0 < self.fps < float("inf"):
            raise VideoError(f"fps={self.fps} must be a positive number of frames per second.")

    @property
    def frames(self) -> int:
        """Number of frames T."""
        return self.video.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.video.shape[2], self.video.shape[3]

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.frames / self.fps

    def save(self, path: str | os.PathLike[str], *, scale: int | None = None) -> Path:
        """Write to .mp4, .webp, .gif or .png (frames side by side); see `VideoWriter`."""
        return write_video(self.video, path, self.fps, scale=scale, prompt=self.prompt)

    def caption(self, checkpoint: str | os.PathLike[str] = "moving-mnist", **how: Any) -> str:
        """What the clip shows, in words, from its pixels alone; see `caption.caption_clip` for `how`."""
        # By name, since the captioner stands far above this module, and whoever holds a clip may ask.
        return import_module("minisora.caption").caption_clip(self, checkpoint, **how)

    def __repr__(self) -> str:
        height, width = self.size
        prompt = f", {self.prompt!r}" if self.prompt else ""
        frames = "1 frame" if self.frames == 1 else f"{self.frames} frames"
        return f"VideoClip({frames} of {height}x{width}, {self.fps:g} fps{prompt})"

    def _repr_html_(self) -> str:
        return self.to_html()

    def to_html(self, text: str = "", width: int = 0) -> str:
        """HTML that holds the clip: an mp4 that plays in a loop, or a PNG if it is one frame.

        Args:
            text: what it shows, for those who cannot see it; empty takes the prompt.
            width: on the page, in screen pixels; 0 enlarges small clips by whole factors.
        """
        height, own = self.size
        shown = width or own * max(1, _DISPLAY_WIDTH // max(height, own))
        title = html.escape(text or self.prompt or repr(self), quote=True)
        style = "max-width: 100%; image-rendering: pixelated"
        look = f'width="{shown}" title="{title}" style="{style}"'
        if self.frames == 1:
            data = base64.b64encode(encode_video(self.video, ".png", self.fps)).decode()
            return f'<img {look} alt="{title}" src="data:image/png;base64,{data}">'
        data = base64.b64encode(encode_video(self.video, ".mp4", self.fps)).decode()
        return (
            f'<video {look} aria-label="{title}" controls loop autoplay muted playsinline>'
            f'<source type="video/mp4" src="data:video/mp4;base64,{data}">{title}</video>'
        )


def read_video(
    path: str | os.PathLike[str],
    *,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    start: float = 0.0,
    fit: Fit = "crop",
) -> VideoClip:
    """Read a video or image file into memory, as float RGB (3, T, H, W) in [0, 1].

    Arguments and errors are those of `iter_frames`, which reads files that are too long for memory.
    The clip's fps is `fps`, or the file's own rate (the mean one where frames are unevenly spaced).
    """
    shaper, images = Shaper(size, fit), []
    pictures: list[Picture] = []
    for picture in sample(path, fps=fps, frames=frames, start=start):
        images.append(shaper(picture.frame, picture.header.pixel_aspect, picture.header.stored))
        pictures = [*pictures[:1], picture]  # the first and the last, for the mean rate
    planes = [torch.from_numpy(image).permute(2, 0, 1) for image in images]  # each (3, H, W)
    video = torch.stack(planes, dim=1).float().div_(255)  # (3, T, H, W)
    rate = fps or _mean_rate(pictures, len(images))
    return VideoClip(video, float(rate), pictures[0].header.prompt)


def _mean_rate(pictures: Sequence[Picture], count: int) -> Fraction:
    """Frames per second of `count` pictures from the first to the last of `pictures`."""
    nominal = pictures[0].header.fps
    if count == 1:
        return nominal
    mean = (count - 1) / (pictures[-1].time - pictures[0].time)
    # Containers round times (mkv to 1 ms, gif to 10 ms): the nominal rate is then the exact one.
    return nominal if abs(mean / nominal - 1) < 0.02 else mean


def grid(clips: Sequence[VideoClip], columns: int | None = None, pad: int = 2) -> VideoClip:
    """Lay clips out row by row as one clip, on white.

    Args:
        clips: clips with one fps. Smaller ones are centred in the size of the largest, shorter ones
            stand still on their last frame.
        columns: clips in a row; None makes the grid about square.
        pad: white pixels between clips and around them.
    """
    if not clips:
        raise VideoError("A grid needs at least one clip; the list is empty.")
    if len({clip.fps for clip in clips}) > 1:
        rates = ", ".join(sorted({f"{clip.fps:g}" for clip in clips}))
        raise VideoError(f"Clips of {rates} fps cannot share a grid; bring them to one rate.")
    columns = min(len(clips), columns or math.ceil(math.sqrt(len(clips))))
    if columns < 1 or pad < 0:
        raise VideoError(f"columns={columns} must be at least 1 and pad={pad} at least 0.")
    frames = max(clip.frames for clip in clips)
    height, width = (max(clip.size[axis] for clip in clips) for axis in (0, 1))
    cells = [_cell(clip, frames, height, width, pad) for clip in clips]
    cells += [torch.ones_like(cells[0])] * (-len(cells) % columns)
    rows = [torch.cat(cells[i : i + columns], dim=-1) for i in range(0, len(cells), columns)]
    video = F.pad(torch.cat(rows, dim=-2), (pad, 0, pad, 0), value=1.0)  # (3, T, H', W')
    prompt = " | ".join(clip.prompt for clip in clips if clip.prompt)
    return VideoClip(video, clips[0].fps, prompt)


def _cell(clip: VideoClip, frames: int, height: int, width: int, pad: int) -> torch.Tensor:
    """The clip as (3, frames, height + pad, width + pad), with `pad` white at bottom and right."""
    index = torch.arange(frames).clamp(max=clip.frames - 1)
    video = clip.video.detach().float().cpu()[:, index].expand(3, -1, -1, -1)
    top, left = (height - clip.size[0]) // 2, (width - clip.size[1]) // 2
    bottom, right = height - clip.size[0] - top + pad, width - clip.size[1] - left + pad
    return F.pad(video, (left, right, top, bottom), value=1.0)


def strip(clip: VideoClip) -> torch.Tensor:
    """The frames side by side, left to right, as one image (3, H, T*W)."""
    return clip.video.expand(3, -1, -1, -1).permute(0, 2, 1, 3).flatten(2)  # (3, H, T*W)
