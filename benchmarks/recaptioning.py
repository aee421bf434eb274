"""Does recaptioning help? Identical generators on alt-text, short and detailed synthetic captions, and blends.

    python benchmarks/recaptioning.py [--captioner outputs/captioner] [--expander outputs/expander] [--steps 4000]

The experiment of DALL-E 3 (Betker et al. 2023, section 3) in miniature. One set of clips is encoded once by the
checkpoint's VAE and described twice, by the short and by the detailed captioner; then generators that differ in
nothing else are trained from scratch, for equal steps, on

- alt-text, 95 % short, 95 % detailed captions: three seeds each;
- 65, 80 and 100 % detailed captions (0 and 95 % are above): one seed.

Every run makes clips from short, detailed and expanded prompts of the test world. Scores: the share of clips in which
all that the prompt states is right (for expanded prompts: all that the short prompt stated), each attribute's share,
and the kernel distance to real clips; on the way, the first of these for detailed prompts, against training step.
Beside them stands what the captioner gets wrong, attribute by attribute.

Results go to `benchmarks/results/recaptioning.json` as they come. Stopped at any moment, it goes on where it stopped.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout

from benchmarks.common import RESULTS, machine, update_results
from benchmarks.lab import DIGITS, GUIDANCE
from benchmarks.recaptioning_report import PROMPTS, pooled, wrong_by_attribute
from minisora.caption import FILES, Style, open_captioner
from minisora.config import TrainConfig
from minisora.expand import Expander, load_expander
from minisora.latents import LatentDataset, build_latents
from minisora.loading import load
from minisora.metrics.captions import caption_figures, mark_caption
from minisora.metrics.distance import kernel_distance
from minisora.metrics.intervals import share
from minisora.metrics.judge import Judge, load_judge
from minisora.metrics.reader import load_reader
from minisora.metrics.reading import ATTRIBUTES, compare, read_clip, stated
from minisora.model import MiniSora
from minisora.network import TextToLatent
from minisora.objectives import diffusion_objective
from minisora.presets import PRESETS, TINY, mixture
from minisora.recaption import BlendedCaptions, recaption
from minisora.recipe import seeded
from minisora.sample import dpmpp_2m, frame_schedule, sample, timesteps
from minisora.train import Trainer, fit
from minisora.worlds import VOCABULARY, MovingMNIST, Scene, WorldConfig, caption

SIZE = (
    9,
    48,
    48,
)  # the smallest in which motion can be read: of 32x32 pixels even real clips are misread
MIX = mixture((*SIZE, 0.7), (1, *SIZE[1:], 0.3))  # images teach digits, clips how they move
TRAIN = TrainConfig(steps=4000, batch=64, lr=3e-3, warmup=100, cooldown=0.5, muon=False)
FLOW = replace(PRESETS["moving-mnist"].flow, pattern_weights=(1.0, 0.0, 0.0, 0.0))  # no edits here
TRAIN_WORLD, TEST_WORLD, REAL_WORLD = 500, 9500, 9501  # seeds
MOMENTS = 6  # times at which a run is scored


@dataclass(frozen=True)
class Recipe:
    """What a generator reads in training: `blend` of the captions of a style, alt-text for the rest."""

    name: str
    style: Style
    blend: float


MAIN = (
    Recipe("alt-text", "detailed", 0.0),
    Recipe("95% short", "short", 0.95),
    Recipe("95% detailed", "detailed", 0.95),
)
SWEEP = tuple(Recipe(f"{b}% detailed", "detailed", b / 100) for b in (65, 80, 100))


@dataclass
class Settings:
    """Generators trained on alt-text, short and detailed captions."""

    checkpoint: str = "moving-mnist"
    """Whose VAE encodes the clips."""
    captioner: Path = Path("outputs/captioner")
    """Folder of both captioners, from `minisora train-captioner`."""
    expander: Path = Path("outputs/expander")
    """Folder of the expander, from `minisora train-expander`."""
    latents: int = 8000
    """Clips to train on."""
    steps: int = TRAIN.steps
    """Optimizer steps of each run."""
    clips: int = 400
    """Clips of each kind of prompt that score a run at its end; a quarter of them on the way."""
    seeds: int = 3
    """Runs of each of the main three."""
    work: Path = Path("outputs/recaptioning")
    """Folder for latents, captions and training states."""
    out: Path = RESULTS / "recaptioning.json"
    """Where results go."""


@dataclass
class Bench:
    """What all runs share: the VAE to see with, test prompts, and those who score."""

    model: MiniSora
    judge: Judge
    reader: Any
    scenes: list[Scene]
    prompts: dict[str, list[str]]  # by kind
    real: Tensor  # features of real clips

    def score(self, kind: str, clips: int) -> dict[str, Any]:
        """Fidelity to what prompts of a kind state, and distance to real clips."""
        chunks = [range(i, min(i + 50, clips)) for i in range(0, clips, 50)]
        videos = torch.cat([self.make(self.prompts[kind], chunk) for chunk in chunks])
        asked = self.prompts["detailed" if kind == "detailed" else "short"]
        hits: dict[str, list[bool]] = {name: [] for name in (*ATTRIBUTES, "all")}
        for scene, prompt, video in zip(self.scenes, asked, videos, strict=False):
            right = compare(scene, read_clip(video, self.reader))
            said = stated(prompt)
            for name in said:
                hits[name].append(right[name])
            hits["all"].append(all(right[name] for name in said))
        distance = asdict(kernel_distance(self.judge.embed(videos), self.real, 50))
        return {"fidelity": {k: share(v) for k, v in hits.items()}, "kernel_distance": distance}

    @torch.inference_mode()
    def make(self, prompts: Sequence[str], chunk: range) -> Tensor:
        """Clips (n, 3, T, H, W): clip i from prompt i and the noise of seed i."""
        noise = torch.stack([self.model.noise(SIZE[0], SIZE[1:], i) for i in chunk])
        denoiser = self.model.denoiser([prompts[i] for i in chunk], GUIDANCE)
        times = timesteps(20, self.model.shift(noise.shape[2:]))
        z = sample(dpmpp_2m, denoiser, noise, frame_schedule(times, noise.shape[2]))
        return self.model.vae.decode(z).clamp(0, 1)


def describe_all(model: MiniSora, settings: Settings) -> dict[Style, Path]:
    """The training clips, encoded once and described by both captioners: a folder for each style."""
    folders: dict[Style, Path] = {}
    first = settings.work / "latents-detailed"
    building = build_latents(
        model.vae, MIX, settings.latents, first, TRAIN_WORLD, max_digits=DIGITS
    )
    for _ in tqdm(building, desc="latents"):
        pass
    for style in ("detailed", "short"):
        folders[style] = folder = settings.work / f"latents-{style}"  # type: ignore[index]
        folder.mkdir(exist_ok=True)
        for shard in first.glob("*.safetensors"):
            if not (folder / shard.name).exists():
                shutil.copy2(shard, folder / shard.name)
        path = settings.captioner / FILES[style]  # type: ignore[index]
        describer = open_captioner(path, model.vae, detailed=style == "detailed")
        with tqdm(desc=f"{style} captions", total=settings.latents) as bar:
            for done, _ in recaption(folder, describer, style=style):  # type: ignore[arg-type]
                bar.update(done - bar.n)
    return folders


def captioner_errors(folder: Path) -> dict[str, Any]:
    """What the synthetic captions of a folder say rightly and wrongly of the clips, attribute by attribute."""
    table = BlendedCaptions(folder, 1.0).table
    return caption_figures(mark_caption(scene, both.synthetic) for scene, both in table.items())


def test_prompts(clips: int, expander: Expander) -> tuple[list[Scene], dict[str, list[str]]]:
    """Test scenes, and a detailed, a short and an expanded short prompt for each."""
    world = MovingMNIST(WorldConfig(*SIZE, max_digits=DIGITS, split="test"), seed=TEST_WORLD)
    scenes = [world.scene(i) for i in range(clips)]
    rngs = [np.random.default_rng((TEST_WORLD, i)) for i in range(clips)]
    prompts = {
        "detailed": [caption(s, "detailed", rng) for s, rng in zip(scenes, rngs, strict=True)],
        "short": [caption(s, "short", rng) for s, rng in zip(scenes, rngs, strict=True)],
    }
    generators = [torch.Generator().manual_seed(i) for i in range(clips)]
    expanded = expander.expand(prompts["short"], frames=SIZE[0], generators=generators)
    return scenes, prompts | {"expanded": expanded}


def prepare(settings: Settings) -> tuple[dict[Style, Path], Bench]:
    """All that runs share; what is there already is not made again."""
    settings.work.mkdir(parents=True, exist_ok=True)
    model = load(settings.checkpoint)
    folders = describe_all(model, settings)
    model.config = replace(model.config, text=TINY.text, dit=TINY.dit, flow=FLOW)
    judge = load_judge()
    scenes, prompts = test_prompts(settings.clips, load_expander(settings.expander))
    world = MovingMNIST(WorldConfig(*SIZE, max_digits=DIGITS, split="test"), seed=REAL_WORLD)
    real = judge.embed([world[i].video for i in range(settings.clips)])
    return folders, Bench(model, judge, load_reader(), scenes, prompts, real)


def train_and_score(
    recipe: Recipe, seed: int, folder: Path, bench: Bench, settings: Settings
) -> dict[str, Any]:
    """One run, resumed if it was begun: its curve on the way, and all scores at its end."""
    home = settings.work / "runs" / f"{recipe.style}-{100 * recipe.blend:.0f}-{seed}"
    every = max(1, settings.steps // MOMENTS)
    config = replace(
        TRAIN, steps=settings.steps, seed=seed, checkpoint_every=every
    )  # the state is saved at each moment, so that a resumed run misses no score
    with seeded(seed):
        net = bench.model.net = TextToLatent(TINY.text, TINY.dit, VOCABULARY)
    data = LatentDataset(folder, MIX, BlendedCaptions(folder, recipe.blend))
    trainer = Trainer(net, config, {"recipe": asdict(recipe), "latents": settings.latents})
    trainer.restore(home / "state")
    objective = diffusion_objective(net, data, config.batch, FLOW)
    curve = Curve(home / "curve.json", bench, max(2, settings.clips // 4))
    bar = tqdm(total=config.steps, initial=trainer.step, desc=f"{recipe.name}, seed {seed}")
    curve.add(trainer, config, every)
    for record in fit(trainer, objective, home / "state"):
        bar.update(record.step - bar.n)
        curve.add(trainer, config, every)
    net.load_state_dict(trainer.averaged())
    scores = {kind: bench.score(kind, settings.clips) for kind in PROMPTS}
    return {"recipe": asdict(recipe), "seed": seed, "curve": curve.points, "scores": scores}


class Curve:
    """Fidelity to detailed prompts on the way, kept on disk beside the training states."""

    def __init__(self, path: Path, bench: Bench, clips: int) -> None:
        self.path, self.bench, self.clips = path, bench, clips
        self.points: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []

    def add(self, trainer: Trainer, config: TrainConfig, every: int) -> None:
        """Score the averaged weights if this is a moment that has no score yet."""
        step, net = trainer.step, self.bench.model.net
        if not step or step % every or any(point["step"] == step for point in self.points):
            return
        last = {k: v.clone() for k, v in net.state_dict().items()}
        net.load_state_dict(trainer.averaged())
        self.points.append({"step": step} | self.bench.score("detailed", self.clips))
        net.load_state_dict(last)
        self.path.write_text(json.dumps(self.points))


def plan(seeds: int) -> Iterator[tuple[Recipe, int]]:
    """All runs in order: the main three with every seed, then the rest of the sweep."""
    for seed in range(seeds):
        for recipe in MAIN:
            yield recipe, seed
    for recipe in SWEEP:
        yield recipe, 0


def main(settings: Settings) -> None:
    """Train, score, and write after every run."""
    folders, bench = prepare(settings)
    known: dict[str, Any] = {}
    if settings.out.exists():
        known = json.loads(settings.out.read_text()).get("runs", {})
    about = {"steps": settings.steps, "clips": settings.clips, "latents": settings.latents}
    errors = {style: captioner_errors(folder) for style, folder in folders.items()}
    sections = {"about": about | {"machine": machine()}, "captioner": errors}
    for recipe, seed in plan(settings.seeds):
        key = f"{recipe.name} | {seed}"
        if key not in known:
            folder = folders[recipe.style]
            known[key] = train_and_score(recipe, seed, folder, bench, settings)
        runs = list(known.values())
        sections |= {
            "runs": known,
            "pooled": pooled(runs),
            "wrong": wrong_by_attribute(errors, runs),
        }
        update_results(settings.out, sections)
        all_right = {k: known[key]["scores"][k]["fidelity"]["all"]["value"] for k in PROMPTS}
        print(f"{key:<20}", ", ".join(f"{k} prompts {v:.1%}" for k, v in all_right.items()))
    print(f"Written to {settings.out}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
