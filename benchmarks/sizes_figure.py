"""The figure of `sizes.py`: a heat map over sizes, trained ones framed, bars over lengths, curves of long clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle


def attribute_mean(cell: dict[str, Any]) -> float:
    """Mean share of attributes that are right, in percent."""
    figures = {k: v["value"] for k, v in cell["made"]["fidelity"].items() if k != "all"}
    return 100 * float(np.mean(list(figures.values())))


def draw_map(axis: Any, sweep: dict[str, Any]) -> None:
    """Height by width at 17 frames: what is right of what was asked for; trained sizes are framed."""
    cells = {tuple(map(int, name.split("x"))): cell for name, cell in sweep.items()}
    sides = sorted({side for frames, *size in cells if frames == 17 for side in size})
    image = np.full((len(sides), len(sides)), np.nan)
    for (frames, height, width), cell in cells.items():
        if frames != 17:
            continue
        row, column = sides.index(height), sides.index(width)
        image[row, column] = attribute_mean(cell)
        axis.text(column, row, f"{image[row, column]:.0f}", ha="center", va="center", color="white")
        if cell["trained"]:
            frame = Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, ec="red", lw=2)
            axis.add_patch(frame)
    axis.imshow(image, vmin=0, vmax=100, cmap="viridis")
    axis.set(xlabel="width (px)", ylabel="height (px)", title="attributes right, % (red: trained)")
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


def draw_drift(axis: Any, long: dict[str, Any], key: str, title: str) -> None:
    """A share for each frame of long clips, a curve for each way to make them."""
    for how, figures in long.items():
        style = {"color": "black", "ls": ":"} if how == "real" else {}
        axis.plot(100 * np.array(figures[key]), label=how, **style)
    axis.set(xlabel="frame", title=title, ylim=(0, 102))
    axis.legend()


def draw_figure(results: dict[str, Any], out: Path) -> None:
    """Draw what there is of the results to an image file."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 9), layout="constrained")
    if sweep := results.get("sweep"):
        draw_map(axes[0, 0], sweep)
        draw_lengths(
            axes[0, 1], dict(sorted(sweep.items(), key=lambda item: int(item[0].split("x")[0])))
        )
    if long := results.get("long"):
        draw_drift(axes[1, 0], long, "one_object", "exactly one object, % of clips")
        draw_drift(axes[1, 1], long, "digit_asked_for", "the digit asked for, % of clips")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    plt.close(figure)
