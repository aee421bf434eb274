"""What a notebook builds is what the package has: its `build` and `prove` cells, run alone, prove it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from course import LESSONS, read, tags


def run_proof(book: Any) -> int:
    """Run the cells tagged build and prove in an empty namespace; how often did they compare tensors?"""

    calls = 0
    original = torch.testing.assert_close

    def counted(*arguments: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        original(*arguments, **options)

    namespace: dict[str, Any] = {"__name__": "notebook", "display": lambda *_: None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.testing, "assert_close", counted)
        for cell in book.cells:
            if cell.cell_type == "code" and {"build", "prove"} & set(tags(cell)):
                exec(compile(cell.source, "<cell>", "exec", dont_inherit=True), namespace)
    return calls


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_what_the_notebook_builds_equals_the_package(path: Path) -> None:
    assert run_proof(read(path)) >= 1, "its prove cells compare nothing"


def test_a_notebook_that_differs_from_the_package_fails() -> None:
    book = nbformat.v4.new_notebook()
    build = nbformat.v4.new_code_cell("import torch\nmine = torch.zeros(2)")
    prove = nbformat.v4.new_code_cell("torch.testing.assert_close(mine, torch.ones(2))")
    other = nbformat.v4.new_code_cell("mine = torch.ones(2)")
    build.metadata.tags, prove.metadata.tags = ["build"], ["prove"]
    book.cells = [build, other, prove]
    with pytest.raises(AssertionError):
        run_proof(book)
