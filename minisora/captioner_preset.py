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
class Look:
    """The eyes' training with one rise and fall of the learning rate; the next begins anew (SGDR: arXiv 1608.03983).

    Attributes:
        train: its schedule.
        glances: what is shown meanwhile.
        single_fraction: share of the clips that show one digit, the rest show two.
    """

    train: TrainConfig
    glances: tuple[Glance, ...]
    single_fraction: float = 0.5


@dataclass(frozen=True)
class CaptionerPreset:
    """A captioner and how to train it.

    Attributes:
        config: its size.
        clips: of each size, with alt-text.
        looks: how the eyes learn (stage 0), one after the other: small images first, which cost least.
        single_fraction: share of clips that show one digit, in all other stages.
        mix: sizes of clips and their shares of a batch in all other stages.
        batch: clips a step in all other stages.
        labelled: the first of them, which also have good captions.
        noise: standard deviation of what is added to pixels (in [-1, 1]) in training, so that clips that are not
            quite real, such as generated ones, are read as well.
        pretrain, tune: schedules of stage 1, and of stages 2 and 3 each.
    """

    config: CaptionerConfig
    clips: int
    looks: tuple[Look, ...]
    single_fraction: float
    mix: tuple[MixEntry, ...]
    batch: int
    labelled: int
    noise: float
    pretrain: TrainConfig
    tune: TrainConfig


_SMALL = mixture(
    (17, 64, 64, 0.17),
    (9, 48, 48, 0.12),
    (5, 48, 48, 0.24),
    (1, 64, 64, 0.30),
    (9, 32, 32, 0.07),
    (1, 32, 32, 0.04),
    (17, 48, 96, 0.03),
    (17, 96, 48, 0.03),
)
_LARGE = mixture(
    (17, 64, 64, 0.40),
    (9, 48, 48, 0.10),
    (5, 48, 48, 0.10),
    (1, 64, 64, 0.14),
    (9, 32, 32, 0.10),
    (1, 32, 32, 0.03),
    (1, 48, 48, 0.03),
    (17, 48, 96, 0.04),
    (17, 96, 48, 0.04),
    (33, 64, 64, 0.02),
)
_LOOKS = (
    Look(
        TrainConfig(steps=3000, batch=192, lr=6e-3, warmup=100, cooldown=0.5, muon_convs=True),
        (
            Glance(250, 192, mixture((1, 32, 32, 1.0))),
            Glance(700, 128, mixture((5, 48, 48, 0.5), (1, 64, 64, 0.3), (1, 48, 48, 0.2))),
            Glance(1050, 96, _SMALL),
            Glance(1000, 96, _SMALL, rarity=1.0),
        ),
    ),
    Look(  # two digits at once are harder
        TrainConfig(
            steps=2900, batch=64, lr=4e-3, warmup=50, cooldown=0.7, muon_convs=True, seed=1
        ),
        (Glance(2900, 64, _LARGE, rarity=1.0),),
        single_fraction=0.25,
    ),
)

CAPTIONER = CaptionerPreset(
    config=CaptionerConfig(
        VOCABULARY, EyesConfig(12, width=128, depth=3, stages=((24, 0), (64, 2)), window=3)
    ),
    clips=1_000_000,
    looks=_LOOKS,
    single_fraction=0.4,
    mix=_LARGE,
    batch=64,
    labelled=500,
    noise=0.1,
    pretrain=TrainConfig(steps=1500, batch=64, lr=2e-3, warmup=100, cooldown=0.5),
    tune=TrainConfig(steps=200, batch=64, lr=5e-4, warmup=20, cooldown=0.8, checkpoint_every=50),
)
