"""In a real browser: JupyterLab opens 06 and 08, runs every cell, and a slider changes the picture."""

from __future__ import annotations

import os
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
NOTEBOOKS = ("06_sampling", "08_editing")
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


@pytest.fixture(scope="module", params=NOTEBOOKS)
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab that serves a copy of one notebook."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(COURSE / f"{request.param}.ipynb", folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(8)
    home = {name: str(folder / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
    command.append("--LabApp.expose_app_in_browser=True")
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
            yield f"http://127.0.0.1:{port}/lab/tree/{request.param}.ipynb?reset&token={token}"
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


PANEL = """
const app = window.jupyterapp;
const panel = [...app.shell.widgets('main')].find(w => w.context && w.context.path.endsWith('.ipynb'));
"""


def ask(page: Any, script: str) -> Any:
    """Run JavaScript that may use `app`, JupyterLab, and `panel`, the open notebook."""
    return page.execute_script(PANEL + script)


def last_has_run(page: Any) -> bool:
    """Whether the last code cell has a number, and the kernel rests."""
    script = """
    const code = [...panel.content.model.cells].filter(c => c.type === 'code');
    const idle = panel.sessionContext.session.kernel.status === 'idle';
    return idle && code[code.length - 1].executionCount !== null;
    """
    return bool(ask(page, script))


def picture(page: Any) -> str:
    """The picture beside the widget's sliders, as a data address; empty while there is none."""
    script = """
    const slider = document.querySelector('.jp-OutputArea .widget-slider');
    const area = slider.closest('.jp-Cell-outputArea');
    const image = area.querySelector('img[src^="data:image"], video source');
    return image ? image.src : '';
    """
    return str(page.execute_script(script))


def test_all_cells_run_and_a_slider_changes_the_picture(page: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    until("the notebook", 90, lambda: ask(page, "return !!panel && panel.context.isReady"))
    ask(page, "app.shell.activateById(panel.id)")
    kernel = "const s = panel.sessionContext.session; return s && s.kernel && s.kernel.status"
    until("its kernel", 90, lambda: ask(page, kernel) == "idle")
    ask(page, "app.commands.execute('notebook:clear-all-cell-outputs')")
    assert not last_has_run(page)
    ask(page, "app.commands.execute('notebook:run-all-cells')")
    until("all cells", 60 * MINUTES, lambda: last_has_run(page))
    script = """
    return [...panel.content.model.cells].filter(c => c.type === 'code')
        .flatMap(c => c.toJSON().outputs).filter(o => o.output_type === 'error')
        .map(o => o.ename + ': ' + o.evalue);
    """
    assert ask(page, script) == []
    where = """
    const index = panel.content.widgets.findIndex(c => c.model.sharedModel.source.includes('IntSlider'));
    panel.content.scrollToItem(index); return index;
    """
    assert ask(page, where) >= 0
    sliders = lambda: [  # noqa: E731
        box
        for box in page.find_elements(By.CSS_SELECTOR, ".widget-slider")
        if box.find_element(By.CSS_SELECTOR, "label").text == "steps"
    ]
    slider = until("a slider called steps", 60, sliders)[0]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
    before = until("the widget's picture", 60, lambda: picture(page))
    slider.find_element(By.CSS_SELECTOR, ".noUi-handle").send_keys(Keys.ARROW_RIGHT)
    until("another picture", 90, lambda: picture(page) not in ("", before))
