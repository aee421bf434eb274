"""Packed, bucketed or padded? Padding, speed, and the loss at equal time, on the preset's mix of sizes.

    python benchmarks/packing.py [--seconds 600] [--rounds 5] [--latents 4000]

One network, one mix of sizes and lengths, one objective (a clip's loss is the same in all; `tests/test_packing.py`
proves it), four ways to put clips into a batch:

- **packed**: minisora's own: every batch holds all sizes, end to end in one sequence.
- **exact buckets**: a bucket for each size, as most video trainers do: batches of one size each, drawn as often as its
  clips are, so only captions are padded. The strictest comparison.
- **buckets**: sizes are sorted by tokens into `--buckets` buckets; clips of one bucket are stacked, padded to the most
  frames, rows and columns of the batch (wide and tall clips of one length so waste much).
- **padded**: every batch holds all sizes, stacked likewise. (`throughput.py` also pads sequences, which wastes less.)

Three sections: `speed`, clips a second in rounds that take turns; `padding`, the share of tokens; `loss`, the loss on
clips never trained on (averaged weights, packed, the same noise for all) at moments of equal training time, with the
clips and tokens seen by then. Each is written to `benchmarks/results/packing.json` as it comes; what is there is not
measured again.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import torch
import tyro
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout

from benchmarks.common import RESULTS, machine, update_results
from benchmarks.contestants import plain_fp32
from benchmarks.padding import padded_objective
from minisora.config import MixEntry
from minisora.latents import LatentDataset, build_latents
from minisora.loading import load
from minisora.network import TextToLatent
from minisora.objectives import diffusion_objective
from minisora.patches import token_grid
from minisora.presets import Preset, find_preset
from minisora.recipe import seeded
from minisora.train import Objective, Trainer, step_generator
from minisora.worlds import VOCABULARY

WAYS = ("packed", "buckets", "exact buckets", "padded")
TRAIN_WORLD, TEST_WORLD = 130, 131  # seeds
GOLDEN = (math.sqrt(5) - 1) / 2  # its multiples, modulo 1, fill [0, 1) evenly
MOMENTS = 6  # times at which the loss is measured


@dataclass
class Settings:
    """Padding, speed, and loss at equal time, of packed, bucketed and padded batches."""

    seconds: float = 600.0
    """Training time of each way for the loss; 0 measures speed and padding alone."""
    rounds: int = 5
    """Rounds of the comparison of speed."""
    steps: int = 8
    """Timed steps of each way in a round."""
    batch: int = 64
    """Clips a step."""
    buckets: int = 4
    """Buckets of similar length."""
    latents: int = 4000
    """Training clips, and a quarter as many that are held out; each size has whole shards of 500."""
    test_batches: int = 8
    """Batches of held-out clips."""
    preset: str = "moving-mnist"
    """Whose network, mix and flow."""
    checkpoint: str = "moving-mnist"
    """Whose VAE encodes."""
    work: Path = Path("outputs/packing")
    """Folder for latents."""
    out: Path = RESULTS / "packing.json"
    """Where results go."""


@dataclass
class Lab:
    """What all ways share."""

    preset: Preset
    mix: tuple[MixEntry, ...]
    settings: Settings

    @property
    def folder(self) -> Path:
        """Of the training clips."""
        return self.settings.work / "train"

    def tokens(self, entry: MixEntry) -> int:
        """Video tokens of a clip."""
        size = entry.size
        shape = self.preset.vae.latent_shape(size.frames, size.height, size.width)
        t, h, w = token_grid(shape[1:], self.preset.dit.patch)
        return t * h * w

    def network(self) -> TextToLatent:
        """The same fresh network every time."""
        with seeded(0):
            return TextToLatent(self.preset.text, self.preset.dit, VOCABULARY)

    def trainer(self, net: TextToLatent) -> Trainer:
        """A trainer whose rate stays constant, so that a run can be judged at any moment."""
        config = replace(self.preset.train, batch=self.settings.batch, steps=10**6, cooldown=0.0)
        return Trainer(net, config)


def split(entries: Sequence[MixEntry], lab: Lab, count: int) -> list[tuple[MixEntry, ...]]:
    """Entries in `count` buckets of neighbors in length, as equal in share as whole entries allow."""
    ordered = sorted(entries, key=lab.tokens)
    total, done = sum(entry.share for entry in entries), 0.0
    buckets: list[list[MixEntry]] = [[] for _ in range(count)]
    for entry in ordered:
        middle = (done + entry.share / 2) / total
        buckets[min(count - 1, int(middle * count))].append(entry)
        done += entry.share
    return [tuple(bucket) for bucket in buckets if bucket]


def bucketed(net: TextToLatent, lab: Lab, buckets: Sequence[tuple[MixEntry, ...]]) -> Objective:
    """The padded objective on batches from one bucket each, which take turns as evenly as their shares allow."""
    data = [LatentDataset(lab.folder, bucket) for bucket in buckets]
    shares = torch.tensor([sum(entry.share for entry in bucket) for bucket in buckets])
    ends, turns = (shares / shares.sum()).cumsum(0)[:-1], count()

    def draw(generator: torch.Generator) -> Any:
        number = int(torch.searchsorted(ends, next(turns) * GOLDEN % 1, right=True))
        return data[number].batch(lab.settings.batch, generator)

    return padded_objective(net, draw, lab.preset.flow)


def objective_of(way: str, net: TextToLatent, lab: Lab) -> Objective:
    """How one way trains a network."""
    batch = lab.settings.batch
    if way == "packed":
        data = LatentDataset(lab.folder, lab.mix)
        return diffusion_objective(net, data, batch, lab.preset.flow)
    if way == "padded":
        return bucketed(net, lab, [lab.mix])
    exact = [(entry,) for entry in lab.mix]
    chosen = exact if way == "exact buckets" else split(lab.mix, lab, lab.settings.buckets)
    return bucketed(net, lab, chosen)


def measure_speed(lab: Lab) -> dict[str, Any]:
    """Clips a second of each way, in rounds that take turns, and the ratios of packed to the others."""
    runs = {}
    for way in WAYS:
        net = lab.network()
        runs[way] = (lab.trainer(net), objective_of(way, net, lab))
        runs[way][0].train_step(runs[way][1])
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in tqdm(range(lab.settings.rounds), desc="speed"):
        for way, (trainer, objective) in runs.items():
            records = [trainer.train_step(objective) for _ in range(lab.settings.steps)]
            seconds = sum(record.seconds for record in records)
            speeds[way].append(lab.settings.batch * len(records) / seconds)
    facts: dict[str, Any] = {}
    for way in WAYS:
        ratios = [ours / theirs for ours, theirs in zip(speeds["packed"], speeds[way], strict=True)]
        facts[way] = {
            "clips_per_second": speeds[way],
            "packed_is_faster": statistics.median(ratios),
        }
    return facts


def measure_padding(lab: Lab, batches: int = 40) -> dict[str, float]:
    """Share of all tokens, text and video, that are padding; the network is not run."""
    net, shares = lab.network(), {"packed": 0.0}
    net.dit = Echo(net.dit.config)  # type: ignore[assignment]
    for way in WAYS[1:]:
        objective = objective_of(way, net, lab)
        parts = [objective(step, step_generator(1, step))[1] for step in range(batches)]
        pads, own = (sum(part[name] for part in parts) for name in ("padding", "tokens"))
        shares[way] = pads / (pads + own)
    return shares


class Echo(torch.nn.Module):
    """Stands for the transformer where only the shapes of its input matter: gives the tokens back."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def forward(self, tokens: torch.Tensor, *_: Any) -> torch.Tensor:
        """Its tokens."""
        return tokens


