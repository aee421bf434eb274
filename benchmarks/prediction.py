"""Prediction: classic grey Moving-MNIST, 10 frames given, the next 10 asked for.

    python benchmarks/prediction.py [--clips 200]

Clips are those of the official test file if it lies in `data/`, else those of our world's classic setting, of test
digits; the result says which. The generator never saw grey pairs of digits, nor 21 frames; it completes a clip from
the last 9 of the 10 frames (1 + 4k), with no prompt. A sampler answers with one possible future, while squared
error is least for the mean of all futures, so the mean of several samples stands beside the single one. Rows to read
it by: the last frame again, the mean clip, and what the VAE makes of the true frames. MSE and SSIM are per frame, as
OpenSTL (2306.11249) reports them. Results go to `benchmarks/results/prediction.json`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout

from benchmarks.common import RESULTS, machine, update_results
from minisora.complete import Sampling, complete
from minisora.loading import load
from minisora.metrics.intervals import mean
from minisora.metrics.quality import mse_per_frame, psnr, ssim
from minisora.metrics.table import run_facts
from minisora.model import MiniSora
from minisora.paths import DataError
from minisora.worlds import MovingMNIST
from minisora.worlds.digits import load_moving_mnist_test

GIVEN, ASKED = 10, 10  # frames
SEEN, WINDOW = 9, 21  # frames the model sees, and makes, both 1 + 4k
SEED = 9500


@dataclass
class Settings:
    """Prediction: 10 frames of grey Moving-MNIST from the 10 before."""

    checkpoint: str = "moving-mnist"
    """A shipped checkpoint or a folder."""
    clips: int = 200
    """Clips to predict."""
    samples: int = 4
    """Futures that the mean is taken of."""
    pag_scale: float = 0.0
    """How much to steady shapes; without a prompt there is no other guidance."""
    out: Path = RESULTS / "prediction.json"
    """Where results go."""


def clips(count: int) -> tuple[str, Tensor]:
    """Where the clips come from, and (count, 1, 20, 64, 64) in [0, 1]."""
    try:
        video = torch.from_numpy(load_moving_mnist_test()[:count].copy()).float() / 255
        return "official test file", video[:, None]
    except DataError:
        world = MovingMNIST.classic(SEED, split="test")
        video = torch.stack([world[i].video[:, : GIVEN + ASKED] for i in range(count)])
        return "minisora.worlds, classic setting, test digits", video.mean(dim=1, keepdim=True)


def futures(model: MiniSora, video: Tensor, samples: int, seed: int, pag_scale: float) -> Tensor:
    """(samples, 1, ASKED, H, W) continuations of the first frames of one clip (1, T, H, W)."""
    seen = video[:, GIVEN - SEEN : GIVEN]
    blank = video.new_zeros(1, WINDOW - SEEN, *video.shape[2:])
    canvas = torch.cat([seen, blank], dim=1).expand(3, -1, -1, -1)
    known = torch.arange(WINDOW) < SEEN
    made = [
        complete(model, canvas, known, seed=seed + n, sampling=Sampling(pag_scale=pag_scale))
        for n in range(samples)
    ]
    return torch.stack(made)[:, :, SEEN : SEEN + ASKED].mean(dim=1, keepdim=True)


def figures(answers: Tensor, truth: Tensor) -> dict[str, object]:
    """MSE per frame, SSIM and PSNR of answers (n, 1, ASKED, H, W), with intervals, and the MSE of each frame."""
    error = mse_per_frame(answers, truth)
    return {
        "mse": mean(error.mean(dim=1).tolist()),
        "ssim": mean(ssim(answers, truth).tolist()),
        "psnr": mean(psnr(answers, truth).tolist()),
        "mse_by_frame": error.mean(dim=0).tolist(),
    }


def reconstructed(model: MiniSora, video: Tensor) -> Tensor:
    """What the VAE makes of the true frames (n, 1, T, H, W), the first one doubled to make 1 + 4k of them."""
    padded = torch.cat([video[:, :, :1], video], dim=2).expand(-1, 3, -1, -1, -1)
    parts = [model.pixels(model.latents(clip)) for clip in padded.split(8)]
    return torch.cat(parts).mean(dim=1, keepdim=True)[:, :, 1 + GIVEN :]


@torch.inference_mode()
def main(settings: Settings) -> None:
    """Predict, score, write."""
    model = load(settings.checkpoint)
    origin, video = clips(settings.clips)
    truth = video[:, :, GIVEN : GIVEN + ASKED]
    made = torch.stack(
        [
            futures(model, clip, settings.samples, 1000 * i, settings.pag_scale)
            for i, clip in enumerate(tqdm(video, desc="futures"))
        ]
    )  # (n, samples, 1, ASKED, H, W)
    rows: dict[str, Callable[[], Tensor]] = {
        "one sample": lambda: made[:, 0],
        f"mean of {settings.samples} samples": lambda: made.mean(dim=1),
        "VAE of the true frames": lambda: reconstructed(model, video),
        "last frame again": lambda: video[:, :, GIVEN - 1 : GIVEN].expand_as(truth),
        "mean clip": lambda: truth.mean(dim=(0, 2), keepdim=True).expand_as(truth),
    }
    found = {name: figures(answer(), truth) for name, answer in rows.items()}
    about = {
        "clips": settings.clips,
        "source": origin,
        "pag_scale": settings.pag_scale,
        "run": run_facts(),
        "machine": machine(),
    }
    update_results(settings.out, {"about": about, "rows": found})
    for name, row in found.items():
        print(f"{name:<24} MSE {row['mse']['value']:7.1f}  SSIM {row['ssim']['value']:.3f}")  # type: ignore[index]
    print(f"Written to {settings.out}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
