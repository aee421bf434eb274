"""`minisora train --data FOLDER`: options and messages of training on one's own videos."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from minisora.arguments import pick_device

if TYPE_CHECKING:
    from minisora.recipe import Show

PRESET = "real-video"


@dataclass(frozen=True)
class FolderOptions:
    """How a folder of videos is cut into clips, and for how long it is trained on."""

    data: Path | None = None
    """Train on this folder of videos instead of the Moving-MNIST world. Captions: captions.jsonl or a .txt beside."""
    fps: float = 8.0
    """Frames a second that videos are resampled to (with --data)."""
    clip_frames: int = 17
    """Longest clip, 1 + 4k frames (with --data)."""
    longest_side: int | None = None
    """Scale larger videos down to this many pixels; by default all keep their native size (with --data)."""
    vae_steps: int | None = None
    """Steps of the VAE; by default the preset's (with --data)."""
    steps: int | None = None
    """Steps of the transformer; by default the preset's (with --data)."""


def train_folder(options: FolderOptions, name: str, out: Path, device: str, show: Show) -> None:
    """Train the preset called `name` on `options.data`, printing the dataset card first."""
    from minisora.footage import CutConfig
    from minisora.footage_recipe import train_on_folder
    from minisora.presets import find_preset

    assert options.data is not None
    preset = find_preset(name)
    if preset.train.steps <= 1:
        raise ValueError(
            f"Preset {name!r} is a size only; train 'tiny', 'moving-mnist' or {PRESET!r}."
        )
    for field, steps in (("vae_train", options.vae_steps), ("train", options.steps)):
        if steps is not None:
            if steps < 1:
                raise ValueError(f"{steps} steps: give 1 or more.")
            preset = replace(preset, **{field: replace(getattr(preset, field), steps=steps)})
    config = CutConfig(options.fps, options.clip_frames, options.longest_side)
    train_on_folder(options.data, out, preset, config, pick_device(device), show, print)
