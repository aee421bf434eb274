"""What `fidelity.py` prints: its figures with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def percent(figure: dict[str, Any]) -> str:
    """A share or mean in percent, with its interval."""
    value, low, high = (100 * figure[k] for k in ("value", "low", "high"))
    return f"{value:5.1f} % [{low:5.1f}, {high:5.1f}]"


def show_vae(facts: dict[str, Any]) -> None:
    """Print the VAE's table."""
    print(f"VAE, {facts['clips']} clips of two test digits")
    for name in (key for key in facts if key.startswith("psnr_")):
        f = facts[name]
        print(
            f"  PSNR {name[5:]:<18}{f['value']:6.2f} dB [{f['low']:.2f}, {f['high']:.2f}]"
            f"   pooled {f['pooled']:.2f} dB   worst clip {f['worst_clip']:.2f} dB"
        )
    print(f"  digit read, originals       {percent(facts['read_originals'])}")
    print(f"  digit read, reconstructions {percent(facts['read_reconstructions'])}")
    print(f"  points lost                 {facts['points_lost']:5.1f}")


def show_prompts(title: str, facts: dict[str, Any], names: Sequence[str]) -> None:
    """Print the table of generated against real clips."""
    print(f"{title}, {facts['clips']} clips{'generated':>14}{'':17}real")
    for name in names:
        made, real = percent(facts["generated"][name]), percent(facts["real"][name])
        print(f"  {name:<18}{made:<26}{real}")
