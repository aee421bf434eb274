"""Exercises that check themselves: `check("03.2", answer)` says what is right, wrong or still to do.

A checker is a function of the student's answer that raises `Wrong` with a sentence saying what is wrong, or
returns. It is registered under "NN.k": notebook NN, exercise k. The checkers of notebook NN live in the
module `minisora.course.nbNN`, which is imported when one of its exercises is checked.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

Checker = Callable[[Any], None]

_CHECKERS: dict[str, Checker] = {}
_KEY = re.compile(r"\d\d\.[1-9]")


class Wrong(AssertionError):
    """The answer is wrong; the message says in what way, and never gives the solution away."""


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Attributes:
        key: the exercise, "NN.k".
        state: "right", "wrong" or "not attempted yet".
        message: one sentence for the student.
    """

    key: str
    state: str
    message: str

    def __repr__(self) -> str:
        sign = {"right": "✔", "wrong": "✘"}.get(self.state, "…")
        return f"{sign} {self.key} {self.state}" + (f": {self.message}" if self.message else "")


def exercise(key: str) -> Callable[[Checker], Checker]:
    """Register the decorated function as the checker of exercise `key`, "NN.k"."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"exercise {key!r}: write NN.k, e.g. 03.2.")

    def register(checker: Checker) -> Checker:
        _CHECKERS[key] = checker
        return checker

    return register


def checkers(notebook: str) -> dict[str, Checker]:
    """The checkers of notebook "NN", by key.

    Raises:
        ValueError: if the course has no exercises under that number.
    """
    try:
        import_module(f"minisora.course.nb{notebook}")
    except ModuleNotFoundError as error:
        raise ValueError(f"Notebook {notebook!r} has no exercises.") from error
    return {key: checker for key, checker in _CHECKERS.items() if key.startswith(f"{notebook}.")}


def check(key: str, answer: Any) -> Verdict:
    """Check an answer; never raises on a wrong one.

    Args:
        key: the exercise, "NN.k".
        answer: what the exercise asks for, mostly a function. One that raises NotImplementedError, and
            the value None or `...`, are an exercise that nobody has tried yet.

    Raises:
        ValueError: if there is no such exercise.
    """
    found = checkers(key.split(".")[0])
    if key not in found:
        raise ValueError(f"No exercise {key!r}; this notebook has {', '.join(found)}.")
    if answer is None or answer is ...:
        return Verdict(key, "not attempted yet", "")
    try:
        found[key](answer)
    except NotImplementedError:
        return Verdict(key, "not attempted yet", "")
    except Wrong as wrong:
        return Verdict(key, "wrong", str(wrong))
    except Exception as error:
        line = traceback.extract_tb(error.__traceback__)[-1].line
        where = f" (at `{line}`)" if line else ""
        return Verdict(
            key, "wrong", f"your code stopped with {type(error).__name__}: {error}{where}."
        )
    return Verdict(key, "right", "")


def expect_shape(found: object, shape: tuple[int, ...], case: str) -> None:
    """Raise Wrong unless an answer is a finite tensor of that shape; `case` says for what it was given."""
    if not isinstance(found, Tensor):
        raise Wrong(f"for {case} you return {type(found).__name__}, not a tensor.")
    if tuple(found.shape) != shape:
        raise Wrong(f"for {case} the result has shape {tuple(found.shape)}; it should be {shape}.")
    if not torch.isfinite(found).all():
        raise Wrong(f"for {case} the result holds numbers that are not finite.")