def held_out_loss(net: TextToLatent, lab: Lab) -> float:
    """Mean loss on held-out clips, with the same clips and noise every time."""
    data = LatentDataset(lab.settings.work / "test", lab.mix)
    objective = diffusion_objective(net, data, lab.settings.batch, lab.preset.flow)
    with torch.no_grad():
        steps = range(lab.settings.test_batches)
        return statistics.fmean(objective(n, step_generator(2, n))[0].item() for n in steps)


def measure_loss(way: str, lab: Lab) -> list[dict[str, float]]:
    """Train one way for the time given; the held-out loss at moments of it."""
    net = lab.network()
    trainer, objective = lab.trainer(net), objective_of(way, net, lab)
    spent = tokens = 0.0
    curve: list[dict[str, float]] = []
    with tqdm(total=round(lab.settings.seconds), desc=f"loss, {way}", leave=False) as bar:
        while len(curve) < MOMENTS:
            record = trainer.train_step(objective)
            spent, tokens = spent + record.seconds, tokens + record.parts["tokens"]
            bar.update(round(spent) - bar.n)
            if spent < lab.settings.seconds * (len(curve) + 1) / MOMENTS:
                continue
            last = {name: value.clone() for name, value in net.state_dict().items()}
            net.load_state_dict(trainer.averaged())
            clips = float(trainer.step * lab.settings.batch)
            curve.append(
                {
                    "seconds": spent,
                    "clips": clips,
                    "tokens": tokens,
                    "loss": held_out_loss(net, lab),
                }
            )
            net.load_state_dict(last)
    return curve


def prepare(settings: Settings) -> Lab:
    """Latents to train on and to test with; those that are there stay."""
    model, preset = load(settings.checkpoint), find_preset(settings.preset)
    mix = preset.phases[-1].mix
    for name, world, clips in (
        ("train", TRAIN_WORLD, settings.latents),
        ("test", TEST_WORLD, settings.latents // 4),
    ):
        built = build_latents(model.vae, mix, clips, settings.work / name, world)
        for _ in tqdm(built, desc=f"latents, {name}"):
            pass
    return Lab(replace(preset, vae=model.config.vae), mix, settings)


def parts_of(lab: Lab) -> Iterator[tuple[str, Any]]:
    """(name, function) of each figure."""
    yield "padding", lambda: measure_padding(lab)
    yield "speed", lambda: measure_speed(lab)
    if lab.settings.seconds > 0:
        for way in WAYS:
            yield f"loss, {way}", lambda way=way: measure_loss(way, lab)


def main(settings: Settings) -> None:
    """Measure what is missing, and write each figure as it comes."""
    lab = prepare(settings)
    told = ("seconds", "batch", "buckets", "latents", "preset", "checkpoint")
    about: dict[str, Any] = {name: getattr(settings, name) for name in told}
    about["mix"] = {str(entry.size): entry.share for entry in lab.mix}
    known = json.loads(settings.out.read_text()) if settings.out.exists() else {}
    if known and known["about"] != about:
        raise SystemExit(f"{settings.out} holds figures of other settings; give another --out.")
    known = {"about": about, "machine": machine()} | known
    with plain_fp32():
        for name, measure in parts_of(lab):
            if name not in known:
                known[name] = measure()
                update_results(settings.out, known)
    for way in WAYS:
        speed = statistics.median(known["speed"][way]["clips_per_second"])
        loss = f"loss {known[f'loss, {way}'][-1]['loss']:.4f}" if settings.seconds > 0 else ""
        ratio = known["speed"][way]["packed_is_faster"]
        print(
            f"{way:<14}{known['padding'][way]:>7.1%} padding{speed:>9.1f} clips/s, packed {ratio:.2f} x  {loss}"
        )
    print(f"Written to {settings.out}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
