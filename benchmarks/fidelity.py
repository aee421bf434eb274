"""How well a checkpoint keeps what it is told: the VAE's fidelity, and what an independent reader sees.

    python benchmarks/fidelity.py [CHECKPOINT] [--clips 200] [--guidance-scale 4.0] [--best-of 8] [--timing]

- **vae**: PSNR of reconstructions of test digits, never seen in training, and how many points of accuracy
  the digit reader loses on them.
- **test** and **held_out**: one-digit clips from detailed prompts, of color x digit pairs that training
  showed and of pairs that it never showed. `tests/reader.py` says which digit it sees, in which color and
  which way it moves; beside each figure stands what it sees in the real clips of the same prompts, its
  ceiling. `same_digit` is the share of a clip's frames that, read alone, agree with the clip's reading:
  whether a digit keeps its shape while it moves.
- **test_best** and **held_out_best**: the same with `--best-of`, each clip the best of several by the
  captioner (`minisora.rerank`), which is another network than the reader.
- **timing**, if asked for: seconds for 1 clip and for 8 clips of 17x64x64, the median of three.
Shares have Wilson intervals, means bootstrap ones. Results go to `benchmarks/results/fidelity.json`.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from torch import Tensor
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, and its tests' reader

from benchmarks.common import RESULTS, machine, update_results
from benchmarks.fidelity_report import show_prompts, show_vae
from minisora.guidance import CONTRAST_SCALE, GUIDANCE_INTERVAL, GUIDANCE_SCALE, PAG_SCALE
from minisora.loading import checkpoint_folder, load
from minisora.metrics.intervals import mean, share
from minisora.metrics.reader import DigitReader, accuracy
from minisora.model import MiniSora
from minisora.vae import VideoVAE
from minisora.video import VideoClip
from minisora.worlds import MovingMNIST, Scene, WorldConfig
from tests.reader import cached_reader, read_clip

HeldOut = Literal["exclude", "only", "any"]
VAE_SEED, TEST_SEED, HELD_OUT_SEED = 9001, 9002, 9003  # worlds that nothing is trained on
READ_CLIPS = 800  # reconstructions read, since a difference of a point is looked for
MOTION_SPAN = 5  # frames over which the world holds the named direction
ANGLE = 45.0  # degrees
RATES = ("digit", "color", "direction", "all_three")
MEANS = ("same_digit", "frames_with_ink")


@dataclass
class Settings:
    """Fidelity of a checkpoint: VAE, digits, colors, directions, seconds."""

    checkpoint: tyro.conf.Positional[str] = "moving-mnist"
    """A shipped checkpoint or a folder."""
    what: tuple[Literal["test", "held_out"], ...] = ("test", "held_out")
    """Prompts with trained pairs, with held-out pairs."""
    clips: int = 200
    """Generated clips of each kind; 0 generates none."""
    vae_clips: int = 64
    """Clips for each PSNR; 0 leaves the VAE out."""
    batch: int = 25
    """Clips generated at once."""
    seed: int = 0
    """Clip i starts from the noise of seed + i."""
    steps: int = 30
    """Sampler steps of each latent frame."""
    lag: int = 0
    """Steps by which a latent frame starts after the one before it."""
    guidance_scale: float = GUIDANCE_SCALE
    """1 is no guidance."""
    guidance_interval: tuple[float, float] = GUIDANCE_INTERVAL
    """Noise levels between which guidance acts."""
    pag_scale: float = PAG_SCALE
    """Perturbed-attention guidance; 0 is none."""
    contrast_scale: float = CONTRAST_SCALE
    """Contrastive guidance; 0 is none."""
    sampler: str = "dpmpp_2m"
    """euler, heun or dpmpp_2m."""
    best_of: int = 1
    """Clips made for each prompt, of which the checkpoint's captioner keeps one."""
    timing: bool = False
    """Measure seconds a clip, too; needs an idle machine."""
    device: str = "cpu"
    """cpu, cuda or mps."""
    reader: Path = Path("outputs/reader.pt")
    """Weights of the digit reader; trained and kept there if missing."""
    out: Path = RESULTS / "fidelity.json"
    """Where results go."""

    @property
    def sampling(self) -> dict[str, Any]:
        """What `MiniSora.generate` is told beside the prompt."""
        names = ("steps", "lag", "guidance_scale", "guidance_interval", "pag_scale")
        return {name: getattr(self, name) for name in (*names, "contrast_scale", "sampler")}


