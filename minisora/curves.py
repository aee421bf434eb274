"""Learning curves: the logs of a training folder as one figure."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt

PANELS = (
    ("log-vae.jsonl", "psnr", "VAE: PSNR of training crops (dB)"),
    ("log-vae.jsonl", "kl", "VAE: KL (nats a latent number)"),
    ("log-generator.jsonl", "loss", "transformer: v-loss"),
    ("log-generator.jsonl", "clips_per_second", "transformer: clips a second"),
)


def plot_curves(folder: Path, out: Path) -> None:
    """Draw the logs in `folder` to the image file `out`; a log that is not there leaves its panel empty."""
    figure, axes = plt.subplots(1, len(PANELS), figsize=(4 * len(PANELS), 3), layout="constrained")
    for axis, (name, key, title) in zip(axes, PANELS, strict=True):
        path = folder / name
        lines = (
            [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        )
        axis.plot(
            [line["step"] for line in lines], [line[key] for line in lines], color="tab:blue", lw=1
        )
        axis.set(title=title, xlabel="step")
        if key == "loss":
            axis.set_yscale("log")
        axis.grid(alpha=0.3)
    figure.savefig(out, dpi=110)
    plt.close(figure)
