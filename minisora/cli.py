"""The command line: `minisora generate | train | info | reconstruct`; `cli_edit`, `cli_evaluate`, `cli_words` add more.

A thin surface over the package; progress bars, tables and messages live here and nowhere below. Errors that a
user can mend end in one sentence and exit status 2.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tqdm.auto import tqdm

from minisora.arguments import parse_size, pick_device
from minisora.cli_edit import Animate, Connect, Extend, Inpaint, Loop, Restyle, Story
from minisora.cli_evaluate import Evaluate
from minisora.cli_folder import PRESET, FolderOptions, train_folder
from minisora.cli_words import Caption, Expand, Recaption, TrainCaptioner, TrainExpander

if TYPE_CHECKING:
    from minisora.model import MiniSora
    from minisora.video import VideoClip


@dataclass
class Generate:
    """Make a clip from a prompt."""

    prompt: Annotated[str, tyro.conf.Positional]
    """What the clip shows, e.g. "a large red 3 drifting up and to the right on navy"."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("clip.mp4")
    """File to write: .mp4, .webp or .gif; .png makes a strip of frames, or an image if frames is 1."""
    checkpoint: str = "moving-mnist"
    """A shipped checkpoint or a folder."""
    frames: int = 17
    """1 + 4k; 1 makes an image."""
    size: str = "64x64"
    """HEIGHTxWIDTH in pixels, multiples of 16."""
    draft: str | None = None
    """HEIGHTxWIDTH of the same clip made smaller, first, whose composition is kept."""
    long: Literal["extrapolate", "interpolate", "ntk", "roll-out"] = "extrapolate"
    """How to make more frames than were trained on: in one go, in three ways, or window by window."""
    seed: int = 0
    """The same seed, prompt and size give the same clip."""
    steps: int = 30
    """Sampler steps of each latent frame: more is slower and finer."""
    lag: int = 0
    """Steps by which a latent frame starts after the one before it; 0 makes all at once."""
    guidance_scale: float | None = None
    """How closely to follow the prompt; 1 is no guidance, None as it fits: 4, but less where a roll-out goes on."""
    pag_scale: float | None = None
    """How much to steady shapes (perturbed-attention guidance): 0 saves a quarter of the time, None is 1."""
    contrast_scale: float | None = None
    """How far to go away from the negative prompt: 0 saves a fifth of the time, None is 2.5."""
    negative_prompt: str | None = None
    """What the clip shall not be; by default what the prompt is easily mistaken for."""
    sampler: str = "dpmpp_2m"
    """euler, heun or dpmpp_2m."""
    expand: bool = False
    """First turn the prompt into a detailed caption that keeps all it states."""
    best_of: int = 1
    """Make so many and keep the one that the captioner finds the prompt most likely for."""
    device: str = "cpu"
    """auto, cpu, cuda or mps."""

    def run(self) -> None:
        """Generate and save."""
        from minisora.loading import load
        from minisora.video import VideoWriter

        model = load(self.checkpoint, device=pick_device(self.device))
        started = time.perf_counter()
        prompt = self.prompt
        if self.expand:
            (prompt,) = model.expand([prompt], frames=self.frames, seed=self.seed)
            print(f"prompt: {prompt}")
        # Opened first, so that a file that cannot be written is told before the work, not after it.
        with VideoWriter(self.out, model.config.fps, prompt=prompt) as writer:
            writer.add(self.make(model, prompt).video)
        print(
            f"{self.out}: {self.frames} frames of {self.size} in {time.perf_counter() - started:.1f} s"
        )

    def make(self, model: MiniSora, prompt: str) -> VideoClip:
        """The clip of a prompt."""
        from minisora.complete import Sampling
        from minisora.longer import generate_long

        size, draft = parse_size(self.size), parse_size(self.draft) if self.draft else None
        how: dict[str, Any] = {"steps": self.steps, "sampler": self.sampler}
        guidance = {"guidance_scale": self.guidance_scale, "pag_scale": self.pag_scale}
        how |= {name: scale for name, scale in guidance.items() if scale is not None}
        contrast: dict[str, Any] = {"negative_prompt": self.negative_prompt}
        contrast["contrast_scale"] = self.contrast_scale
        contrast = {name: value for name, value in contrast.items() if value is not None}
        if self.long == "roll-out":
            if self.lag or draft or self.best_of > 1 or contrast:
                raise ValueError(
                    "--long roll-out takes none of --lag, --draft, --best-of, --contrast-scale and "
                    "--negative-prompt; leave them out."
                )
            sampling = Sampling(**how, progress=True)
            return generate_long(
                model, prompt, frames=self.frames, size=size, seed=self.seed, sampling=sampling
            )
        how |= contrast
        how |= {
            "frames": self.frames,
            "size": size,
            "draft": draft,
            "seed": self.seed,
            "lag": self.lag,
            "scaling": None if self.long == "extrapolate" else self.long,
            "progress": True,
        }
        if self.best_of == 1:
            return model.generate(prompt, **how)
        from minisora.rerank import generate_best

        return generate_best(model, prompt, candidates=self.best_of, **how)


