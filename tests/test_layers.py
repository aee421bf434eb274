"""The package keeps its shape: no import goes upward, modules and functions stay short."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter

import pytest
from repo import ROOT, python_files

# From the ground up. A module imports its own layer and lower ones. `minisora/__init__.py` is the
# face over all of them and is not listed.
LAYERS = (
    ("paths", "config", "precision", "sealed", "checkpoint", "optim"),
    ("worlds",),
    ("containers", "video_pixels", "video_reader", "video_encoders", "video_writer", "video"),
    ("vae", "tiling", "latents"),
    ("footage", "footage_data"),
    ("patches",),
    ("rope", "ops", "layers"),
    ("text",),
    ("eyes", "grounding", "language", "decoding"),
    ("expand",),
    ("captioner",),
    ("dit",),
    ("flow",),
    ("sample", "grids", "guidance", "progress"),
    ("network", "presets"),
    ("hf_text",),
    ("train", "objectives"),
    ("model",),
    ("loading",),
    ("caption",),
    ("captioner_preset", "rendered"),
    ("recaption", "rerank"),
    ("complete", "joints"),
    ("edit",),
    ("story", "longer"),
    ("metrics",),
    ("recipe", "info", "curves"),
    ("legs",),
    ("train_eyes",),
    ("train_captioner", "train_expander", "card", "course"),
    ("footage_recipe",),
    ("arguments", "cli_edit", "cli_evaluate", "cli_words", "cli_folder"),
    ("cli",),
)
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}
MODULES = python_files("minisora")
# They read video, draw or serve people, and may need more than training does.
NOT_FOR_TRAINING = (
    *("video", "complete", "joints", "edit", "story", "longer", "curves", "course"),
    *("cli", "cli_edit", "cli_evaluate", "cli_words", "cli_folder"),
)
LONGEST_MODULE, LONGEST_FUNCTION = 300, 40


def dotted(path: str) -> str:
    """`minisora/worlds/__init__.py` -> `minisora.worlds`."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(path: str, source: str, known: set[str]) -> set[str]:
    """Modules of the package that `source` imports anywhere, also lazily inside a function."""
    package = dotted(path) if path.endswith("__init__.py") else dotted(path).rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, *filter(None, [node.module])] if node.level else [node.module])
            # `from minisora import vae` names a module; `from minisora.vae import X` an attribute.
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in known else base)
    return {name for name in found if name.split(".")[0] == "minisora"}


@cache
def graph() -> dict[str, set[str]]:
    """Each module of the package to those it imports."""
    known = {dotted(path) for path in MODULES}
    return {dotted(p): imports(p, (ROOT / p).read_text(), known) for p in MODULES}


def upward(edges: dict[str, set[str]]) -> list[str]:
    """Imports that go to a higher layer, or to the package's face, which stands above all."""
    wrong = []
    for module, targets in edges.items():
        if module == "minisora":
            continue
        for target in targets:
            high = target == "minisora" or RANK[target.split(".")[1]] > RANK[module.split(".")[1]]
            wrong += [f"{module} imports {target}"] * high
    return wrong


def test_every_module_has_a_layer() -> None:
    assert len(MODULES) > 10
    modules = {dotted(path).split(".")[1] for path in MODULES if path != "minisora/__init__.py"}
    assert modules <= set(RANK), f"give them a place in LAYERS: {sorted(modules - set(RANK))}"


def test_no_module_imports_upward() -> None:
    assert not upward(graph())


def test_no_circles() -> None:
    edges = {module: targets - {module} for module, targets in graph().items()}
    # A package's __init__ re-exports its parts; they import one another, never the package.
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' -> '.join(error.args[1])}")


def test_an_upward_import_is_seen() -> None:
    known = {"minisora", "minisora.vae", "minisora.flow", "minisora.worlds", "minisora.worlds.a"}
    for line in ("from minisora.flow import x", "from minisora import flow", "from . import flow",
                 "import minisora.flow as f", "def f():\n    from .flow import x"):  # fmt: skip
        assert imports("minisora/vae.py", line, known) == {"minisora.flow"}, line
    assert imports("minisora/worlds/a.py", "from ..flow import x", known) == {"minisora.flow"}
    assert imports("minisora/worlds/__init__.py", "from .a import x", known) == {
        "minisora.worlds.a"
    }
    assert upward({"minisora.vae": {"minisora.flow"}, "minisora.flow": {"minisora.vae"}}) == [
        "minisora.vae imports minisora.flow"
    ]
    assert upward({"minisora.vae": {"minisora"}})


@pytest.mark.parametrize("path", python_files("minisora", "runs", "benchmarks", "data"))
def test_modules_and_functions_are_short(path: str) -> None:
    source = (ROOT / path).read_text()
    lines = len(source.splitlines())
    assert lines <= LONGEST_MODULE, f"{path} has {lines} lines, {LONGEST_MODULE} are allowed"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = function_length(node)
            where = f"{path}:{node.lineno} {node.name}"
            assert length <= LONGEST_FUNCTION, f"{where} has {length} lines of code"


def function_length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring: documenting a function is free."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and ast.get_docstring(node) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def test_every_module_says_what_it_is() -> None:
    for path in MODULES:
        assert ast.get_docstring(ast.parse((ROOT / path).read_text())), f"{path}: no docstring"


# --- the import -----------------------------------------------------------------------------------


def run_python(code: str) -> str:
    """What a fresh interpreter prints that runs `code`; it must not print to stderr."""
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert not run.stderr, f"importing is not silent: {run.stderr}"
    return run.stdout


def import_seconds(module: str) -> float:
    """Processor time of an interpreter that imports `module`: the same on a busy machine."""
    return float(run_python(f"import time, {module}; print(time.process_time())"))


def test_importing_minisora_is_fast() -> None:
    import_seconds("torch"), import_seconds("minisora")  # warms the disk cache
    ours, torchs = import_seconds("minisora"), import_seconds("torch")
    assert ours < 2 * torchs, f"{ours:.2f} s against {torchs:.2f} s for torch"


def test_importing_minisora_is_light_and_silent() -> None:
    heavy = ("av", "matplotlib", "tyro", "IPython", "diffusers", "torch.utils.tensorboard")
    code = f"import sys, minisora; print([name for name in {heavy} if name in sys.modules])"
    assert run_python(code).strip() == "[]"


def test_training_needs_no_optional_package() -> None:
    """Everything that training imports: numpy, torch, safetensors and tqdm only."""
    names = [name for name in RANK if name not in NOT_FOR_TRAINING]
    used = [f"minisora.{name}" for name in names if f"minisora.{name}" in graph()]
    assert "minisora.train" in used
    code = f"""
import importlib, sys
for name in ("av", "matplotlib", "tyro", "IPython", "skimage", "diffusers"):
    sys.modules[name] = None  # an import of it now raises ImportError
for name in {used}:
    importlib.import_module(name)
"""
    run_python(code)
