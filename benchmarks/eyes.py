"""What the captioner's eyes learn in their first minutes: how words are weighed, and by which optimizer.

    python benchmarks/eyes.py [--steps 300] [--images 500]

Eyes from nothing learn from alt-text of images of 32x32, as in the first glance of the shipped captioner's training,
and are then asked what they see on held-out images (test digits) with one digit: of all words for a color, a name or a
size the clip's likeliest counts. Trainings differ in `rarity`, the power by which rare words weigh more
(`minisora.train_eyes.word_weights`), and in whether Muon or AdamW trains convolutions.

Results go to the section `weighing` of `benchmarks/results/words.json`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout

from benchmarks.common import RESULTS, machine, update_results
from minisora.captioner import Captioner
from minisora.captioner_preset import CAPTIONER, Look
from minisora.eyes import tubelets
from minisora.metrics.intervals import share
from minisora.recipe import seeded
from minisora.rendered import RenderedDataset
from minisora.train import Trainer, fit
from minisora.train_captioner import CAPTION_WORLD, FixedCaptions
from minisora.train_eyes import phrase_objective, word_weights
from minisora.worlds import COLORS, MovingMNIST, Scene, WorldConfig
from minisora.worlds.alt_text import alt_text
from minisora.worlds.captions import NUMERALS, SIZE_WORDS

TRAININGS = ((0.0, True), (1.0, True), (2.0, True), (2.0, False))  # (rarity, Muon)
WORDS: dict[str, dict[Any, tuple[str, ...]]] = {
    "color": {color: (color,) for color in COLORS},
    "label": {i: (str(i), name) for i, name in enumerate(NUMERALS)},
    "size": SIZE_WORDS,
}
TEST_SEED, WEIGHED = 9602, 4000


@dataclass
class Settings:
    """What the captioner's eyes learn first."""

    steps: int = 300
    """Of each training."""
    images: int = 500
    """Held-out ones."""
    out: Path = RESULTS / "words.json"
    """Where results go."""


def trained(look: Look, steps: int, rarity: float, muon: bool) -> Captioner:
    """Eyes after the first `steps` steps of a look, all of them like its first glance."""
    first, depth = look.glances[0], CAPTIONER.config.eyes.channels // 3
    with seeded(0):
        captioner = Captioner(CAPTIONER.config)
    web, world = FixedCaptions(alt_text, CAPTION_WORLD), MovingMNIST(WorldConfig(), CAPTION_WORLD)
    texts = [alt_text(world.scene(i), np.random.default_rng(i)) for i in range(WEIGHED)]
    weights = word_weights(captioner, texts, rarity)
    single = look.single_fraction
    data = RenderedDataset(
        first.mix, CAPTIONER.clips, depth, CAPTION_WORLD, web, single_fraction=single
    )
    objective = phrase_objective(captioner, data, first.batch, CAPTIONER.noise, weights)
    trainer = Trainer(captioner, replace(look.train, steps=steps, muon_convs=muon))
    for _ in tqdm(fit(trainer, objective), f"rarity {rarity}", steps, leave=False):
        pass
    captioner.load_state_dict(trainer.averaged())
    return captioner.eval()


@torch.inference_mode()
def seen(captioner: Captioner, videos: Tensor) -> Tensor:
    """(n, V): how likely each word is, said by any place of each video (n, 3, T, H, W)."""
    (features,) = captioner.eyes([tubelets(videos, CAPTIONER.config.eyes.channels // 3)])
    p = captioner.eyes.say(features).exp().flatten(1, 3)  # (n, P, V)
    return (captioner.eyes.voices(features).exp()[:, None] @ p)[:, 0]


def read(captioner: Captioner, p: Tensor, attribute: str) -> Any:
    """The value of an attribute whose words are likeliest, p: (V,)."""
    ids = {
        value: [int(captioner.tokenizer.encode(word)[0]) for word in words]
        for value, words in WORDS[attribute].items()
    }
    return max(ids, key=lambda value: float(p[ids[value]].sum()))


def figures(captioner: Captioner, videos: Tensor, scenes: list[Scene]) -> dict[str, Any]:
    """Share of images of which each attribute is read rightly."""
    said = seen(captioner, videos)
    return {
        name: share(
            [
                read(captioner, p, name) == getattr(scene.digits[0], name)
                for p, scene in zip(said, scenes, strict=True)
            ]
        )
        for name in WORDS
    }


def main(settings: Settings) -> None:
    """Train, ask, print, write."""
    world = MovingMNIST(WorldConfig(1, 32, 32, max_digits=1, split="test"), TEST_SEED)
    clips = [world[i] for i in range(settings.images)]
    videos, scenes = torch.stack([clip.video for clip in clips]), [clip.facts for clip in clips]
    rows = []
    for rarity, muon in TRAININGS:
        captioner = trained(CAPTIONER.looks[0], settings.steps, rarity, muon)
        found = figures(captioner, videos, scenes)
        rows.append({"rarity": rarity, "muon": muon} | found)
        print(rarity, muon, ", ".join(f"{k} {v['value']:.1%}" for k, v in found.items()))
    about = {"steps": settings.steps, "images": settings.images, "machine": machine()}
    update_results(settings.out, {"weighing": {"about": about, "rows": rows}})
    print(f"Written to {settings.out}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
