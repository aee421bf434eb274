"""The commands that edit files: `minisora animate | extend | loop | connect | restyle | inpaint | story`.

A thin surface over `edit` and `story`, joined to the other commands by `cli`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from minisora.arguments import nearest_size, parse_box, parse_size, pick_device

if TYPE_CHECKING:
    from minisora.complete import Sampling
    from minisora.model import MiniSora
    from minisora.video import VideoClip

File = Annotated[Path, tyro.conf.Positional]
Words = Annotated[str, tyro.conf.Positional]
Out = Annotated[Path, tyro.conf.arg(aliases=["-o"])]


@dataclass
class Common:
    """What every edit takes."""

    out: Out = Path("edited.mp4")
    """File to write: .mp4, .webp or .gif; .png makes a strip of frames."""
    checkpoint: str = "moving-mnist"
    """A shipped checkpoint or a folder."""
    seed: int = 0
    """The same seed gives the same result."""
    steps: int = 30
    """Sampler steps: more is slower and finer."""
    guidance_scale: float | None = None
    """How closely to follow the prompt; 1 is no guidance, None as it fits: 4, but 1 where a clip goes on."""
    pag_scale: float | None = None
    """How much to steady shapes (perturbed-attention guidance): 0 saves a third of the time, None is as it fits."""
    reversible: bool = True
    """Make what comes before given frames in the film turned round; --no-reversible for what only happens one way."""
    device: str = "cpu"
    """auto, cpu, cuda or mps."""

    def model(self) -> MiniSora:
        """The checkpoint, loaded."""
        from minisora.loading import load

        return load(self.checkpoint, device=pick_device(self.device))

    def sampling(self) -> Sampling:
        """Its settings as the edits take them."""
        from minisora.complete import Sampling

        return Sampling(
            self.steps,
            self.guidance_scale,
            pag_scale=self.pag_scale,
            progress=True,
            reversible=self.reversible,
        )

    def write(self, clip: VideoClip) -> None:
        """Save the result and say where it is."""
        clip.save(self.out)
        height, width = clip.size
        print(f"{self.out}: {clip.frames} frames of {height}x{width}")


@dataclass
class Animate:
    """Set an image in motion."""

    image: File
    """An image file, or a video whose first frame is taken."""
    prompt: Words = ""
    """What happens."""
    frames: int = 17
    """1 + 4k."""
    at: Literal["first", "middle", "last"] = "first"
    """Which frame of the clip the image is."""
    common: tyro.conf.OmitArgPrefixes[Common] = field(default_factory=Common)

    def run(self) -> None:
        """Read, animate, save."""
        from minisora.edit import animate

        model = self.common.model()
        image = read_clip(self.image, model.config.fps, frames=1)
        how = {"seed": self.common.seed, "sampling": self.common.sampling()}
        self.common.write(animate(model, image, self.prompt, frames=self.frames, at=self.at, **how))  # type: ignore[arg-type]


@dataclass
class Extend:
    """Add frames after a clip, before it, or on both sides."""

    video: File
    """A video file."""
    frames: int = 12
    """How many to add on each side that grows."""
    direction: Literal["forward", "backward", "both"] = "forward"
    """Where to add them."""
    prompt: str | None = None
    """What happens; by default what the file says it shows."""
    common: tyro.conf.OmitArgPrefixes[Common] = field(default_factory=Common)

    def run(self) -> None:
        """Read, extend, save."""
        from minisora.edit import extend

        model = self.common.model()
        clip = read_clip(self.video, model.config.fps)
        how = {"seed": self.common.seed, "sampling": self.common.sampling()}
        longer = extend(model, clip, self.frames, self.prompt, direction=self.direction, **how)  # type: ignore[arg-type]
        self.common.write(longer)


@dataclass
class Loop:
    """Make a clip that can be played round and round."""

    video: File
    """A video file."""
    frames: int = 24
    """Frames to add at each end at most, until they meet."""
    common: tyro.conf.OmitArgPrefixes[Common] = field(default_factory=Common)

    def run(self) -> None:
        """Read, close the loop, save."""
        from minisora.edit import loop

        model = self.common.model()
        clip = read_clip(self.video, model.config.fps)
        how = {"seed": self.common.seed, "sampling": self.common.sampling()}
        self.common.write(loop(model, clip, self.frames, **how))  # type: ignore[arg-type]


@dataclass
class Connect:
    """Lead from one clip to another."""

    first: File
    """A video file."""
    second: File
    """Another; it is brought to the size of the first."""
    frames: int | None = None
    """Frames between them; None for as many as a gentle change takes."""
    common: tyro.conf.OmitArgPrefixes[Common] = field(default_factory=Common)

    def run(self) -> None:
        """Read both, connect, save."""
        from minisora.edit import connect

        model = self.common.model()
        a = read_clip(self.first, model.config.fps)
        b = read_clip(self.second, model.config.fps, size=a.size)
        how = {"seed": self.common.seed, "sampling": self.common.sampling()}
        self.common.write(connect(model, a, b, self.frames, **how))  # type: ignore[arg-type]


@dataclass
class Restyle:
    """Make a clip anew under other words, keeping how it moves."""

    video: File
    """A video file."""
    prompt: Words
    """What it shall show."""
    strength: float = 0.7
    """Noise to start from, above 0 and at most 1: more keeps less of the clip."""
    common: tyro.conf.OmitArgPrefixes[Common] = field(default_factory=Common)

    def run(self) -> None:
        """Read, restyle, save."""
        from minisora.edit import restyle

        model = self.common.model()
        clip = read_clip(self.video, model.config.fps, whole=True)
        how = {"seed": self.common.seed, "sampling": self.common.sampling()}
        self.common.write(restyle(model, clip, self.prompt, strength=self.strength, **how))  # type: ignore[arg-type]


@dataclass
class Inpaint:
    """Make a rectangle of a clip anew."""

    video: File
    """A video file."""
    box: Words
    """TOP,LEFT,BOTTOM,RIGHT of the rectangle in pixels of the clip as it is processed."""
    prompt: str | None = None
    """What the whole clip shall show; by default what the file says it shows."""
    common: tyro.conf.OmitArgPrefixes[Common] = field(default_factory=Common)

    def run(self) -> None:
        """Read, inpaint, save."""
        import torch

        from minisora.edit import inpaint

        model = self.common.model()
        clip = read_clip(self.video, model.config.fps, whole=True)
        top, left, bottom, right = parse_box(self.box, clip.size)
        mask = torch.zeros(clip.size, dtype=torch.bool)
        mask[top:bottom, left:right] = True
        how = {"seed": self.common.seed, "sampling": self.common.sampling()}
        self.common.write(inpaint(model, clip, mask, self.prompt, **how))  # type: ignore[arg-type]


@dataclass
class Story:
    """Make a long clip of one or several shots; run again to resume."""

    text: Words
    """A prompt, or shots with their times: "0 s: a red 3 moving up; 20 s: a blue 4 moving down"."""
    seconds: float = 60.0
    """Length of the whole."""
    size: str = "64x64"
    """HEIGHTxWIDTH in pixels, multiples of 16."""
    common: tyro.conf.OmitArgPrefixes[Common] = field(default_factory=Common)

    def run(self) -> None:
        """Roll out, join, save; the windows are kept beside the file until it is whole."""
        import shutil
        from dataclasses import replace

        from tqdm.auto import tqdm

        from minisora.story import assemble, parse_story, roll_out

        model, out = self.common.model(), self.common.out
        folder = out.with_name(f"{out.name}.windows")
        total = round(self.seconds * model.config.fps)
        made = roll_out(
            model,
            parse_story(self.text),
            self.seconds,
            folder,
            size=parse_size(self.size),
            seed=self.common.seed,
            sampling=replace(self.common.sampling(), progress=False),
        )
        with tqdm(total=total, desc="frames") as bar:
            for done in made:
                bar.update(done - bar.n)
        assemble(folder, out, self.text)
        shutil.rmtree(folder)
        print(f"{out}: {total} frames of {self.size}")


def read_clip(
    path: Path,
    fps: float,
    *,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    whole: bool = False,
) -> VideoClip:
    """Read a file as the model takes it, and say on stderr what was changed.

    Args:
        fps: rate to resample to.
        frames: how many to read at most; None reads all.
        size: (height, width) to bring it to; None takes the nearest that the model makes.
        whole: cut the end so that 1 + 4k frames are left.
    """
    from dataclasses import replace

    from minisora.video import read_video

    first = look(path)
    size = size or nearest_size(first.size)
    clip = read_video(path, fps=None if frames == 1 else fps, size=size, frames=frames)
    if size != first.size:
        (h, w), (height, width) = first.size, size
        print(f"minisora: {path} is {h}x{w}; resampled to {height}x{width}.", file=sys.stderr)
    if frames != 1 and abs(first.fps / fps - 1) > 0.02:
        print(
            f"minisora: {path} has {first.fps:g} frames a second; resampled to {fps:g}.",
            file=sys.stderr,
        )
    keep = clip.frames - (clip.frames - 1) % 4 if whole else clip.frames
    if keep < clip.frames:
        print(f"minisora: {path}: the first {keep} of {clip.frames} frames used.", file=sys.stderr)
    return replace(clip, video=clip.video[:, :keep], fps=fps)


def look(path: Path) -> VideoClip:
    """The first two frames of a file, or its only one; animated WebP tells its rate by their times."""
    from minisora.video import VideoError, read_video

    try:
        return read_video(path, frames=2)
    except VideoError:
        return read_video(path, frames=1)
