"""README shows what the result files say."""

from __future__ import annotations

from runs.readme import ROOT, updated


def test_readme_is_in_step_with_the_results() -> None:
    text = (ROOT / "README.md").read_text()
    assert updated(text) == text, "run `python runs/readme.py`"


def test_an_edited_figure_is_noticed() -> None:
    text = (ROOT / "README.md").read_text()
    assert updated(text.replace(" dB", " dB more", 1)) != text.replace(" dB", " dB more", 1)


def test_an_edited_figure_of_the_course_is_noticed() -> None:
    text = (ROOT / "README.md").read_text()
    assert updated(text.replace(" GiB", " GiB more", 1)) != text.replace(" GiB", " GiB more", 1)
