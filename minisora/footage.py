"""A folder of the user's own videos as training clips: what is there, what it says, where it is cut.

Beside the data worlds: a world knows its facts, footage comes with captions. Every file is decoded
once, to its end, before anything is trained: one that is damaged, cut off or only sound is reported
and left out. Clips are cut by time, and keep the size and aspect ratio of their file; at most the
margin that does not fill a patch is cut away ("native size", Sora's report).

Captions come, in this order, from `captions.jsonl` in the folder, one line a file,

    {"file": "walks/dog.mp4", "caption": "a dog runs along the shore"}

(a list of captions gives one at random each time the clip is drawn), from a text file of the same
name beside the video, one caption a line, or from the file's own title.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from minisora.config import ClipSize
from minisora.containers import VideoError
from minisora.sealed import write_atomic
from minisora.video import read_video
from minisora.video_pixels import Shaper
from minisora.video_reader import Picture, sample

NOT_FOOTAGE = {".txt", ".json", ".jsonl", ".md", ".csv"}
CAPTIONS = "captions.jsonl"
SHORTEST = 5  # frames that the rest of a file must have to be a clip of its own


@dataclass(frozen=True)
class CutConfig:
    """How files become clips.

    Args:
        fps: frames per second that files are resampled to.
        frames: longest clip, 1 + 4k; a file's last, shorter piece is kept as such.
        longest_side: files with a longer side than this are scaled down to it, px; None keeps all
            native sizes.

    Raises:
        ValueError: for a value out of its range.
    """

    fps: float = 8.0
    frames: int = 17
    longest_side: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.fps < float("inf"):
            raise ValueError(f"fps={self.fps}: give a positive number of frames per second.")
        if self.frames < 1 or self.frames % 4 != 1:
            raise ValueError(f"A clip of {self.frames} frames: give 1 + 4k, e.g. 17.")
        if self.longest_side is not None and self.longest_side < 32:
            raise ValueError(f"longest side {self.longest_side}: give 32 pixels or more.")


@dataclass(frozen=True)
class Footage:
    """One file: frames at the rate it was scanned for, upright size in px, and its own title.

    `problem` says in one sentence why it cannot be used, and is empty if it can.
    """

    file: str
    frames: int = 0
    height: int = 0
    width: int = 0
    title: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Cut:
    """One clip: `size.frames` frames of a file from frame `start` on (at the rate of the cut), and its captions."""

    file: str
    start: int
    size: ClipSize
    captions: tuple[str, ...] = ()


def find_files(folder: Path, leave_out: Path | None = None) -> list[Path]:
    """All files that may be footage in `folder` and the folders in it, sorted; hidden ones are none.

    Args:
        leave_out: a folder whose files are not meant, e.g. that of the results.

    Raises:
        ValueError: if `folder` is no folder, or holds no such file.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give one with video files in it.")
    outside = leave_out.resolve() if leave_out is not None else None
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.suffix.lower() not in NOT_FOOTAGE
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and (outside is None or not path.resolve().is_relative_to(outside))
    ]
    if not files:
        raise ValueError(f"{folder} holds no video files; put some in it.")
    return files


def examine(path: Path, name: str, fps: float) -> Footage:
    """Decode a file to its end: its length in frames at `fps`, its size, or what is wrong with it."""
    first: Picture | None = None
    count = 0
    try:
        for last in sample(path, fps=None, frames=None, start=0.0):
            first, count = first or last, count + 1
        assert first is not None  # `sample` raises for a file without frames
        image = Shaper(None, "crop")(first.frame, first.header.pixel_aspect, first.header.stored)
    except VideoError as error:
        return Footage(name, problem=str(error))
    end = last.time + last.duration
    # A hair less, since a float's start must not ask for a frame that lies on the very end.
    frames = 1 if count == 1 else max(1, int(float(end) * fps + 0.5 - 1e-6))
    return Footage(name, frames, image.shape[0], image.shape[1], first.header.prompt)


