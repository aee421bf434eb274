"""What the benchmark of edits works with: a model, a reader, and real clips whose facts are known."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from minisora.metrics.corruptions import draw
from minisora.metrics.reader import DigitReader
from minisora.metrics.reading import Seen, read_clip
from minisora.model import MiniSora
from minisora.video import VideoClip
from minisora.worlds import MovingMNIST, Scene, WorldConfig, caption

SEED = 9401  # of the test worlds edited here; how edits sample was chosen on those of 9400


@dataclass
class Bench:
    """A model, a reader, and real clips to edit."""

    model: MiniSora
    reader: DigitReader
    clips: int

    def scenes(self, frames: int = 17, digits: int = 1, clips: int | None = None) -> list[Scene]:
        """Facts of the first clips of the test world."""
        world = MovingMNIST(
            WorldConfig(frames, min_digits=digits, max_digits=digits, split="test"), SEED
        )
        return [world.scene(i) for i in range(self.clips if clips is None else clips)]

    def draw(self, scene: Scene) -> VideoClip:
        """The real clip."""
        return VideoClip(draw(scene), self.model.config.fps, caption(scene))

    def read(self, video: Tensor) -> Seen:
        """What a clip shows."""
        return read_clip(video, self.reader)

    def shows(self, video: Tensor, label: int) -> bool:
        """Whether it shows exactly one digit, and that one."""
        seen = self.read(video).digits
        return len(seen) == 1 and seen[0].label == label