def chunks(total: int, size: int) -> Iterator[range]:
    """0 .. total - 1 in ranges of at most `size`."""
    for first in range(0, total, size):
        yield range(first, min(first + size, total))


def world(seed: int, digits: int, held_out: HeldOut, size: tuple[int, int, int]) -> MovingMNIST:
    """Clips of `digits` test digits, of size (frames, height, width)."""
    frames, height, width = size
    config = WorldConfig(
        frames, height, width, min_digits=digits, max_digits=digits, split="test", held_out=held_out
    )
    return MovingMNIST(config, seed=seed)


# -------------------------------------------------------------------------------------------- VAE


@torch.inference_mode()
def reconstructions(
    vae: VideoVAE, clips: MovingMNIST, count: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of a clip and its reconstruction, each (3, T, H, W) in [0, 1]."""
    device = vae.latent_mean.device
    for numbers in tqdm(list(chunks(count, 8)), desc="reconstruct", leave=False):
        videos = torch.stack([clips[i].video for i in numbers])
        yield from zip(videos, vae.reconstruct(videos.to(device)).cpu(), strict=True)


def psnr(errors: Sequence[float]) -> dict[str, Any]:
    """PSNR in dB from each clip's mean squared error, pixels in [0, 1].

    `value` is the mean of the clips' PSNRs; `pooled` is that of all pixels together, which is lower.
    """
    each = [-10 * math.log10(max(error, 1e-12)) for error in errors]
    return mean(each) | {"pooled": -10 * math.log10(np.mean(errors)), "worst_clip": min(each)}


def measure_vae(vae: VideoVAE, reader: DigitReader, settings: Settings) -> dict[str, Any]:
    """PSNR at two sizes, and the reader's accuracy on originals and reconstructions."""
    facts: dict[str, Any] = {"clips": settings.vae_clips, "digits": "test split, two a clip"}
    for size in ((17, 64, 64), (33, 96, 48)):
        pairs = reconstructions(vae, world(VAE_SEED, 2, "any", size), settings.vae_clips)
        errors = [(a - b).square().mean().item() for a, b in pairs]
        facts[f"psnr_{'x'.join(map(str, size))}"] = psnr(errors)
    singles = world(VAE_SEED, 1, "any", (17, 64, 64))
    count = max(settings.clips, settings.vae_clips, READ_CLIPS)
    labels = [singles.scene(i).digits[0].label for i in range(count)]
    original, decoded = [], []
    for (a, b), label in zip(reconstructions(vae, singles, count), labels, strict=True):
        original.append(read_clip(a, reader).label == label)
        decoded.append(read_clip(b, reader).label == label)
    facts["read_originals"], facts["read_reconstructions"] = share(original), share(decoded)
    facts["points_lost"] = 100 * (sum(original) - sum(decoded)) / count
    return facts


# ----------------------------------------------------------------------------------------- prompts


@dataclass(frozen=True)
class Score:
    """What the reader made of one clip, against what its prompt says."""

    read: str  # what it saw
    digit: bool
    color: bool
    direction: bool
    same_digit: float
    frames_with_ink: float

    @property
    def all_three(self) -> bool:
        """Whether digit, color and direction are right."""
        return self.digit and self.color and self.direction


def score(video: Tensor, scene: Scene, reader: DigitReader) -> Score:
    """Read a one-digit clip (3, T, H, W) in [0, 1] and compare it with the facts."""
    asked, seen = scene.digits[0], read_clip(video, reader, span=MOTION_SPAN)
    angle = seen.angle_error(asked.direction)
    return Score(
        read=f"{seen.color} {seen.label}, {angle:.0f} degrees off",
        digit=seen.label == asked.label,
        color=seen.color == asked.color,
        direction=angle <= ANGLE,
        same_digit=seen.label_share,
        frames_with_ink=seen.frames_seen,
    )


def summarize(scores: Sequence[Score]) -> dict[str, Any]:
    """Rates and means of many clips, with intervals."""
    rates = {name: share([bool(getattr(s, name)) for s in scores]) for name in RATES}
    return rates | {name: mean([float(getattr(s, name)) for s in scores]) for name in MEANS}


def make_clips(model: MiniSora, prompts: Sequence[str], settings: Settings) -> Iterator[VideoClip]:
    """A clip for each prompt, the best of several if that is asked for."""
    if settings.best_of > 1:
        from minisora.rerank import captioner_of, generate_best

        told = {"candidates": settings.best_of, "captioner": captioner_of(model)}
        for i, prompt in enumerate(prompts):
            yield generate_best(model, prompt, seed=settings.seed + i, **told, **settings.sampling)
        return
    for numbers in chunks(len(prompts), settings.batch):
        batch = [prompts[i] for i in numbers]
        yield from model.generate(batch, seed=settings.seed + numbers[0], **settings.sampling)


def measure_prompts(
    model: MiniSora, reader: DigitReader, held_out: HeldOut, seed: int, settings: Settings
) -> dict[str, Any]:
    """Generate a clip for a detailed prompt of each scene of a test world, and read it."""
    clips = world(seed, 1, held_out, (17, 64, 64))
    scenes = [clips.scene(i) for i in range(settings.clips)]
    prompts = [clips[i].captions("detailed", np.random.default_rng((seed, i))) for i in range(len(scenes))]  # fmt: skip
    made = list(
        tqdm(make_clips(model, prompts, settings), total=len(prompts), desc=held_out, leave=False)
    )
    generated = [score(clip.video, scene, reader) for clip, scene in zip(made, scenes, strict=True)]
    real = [score(clips[i].video, scene, reader) for i, scene in enumerate(scenes)]
    mistakes = [
        {"prompt": prompt, "seed": settings.seed + i, "read": result.read}
        for i, (prompt, result) in enumerate(zip(prompts, generated, strict=True))
        if not result.all_three
    ]
    return {
        "clips": settings.clips,
        "world_seed": seed,
        "generated": summarize(generated),
        "real": summarize(real),
        "mistakes": mistakes,
    }


# ------------------------------------------------------------------------------------------ timing


def measure_seconds(model: MiniSora, settings: Settings, repeats: int = 3) -> dict[str, Any]:
    """Median seconds to generate 1 clip and 8 clips of 17x64x64, the model loaded and warm."""
    prompt = world(TEST_SEED, 1, "exclude", (17, 64, 64))[0].caption
    model.generate(prompt, **settings.sampling)
    facts: dict[str, Any] = {}
    for count in (1, 8):
        seconds = []
        for repeat in range(repeats):
            started = time.perf_counter()
            model.generate([prompt] * count, seed=repeat, **settings.sampling)
            seconds.append(time.perf_counter() - started)
        facts[f"clips_{count}"] = {"median": statistics.median(seconds), "each": seconds}
    return facts


def main(settings: Settings) -> None:
    """Measure, print and write."""
    model = load(settings.checkpoint, device=settings.device)
    reader = cached_reader(settings.reader)
    told: dict[str, Any] = {
        "checkpoint": checkpoint_folder(settings.checkpoint).name,
        "seed": settings.seed,
    }
    told |= {"sampling": settings.sampling, "machine": machine(settings.device)}
    if settings.best_of > 1:
        told["best_of"] = settings.best_of
    sections: dict[str, Any] = {
        "config": asdict(model.config) | {"vocabulary": len(model.config.vocabulary)},
        "reader_on_real_test_digits": accuracy(reader),
    }
    if settings.vae_clips:
        about = {"checkpoint": told["checkpoint"], "world_seed": VAE_SEED}
        sections["vae"] = about | measure_vae(model.vae, reader, settings)
        show_vae(sections["vae"])
    worlds: tuple[tuple[str, HeldOut, int], ...] = (
        ("test", "exclude", TEST_SEED),
        ("held_out", "only", HELD_OUT_SEED),
    )
    for kind, held_out, seed in worlds:
        if kind not in settings.what or not settings.clips:
            continue
        name = kind if settings.best_of == 1 else f"{kind}_best"
        sections[name] = told | measure_prompts(model, reader, held_out, seed, settings)
        show_prompts(name, sections[name], (*RATES, *MEANS))
    if settings.timing:
        sections["timing"] = told | measure_seconds(model, settings)
        one, eight = (sections["timing"][f"clips_{n}"]["median"] for n in (1, 8))
        print(f"Seconds for 17x64x64: 1 clip {one:.2f}, 8 clips {eight:.2f}")
    update_results(settings.out, sections)
    print(f"Written to {settings.out}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
