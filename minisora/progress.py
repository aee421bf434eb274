"""Run a sampler to its end, and show meanwhile how far it is.

Stands on `sample`; `model` and `complete` use it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from minisora.sample import Progress


def run(rounds: Progress, total: int, progress: bool | Callable[[Tensor], None]) -> Tensor:
    """Run a sampler to its end and return the last latents.

    Args:
        rounds: what a sampler yields.
        total: its steps.
        progress: True shows a bar; a function is called with the present guess after each step.
    """
    if progress is True:
        from tqdm.auto import tqdm

        rounds = iter(tqdm(rounds, total=total, desc="denoise", leave=False))
    with torch.inference_mode():
        for latent, guess in rounds:  # noqa: B007
            if callable(progress):
                progress(guess)
    return latent
