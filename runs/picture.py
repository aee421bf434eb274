"""Makes the moving picture at the top of README from the shipped checkpoint: `python runs/picture.py`."""

from __future__ import annotations

from pathlib import Path

import minisora
from minisora.video import grid

PROMPTS = (
    "a large red 3 drifting slowly up and to the right on a navy background",
    "a large yellow 5 gliding steadily to the left on a gray checkerboard",
    "a large cyan 0 moving slowly straight down on black",
    "a large green 1 floating slowly right in front of a large white 8 moving slowly left on brown",
    "a medium magenta 7 sliding quickly to the lower right on a navy gradient",
    "a large orange 2 moving steadily up on gray stripes",
    "a large blue 6 drifting slowly down and left on a brown background",
    "a medium white 9 moving quickly to the right on navy stripes",
)


def main() -> None:
    """Generate the clips and write docs/demo.webp."""
    model = minisora.load("moving-mnist")
    clips = model.generate(list(PROMPTS), frames=17, seed=0, progress=True)
    out = Path(__file__).resolve().parent.parent / "docs" / "demo.webp"
    grid(clips, columns=4).save(out, scale=2)


if __name__ == "__main__":
    main()
