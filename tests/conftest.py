"""Fixtures that several test modules share; the miniature models they are made of are in `tiny`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import MINI, tiny_vae

from minisora import latents
from minisora.latents import LatentDataset, build_latents


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> LatentDataset:
    """Cached latents of a random VAE in the sizes of `tiny.MINI`, ten clips a shard."""
    folder: Path = tmp_path_factory.mktemp("latents")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latents, "SHARD", 10)
        for _ in build_latents(tiny_vae(), MINI.mix, 50, folder, seed=100):
            pass
    return LatentDataset(folder, MINI.mix)
