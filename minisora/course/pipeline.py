"""The course's map: the whole pipeline as one drawing, with the part at hand lit.

Drawn as SVG by these few lines, so that it stays sharp, small and local.
"""

from __future__ import annotations

import html
from dataclasses import dataclass

from minisora.course.pictures import CARD, INK, PALETTE, Picture


@dataclass(frozen=True)
class Part:
    """A box of the map: name, what it does in two short lines, its notebooks, its place."""

    name: str
    does: tuple[str, str]
    notebook: str
    column: int
    row: int


PARTS = {
    "world": Part("world", ("clips whose every", "fact is known"), "01", 0, 0),
    "vae": Part("video VAE", ("pixels to latents", "and back"), "02", 1, 0),
    "patches": Part("patches", ("latents to tokens", "(t, h, w), packed"), "03", 2, 0),
    "dit": Part("DiT", ("noisy patches + text", "to clean patches"), "04", 3, 0),
    "flow": Part("diffusion", ("noise levels,", "what to learn"), "05", 4, 0),
    "text": Part("text", ("captions to tokens,", "recaptioning"), "07", 0, 1),
    "sample": Part("sampler", ("from noise to latents,", "guided by a prompt"), "06", 4, 1),
    "clip": Part("clip", ("decoded, played,", "measured"), "06", 3, 1),
    "edit": Part("editing", ("animate, extend, loop,", "connect, restyle"), "08", 2, 1),
    "sizes": Part("any size", ("wide, tall, long,", "images"), "09", 1, 1),
}
ARROWS = (
    ("world", "vae"),
    ("vae", "patches"),
    ("patches", "dit"),
    ("dit", "flow"),
    ("flow", "sample"),
    ("sample", "clip"),
    ("clip", "edit"),
    ("edit", "sizes"),
)
_W, _H, _GAP_X, _GAP_Y, _PAD = 128, 74, 26, 34, 14


def pipeline_map(*lit: str) -> Picture:
    """The map with the named parts lit; all of them if none is named.

    Raises:
        ValueError: if there is no such part.
    """
    if unknown := set(lit) - set(PARTS):
        raise ValueError(f"No part {', '.join(sorted(unknown))}; the map has {', '.join(PARTS)}.")
    bright = set(lit) or set(PARTS)
    boxes = "".join(_box(part, key in bright) for key, part in PARTS.items())
    arrows = "".join(_arrow(PARTS[a], PARTS[b]) for a, b in ARROWS)
    arrows += _arrow(PARTS["text"], PARTS["dit"], dashed=True)
    width, height = 5 * _W + 4 * _GAP_X + 2 * _PAD, 2 * _H + _GAP_Y + 2 * _PAD
    names = ", ".join(PARTS[key].name for key in PARTS if key in bright)
    alt = f"The pipeline from world to clip; lit: {names}."
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{html.escape(alt)}" '
        f'viewBox="0 0 {width} {height}" width="{width}" style="max-width: 100%" '
        f'font-family="system-ui, sans-serif" text-anchor="middle">'
        f'<rect width="{width}" height="{height}" rx="10" fill="{CARD}"/>{arrows}{boxes}</svg>'
    )
    return Picture(svg, alt)


def _corner(part: Part) -> tuple[int, int]:
    return _PAD + part.column * (_W + _GAP_X), _PAD + part.row * (_H + _GAP_Y)


def _box(part: Part, lit: bool) -> str:
    x, y = _corner(part)
    fill, ink, edge = (
        (PALETTE["blue"], "#ffffff", INK) if lit else ("#e8e9e6", "#5c646b", "#c4c7c4")
    )
    middle = x + _W // 2
    lines = "".join(
        f'<text x="{middle}" y="{y + 42 + 14 * i}" font-size="11" fill="{ink}">{line}</text>'
        for i, line in enumerate(part.does)
    )
    return (
        f'<rect x="{x}" y="{y}" width="{_W}" height="{_H}" rx="8" fill="{fill}" stroke="{edge}"/>'
        f'<text x="{middle}" y="{y + 22}" font-size="14" font-weight="600" fill="{ink}">'
        f"{part.notebook} {part.name}</text>{lines}"
    )


def _arrow(start: Part, end: Part, dashed: bool = False) -> str:
    """A line from box to box: straight along a row or a column, else around by two corners."""
    (x0, y0), (x1, y1) = _corner(start), _corner(end)
    if start.row == end.row:
        right = x1 > x0
        points = [(x0 + _W * right, y0 + _H // 2), (x1 + _W * (not right), y1 + _H // 2)]
    elif start.column == end.column:
        points = [(x0 + _W // 2, y0 + _H), (x1 + _W // 2, y1)]
    else:
        between = y1 + _H + _GAP_Y // 2
        points = [
            (x0 + _W // 2, y0),
            (x0 + _W // 2, between),
            (x1 + _W // 2, between),
            (x1 + _W // 2, y1 + _H),
        ]
    path = " ".join(f"{x},{y}" for x, y in points)
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    (ax, ay), (bx, by) = points[-2:]
    dx, dy = (bx > ax) - (bx < ax), (by > ay) - (by < ay)
    head = [
        (bx, by),
        (bx - 7 * dx - 4 * dy, by - 7 * dy - 4 * dx),
        (bx - 7 * dx + 4 * dy, by - 7 * dy + 4 * dx),
    ]
    tip = " ".join(f"{x},{y}" for x, y in head)
    return (
        f'<polyline points="{path}" fill="none" stroke="{INK}" stroke-width="1.5"{dash}/>'
        f'<polygon points="{tip}" fill="{INK}"/>'
    )
