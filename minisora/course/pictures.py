"""Pictures for a page: every one has a text that says what it shows, and is readable on light and dark.

A figure is drawn on a light card, so that it does not depend on the page's theme. `show` turns a
matplotlib figure into HTML with alt text; `frames` and `film` do the same for clips.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from minisora.video import VideoClip

PALETTE = {
    "blue": "#2f7fb8",
    "orange": "#d97a1e",
    "green": "#2f8f5b",
    "red": "#c94a4a",
    "purple": "#8464bd",
    "grey": "#7a828a",
}
"""The course's colors, in the order in which lines take them."""

CARD, INK = "#fbfbf8", "#22272c"
_PIXELS = 720  # widest picture of clips on a page
_ZOOM = 4  # most screen pixels for one of a film


@dataclass(frozen=True)
class Picture:
    """Something a notebook shows: HTML, and in words what it shows."""

    html: str
    alt: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"[{self.alt}]"


def canvas(
    rows: int = 1, columns: int = 1, *, width: float = 7.0, height: float = 2.6, **options: Any
) -> tuple[Figure, Any]:
    """A figure in the course's style and its axes.

    Args:
        rows, columns: axes.
        width: inches, of the whole figure.
        height: inches, of a row.
        options: passed to `Figure.subplots`, e.g. sharex=True, squeeze=False.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_style()):
        figure = Figure(figsize=(width, height * rows), layout="constrained", facecolor=CARD)
        return figure, figure.subplots(rows, columns, **options)


def _style() -> Any:
    from cycler import cycler

    return {
        "axes.prop_cycle": cycler(color=list(PALETTE.values())),
        "axes.facecolor": CARD,
        "axes.edgecolor": PALETTE["grey"],
        "axes.labelcolor": INK,
        "axes.titlesize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "font.size": 9,
        "legend.frameon": False,
        "image.cmap": "viridis",
        "image.interpolation": "nearest",
    }


def show(figure: Figure, alt: str) -> Picture:
    """A figure as a picture with alt text: what a reader who cannot see it would miss."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    return _image(data.getvalue(), alt, figure.get_figwidth() * 100, "auto")


def frames(
    clips: Tensor | VideoClip | Sequence[Tensor | VideoClip], alt: str, *, every: int = 1
) -> Picture:
    """Frames side by side, a row for each clip.

    Args:
        clips: one video (C, T, H, W) in [0, 1] or one clip, or several; C is 1 or 3.
        alt: what the picture shows.
        every: show one frame out of so many.
    """
    from minisora.video_writer import encode_video

    rows = [_row(video, every) for video in _videos(clips)]
    width = max(row.shape[-1] for row in rows)
    sheet = torch.cat([F.pad(row, (0, width - row.shape[-1]), value=1.0) for row in rows], -2)
    scale = max(1, _PIXELS // sheet.shape[-1])
    return _image(encode_video(sheet[:, None], ".png", 1), alt, sheet.shape[-1] * scale)


def film(
    clips: VideoClip | Sequence[VideoClip], alt: str, *, columns: int | None = None
) -> Picture:
    """One clip, or several in a grid, as a video that plays in the page."""
    from minisora.video import VideoClip, grid

    together = clips if isinstance(clips, VideoClip) else grid(list(clips), columns)
    width = together.size[1] * max(1, min(_ZOOM, _PIXELS // together.size[1]))
    return Picture(together.to_html(alt, width), alt)


def _videos(clips: Tensor | VideoClip | Sequence[Tensor | VideoClip]) -> list[Tensor]:
    one = isinstance(clips, Tensor) or hasattr(clips, "video")
    several: Sequence[Any] = [clips] if one else clips  # type: ignore[assignment, list-item]
    return [getattr(clip, "video", clip) for clip in several]


def _row(video: Tensor, every: int) -> Tensor:
    """(C, T, H, W) -> (3, H + 2, T * (W + 2)): frames with a white border at bottom and right."""
    shown = video.detach().float().cpu()[:, ::every].expand(3, -1, -1, -1).clamp(0, 1)
    return F.pad(shown, (0, 2, 0, 2), value=1.0).permute(0, 2, 1, 3).flatten(2)


def _image(png: bytes, alt: str, width: float, rendering: str = "pixelated") -> Picture:
    data, title = base64.b64encode(png).decode(), html.escape(alt, quote=True)
    look = f'width="{width:.0f}" style="max-width: 100%; image-rendering: {rendering}"'
    return Picture(f'<img {look} alt="{title}" src="data:image/png;base64,{data}">', alt)
