"""What the tests of the course share: the notebooks as files, their cells by tag, exercises as source."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

import nbformat
from repo import ROOT

from minisora.course.exercises import Verdict, checkers

COURSE = ROOT / "notebooks"
LESSONS = sorted(COURSE.glob("[0-9]*.ipynb"))
SOLUTIONS = sorted((COURSE / "solutions").glob("*.ipynb"))


def read(path: Path) -> Any:
    """A notebook."""
    return nbformat.read(path, as_version=4)


def tags(cell: Any) -> list[str]:
    """A cell's tags."""
    return list(cell.metadata.get("tags", []))


def tagged(book: Any, tag: str) -> list[Any]:
    """The cells that carry `tag`, in order."""
    return [cell for cell in book.cells if tag in tags(cell)]


def number(path: Path) -> str:
    """ "03" of 03_spacetime_patches.ipynb."""
    return path.name[:2]


def run_exercise(setup: str, source: str, check: str) -> Verdict:
    """Run `source` after `setup` and return what the expression `check` says of it."""
    namespace: dict[str, Any] = {"__name__": "student"}
    for part in (setup, source):
        exec(compile(part, "<exercise>", "exec", dont_inherit=True), namespace)
    verdict = eval(compile(check, "<check>", "eval"), namespace)
    assert isinstance(verdict, Verdict)
    return verdict


def split_check(source: str) -> tuple[str, str]:
    """An exercise cell as (the answer's source, the closing `check(...)` expression)."""
    *_, last = ast.parse(source).body
    call = ast.get_source_segment(source, last)
    assert isinstance(last, ast.Expr) and call and call.startswith("check("), source
    return "\n".join(source.splitlines()[: last.lineno - 1]), call


def mutants(notebook: str) -> dict[str, list[tuple[str, str]]]:
    """{exercise: [(wrong answer, what the message must say), ...]} of notebook "NN"."""
    path = ROOT / "tests" / "mutants" / f"nb{notebook}.py"
    spec = importlib.util.spec_from_file_location(f"mutants_{notebook}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, list[tuple[str, str]]] = module.MUTANTS
    return found


def exercises() -> list[str]:
    """The keys of all exercises of all lessons."""
    return [key for path in LESSONS for key in checkers(number(path))]
