"""What there is: presets with their parameter counts, and what a checkpoint knows."""

from __future__ import annotations

import torch

from minisora.checkpoint import read_config
from minisora.loading import checkpoint_folder
from minisora.network import ModelConfig, TextToLatent
from minisora.paths import data_dir, shipped_data_dir
from minisora.presets import PRESETS, Preset
from minisora.vae import VideoVAE
from minisora.worlds import VOCABULARY


def parameter_counts(preset: Preset) -> dict[str, int]:
    """Parameters of each part of a preset, counted on the `meta` device without allocating one."""
    with torch.device("meta"):
        net = TextToLatent(preset.text, preset.dit, VOCABULARY)
        parts = {"vae": VideoVAE(preset.vae), "text": net.text, "dit": net.dit}
    return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


def describe_presets() -> str:
    """A table of all presets: sizes and parameters."""
    lines = [
        f"{'preset':<14}{'depth':>6}{'width':>7}{'heads':>6}{'VAE':>10}{'text':>10}{'DiT':>10}  trains here"
    ]
    for name, preset in PRESETS.items():
        counts = parameter_counts(preset)
        numbers = "".join(f"{human(counts[part]):>10}" for part in ("vae", "text", "dit"))
        dit = preset.dit
        trains = "yes" if preset.mix else "no, needs a cluster"
        trains = "on your videos" if not preset.mix and preset.train.steps > 1 else trains
        lines.append(f"{name:<14}{dit.depth:>6}{dit.width:>7}{dit.num_heads:>6}{numbers}  {trains}")
    return "\n".join(lines)


def shipped_checkpoints() -> list[str]:
    """Names that `load` knows without a folder."""
    places = {data_dir() / "checkpoints", shipped_data_dir() / "checkpoints"}
    files = [file for place in places for file in place.glob("*/generator.safetensors")]
    return sorted({file.parent.name for file in files})


def describe_checkpoint(name: str) -> str:
    """Sizes, training steps and words of a checkpoint."""
    data = read_config(checkpoint_folder(name) / "generator.safetensors")
    config, facts = ModelConfig.from_dict(data), data.get("facts", {})
    sizes = ", ".join("x".join(map(str, size)) for size in facts.get("sizes", [])) or "not recorded"
    steps, clips = facts.get("steps", "?"), facts.get("clips", "?")
    vae = config.vae
    return "\n".join(
        [
            f"\nshipped checkpoints: {', '.join(shipped_checkpoints()) or 'none'}",
            f"\ncheckpoint {name}: {steps} steps, {clips} clips",
            f"latent: {vae.latent_channels} channels, time /{vae.temporal}, space /{vae.spatial}",
            f"trained sizes (frames x height x width): {sizes}",
            f"words: {' '.join(config.vocabulary)}",
        ]
    )


def human(count: int) -> str:
    """1234567 -> '1.2 M'."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return str(count)
