"""Sixteen generated clips as strips of frames with their prompts, to look at.

    python benchmarks/gallery.py gallery.png [--checkpoint moving-mnist] [--seed 0] [--steps 30] ...

Square, wide and tall clips, long ones, an image, two digits; held-out pairs and short prompts among them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import tyro

matplotlib.use("Agg")  # no window: works on a machine without a screen

from matplotlib import pyplot

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

from minisora.guidance import CONTRAST_SCALE, GUIDANCE_INTERVAL, GUIDANCE_SCALE, PAG_SCALE
from minisora.loading import load
from minisora.model import MiniSora
from minisora.video import VideoClip

SQUARE, WIDE, TALL, LONG, IMAGE = (17, 64, 64), (17, 32, 96), (17, 96, 32), (33, 64, 64), (1, 64, 64)  # fmt: skip
Item = tuple[tuple[int, int, int], str]
ITEMS: tuple[Item, ...] = (  # (frames, height, width) and prompt; the first eight fill the left column
    (SQUARE, "a large red 3 drifting slowly up and to the right on a navy background"),
    (SQUARE, "a medium green 8 moving quickly to the left on black"),
    (SQUARE, "a small yellow 5 gliding steadily straight down on a gray checker background"),
    (SQUARE, "a large white 0 floating slowly to the right on brown stripes"),
    (SQUARE, "a cyan 2"),
    (SQUARE, "a medium red 7 moving steadily up and to the left on gray"),  # a pair never trained
    (LONG, "a large orange 4 sliding quickly to the lower right on a navy gradient"),
    (LONG, "a medium magenta 1 drifting steadily up on a brown background"),
    (SQUARE, "a large blue 6 moving slowly left in front of a large orange 9 moving slowly right on black"),
    (SQUARE, "a small cyan 7 floating quickly down in front of a large white 2 sliding slowly up on navy stripes"),
    (SQUARE, "a red 1 and a green 4"),
    (WIDE, "a medium yellow 3 moving quickly to the right on a gray background"),
    (WIDE, "a large magenta 5 drifting slowly to the left on a navy checkerboard"),
    (TALL, "a medium orange 6 gliding quickly straight down on black"),
    (TALL, "a small green 0 floating steadily up on a gray gradient background"),
    (IMAGE, "a large cyan 9 on a brown checker background"),
)  # fmt: skip
STRIP = 600  # px: longest strip
LABEL = 14  # px above each strip


@dataclass
class Settings:
    """Sixteen clips as labelled strips."""

    out: tyro.conf.Positional[Path]
    """PNG to write."""
    checkpoint: str = "moving-mnist"
    """A shipped checkpoint or a folder."""
    seed: int = 0
    """Clip i starts from the noise of seed + i."""
    steps: int = 30
    """Sampler steps of each latent frame."""
    lag: int = 0
    """Steps by which a latent frame starts after the one before it."""
    guidance_scale: float = GUIDANCE_SCALE
    """1 is no guidance."""
    guidance_interval: tuple[float, float] = GUIDANCE_INTERVAL
    """Noise levels between which guidance acts."""
    pag_scale: float = PAG_SCALE
    """Perturbed-attention guidance; 0 is none."""
    contrast_scale: float = CONTRAST_SCALE
    """Contrastive guidance; 0 is none."""
    sampler: str = "dpmpp_2m"
    """euler, heun or dpmpp_2m."""
    zoom: int = 2
    """Pixels of the picture for each pixel of a clip."""
    device: str = "cpu"
    """cpu, cuda or mps."""


def generate(model: MiniSora, settings: Settings) -> list[VideoClip]:
    """One clip for each of `ITEMS`."""
    clips = []
    for number, ((frames, height, width), prompt) in enumerate(ITEMS):
        clip = model.generate(
            prompt,
            frames=frames,
            size=(height, width),
            seed=settings.seed + number,
            steps=settings.steps,
            lag=settings.lag,
            guidance_scale=settings.guidance_scale,
            guidance_interval=settings.guidance_interval,
            pag_scale=settings.pag_scale,
            contrast_scale=settings.contrast_scale,
            sampler=settings.sampler,
        )
        assert isinstance(clip, VideoClip)
        clips.append(clip)
        print(f"{number + 1:>2}/{len(ITEMS)}  {frames}x{height}x{width}  {prompt}")
    return clips


def strip(clip: VideoClip, longest: int = STRIP) -> np.ndarray:
    """Frames side by side, (H, at most `longest`, 3) in [0, 1]: evenly spaced, first and last included."""
    video = clip.video.permute(1, 2, 3, 0).numpy()  # T H W C
    fit = min(len(video), (longest + 2) // (video.shape[2] + 2))
    picks = np.linspace(0, len(video) - 1, fit).round().astype(int)
    gap = np.ones((video.shape[1], 2, 3), dtype=video.dtype)
    parts = [part for i in picks for part in (gap, video[i])]
    return np.concatenate(parts[1:], axis=1)


def draw(clips: list[VideoClip], path: Path, zoom: int) -> None:
    """Write the strips in two columns, each under its prompt."""
    half = len(clips) // 2
    columns = [[strip(clip) for clip in part] for part in (clips[:half], clips[half:])]
    height = max(sum(s.shape[0] + LABEL for s in column) for column in columns) + 4
    sheet = np.ones((height, 2 * STRIP + 20, 3), dtype=np.float32)
    figure = pyplot.figure(figsize=(sheet.shape[1] * zoom / 100, height * zoom / 100), dpi=100)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    for c, column in enumerate(columns):
        y, x = 0, c * (STRIP + 20)
        for picture, clip in zip(column, clips[c * half :], strict=False):
            y += LABEL
            sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
            frames, rows, width = clip.video.shape[1:]
            label = f"{frames}x{rows}x{width}  {clip.prompt}"
            axes.text(x, y - 2, label, fontsize=4 * zoom, va="bottom", clip_on=False)
            y += picture.shape[0]
    axes.imshow(sheet, interpolation="nearest", aspect="auto")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)


def main(settings: Settings) -> None:
    """Generate, draw, and say where."""
    draw(
        generate(load(settings.checkpoint, device=settings.device), settings),
        settings.out,
        settings.zoom,
    )
    print(f"Written to {settings.out}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
