"""Long clips: rolled out window by window, straight to disk, in memory that does not grow.

A story is a list of shots, each with its prompt and the time at which it begins. A shot's first window comes from
noise, every later one is completed from the frames before it, and told all of the prompt but the direction, which is
how the shot begins. Windows are kept as files of 8-bit frames, so a roll-out that was killed goes on where it stopped
and ends in the same bytes; the context of a window is always read from such a file. `assemble` joins them to a video.

Stands on `complete` and `edit`, writes with `video`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from minisora.checkpoint import load_weights, save_weights
from minisora.complete import FREELY, LASTING, WINDOW, Sampling, complete
from minisora.model import MiniSora
from minisora.sealed import write_atomic
from minisora.video import VideoWriter
from minisora.worlds.captions import undirected

_SHOT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*s\s*:\s*(.+?)\s*", re.DOTALL)


@dataclass(frozen=True)
class Shot:
    """One shot of a story.

    Attributes:
        start: when it begins, s; the first one at 0.
        prompt: what it shows.
    """

    start: float
    prompt: str


@dataclass(frozen=True)
class Window:
    """What is made at once: `new` frames under `prompt`, after those of the shot so far if any."""

    prompt: str
    new: int
    begins: bool


def parse_story(text: str) -> list[Shot]:
    """Shots from "0 s: a red 3; 20 s: a blue 4". A text without times is one shot.

    Raises:
        ValueError: if a part has no time, or the times do not rise from 0.
    """
    if not re.match(r"\s*\d+(\.\d+)?\s*s\s*:", text):
        return [Shot(0.0, text.strip())]
    shots = []
    for part in text.split(";"):
        found = _SHOT.fullmatch(part)
        if found is None:
            raise ValueError(
                f"{part.strip()!r} is no shot; write its time and its prompt, as in "
                '"0 s: a red 3 moving up; 20 s: a blue 4 moving down".'
            )
        shots.append(Shot(float(found[1]), found[2]))
    times = [shot.start for shot in shots]
    if times[0] != 0 or any(b <= a for a, b in pairwise(times)):
        raise ValueError(f"The shots begin at {times} s; the first must be at 0, and times rise.")
    return shots


def plan(shots: list[Shot], seconds: float, fps: float, context: int) -> list[Window]:
    """The windows of a story, in order; their new frames sum up to its length."""
    ends = [shot.start for shot in shots[1:]] + [seconds]
    windows = []
    for shot, end in zip(shots, ends, strict=True):
        left, begins = round(end * fps) - round(shot.start * fps), True
        if left < 1:
            raise ValueError(
                f"The shot at {shot.start:g} s ends at {end:g} s; give each at least one frame."
            )
        while left > 0:
            new = min(left, WINDOW if begins else WINDOW - context)
            windows.append(Window(shot.prompt, new, begins))
            left, begins = left - new, False
    return windows


def roll_out(
    model: MiniSora,
    shots: list[Shot],
    seconds: float,
    folder: Path,
    *,
    size: tuple[int, int] = (64, 64),
    context: int = 5,
    seed: int = 0,
    sampling: Sampling = Sampling(),
) -> Iterator[int]:
    """Make the windows of a story into `folder`, going on after those that are there.

    Args:
        shots: what happens, see `parse_story`.
        seconds: length of the whole.
        folder: one file a window, and `story.json` with the settings.
        size: (height, width) in pixels.
        context: frames of a shot that its next window sees, 1 + 4k and below `edit.WINDOW`.
        seed: window n uses seed + n.

    Yields:
        the number of frames done, after every window.

    Raises:
        ValueError: if the folder holds another story, or a number is out of range.
    """
    if not 1 <= context < WINDOW or context % 4 != 1:
        raise ValueError(f"context={context}: give 1 + 4k frames below {WINDOW}.")
    windows = plan(shots, seconds, model.config.fps, context)
    settings = {
        "windows": [asdict(window) for window in windows],
        "size": list(size),
        "context": context,
        "seed": seed,
        "steps": sampling.steps,
        "begins": asdict(sampling.manner(FREELY)),
        "goes on": asdict(sampling.manner(LASTING)),
        "sampler": sampling.sampler,
        "fps": model.config.fps,
    }
    claim(folder, settings)
    done = 0
    for number, window in enumerate(windows):
        path = window_path(folder, number)
        if not path.exists():
            before = [] if window.begins else last_frames(folder, windows, number, context)
            video = make_window(model, window, before, size, seed + number, sampling)
            save_weights(path, {"frames": video}, {"window": number})
        done += window.new
        yield done


def make_window(
    model: MiniSora,
    window: Window,
    before: list[Tensor],
    size: tuple[int, int],
    seed: int,
    sampling: Sampling,
) -> Tensor:
    """The new frames of one window, uint8 (3, n, H, W)."""
    video = torch.zeros(3, WINDOW, *size)
    context = 0
    if before:
        edge = torch.cat(before, dim=1).float() / 255
        context = edge.shape[1]
        video[:, :context] = edge
    known = torch.arange(WINDOW) < context
    words = undirected(window.prompt) if before else window.prompt
    usual = LASTING if before else FREELY
    made = complete(model, video, known, words, seed=seed, sampling=sampling, usual=usual)
    return (made[:, context : context + window.new] * 255).round().byte()


def last_frames(folder: Path, windows: list[Window], number: int, context: int) -> list[Tensor]:
    """The `context` frames before window `number` of its shot, uint8, in pieces (3, n, H, W)."""
    pieces: list[Tensor] = []
    missing = context
    while missing > 0:
        number -= 1
        frames = load_weights(window_path(folder, number), dtype=None)[0]["frames"][:, -missing:]
        pieces.insert(0, frames)
        missing -= frames.shape[1]
        if windows[number].begins:
            break
    return pieces


def window_path(folder: Path, number: int) -> Path:
    """Where window `number` is kept."""
    return folder / f"window-{number:05d}.safetensors"


def claim(folder: Path, settings: dict[str, object]) -> None:
    """Write the settings to an empty folder, or check that it holds a story of the same settings."""
    path, text = folder / "story.json", json.dumps(settings, indent=1)
    if path.exists() and path.read_text() != text:
        raise ValueError(
            f"{folder} holds a story with other settings; use another folder, or delete it."
        )
    if not path.exists():
        write_atomic(path, text.encode())


def assemble(folder: Path, out: Path, prompt: str = "") -> Path:
    """Join the windows of a finished story to a video file, reading one at a time."""
    settings = json.loads((folder / "story.json").read_text())
    with VideoWriter(out, settings["fps"], prompt=prompt) as writer:
        for number in range(len(settings["windows"])):
            writer.add(load_weights(window_path(folder, number), dtype=None)[0]["frames"])
    return out