def scan(
    folder: Path, fps: float, cache: Path, leave_out: Path | None = None
) -> Iterator[list[Footage]]:
    """Examine every file, yielding the growing list after each.

    Args:
        folder: of videos.
        fps: rate at which frames are counted.
        cache: a JSON file; what it says of files that have not changed since is not found out again.
        leave_out: see `find_files`.
    """
    known: dict[str, Any] = json.loads(cache.read_text()) if cache.exists() else {}
    kept: dict[str, object] = {}
    found: list[Footage] = []
    for path in find_files(folder, leave_out):
        name, facts = path.relative_to(folder).as_posix(), path.stat()
        stamp = [facts.st_size, facts.st_mtime_ns, fps]
        old: Any = known.get(name)
        same = old is not None and old["stamp"] == stamp
        footage = Footage(**old["footage"]) if same else examine(path, name, fps)
        found.append(footage)
        kept[name] = {"stamp": stamp, "footage": asdict(footage)}
        if old != kept[name]:
            write_atomic(cache, json.dumps(known | kept, indent=1).encode())
        yield found


# ---------------------------------------------------------------------------------------- captions


def read_captions(folder: Path) -> dict[str, tuple[str, ...]]:
    """The captions of `captions.jsonl`, by file; none if there is no such file.

    Raises:
        ValueError: for a line that says no file or no caption.
    """
    path = folder / CAPTIONS
    captions: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines() if path.exists() else [], 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            texts = entry["caption"]
            texts = [texts] if isinstance(texts, str) else texts
            name = Path(entry["file"]).as_posix()
            if not all(isinstance(text, str) for text in texts):
                raise TypeError
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f'{path}, line {number}: write {{"file": "a.mp4", "caption": "what it shows"}}.'
            ) from error
        captions[name] = captions.get(name, ()) + tuple(t.strip() for t in texts if t.strip())
    return captions


def captions_of(
    folder: Path, footage: Footage, listed: dict[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """The captions of one file: those listed, else of the text file beside it, else its title."""
    if listed.get(footage.file):
        return listed[footage.file]
    path = folder / footage.file
    for beside in (path.with_suffix(".txt"), path.with_name(path.name + ".txt")):
        if beside.exists():
            lines = beside.read_text("utf-8", errors="replace").splitlines()
            return tuple(line.strip() for line in lines if line.strip())
    return (footage.title.strip(),) if footage.title.strip() else ()


# ---------------------------------------------------------------------------------------- cutting


def fitted(height: int, width: int, units: tuple[int, int], longest: int | None) -> tuple[int, int]:
    """The size a file of height x width is used at: its own, or scaled to `longest`, cut to whole patches."""
    scale = 1.0 if longest is None else min(1.0, longest / max(height, width))
    rows, columns = (
        max(unit, round(side * scale) // unit * unit)
        for side, unit in zip((height, width), units, strict=True)
    )
    return rows, columns


def cut_file(
    footage: Footage, config: CutConfig, units: tuple[int, int], captions: Sequence[str]
) -> list[Cut]:
    """The clips of one file, one after the other in time; none if it is smaller than a patch."""
    if footage.height < units[0] or footage.width < units[1]:
        return []
    height, width = fitted(footage.height, footage.width, units, config.longest_side)
    cuts: list[Cut] = []
    for start in range(0, footage.frames, config.frames):
        left = min(config.frames, footage.frames - start)
        frames = 1 + (left - 1) // 4 * 4
        if frames >= min(SHORTEST, config.frames) or not cuts:
            size = ClipSize(frames, height, width)
            cuts.append(Cut(footage.file, start, size, tuple(captions)))
    return cuts


def read_cut(folder: Path, cut: Cut, config: CutConfig) -> Tensor:
    """A clip's pixels (3, T, H, W) in [0, 1].

    Raises:
        VideoError: if its file has been changed or removed since the scan.
    """
    size, scaled = (cut.size.height, cut.size.width), config.longest_side is not None
    rate = None if cut.start == 0 and cut.size.frames == 1 else config.fps
    clip = read_video(
        folder / cut.file,
        fps=rate,
        frames=cut.size.frames,
        start=cut.start / config.fps,
        size=size if scaled else None,
    )
    top, left = ((have - want) // 2 for have, want in zip(clip.size, size, strict=True))
    if min(top, left) < 0:
        raise VideoError(f"{cut.file} has become smaller than it was; start in a new folder.")
    return clip.video[:, :, top : top + size[0], left : left + size[1]]