@dataclass
class Train:
    """Train a preset on Moving-MNIST or on your own videos: VAE, latents, transformer. Run again to resume."""

    preset: Annotated[str | None, tyro.conf.Positional] = None
    """A name that `minisora info` lists with a training schedule; by default tiny, with --data real-video."""
    folder: Annotated[FolderOptions, tyro.conf.arg(name="")] = field(default_factory=FolderOptions)
    start: str | None = None
    """A shipped checkpoint or model folder to go on from, for the preset's next leg, in place of from nothing."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("outputs/train")
    """Folder for training states, latents, logs and the finished model."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    tensorboard: Path | None = None
    """Folder for a TensorBoard log (needs the extra `log`)."""

    def run(self) -> None:
        """Train every stage that is not finished yet."""
        from minisora.curves import plot_curves

        bars = Bars(self.tensorboard)
        if self.folder.data is None:
            self.train_world(bars)
        elif self.start is None:
            train_folder(self.folder, self.preset or PRESET, self.out, self.device, bars)
        else:
            raise ValueError("--start goes on with a preset of Moving-MNIST; leave out --data.")
        plot_curves(self.out, self.out / "curves.png")
        print(f"Done. Model in {self.out / 'model'}; curves in {self.out / 'curves.png'}.")

    def train_world(self, bars: Bars) -> None:
        """Train on the Moving-MNIST world, from nothing or from `start`."""
        from minisora.legs import begin_from, train_legs
        from minisora.presets import find_preset
        from minisora.recipe import train_all

        preset, device = find_preset(self.preset or "tiny"), pick_device(self.device)
        if not preset.mix:
            needs = "needs --data" if self.preset == PRESET else "is a size only"
            raise ValueError(f"Preset {self.preset!r} {needs}; train 'tiny' or 'moving-mnist'.")
        if self.start is None:
            train_all(preset, self.out, device, bars)
        else:
            begin_from(self.start, self.out)
        train_legs(preset, self.out, device, bars)


@dataclass
class Info:
    """List presets, shipped checkpoints, and the words a checkpoint knows."""

    checkpoint: str = "moving-mnist"
    """Whose words and sizes to show."""

    def run(self) -> None:
        """Print the tables."""
        from minisora.info import describe_checkpoint, describe_presets

        print(describe_presets())
        print(describe_checkpoint(self.checkpoint))


@dataclass
class Reconstruct:
    """Send a video file through the VAE and back, and print the PSNR."""

    video: Annotated[Path, tyro.conf.Positional]
    """Any file that PyAV reads."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("reconstruction.mp4")
    """File to write."""
    checkpoint: str = "moving-mnist"
    """A shipped checkpoint or a folder."""
    size: str | None = None
    """HEIGHTxWIDTH to resample to; by default the file's own, cut to multiples of 8."""
    frames: int | None = None
    """Frames to use, 1 + 4k; by default as many as the file has, cut to 1 + 4k."""

    def run(self) -> None:
        """Reconstruct, save, report."""
        import torch

        from minisora.loading import load
        from minisora.video import VideoClip, read_video

        vae = load(self.checkpoint).vae
        size = parse_size(self.size) if self.size else None
        clip = read_video(self.video, size=size, frames=self.frames)
        frames, height, width = clip.video.shape[1:]
        config = vae.config
        keep = frames - (frames - 1) % config.temporal
        video = clip.video[
            :, :keep, : height - height % config.spatial, : width - width % config.spatial
        ]
        with torch.inference_mode():
            decoded = vae.reconstruct(video[None])[0]
        psnr = -10 * torch.log10((decoded - video).square().mean()).item()
        VideoClip(decoded, clip.fps).save(self.out)
        shape = "x".join(map(str, video.shape[1:]))
        print(f"{self.out}: {shape} (frames x height x width), PSNR {psnr:.2f} dB")


class Bars:
    """Show iterators as progress bars with loss and clips a second, and log records to TensorBoard if asked."""

    def __init__(self, tensorboard: Path | None) -> None:
        self.writer: Any = None
        if tensorboard is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ValueError(
                    "--tensorboard needs the extra: pip install 'minisora[log]'."
                ) from error
            self.writer = SummaryWriter(str(tensorboard))

    def __call__(self, items: Iterator[Any], total: int, title: str) -> Iterator[Any]:
        """Pass `items` on, with a bar of `total`; an item is a `Record` or the number done so far."""
        with tqdm(total=total, desc=title) as bar:
            for item in items:
                bar.update((item if isinstance(item, int) else item.step) - bar.n)
                if not isinstance(item, int):
                    bar.set_postfix(
                        loss=f"{item.loss:.4f}", clips_per_s=f"{item.clips_per_second:.0f}"
                    )
                    if self.writer is not None:
                        self.writer.add_scalar(f"{title}/loss", item.loss, item.step)
                        self.writer.add_scalar(f"{title}/lr", item.lr, item.step)
                yield item
        if self.writer is not None:
            self.writer.flush()  # its thread dies with the program, and the last lines with it


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning as one line of text, without the place in the code it comes from."""
    print(f"minisora: {message}", file=sys.stderr)


def main() -> None:
    """Entry point of the command `minisora`."""
    warnings.showwarning = show_warning
    command = tyro.cli(  # type: ignore[call-overload]
        Generate
        | Train
        | Info
        | Reconstruct
        | Evaluate
        | Animate
        | Extend
        | Loop
        | Connect
        | Restyle
        | Inpaint
        | Story
        | Caption
        | Recaption
        | Expand
        | TrainCaptioner
        | TrainExpander,
        prog="minisora",
    )
    try:
        command.run()
    except (ValueError, OSError, RuntimeError) as error:
        print(f"minisora: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("minisora: stopped; what was saved is kept.", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
