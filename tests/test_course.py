"""Exercises: every solution passes, every planted wrong answer is told what is wrong, stubs are untouched."""

from __future__ import annotations

import re
from typing import Any

import pytest
from course import (
    LESSONS,
    SOLUTIONS,
    exercises,
    mutants,
    number,
    read,
    run_exercise,
    split_check,
    tagged,
)

from minisora.course import Verdict, check
from minisora.course.exercises import checkers

EXERCISES = exercises()
WRONG = [
    (key, wrong, message)
    for path in LESSONS
    for key, answers in mutants(number(path)).items()
    for wrong, message in answers
]


def cell_of(key: str, tag: str) -> tuple[str, str, str]:
    """(setup, answer, check) of exercise `key`: tag "exercise" is the stub, "solution" the solution."""
    notebook = key.split(".")[0]
    solutions = read(next(path for path in SOLUTIONS if number(path) == notebook))
    lesson = read(next(path for path in LESSONS if number(path) == notebook))
    (cell,) = tagged(lesson if tag == "exercise" else solutions, f"{tag}:{key}")
    (setup,) = tagged(solutions, "setup")
    return setup.source, *split_check(cell.source)


def test_the_course_has_exercises_enough() -> None:
    assert len(EXERCISES) >= 24
    for path in LESSONS:
        assert 3 <= len(checkers(number(path))) <= 5, path.name


@pytest.mark.parametrize("key", EXERCISES)
def test_a_stub_is_not_attempted_yet(key: str) -> None:
    verdict = run_exercise(*cell_of(key, "exercise"))
    assert verdict.state == "not attempted yet" and not verdict.message


@pytest.mark.parametrize("key", EXERCISES)
def test_the_solution_is_right(key: str) -> None:
    verdict = run_exercise(*cell_of(key, "solution"))
    assert verdict.state == "right", verdict


@pytest.mark.parametrize(("key", "wrong", "message"), WRONG)
def test_a_wrong_answer_is_told_what_is_wrong(key: str, wrong: str, message: str) -> None:
    setup, _, call = cell_of(key, "solution")
    verdict = run_exercise(setup, wrong, call)
    assert verdict.state == "wrong", f"{key} accepts\n{wrong}"
    assert re.search(message, verdict.message), verdict
    assert verdict.message.rstrip().endswith((".", "?")), "a message is a sentence"


def test_every_exercise_has_two_wrong_answers() -> None:
    for key in EXERCISES:
        assert len([k for k, _, _ in WRONG if k == key]) >= 2, key
    assert {key for key, _, _ in WRONG} == set(EXERCISES)


def test_the_wrong_answers_of_an_exercise_differ() -> None:
    assert len({(key, wrong) for key, wrong, _ in WRONG}) == len(WRONG)


# --- the checker itself ---------------------------------------------------------------------------


@pytest.mark.parametrize("nothing", [None, ...])
def test_nothing_is_no_attempt(nothing: Any) -> None:
    assert check(EXERCISES[0], nothing).state == "not attempted yet"


def test_code_that_stops_is_wrong_and_says_where() -> None:
    verdict = check(EXERCISES[0], lambda *a, **k: [][1])
    assert verdict.state == "wrong"
    assert "IndexError" in verdict.message


def test_a_verdict_is_one_readable_line() -> None:
    assert repr(Verdict("03.2", "wrong", "h and w are swapped.")) == (
        "✘ 03.2 wrong: h and w are swapped."
    )
    assert repr(Verdict("03.2", "right", "")) == "✔ 03.2 right"


@pytest.mark.parametrize(
    ("key", "message"),
    [(f"{EXERCISES[0][:2]}.9", "No exercise"), ("77.1", "has no exercises")],
)
def test_an_unknown_exercise_is_named(key: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(key, len)
