"""Under nbval: a notebook whose header is off by more than a factor of two about its minutes fails the run."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
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
    """A sentence for each notebook that took more than twice or less than half of what it says."""
    lines = []
    for notebook, seconds in sorted(spent.items()):
        promised, minutes = promised_minutes(notebook), seconds / 60
        if promised is None:
            continue
        low, high = promised / FACTOR - SLACK, promised * FACTOR + SLACK
        if not low <= minutes <= high:
            lines.append(
                f"{notebook} took {minutes:.1f} minutes and its header says {promised:.1f}; "
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
