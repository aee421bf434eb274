"""The shipped captioner: its size, what it is shown, and for how long. `train_captioner` trains it."""

from __future__ import annotations

from dataclasses import dataclass

from minisora.captioner import CaptionerConfig
from minisora.config import MixEntry, Phase, TrainConfig
from minisora.eyes import EyesConfig
from minisora.presets import mixture
from minisora.worlds import VOCABULARY


@dataclass(frozen=True)
class Glance(Phase):
    """A stretch of the eyes' training.

    Attributes:
        rarity: power by which rare words weigh more, see `train_eyes.word_weights`.
    """

    rarity: float = 2.0


@dataclass(frozen=True)
class CaptionerPreset:
    """A captioner and how to train it.

    Attributes:
        config: its size.
        clips: of each size, with alt-text.
        single_fraction: share of them that show one digit, the rest show two.
        glances: what the eyes are shown while they learn (stage 0): small images first, which cost least.
        mix: sizes of clips and their shares of a batch in all other stages.
        batch: clips a step in all other stages.
        labelled: the first of them, which also have good captions.
        noise: standard deviation of what is added to pixels (in [-1, 1]) in training, so that clips that are not
            quite real, such as generated ones, are read as well.
        look, pretrain, tune: schedules of stage 0, of stage 1, and of stages 2 and 3 each.
    """

    config: CaptionerConfig
    clips: int
    single_fraction: float
    glances: tuple[Glance, ...]
    mix: tuple[MixEntry, ...]
    batch: int
    labelled: int
    noise: float
    look: TrainConfig
    pretrain: TrainConfig
    tune: TrainConfig


_GLANCES = mixture(
    (17, 64, 64, 0.17),
    (9, 48, 48, 0.12),
    (5, 48, 48, 0.24),
    (1, 64, 64, 0.30),
    (9, 32, 32, 0.07),
    (1, 32, 32, 0.04),
    (17, 48, 96, 0.03),
    (17, 96, 48, 0.03),
)

CAPTIONER = CaptionerPreset(
    config=CaptionerConfig(
        VOCABULARY, EyesConfig(12, width=128, depth=3, stages=((24, 0), (64, 2)), window=3)
    ),
    clips=1_000_000,
    single_fraction=0.5,
    glances=(
        Glance(250, 192, mixture((1, 32, 32, 1.0))),
        Glance(700, 128, mixture((5, 48, 48, 0.5), (1, 64, 64, 0.3), (1, 48, 48, 0.2))),
        Glance(1050, 96, _GLANCES),
        Glance(1000, 96, _GLANCES, rarity=1.0),
    ),
    mix=mixture(
        (17, 64, 64, 0.16),
        (5, 48, 48, 0.24),
        (1, 64, 64, 0.18),
        (9, 48, 48, 0.12),
        (9, 32, 32, 0.10),
        (1, 48, 48, 0.06),
        (1, 32, 32, 0.04),
        (17, 48, 96, 0.04),
        (17, 96, 48, 0.04),
        (33, 64, 64, 0.02),
    ),
    batch=64,
    labelled=500,
    noise=0.1,
    look=TrainConfig(steps=3000, batch=192, lr=6e-3, warmup=100, cooldown=0.5, muon_convs=True),
    pretrain=TrainConfig(steps=1200, batch=64, lr=2e-3, warmup=100, cooldown=0.5),
    tune=TrainConfig(steps=200, batch=64, lr=5e-4, warmup=20, cooldown=0.8, checkpoint_every=50),
)
