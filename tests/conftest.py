"""Fixtures that several test modules share; the miniature models they are made of are in `tiny`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from tiny import MINI, Run, tiny_model, tiny_vae

from minisora import cli, latents
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


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `minisora ARGUMENTS`: exit status, output, messages."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["minisora", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        return status, *capsys.readouterr()

    return call


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    facts = {"steps": 7, "clips": 21, "sizes": [[5, 32, 32], [1, 32, 48]]}
    tiny_model().save(folder, dtype=torch.float16, **facts)
    return folder
