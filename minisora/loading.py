"""Checkpoint folders: where they are, and the model or the VAE alone from one.

A folder holds `vae.safetensors` and `generator.safetensors`, written by `MiniSora.save`, each with the config inside.
"""

from __future__ import annotations

from pathlib import Path

import torch

from minisora.checkpoint import fill, load_weights
from minisora.config import ClipSize
from minisora.model import MiniSora
from minisora.network import ModelConfig
from minisora.paths import data_file
from minisora.vae import VideoVAE


def checkpoint_folder(name: str | Path) -> Path:
    """The folder of a checkpoint: `name` itself if it is one, else the shipped checkpoint of that name.

    Raises:
        DataError: if no such checkpoint is there.
    """
    if (Path(name) / "generator.safetensors").exists():
        return Path(name)
    return data_file(f"checkpoints/{name}")


def load(
    name: str | Path = "moving-mnist", device: str | torch.device = "cpu", fast: bool = False
) -> MiniSora:
    """Load a model.

    Args:
        name: a shipped checkpoint, e.g. "moving-mnist", or a folder that `MiniSora.save` wrote.
        device: "cpu", "cuda" or "mps".
        fast: denoise in bfloat16 where the hardware is fast at it: half the time, clips that differ in details.

    Raises:
        DataError: if no such checkpoint is there.
        CheckpointError: if one of its files is missing, truncated or altered.
    """
    folder = checkpoint_folder(name)
    vae = load_weights(folder / "vae.safetensors")[0]
    net, config = load_weights(folder / "generator.safetensors")  # verified before it is believed
    sizes = [ClipSize(*size) for size in config.get("facts", {}).get("sizes", [])]
    model = MiniSora(ModelConfig.from_dict(config), sizes)
    fill(model.vae, vae, folder / "vae.safetensors")
    fill(model.net, net, folder / "generator.safetensors")
    model.folder, model.fast = folder, fast
    return model.to(device).eval().requires_grad_(False)


def load_vae(folder: Path, device: str | torch.device = "cpu") -> VideoVAE:
    """The VAE of a checkpoint folder alone.

    Raises:
        CheckpointError: if its file is missing, truncated or altered.
    """
    tensors, config = load_weights(folder / "vae.safetensors")
    vae = VideoVAE(ModelConfig.from_dict(config).vae)
    fill(vae, tensors, folder / "vae.safetensors")
    return vae.to(device).eval().requires_grad_(False)
