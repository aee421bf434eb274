"""What the notebooks share: exercises that check themselves, pictures with alt text, results on file.

Stands on top of everything: a notebook imports the package's parts for the lesson and this for the classroom.
"""

from __future__ import annotations

from minisora.course.exercises import Verdict, Wrong, check, exercise
from minisora.course.live import watch
from minisora.course.pictures import PALETTE, canvas, film, frames, show
from minisora.course.pipeline import pipeline_map
from minisora.course.results import Session, shipped_results

__all__ = [
    "PALETTE",
    "Session",
    "Verdict",
    "Wrong",
    "canvas",
    "check",
    "exercise",
    "film",
    "frames",
    "pipeline_map",
    "shipped_results",
    "show",
    "watch",
]
