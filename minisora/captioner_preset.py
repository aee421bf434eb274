"""The shipped captioner: its size, what it is shown, and for how long. `train_captioner` trains it."""

from __future__ import annotations

from dataclasses import dataclass

from minisora.caption import CaptionerConfig
from minisora.config import MixEntry, TrainConfig
from minisora.presets import mixture
from minisora.worlds import VOCABULARY


@dataclass(frozen=True)
class CaptionerPreset:
    """A captioner and how to train it.

    Attributes:
        config: its size.
        store: sizes of clips and how many of each are encoded, with alt-text.
        glances: their shares of a batch while the eyes learn (stage 0): mostly images, which cost least.
        mix: their shares of a batch in all other stages.
        labelled: the first of them, which also have good captions.
        noise: standard deviation of what is added to latents (of unit variance) in training, so that clips that
            are not quite real, such as generated ones, are read as well.
        look, pretrain, tune: schedules of stage 0, of stage 1, and of stages 2 and 3 each.
    """

    config: CaptionerConfig
    store: tuple[MixEntry, ...]
    glances: tuple[MixEntry, ...]
    mix: tuple[MixEntry, ...]
    labelled: int
    noise: float
    look: TrainConfig
    pretrain: TrainConfig
    tune: TrainConfig


CAPTIONER = CaptionerPreset(
    config=CaptionerConfig(VOCABULARY),
    store=mixture(
        (1, 64, 64, 20_000),
        (1, 48, 48, 20_000),
        (17, 64, 64, 24_000),
        (9, 48, 48, 8_000),
        (1, 32, 32, 4_000),
        (9, 32, 32, 4_000),
        (17, 48, 96, 4_000),
        (17, 96, 48, 4_000),
        (33, 64, 64, 2_000),
    ),
    glances=mixture(
        (1, 64, 64, 0.34),
        (1, 48, 48, 0.20),
        (1, 32, 32, 0.03),
        (17, 64, 64, 0.26),
        (9, 48, 48, 0.13),
        (9, 32, 32, 0.04),
    ),
    mix=mixture(
        (17, 64, 64, 0.36),
        (1, 64, 64, 0.22),
        (1, 48, 48, 0.10),
        (9, 48, 48, 0.12),
        (1, 32, 32, 0.04),
        (9, 32, 32, 0.04),
        (17, 48, 96, 0.04),
        (17, 96, 48, 0.04),
        (33, 64, 64, 0.04),
    ),
    labelled=500,
    noise=0.1,
    look=TrainConfig(steps=10_000, batch=64, lr=3e-3, warmup=100, cooldown=0.5, muon=False),
    pretrain=TrainConfig(steps=6000, batch=64, lr=2e-3, warmup=100, cooldown=0.5, muon=False),
    tune=TrainConfig(steps=200, batch=64, lr=5e-4, warmup=20, cooldown=0.8, checkpoint_every=50),
)
