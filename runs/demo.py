"""Three prompts become three clips: `make demo` runs this with the shipped checkpoint."""

from __future__ import annotations

import time
from pathlib import Path

import minisora
from minisora.video import grid

PROMPTS = (
    "a large red 3 drifting slowly up and to the right on a navy background",
    "a medium yellow 5 gliding quickly to the left on a gray checkerboard",
    "a large green 0 moving steadily down in front of a small white 1 floating up on brown stripes",
)
OUT = Path("outputs/demo")


def main() -> None:
    """Generate, save, and say where."""
    OUT.mkdir(parents=True, exist_ok=True)
    model = minisora.load("moving-mnist")
    started = time.perf_counter()
    clips = model.generate(list(PROMPTS), frames=17, size=(64, 64), seed=0, progress=True)
    seconds = time.perf_counter() - started
    for number, clip in enumerate(clips, start=1):
        clip.save(OUT / f"clip-{number}.mp4")
        print(f"{OUT}/clip-{number}.mp4  {clip.prompt}")
    grid(clips, columns=len(clips)).save(
        OUT / "grid.webp", scale=3
    )  # larger, so that colors stay sharp
    grid(clips, columns=1).save(OUT / "strip.png", scale=1)
    print(f"{OUT}/grid.webp    all three, animated\n{OUT}/strip.png    all three, frame by frame")
    print(
        f"Made in {seconds:.1f} s. Your own: .venv/bin/minisora generate 'a blue 7 moving down' -o seven.mp4"
    )


if __name__ == "__main__":
    main()
