"""PSNR, SSIM and MSE per frame, against scikit-image and naive loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tiny import generator
from torch import Tensor

from minisora.metrics.quality import grain, mse_per_frame, psnr, sharpness, ssim


def pair(*shape: int, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    a = torch.rand(shape, generator=generator())
    return a, (a + noise * torch.randn(shape, generator=generator(1))).clamp(0, 1)


@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_ssim_and_psnr_equal_scikit_image(noise: float) -> None:
    a, b = pair(2, 3, 4, 32, 48, noise=noise)
    for n in range(2):
        frames = [
            structural_similarity(
                a[n, :, t].numpy(),
                b[n, :, t].numpy(),
                channel_axis=0,
                data_range=1.0,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            for t in range(4)
        ]
        assert ssim(a, b)[n].item() == pytest.approx(np.mean(frames), abs=1e-4)
        wanted = peak_signal_noise_ratio(a[n].numpy(), b[n].numpy(), data_range=1.0)
        assert psnr(a, b)[n].item() == pytest.approx(wanted, abs=1e-3)


def test_equal_clips_are_perfect() -> None:
    a, _ = pair(2, 3, 2, 16, 16)
    assert ssim(a, a).allclose(torch.ones(2)) and psnr(a, a).eq(120).all()
    assert mse_per_frame(a, a).eq(0).all()


def test_mse_per_frame_sums_a_frame_as_openstl_does() -> None:
    a, b = pair(3, 1, 5, 8, 8)
    found = mse_per_frame(a, b)
    assert found.shape == (3, 5)
    wanted = np.mean((a - b).numpy().swapaxes(1, 2) ** 2, axis=(0, 1)).sum()
    assert found.mean().item() == pytest.approx(wanted, rel=1e-5)


def test_what_cannot_be_compared_is_refused() -> None:
    a, b = pair(2, 3, 4, 16, 16)
    with pytest.raises(ValueError, match="of one shape"):
        psnr(a, b[:1])
    with pytest.raises(ValueError, match="of one shape"):
        mse_per_frame(a[0], b[0])
    with pytest.raises(ValueError, match="8x16 pixels; SSIM needs 11x11"):
        ssim(a[..., :8, :], b[..., :8, :])


def test_grain_is_the_deviation_of_the_noise() -> None:
    flat = torch.full((3, 4, 48, 48), 0.5)
    noise = 0.05 * torch.randn(flat.shape, generator=torch.Generator().manual_seed(0))
    assert grain(flat + noise) == pytest.approx(0.05, rel=0.03)
    edges = flat.clone()
    edges[:, :, ::12] = 1.0
    assert grain(edges) == 0.0


def test_sharpness_is_the_steepest_slope() -> None:
    ramp = torch.linspace(0, 1, 11).expand(3, 5, 8, 11)
    assert sharpness(ramp) == pytest.approx(0.1, abs=1e-6)
    hard = (torch.arange(11) > 5).float().expand(3, 5, 8, 11)
    assert sharpness(hard) == pytest.approx(0.5)
