"""Known damage to clips, in four strengths: what every measure must notice, and what it must not confuse.

Spatial damage changes every frame. Temporal damage only rearranges frames that stay as they are, or moves whole
objects by drawing the scene anew: a single frame of it could stand in a real clip, so only a measure that sees
time can tell.

Each function takes the clip it damages, as its facts (`Scene`) or as drawn (3, T, H, W), a strength from 1 to 4
and a numpy Generator, and returns a video (3, T, H, W) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minisora.worlds import COLORS, DigitFacts, Scene, load_digits
from minisora.worlds.drawing import render

STRENGTHS = (1, 2, 3, 4)


def draw(scene: Scene) -> Tensor:
    """A scene as a video (3, T, H, W) in [0, 1]."""
    return torch.from_numpy(render(scene)).permute(3, 0, 1, 2).float() / 255


# ------------------------------------------------------------------------- every frame is damaged


def blur(scene: Scene, strength: int, rng: np.random.Generator) -> Tensor:
    """Gaussian blur of sigma 0.5, 1, 1.5 or 2 px."""
    sigma, video = 0.5 * strength, draw(scene)
    offset = torch.arange(-6, 7, dtype=torch.float32)
    weight = torch.exp(-0.5 * (offset / sigma) ** 2)
    weight = (weight / weight.sum()).expand(3, 1, -1)
    frames = F.pad(video.transpose(0, 1), (6, 6, 6, 6), mode="replicate")  # T 3 H W
    frames = F.conv2d(frames, weight[:, :, :, None], groups=3)
    return F.conv2d(frames, weight[:, :, None, :], groups=3).transpose(0, 1)


def noise(scene: Scene, strength: int, rng: np.random.Generator) -> Tensor:
    """White noise of standard deviation 0.03, 0.06, 0.09 or 0.12."""
    video = draw(scene)
    grain = torch.from_numpy(rng.standard_normal(video.shape, dtype=np.float32))
    return (video + 0.03 * strength * grain).clamp(0, 1)


# ------------------------------------------------------- frames stay as they are, their order does not


def freeze(scene: Scene, strength: int, rng: np.random.Generator) -> Tensor:
    """The clip stands still for two frames, 1, 2, 3 or 4 times, and then goes on."""
    pairs = np.ones(((scene.frames - 1) // 2, 2), dtype=np.int64)  # steps from frame to frame
    pairs[rng.permutation(len(pairs))[:strength]] = 0
    return draw(scene)[:, np.cumsum([0, *pairs.flat])]


def shuffle(scene: Scene, strength: int, rng: np.random.Generator) -> Tensor:
    """Frames change places within 1, 2, 3 or all 4 quarters of the clip."""
    order = np.arange(scene.frames)
    for part in quarters(order, strength, rng):
        mixed = rng.permutation(part)
        part[:] = np.roll(part, 1) if np.array_equal(mixed, part) else mixed
    return draw(scene)[:, order]


def reverse(scene: Scene, strength: int, rng: np.random.Generator) -> Tensor:
    """Time runs backwards in 1, 2, 3 or all 4 quarters of the clip, and jumps between them.

    A clip that runs backwards as a whole is again a clip of our world.
    """
    order = np.arange(scene.frames)
    for part in quarters(order, strength, rng):
        part[:] = part[::-1].copy()
    return draw(scene)[:, order]


def quarters(order: np.ndarray, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Views of `count` random ones of the quarters of a clip's frames, of two frames each at least."""
    length = max(2, len(order) // 4)
    chosen = rng.permutation(min(4, len(order) // length))[:count]
    return [order[n * length : (n + 1) * length] for n in chosen]


# --------------------------------------------------------------- the scene changes, each frame is a true one


def teleport(scene: Scene, strength: int, rng: np.random.Generator) -> Tensor:
    """All digits jump to another place 1, 2, 3 or 4 times."""
    return changing(scene, strength, rng, lambda now: [elsewhere(now, d, rng) for d in now.digits])


def identity_swap(scene: Scene, strength: int, rng: np.random.Generator) -> Tensor:
    """All digits turn into other digits 1, 2, 3 or 4 times, on their way."""
    return changing(scene, strength, rng, lambda now: [another(now, d, rng) for d in now.digits])


def color_drift(scene: Scene, strength: int, rng: np.random.Generator) -> Tensor:
    """All digits change into other colors, 1, 2, 3 or 4 times."""

    def recolor(now: Scene) -> list[DigitFacts]:
        free = [c for c in COLORS if c not in {d.color for d in now.digits}]
        new = rng.permutation(free)[: len(now.digits)]
        return [replace(d, color=str(c)) for d, c in zip(now.digits, new, strict=True)]

    return changing(scene, strength, rng, recolor)


def changing(
    scene: Scene,
    times: int,
    rng: np.random.Generator,
    change: Callable[[Scene], list[DigitFacts]],
) -> Tensor:
    """The clip (3, T, H, W) with its digits replaced by `change` of the scene so far, at `times` random frames."""
    video = torch.empty(3, scene.frames, scene.height, scene.width)
    for part in cut(scene.frames, times, rng):
        video[:, part] = draw(scene)[:, part]
        scene = replace(scene, digits=tuple(change(scene)))
    return video


def count_change(scene: Scene, strength: int, rng: np.random.Generator) -> Tensor:
    """A digit appears from nothing, or one of two vanishes, and the reverse: 1, 2, 3 or 4 times."""
    video = torch.empty(3, scene.frames, scene.height, scene.width)
    digits = scene.digits
    if len(digits) == 1:
        free = [c for c in COLORS if c != digits[0].color]
        guest = another(scene, replace(digits[0], color=str(rng.choice(free))), rng)
        digits = (*digits, elsewhere(scene, guest, rng))
    shown = len(scene.digits)
    for part in cut(scene.frames, strength, rng):
        video[:, part] = draw(replace(scene, digits=digits[:shown]))[:, part]
        shown = 3 - shown
    return video


def cut(frames: int, times: int, rng: np.random.Generator) -> list[slice]:
    """Split a clip's time at `times` random frames into times + 1 parts of at least 2 frames each."""
    room = frames - 2 * (times + 1)
    ends = np.sort(rng.integers(0, room + 1, times)) + 2 * np.arange(1, times + 1)
    return [slice(a, b) for a, b in zip([0, *ends], [*ends, frames], strict=True)]


def elsewhere(scene: Scene, digit: DigitFacts, rng: np.random.Generator) -> DigitFacts:
    """The digit with another start, anywhere in the frame."""
    half = np.array([digit.height, digit.width]) / 2
    room = np.array([scene.height, scene.width]) - 2 * half
    start = half + rng.random(2) * room
    return replace(digit, start=(float(start[0]), float(start[1])))


def another(scene: Scene, digit: DigitFacts, rng: np.random.Generator) -> DigitFacts:
    """The digit with another class, in the same place, size and color."""
    digits = load_digits(scene.split, scene.source)  # type: ignore[arg-type]
    label = int(rng.choice([n for n in range(10) if n != digit.label]))
    index = int(rng.choice(digits.with_label(label)))
    shape = np.array(digits.crop(index).shape)
    height, width = np.maximum(1, np.round(shape * digit.pixels / shape.max())).astype(int).tolist()
    limit = np.array([scene.height - height / 2, scene.width - width / 2])
    start = np.clip(digit.start, [height / 2, width / 2], limit).tolist()
    return replace(
        digit, label=label, image_index=index, height=height, width=width, start=tuple(start)
    )


CORRUPTIONS: dict[str, Callable[[Scene, int, np.random.Generator], Tensor]] = {
    "blur": blur,
    "noise": noise,
    "freeze": freeze,
    "shuffle": shuffle,
    "reverse": reverse,
    "teleport": teleport,
    "identity swap": identity_swap,
    "color drift": color_drift,
    "count change": count_change,
}
