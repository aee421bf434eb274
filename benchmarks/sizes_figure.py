"""The figure of `sizes.py`: heat maps over sizes (trained ones framed), bars over lengths and drafts, long clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle


def attribute_mean(cell: dict[str, Any]) -> float:
    """Mean share of attributes that are right, in percent."""
    figures = {k: v["value"] for k, v in cell["made"]["fidelity"].items() if k != "all"}
    return 100 * float(np.mean(list(figures.values())))


def count_constant(cell: dict[str, Any]) -> float:
    """Share of clips in which the number of objects never changes, in percent."""
    return 100 * float(cell["made"]["physics"]["count_constant"]["value"])


def draw_map(axis: Any, sweep: dict[str, Any], value: Callable[[Any], float], title: str) -> None:
    """A figure over height and width at 17 frames; trained sizes are framed.

    Its sides are those whose square was measured.
    """
    cells = {tuple(map(int, name.split("x"))): cell for name, cell in sweep.items()}
    sides = sorted(h for frames, h, w in cells if frames == 17 and h == w)
    image = np.full((len(sides), len(sides)), np.nan)
    for (frames, height, width), cell in cells.items():
        if frames != 17 or not {height, width} <= set(sides):
            continue
        row, column = sides.index(height), sides.index(width)
        image[row, column] = value(cell)
        axis.text(column, row, f"{image[row, column]:.0f}", ha="center", va="center", color="white")
        if cell["trained"]:
            frame = Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, ec="red", lw=2)
            axis.add_patch(frame)
    axis.imshow(image, vmin=0, vmax=100, cmap="viridis")
    axis.set(xlabel="width (px)", ylabel="height (px)", title=f"{title}, % (red: trained)")
    axis.set_xticks(range(len(sides)), sides)
    axis.set_yticks(range(len(sides)), sides)


def draw_lengths(axis: Any, sweep: dict[str, Any]) -> None:
    """Attributes right over the number of frames at 64x64."""
    cells = [(int(n.split("x")[0]), cell) for n, cell in sweep.items() if n.endswith("x64x64")]
    for frames, cell in cells:
        axis.bar(
            str(frames), attribute_mean(cell), color="tab:red" if cell["trained"] else "tab:gray"
        )
    axis.set(xlabel="frames of 64x64", title="attributes right, % (red: trained)", ylim=(0, 100))


def draw_drafts(axis: Any, draft: dict[str, Any]) -> None:
    """How often a draft and the full-size clip of its seed show the same digit going the same way."""
    places = np.arange(len(draft))
    kinds = list(next(iter(draft.values())))
    for number, kind in enumerate(kinds):
        rows = [pair[kind] for pair in draft.values()]
        for key, shade in (("same_digit", 0.35), ("same_way", 1.0)):
            at = places - 0.36 + 0.26 * number + (0.12 if key == "same_way" else 0.0)
            heights = [100 * row[key]["value"] for row in rows]
            name = f"{key.replace('_', ' ')}, {kind}"
            axis.bar(at, heights, 0.12, color=f"C{number}", alpha=shade, label=name)
    axis.set(title="draft and full size, % of clips", ylim=(0, 102))
    axis.set_xticks(places, [name.replace(" to ", "\nto ") for name in draft])
    axis.legend(fontsize="small")


def draw_drift(axis: Any, long: dict[str, Any], key: str, title: str) -> None:
    """A share for each frame of long clips, a curve for each way to make them."""
    for how, figures in long.items():
        style = {"color": "black", "ls": ":"} if how == "real" else {}
        axis.plot(100 * np.array(figures[key]), label=how, **style)
    axis.set(xlabel="frame", title=title, ylim=(0, 102))
    axis.legend()


def draw_figure(results: dict[str, Any], out: Path) -> None:
    """Draw what there is of the results to an image file."""
    figure, axes = plt.subplots(3, 2, figsize=(11, 13), layout="constrained")
    if sweep := results.get("sweep"):
        draw_map(axes[0, 0], sweep, attribute_mean, "attributes right")
        draw_map(axes[0, 1], sweep, count_constant, "number of objects constant")
        draw_lengths(
            axes[1, 0], dict(sorted(sweep.items(), key=lambda item: int(item[0].split("x")[0])))
        )
    if long := results.get("long"):
        draw_drift(axes[2, 0], long, "one_object", "exactly one object, % of clips")
        draw_drift(axes[2, 1], long, "digit_asked_for", "the digit asked for, % of clips")
    if draft := results.get("draft"):
        draw_drafts(axes[1, 1], draft)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    plt.close(figure)
