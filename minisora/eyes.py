"""The captioner's eyes: a small convolutional network over a latent, cut into patches only at its end.

Where it stands: `patches`, `layers`, `vae` -> [eyes] -> `caption`. Patches are cut at fixed places, so a digit that
moves is never cut twice alike, and a network that reads patches must learn each digit at each offset. A convolution
sees it the same wherever it stands (convolutions before a transformer: Xiao et al. 2021, arXiv 2106.14881). Its blocks
are those of the VAE: 3x3 in each frame, then mixing with the two frames before.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from minisora.layers import linear
from minisora.patches import Grid, patchify
from minisora.vae import Block, Blocks, conv_frames


@dataclass(frozen=True)
class EyesConfig:
    """Size of `Eyes`.

    Args:
        latent_channels: Z.
        width: channels C.
        depth: residual blocks.
        patch: (pt, ph, pw) sides of a patch.
    """

    latent_channels: int = 8
    width: int = 96
    depth: int = 3
    patch: Grid = (1, 2, 2)

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch", tuple(self.patch))  # JSON gives lists


class Eyes(nn.Module):
    """Latents (B, Z, t, h, w) to features (B, C, t, h, w), and these to tokens (B, Lv, D), one a patch.

    Args:
        config: its size.
        width: D of the tokens.
    """

    def __init__(self, config: EyesConfig, width: int) -> None:
        super().__init__()
        self.config = config
        pt, ph, pw = config.patch
        self.stem = nn.Conv2d(config.latent_channels, config.width, 3, padding=1)
        self.blocks = Blocks(Block(config.width) for _ in range(config.depth))
        self.norm = nn.RMSNorm(config.width, eps=1e-6)
        self.patches = linear(config.width * pt * ph * pw, width)
        self.whole = linear(config.width, width, zero=True)

    def forward(self, latents: Tensor) -> Tensor:
        """(B, Z, t, h, w) -> (B, C, t, h, w)."""
        x = self.blocks(conv_frames(self.stem, latents.movedim(1, -1)))
        return F.silu(self.norm(x)).movedim(-1, 1)

    def glance(self, features: Tensor) -> Tensor:
        """(B, C, t, h, w) -> (B, C): how strongly each feature is there, wherever it is."""
        return features.amax(dim=(2, 3, 4))

    def tokens(self, features: Tensor) -> Tensor:
        """(B, C, t, h, w) -> (B, Lv, D), ordered by t, then h, then w: each patch, and a glance at the whole."""
        patches = self.patches(patchify(features, self.config.patch))
        return patches + self.whole(self.glance(features))[:, None]
