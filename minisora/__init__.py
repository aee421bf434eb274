"""minisora: OpenAI's Sora rebuilt from scratch, small enough to read, train and run on a laptop.

    import minisora
    model = minisora.load("moving-mnist")
    clip = model.generate("a red 3 drifting up and to the right", frames=17, size=(64, 64), seed=0)
    clip.save("three.mp4")

Names are imported when they are first used, so that `import minisora` is fast and needs no video library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minisora.loading import load
    from minisora.model import MiniSora
    from minisora.presets import PRESETS
    from minisora.vae import VideoVAE
    from minisora.video import VideoClip, read_video, write_video
    from minisora.worlds import Clip, MovingMNIST, WorldConfig

__version__ = "0.1.0"

_HOME = {
    "load": "loading",
    "MiniSora": "model",
    "PRESETS": "presets",
    "VideoVAE": "vae",
    "VideoClip": "video",
    "read_video": "video",
    "write_video": "video",
    "Clip": "worlds",
    "MovingMNIST": "worlds",
    "WorldConfig": "worlds",
}

__all__ = [
    "PRESETS",
    "Clip",
    "MiniSora",
    "MovingMNIST",
    "VideoClip",
    "VideoVAE",
    "WorldConfig",
    "load",
    "read_video",
    "write_video",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(
            f"module 'minisora' has no attribute {name!r}; it has {', '.join(_HOME)}."
        )
    return getattr(import_module(f"minisora.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
