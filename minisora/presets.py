"""The ladder of models, as data: from `tiny`, which trains in minutes on a laptop, to full size.

One set of classes serves every rung; a preset only names sizes. The shapes of the big rungs are those of
published models (depth, width, heads, patch, VAE strides), built from this package's blocks, so their
parameter counts are ours: `minisora info` counts them on the `meta` device.

Sources of the shapes: DiT-XL/2 (2212.09748), CogVideoX-5B (2408.06072), Wan2.1-14B (2503.20314).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from minisora.config import ClipSize, Leg, MixEntry, Phase, TrainConfig, VAEConfig
from minisora.dit import DiTConfig
from minisora.flow import FlowConfig
from minisora.text import TextConfig


@dataclass(frozen=True)
class Preset:
    """A model and how to train it on the Moving-MNIST world.

    Attributes:
        vae, text, dit, flow: the parts' configurations, as they are once all training is done.
        mix: sizes of clips and their shares of every batch, once the curriculum is over.
        curriculum: what the transformer is trained on first, at the cost of some of `train.steps`.
        latents: clips encoded to disk for each phase, in all its sizes together.
        single_fraction: share of them that show one digit, the rest show two.
        vae_train, train: schedules of the VAE and of the diffusion transformer with its text encoder.
        legs: more training of the transformer after that.
        vae_size: size of the world's clips from which the VAE's crops are taken.
        vae_crop: (frames, height, width) of a crop.
    """

    vae: VAEConfig = field(default_factory=VAEConfig)
    text: TextConfig = field(default_factory=TextConfig)
    dit: DiTConfig = field(default_factory=DiTConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    mix: tuple[MixEntry, ...] = ()
    curriculum: tuple[Phase, ...] = ()
    latents: int = 0
    single_fraction: float = 0.6
    vae_train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=1, batch=1, lr=1e-3))
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=1, batch=1, lr=1e-3))
    legs: tuple[Leg, ...] = ()
    vae_size: ClipSize = field(default_factory=lambda: ClipSize(17, 64, 64))
    vae_crop: tuple[int, int, int] = (9, 32, 32)

    @property
    def first_dit(self) -> DiTConfig:
        """The transformer before any leg has deepened it."""
        return replace(self.dit, depth=self.dit.depth - sum(leg.deeper for leg in self.legs))

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The transformer's whole training: the curriculum, then `mix` for the steps that are left."""
        rest = self.train.steps - sum(phase.steps for phase in self.curriculum)
        return (*self.curriculum, Phase(rest, self.train.batch, self.mix))


def mixture(*entries: tuple[int, int, int, float]) -> tuple[MixEntry, ...]:
    """(frames, height, width, share), ... as entries of a mix."""
    return tuple(MixEntry(ClipSize(t, h, w), share) for t, h, w, share in entries)


TINY = Preset(
    vae=VAEConfig(
        encoder_widths=(24, 32, 64),
        decoder_widths=(32, 48, 96),
        encoder_depths=(1, 1, 1),
        decoder_depths=(1, 1, 1),
    ),
    text=TextConfig(width=64, depth=1, num_heads=2),
    dit=DiTConfig(depth=4, width=128, num_heads=4, text_width=64),
    mix=mixture((9, 32, 32, 0.85), (1, 32, 32, 0.15)),
    latents=4000,
    vae_train=TrainConfig(
        steps=300, batch=16, lr=3e-3, warmup=30, cooldown=0.4, checkpoint_every=100
    ),
    train=TrainConfig(steps=1200, batch=32, lr=4e-3, warmup=50, cooldown=0.4, checkpoint_every=300),
    vae_size=ClipSize(9, 32, 32),
    vae_crop=(9, 32, 32),
)

# Clips and images of 64 px most of all, and enough of every shape that none is strange.
_ALL_SIZES = mixture(
    (17, 64, 64, 0.36),
    (1, 64, 64, 0.17),
    (9, 48, 48, 0.13),
    (1, 48, 48, 0.11),
    (17, 48, 48, 0.05),
    (9, 32, 32, 0.04),
    (1, 32, 32, 0.03),
    (17, 32, 96, 0.025),
    (17, 96, 32, 0.025),
    (17, 48, 96, 0.015),
    (17, 96, 48, 0.015),
    (33, 64, 64, 0.015),
    (17, 96, 96, 0.015),
)


def leg(number: int, steps: int, single: float) -> Leg:
    """A leg of the shipped model: about half the first step size, falling to zero."""
    train = TrainConfig(
        steps, batch=96, lr=1.6e-3, warmup=100, cooldown=0.97, muon=False, seed=number
    )
    return Leg(train, _ALL_SIZES, latents=64_000, single_fraction=single)


# The last leg deepens the network, and dwells on what is asked for most: whole clips of 64 px.
_DEEP_LEG = Leg(
    TrainConfig(7000, batch=96, lr=1.6e-3, warmup=100, cooldown=0.6, muon=False, seed=4),
    mixture(
        (17, 64, 64, 0.48),
        (1, 64, 64, 0.12),
        (9, 48, 48, 0.10),
        (1, 48, 48, 0.06),
        (17, 48, 48, 0.04),
        (9, 32, 32, 0.03),
        (1, 32, 32, 0.02),
        (17, 32, 96, 0.03),
        (17, 96, 32, 0.03),
        (17, 48, 96, 0.02),
        (17, 96, 48, 0.02),
        (33, 64, 64, 0.02),
        (17, 96, 96, 0.03),
    ),
    latents=96_000,
    single_fraction=0.45,
    deeper=4,
)

