"""How close one clip is to another, pixel by pixel: PSNR, SSIM and the error of predicted frames.

For reconstructions (VAE) and predictions (10 frames in, 10 out), where the right answer is known. Samples have
no right answer; `distance` compares their distribution instead, and `sharpness` and `grain` need none.

Shapes: videos (B, C, T, H, W) in [0, 1]. Sources: SSIM, Wang et al. 2004; MSE per frame as OpenSTL (2306.11249)
reports it for Moving-MNIST.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SSIM_SIGMA, SSIM_RADIUS = 1.5, 5  # an 11 x 11 Gaussian window, Wang et al. 2004, section III-C
SSIM_K1, SSIM_K2 = 0.01, 0.03


def check_pair(a: Tensor, b: Tensor) -> None:
    """Raise ValueError unless both are videos (B, C, T, H, W) of one shape."""
    if a.shape != b.shape or a.ndim != 5:
        raise ValueError(
            f"Videos of shapes {tuple(a.shape)} and {tuple(b.shape)}; give two of one shape (B, C, T, H, W)."
        )


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each clip, (B,) dB: `-10 log10 mean (a - b)^2`; equal clips give 120 dB.

    Args:
        a, b: videos (B, C, T, H, W) in [0, 1].
    """
    check_pair(a, b)
    error = (a.double() - b.double()).square().flatten(1).mean(dim=1)
    return -10.0 * torch.log10(error.clamp(min=1e-12)).float()


def mse_per_frame(a: Tensor, b: Tensor) -> Tensor:
    """Squared error summed over a frame's pixels and channels, (B, T): OpenSTL's "MSE" is its mean.

    Args:
        a, b: videos (B, C, T, H, W) in [0, 1].
    """
    check_pair(a, b)
    return (a - b).square().sum(dim=(1, 3, 4))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of each clip, the mean over frames and channels, (B,) in [-1, 1].

    Equal to scikit-image's `structural_similarity(..., data_range=1, gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False)` frame by frame: windows that leave the frame do not count.

    Args:
        a, b: videos (B, C, T, H, W) in [0, 1], frames of at least 11x11 pixels.

    Raises:
        ValueError: if the shapes differ or the frames are too small.
    """
    check_pair(a, b)
    batch, side = len(a), 2 * SSIM_RADIUS + 1
    if min(a.shape[3:]) < side:
        raise ValueError(f"Frames of {a.shape[3]}x{a.shape[4]} pixels; SSIM needs {side}x{side}.")
    a, b = (v.transpose(1, 2).flatten(0, 2)[:, None].double() for v in (a, b))  # (B*T*C, 1, H, W)
    mean_a, mean_b = gaussian(a), gaussian(b)
    var_a, var_b = gaussian(a * a) - mean_a**2, gaussian(b * b) - mean_b**2
    covariance = gaussian(a * b) - mean_a * mean_b
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    likeness = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    likeness = likeness / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return likeness.view(batch, -1).mean(dim=1).float()


def gaussian(x: Tensor) -> Tensor:
    """Weighted mean of every 11 x 11 window that lies inside the frame: (N, 1, H, W) -> (N, 1, H-10, W-10)."""
    offset = torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1, dtype=x.dtype, device=x.device)
    weight = torch.exp(-0.5 * (offset / SSIM_SIGMA) ** 2)
    weight = weight / weight.sum()
    return F.conv2d(F.conv2d(x, weight.view(1, 1, -1, 1)), weight.view(1, 1, 1, -1))


def sharpness(video: Tensor) -> float:
    """How steep the steepest edge of a frame is, the median over frames: brightness per px, 0.5 for a hard edge.

    Args:
        video: (C, T, H, W) in [0, 1]; brightness is the largest channel.
    """
    light = video.amax(dim=0)
    slope_y, slope_x = torch.gradient(light, dim=(1, 2))
    return float(torch.hypot(slope_y, slope_x).flatten(1).amax(dim=1).median())


def grain(video: Tensor) -> float:
    """Standard deviation of white noise in the pixels, as estimated from them alone.

    Immerkaer's mask (1996) cancels all that is smooth, so what it finds is noise and edges; the median over pixels
    ignores the edges.

    Args:
        video: (C, T, H, W) in [0, 1].
    """
    mask = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
    found = F.conv2d(video.flatten(0, 1)[:, None], mask[None, None])
    return float(
        found.abs().median() / (0.6745 * 6)
    )  # 0.6745: median of |normal|; 6: norm of the mask
