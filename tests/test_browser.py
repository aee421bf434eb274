"""In a real browser: JupyterLab opens 06, runs every cell, and a slider changes the picture."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from course import COURSE

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
MINUTES = 10  # for all cells of the notebook, on a busy machine

pytestmark = [
    pytest.mark.skipif(
        not (BROWSER and DRIVER), reason="needs chromium and chromedriver, which are not installed"
    ),
    pytest.mark.timeout(60 * (MINUTES + 4)),
]
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
)


def until(what: str, seconds: float, probe: Any) -> Any:
    """Ask `probe` until it gives something true, at most so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := probe():
                return found
        except Exception as error:
            last = error
        else:
            last = None
        time.sleep(0.5)
    raise AssertionError(f"waited {seconds:.0f} s in vain for {what}: {last}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab that serves a copy of notebook 06."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(COURSE / "06_sampling.ipynb", folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(8)
    home = {name: str(folder / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
    options = [
        f"--port={port}",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={folder}",
    ]
    with open(folder / "lab.log", "w") as log:
        server = subprocess.Popen(
            [*command, *options], stdout=log, stderr=log, env=os.environ | home, cwd=folder
        )
        try:
            status = f"http://127.0.0.1:{port}/api/status?token={token}"
            until("JupyterLab", 120, lambda: urllib.request.urlopen(status).status == 200)
            yield f"http://127.0.0.1:{port}/lab/tree/06_sampling.ipynb?reset&token={token}"
        finally:
            server.terminate()
            server.wait(timeout=30)


@pytest.fixture
def page(lab: str, tmp_path: Path) -> Iterator[Any]:
    """A headless browser with the notebook open."""
    webdriver = pytest.importorskip("selenium.webdriver")
    service = pytest.importorskip("selenium.webdriver.chrome.service")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=service.Service(DRIVER))
    try:
        driver.get(lab)
        yield driver
    finally:
        driver.quit()


def command(page: Any, name: str) -> None:
    """Run one of JupyterLab's commands, as a menu entry would."""
    page.execute_script(f"window.jupyterapp.commands.execute('{name}')")


def counts(page: Any) -> list[str]:
    """The execution counts of all code cells that the page knows, '*' while one waits or runs."""
    script = """
    const panel = window.jupyterapp.shell.currentWidget;
    return panel.content.widgets.filter(c => c.model.type === 'code').map(
        c => c.promptNode ? c.promptNode.textContent : String(c.model.executionCount));
    """
    return [re.sub(r"\W", "", text) or "" for text in page.execute_script(script)]


def picture(page: Any) -> str:
    """The start of the picture beside the widget's sliders."""
    script = """
    const sliders = document.querySelector('.jp-OutputArea .widget-slider');
    const area = sliders.closest('.jp-Cell-outputArea');
    const image = area.querySelector('img[src^="data:image"], video source');
    return image ? image.src : '';
    """
    return str(page.execute_script(script))


def test_all_cells_run_and_a_slider_changes_the_picture(page: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    until("the notebook", 90, lambda: page.find_elements(By.CSS_SELECTOR, ".jp-Notebook .jp-Cell"))
    until("its kernel", 90, lambda: page.execute_script(
        "return window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'"
    ))  # fmt: skip
    command(page, "notebook:run-all-cells")
    busy = "return window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status"
    time.sleep(5)
    until(
        "all cells",
        60 * MINUTES,
        lambda: page.execute_script(busy) == "idle" and "" not in counts(page)[-1:],
    )
    errors = page.execute_script(
        """
        const cells = window.jupyterapp.shell.currentWidget.content.model.cells;
        return [...cells].filter(c => c.type === 'code').flatMap(c => c.toJSON().outputs)
            .filter(o => o.output_type === 'error').map(o => o.ename + ': ' + o.evalue);
        """
    )
    assert errors == []
    slider = until(
        "a slider called steps",
        60,
        lambda: next(
            box
            for box in page.find_elements(By.CSS_SELECTOR, ".widget-slider")
            if box.find_element(By.CSS_SELECTOR, "label").text == "steps"
        ),
    )
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
    before = until("the widget's picture", 60, lambda: picture(page))
    slider.find_element(By.CSS_SELECTOR, ".noUi-handle").send_keys(Keys.ARROW_RIGHT)
    until("another picture", 90, lambda: picture(page) not in ("", before))
