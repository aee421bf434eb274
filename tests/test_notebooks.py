"""The notebooks keep their form: executed in order, all thirteen parts, short cells, nothing local."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest
from course import COURSE, LESSONS, SOLUTIONS, exercises, number, read, tagged, tags

from runs.notebooks import MEASURED, RESULTS, measured_line

PARTS = ("header", "map", "goals", "setup", "hand", "build", "prove", "train", "measure")
PARTS += ("play", "exercises", "scale", "summary")
ALL = LESSONS + SOLUTIONS
LARGEST = 1_500_000  # bytes
lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
every = pytest.mark.parametrize("path", ALL, ids=lambda path: f"{path.parent.name}/{path.stem}")


def code(book: Any) -> list[Any]:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def prose(book: Any) -> str:
    return "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")


def outputs(book: Any) -> list[Any]:
    return [output for cell in code(book) for output in cell.outputs]


def html_of(book: Any) -> list[str]:
    """Every piece of HTML that the cells put out."""
    pieces = [output.get("data", {}).get("text/html", "") for output in outputs(book)]
    return ["".join(piece) for piece in pieces if piece]


def test_the_course_is_numbered_without_a_gap() -> None:
    assert [number(path) for path in LESSONS] == [f"{i:02d}" for i in range(len(LESSONS))]
    assert len(LESSONS) >= 10
    assert [path.name for path in SOLUTIONS] == [path.name for path in LESSONS]


# --- executed, whole, small -----------------------------------------------------------------------


@every
def test_it_was_executed_from_top_to_bottom(path: Path) -> None:
    counts = [cell.execution_count for cell in code(read(path))]
    assert counts == list(range(1, len(counts) + 1))


@every
def test_its_outputs_are_clean(path: Path) -> None:
    for output in outputs(read(path)):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.get("text", "")[:300]


@every
def test_it_is_small_and_for_python3(path: Path) -> None:
    book = read(path)
    assert path.stat().st_size <= LARGEST
    assert book.metadata.kernelspec.name == "python3"
    assert "widgets" not in book.metadata


@every
def test_it_names_no_place_of_this_machine(path: Path) -> None:
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", path.read_text())
    assert not re.search(r"(?<![\w.])/(home|root|Users|tmp|work|usr)/|[A-Z]:\\\\Users", text)
    assert "sys.path" not in text and "pip install" not in text


@every
def test_its_outputs_fetch_nothing(path: Path) -> None:
    for piece in html_of(read(path)):
        assert not re.search(r"""(src|href)=["']https?://""", piece)


# --- anatomy --------------------------------------------------------------------------------------


@lesson
def test_it_has_all_thirteen_parts_in_order(path: Path) -> None:
    found = [tag for cell in read(path).cells for tag in tags(cell) if tag.startswith("part:")]
    assert found == [f"part:{part}" for part in PARTS]


@lesson
def test_its_cells_are_many_and_short(path: Path) -> None:
    book = read(path)
    assert 60 <= len(book.cells) <= 100
    lengths = [len(cell.source.strip().splitlines()) for cell in code(book)]
    assert statistics.median(lengths) <= 6
    assert max(lengths) <= 30


@lesson
def test_its_header_says_what_where_and_how_long(path: Path) -> None:
    header = read(path).cells[0].source
    assert header.startswith(f"# {number(path)} ")
    assert re.search(r"\bS\d+\b", header), "the row of Sora's report"
    assert "../minisora/" in header, "the module it builds"
    assert re.search(r"\]\(0\d_\w+\.ipynb\)", header), "its neighbors"


@lesson
def test_its_minutes_and_memory_are_those_on_file(path: Path) -> None:
    figures = json.loads(RESULTS.read_text())[path.stem]
    header = read(path).cells[0].source
    assert MEASURED.search(header)[0] == measured_line(figures)  # type: ignore[index]
    assert figures["minutes"] <= 4


@lesson
def test_what_it_recorded_is_on_file(path: Path) -> None:
    figures = json.loads(RESULTS.read_text())[path.stem]
    assert len(figures) > 2, "it measured nothing but its time"
    printed = "\n".join(o.get("text", "") for o in outputs(read(path)) if o.get("name") == "stdout")
    for name, value in figures.items():
        if name not in ("minutes", "peak_gib"):
            assert f"{name} = {value}" in printed


@lesson
def test_it_asserts_and_opens_with_a_promise(path: Path) -> None:
    book = read(path)
    asserts = sum(cell.source.count("assert") for cell in code(book))
    assert asserts >= 10
    assert any("Session(" in cell.source for cell in code(book)[:3])
    assert code(book)[-1].source.strip() == "session.close()"


# --- pictures and links ---------------------------------------------------------------------------


@lesson
def test_every_picture_says_what_it_shows(path: Path) -> None:
    book = read(path)
    for output in outputs(book):
        assert "image/png" not in output.get("data", {}), "use show(figure, alt)"
    pieces = [piece for piece in html_of(book) if re.search("<(img|video|svg)", piece)]
    assert len(pieces) >= 3
    for piece in pieces:
        for tag in re.findall(r"<(?:img|video|svg)[^>]*>", piece):
            text = re.search(r'(?:alt|aria-label)="([^"]+)"', tag)
            assert text and len(text[1]) >= 12, tag[:200]


@lesson
def test_a_video_plays_inside_the_page(path: Path) -> None:
    for piece in html_of(read(path)):
        for source in re.findall(r'<(?:img|source)[^>]* src="([^"]{0,40})', piece):
            assert source.startswith(("data:image/png;base64,", "data:video/mp4;base64,"))


@every
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose(read(path))):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), target


# --- exercises ------------------------------------------------------------------------------------


@lesson
def test_its_exercises_are_stubs_with_hints(path: Path) -> None:
    book = read(path)
    for key in (key for key in exercises() if key.startswith(number(path))):
        (cell,) = tagged(book, f"exercise:{key}")
        assert "NotImplementedError" in cell.source
        before = book.cells[book.cells.index(cell) - 1].source
        assert f"Exercise {key}" in before and "<details>" in before
        assert "solutions/" in prose(book) and "minutes" in before


def test_solutions_are_folded() -> None:
    for path in SOLUTIONS:
        for cell in code(read(path)):
            if any(tag.startswith("solution:") for tag in tags(cell)):
                assert cell.metadata.jupyter.source_hidden


def test_nothing_else_lies_in_the_folder() -> None:
    allowed = {"README.md", "conftest.py", "results.json"}
    extra = {p.name for p in COURSE.iterdir() if p.is_file()} - allowed
    assert extra == {path.name for path in LESSONS}
