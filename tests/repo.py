"""What the tests of the repository itself share: its root and the files that belong to it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pathspec

ROOT = Path(__file__).resolve().parent.parent


@cache
def repository_files() -> tuple[str, ...]:
    """Paths, relative to ROOT, of the repository's files: git's list where there is one.

    A copy without git (or before the first commit) counts everything that .gitignore lets through.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    inside = (ROOT / ".git").exists() and listed.returncode == 0
    names = (listed.stdout.split("\0")[:-1] if inside else []) or list(not_ignored())
    files = tuple(sorted(name for name in names if (ROOT / name).is_file()))
    assert "pyproject.toml" in files, "the list of files is not that of this repository"
    return files


def not_ignored() -> Iterator[str]:
    """Every file below ROOT that .gitignore lets through."""
    spec = pathspec.GitIgnoreSpec.from_lines((ROOT / ".gitignore").read_text().splitlines())
    for folder, folders, files in os.walk(ROOT):
        below = Path(folder).relative_to(ROOT)
        # Pruned in place, so that the many files of an environment are never visited.
        folders[:] = [
            f for f in folders if f != ".git" and not spec.match_file(f"{(below / f).as_posix()}/")
        ]
        names = [(below / file).as_posix() for file in files]
        yield from (name for name in names if not spec.match_file(name))


def python_files(*folders: str) -> list[str]:
    """The repository's Python files below `folders`."""
    tops = tuple(f"{folder}/" for folder in folders)
    return [name for name in repository_files() if name.startswith(tops) and name.endswith(".py")]
