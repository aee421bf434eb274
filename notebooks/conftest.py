"""Under nbval: a notebook whose header is off by more than a factor of two about its minutes fails the run."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
SAYS = re.compile(r"\*\*Takes\*\* ([\d.]+) minutes")
FACTOR = 2.0
SLACK = 1.0  # minutes: to start a kernel, to import and for a slow moment, which a short notebook cannot hide

_spent: dict[str, float] = defaultdict(float)


def pytest_runtest_logreport(report: Any) -> None:
    """Add up what the cells of each notebook take."""
    file = report.nodeid.split("::")[0]
    if file.endswith(".ipynb"):
        _spent[Path(file).name] += report.duration


def promised_minutes(notebook: str) -> float | None:
    """What the notebook's header says, or None if it says nothing."""
    path = HERE / notebook
    if not path.exists():
        return None
    header = "".join(json.loads(path.read_text())["cells"][0]["source"])
    found = SAYS.search(header)
    return float(found[1]) if found else None


def off(spent: dict[str, float]) -> list[str]:
    """A sentence for each notebook that took more than twice or less than half of what it says.

    On a machine where three or more notebooks are all slower, by their median, that much is the machine's doing.
    """
    pairs = {name: (promised_minutes(name), seconds / 60) for name, seconds in spent.items()}
    known = {name: (said, took) for name, (said, took) in pairs.items() if said}
    pace = median(took / said for said, took in known.values()) if len(known) >= 3 else 1.0
    lines = []
    for name, (said, took) in sorted(known.items()):
        low, high = said / FACTOR - SLACK, said * FACTOR * max(1.0, pace) + SLACK
        if not low <= took <= high:
            lines.append(
                f"{name} took {took:.1f} minutes and its header says {said:.1f}; "
                "run `make notebooks` on an idle machine."
            )
    return lines


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the minutes of each notebook, and what is off."""
    if _spent:
        terminalreporter.section("minutes a notebook")
        for notebook, seconds in sorted(_spent.items()):
            promised = promised_minutes(notebook)
            terminalreporter.write_line(f"{notebook}: {seconds / 60:.1f}, header {promised}")
        for line in off(_spent):
            terminalreporter.write_line(line, red=True)


def pytest_sessionfinish(session: Any) -> None:
    """Fail the run if a header is off. Under xdist only the process that gathers all reports decides."""
    if not hasattr(session.config, "workerinput") and off(_spent) and not session.exitstatus:
        session.exitstatus = 1