MOVING_MNIST = Preset(
    vae=VAEConfig(),
    text=TextConfig(),
    dit=DiTConfig(depth=10, width=192, num_heads=3),
    # Half of the clips have one level for all frames, which is what teaches a clip from words alone; in the
    # others frames follow cleaner ones, so that clips can be continued and made as a roll-out.
    flow=FlowConfig(
        shift=4.0, shift_power=0.25, t_min=0.2, pattern_weights=(0.50, 0.30, 0.10, 0.10)
    ),
    # Small images teach which digit is asked for, small clips how it moves, and both are cheap. They must
    # come together: after images alone, motion was still at chance when clips alone had long learned it.
    # From 48 px on a digit meets the patches at every offset; at 32 px a large one hardly moves.
    curriculum=(
        Phase(
            steps=1800,
            batch=128,
            detailed=0.4,
            mix=mixture(
                (1, 32, 32, 0.35),
                (9, 32, 32, 0.22),
                (9, 48, 48, 0.22),
                (1, 64, 64, 0.13),
                (17, 64, 64, 0.08),
            ),
        ),
        Phase(
            steps=4600,
            batch=96,
            detailed=0.5,
            mix=mixture(
                (1, 48, 48, 0.26),
                (9, 48, 48, 0.20),
                (1, 64, 64, 0.24),
                (17, 64, 64, 0.18),
                (17, 48, 48, 0.06),
                (1, 32, 32, 0.06),
            ),
        ),
    ),
    mix=_ALL_SIZES,
    latents=60_000,
    vae_train=TrainConfig(
        steps=5000, batch=16, lr=2e-3, warmup=100, cooldown=0.4, checkpoint_every=250
    ),
    train=TrainConfig(
        steps=7800,
        batch=96,
        lr=3e-3,
        warmup=100,
        cooldown=0.6,
        muon=False,
        checkpoint_every=250,
    ),
    legs=(
        leg(1, 3600, single=0.6),
        leg(2, 4000, single=0.6),
        leg(3, 4200, single=0.45),
        _DEEP_LEG,
    ),
)

# For a folder of the user's own videos, which bring their own sizes. Real pictures are less smooth than
# drawn digits, hence more latent channels and a weaker KL term. A starting point, not tuned.
REAL_VIDEO = Preset(
    vae=VAEConfig(
        latent_channels=16,
        encoder_widths=(64, 96, 192),
        encoder_depths=(1, 1, 2),
        decoder_widths=(96, 128, 256),
        decoder_depths=(1, 2, 3),
        kl_weight=1e-4,
    ),
    text=TextConfig(),
    dit=DiTConfig(depth=8, width=256, num_heads=4, latent_channels=16),
    flow=FlowConfig(
        shift=4.0, shift_power=0.25, t_min=0.2, pattern_weights=(0.30, 0.30, 0.30, 0.10)
    ),
    vae_train=TrainConfig(
        steps=8000, batch=8, lr=2e-3, warmup=200, cooldown=0.4, checkpoint_every=250
    ),
    train=TrainConfig(
        steps=20_000, batch=32, lr=2e-3, warmup=200, cooldown=0.3, muon=False, checkpoint_every=250
    ),
)

_BIG_VAE = VAEConfig(
    latent_channels=16,
    encoder_widths=(128, 256, 512),
    encoder_depths=(2, 2, 4),
    decoder_widths=(192, 384, 512),
    decoder_depths=(2, 2, 6),
)

PRESETS: dict[str, Preset] = {
    "tiny": TINY,
    "moving-mnist": MOVING_MNIST,
    "real-video": REAL_VIDEO,
    "base": Preset(
        vae=VAEConfig(latent_channels=16),
        text=TextConfig(width=512, depth=6, num_heads=8, max_length=128),
        dit=DiTConfig.from_depth(12, latent_channels=16, text_width=512),
    ),
    "dit-xl": Preset(
        vae=_BIG_VAE,
        text=TextConfig(width=1024, depth=12, num_heads=16, max_length=256),
        dit=DiTConfig(
            depth=28, width=1152, num_heads=16, latent_channels=16, mlp_ratio=8 / 3, text_width=1024
        ),
    ),
    "cogvideox-5b": Preset(
        vae=_BIG_VAE,
        text=TextConfig(width=2048, depth=24, num_heads=32, max_length=256),
        dit=DiTConfig(
            depth=42, width=3072, num_heads=48, latent_channels=16, mlp_ratio=8 / 3, text_width=2048
        ),
    ),
    "wan-14b": Preset(
        vae=_BIG_VAE,
        text=TextConfig(width=4096, depth=24, num_heads=64, max_length=512),
        dit=DiTConfig(
            depth=40, width=5120, num_heads=40, latent_channels=16, mlp_ratio=13824 / 5120, text_width=4096,
            rope_axes=(44, 42, 42),
        ),
    ),
}  # fmt: skip


def find_preset(name: str) -> Preset:
    """The preset called `name`.

    Raises:
        ValueError: if there is none.
    """
    if name not in PRESETS:
        raise ValueError(f"Unknown preset {name!r}; choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]
