"""Configurations: frozen dataclasses that describe a model and how to train it.

A config is data. It travels inside every checkpoint as JSON, and `presets.py` holds the ladder from
`tiny` to full size. Nothing here imports the rest of the package.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VAEConfig:
    """Causal video VAE (`vae.VideoVAE`).

    Attributes:
        latent_channels: Z.
        temporal: frames per latent frame: 1, 2 or 4.
        spatial: pixels per latent position along each side: an even number; 8 or 4 are usual.
        encoder_widths, decoder_widths: channels of the three stages, finest first. The stages work at
            (all frames, spatial/2), (half the frames, spatial/2) and (latent grid).
        encoder_depths, decoder_depths: residual blocks in each stage.
        kl_weight: weight of the KL term, in nats averaged over latent numbers, against the mean squared error of
            pixels scaled to [-1, 1].
    """

    latent_channels: int = 8
    temporal: int = 4
    spatial: int = 8
    encoder_widths: tuple[int, int, int] = (48, 64, 128)
    encoder_depths: tuple[int, int, int] = (1, 1, 2)
    decoder_widths: tuple[int, int, int] = (64, 96, 192)
    decoder_depths: tuple[int, int, int] = (1, 1, 3)
    kl_weight: float = 1e-3

    def __post_init__(self) -> None:
        if self.temporal not in (1, 2, 4):
            raise ValueError(f"temporal={self.temporal}: a latent frame may hold 1, 2 or 4 frames.")
        if self.spatial < 2 or self.spatial % 2:
            raise ValueError(f"spatial={self.spatial}: must be even, 2 or more; 8 and 4 are usual.")

    @property
    def folds(self) -> tuple[tuple[int, int], ...]:
        """(time, space) by which each stage of the encoder shrinks its input."""
        late = 2 if self.temporal > 1 else 1
        early = 2 if self.temporal > 2 else 1
        return ((1, self.spatial // 2), (early, 1), (late, 2))

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(Z, t, h, w) of a clip of `frames` x `height` x `width`."""
        s = self.spatial
        return self.latent_channels, 1 + (frames - 1) // self.temporal, height // s, width // s

    def check_video(self, shape: tuple[int, ...], first: bool = True) -> None:
        """Raise ValueError unless (B, 3, T, H, W) fits the grid; later chunks of a stream hold 4k frames."""
        if len(shape) != 5 or shape[1] != 3:
            raise ValueError(f"Video of shape {shape}: the VAE takes (B, 3, T, H, W).")
        frames, height, width = shape[2:]
        if frames < 1 or (frames - first) % self.temporal:
            rule = f"1 + {self.temporal}k" if first else f"{self.temporal}k"
            raise ValueError(
                f"A clip of {frames} frames: the VAE takes {rule} frames; drop or repeat some."
            )
        near = [max(self.spatial, n - n % self.spatial) for n in (height, width)]
        if [height, width] != near:
            raise ValueError(
                f"Frames of {height}x{width} pixels: both sides must be multiples of {self.spatial}; "
                f"cut or enlarge them, e.g. to {near[0]}x{near[1]}."
            )


@dataclass(frozen=True)
class TrainConfig:
    """How long and how fast to train (`train.fit`); the same for the VAE and the diffusion transformer.

    Attributes:
        steps: optimizer steps of the whole run; the schedule is laid over them.
        batch: clips a step.
        lr: peak step size of AdamW and, in AdamW's units, of Muon.
        weight_decay: decoupled decay of matrices.
        warmup: steps of linear warm-up.
        cooldown: share of the run, at its end, over which the step size falls to zero.
        clip_norm: gradients longer than this are shortened to it.
        ema_gamma: power of the weight average, `optim.PowerEMA`.
        muon: train hidden matrices with Muon.
        muon_convs: and hidden convolutions, each as one matrix.
        seed: every random number of step n comes from (seed, n), so a resumed run needs no generator state.
        checkpoint_every: steps between checkpoints.
    """

    steps: int
    batch: int
    lr: float
    weight_decay: float = 0.01
    warmup: int = 200
    cooldown: float = 0.3
    clip_norm: float = 1.0
    ema_gamma: float = 6.94
    muon: bool = True
    muon_convs: bool = False
    seed: int = 0
    checkpoint_every: int = 250


@dataclass(frozen=True, order=True)
class ClipSize:
    """Frames and pixels of a clip; prints as 17x64x64 (frames x height x width)."""

    frames: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.frames}x{self.height}x{self.width}"


@dataclass(frozen=True)
class MixEntry:
    """A clip size and its share of all clips (shares need not sum to one)."""

    size: ClipSize
    share: float


@dataclass(frozen=True)
class Phase:
    """A stretch of the transformer's training on one mix of sizes: small clips first, large ones last.

    Attributes:
        steps: optimizer steps.
        batch: clips a step, in all sizes together.
        mix: sizes and their shares of every batch.
        detailed: share of the captions that are detailed; the rest are short.
    """

    steps: int
    batch: int
    mix: tuple[MixEntry, ...]
    detailed: float = 0.65


@dataclass(frozen=True)
class Leg:
    """More training of a finished transformer (`legs`): fresh clips, a fresh optimizer, a schedule of its own.

    Attributes:
        train: the schedule.
        mix: sizes of clips and their shares of every batch.
        latents: clips encoded for this leg alone, in all its sizes together.
        single_fraction: share of them that show one digit, the rest show two.
        detailed: share of the captions that are detailed; the rest are short.
        deeper: blocks added before it (`network.deepen`).
        pattern_weights: shares of the patterns of noise levels, as in `FlowConfig`; None for the preset's.
    """

    train: TrainConfig
    mix: tuple[MixEntry, ...]
    latents: int
    single_fraction: float = 0.6
    detailed: float = 0.6
    deeper: int = 0
    pattern_weights: tuple[float, ...] | None = None
