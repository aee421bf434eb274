"""The repository keeps its promises: pins in step, README's file tree true, nothing local."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from repo import ROOT, repository_files

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def pins() -> dict[str, Requirement]:
    """The pins of constraints.txt, by canonical name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(r.name): r for r in requirements}


def declared() -> list[Requirement]:
    """Every requirement in pyproject.toml, of the package, its extras and its build."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    lines = [
        *PROJECT["dependencies"],
        *build,
        *(line for extra in EXTRAS.values() for line in extra),
    ]
    return [r for r in map(Requirement, lines) if r.name != PROJECT["name"]]


# --- dependencies ---------------------------------------------------------------------------------


def test_environment_yml_lists_what_pyproject_does() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, with_pip = environment["dependencies"]
    listed = [line for line in with_pip["pip"] if not line.startswith("-")]
    assert sorted(listed) == sorted([*PROJECT["dependencies"], *EXTRAS["notebooks"]])
    assert [line for line in with_pip["pip"] if line.startswith("-")] == [
        "-c constraints.txt",
        "-e .",
    ]
    python, pip = conda
    assert pip == "pip"
    version = re.fullmatch(r"python=(\d+\.\d+)", python)
    assert version and Requirement(f"python{PROJECT['requires-python']}").specifier.contains(
        version[1]
    )


def test_every_pin_is_exact_and_without_a_local_build() -> None:
    for name, pin in pins().items():
        specifiers = [str(s) for s in pin.specifier]
        assert len(specifiers) == 1 and specifiers[0].startswith("=="), name
        assert "+" not in specifiers[0] and "*" not in specifiers[0], name


def test_pins_satisfy_every_declared_requirement() -> None:
    known = pins()
    for requirement in declared():
        pin = known.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} has no pin in constraints.txt"
        version = str(pin.specifier).removeprefix("==")
        assert requirement.specifier.contains(version), f"{pin} does not satisfy {requirement}"


def test_pins_cover_what_the_dependencies_themselves_need() -> None:
    known, seen = pins(), set()
    todo = [(r.name, tuple(r.extras)) for r in declared()]
    while todo:
        name, extras = todo.pop()
        if (canonicalize_name(name), extras) in seen:
            continue
        seen.add((canonicalize_name(name), extras))
        # CUDA libraries come with some builds of torch only, which pins them itself.
        if re.match(r"(nvidia|cuda)-|triton", canonicalize_name(name)):
            continue
        assert canonicalize_name(name) in known, f"{name} has no pin in constraints.txt"
        todo += needs(name, extras)
    assert len(seen) > 100, "the walk stopped early: is the dev extra installed?"


def needs(name: str, extras: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
    """What the installed distribution `name` requires here, with the given extras."""
    try:
        lines = importlib.metadata.distribution(name).requires or []
    except importlib.metadata.PackageNotFoundError:
        # Extras outside `dev` need not be installed to run the tests.
        assert canonicalize_name(name) not in installed_by_dev(), f"{name} is not installed"
        return []
    found = []
    for requirement in map(Requirement, lines):
        environments = [{**default_environment(), "extra": extra} for extra in (*extras, "")]
        if not requirement.marker or any(map(requirement.marker.evaluate, environments)):
            found.append((requirement.name, tuple(requirement.extras)))
    return found


def installed_by_dev() -> set[str]:
    """Canonical names that `pip install '.[dev]'` asks for by name."""
    names, todo = set(), [*PROJECT["dependencies"], f"{PROJECT['name']}[dev]"]
    while todo:
        requirement = Requirement(todo.pop())
        if requirement.name == PROJECT["name"]:
            todo += [line for extra in requirement.extras for line in EXTRAS[extra]]
        else:
            names.add(canonicalize_name(requirement.name))
    return names


def test_installed_torch_is_the_pinned_one() -> None:
    installed = importlib.metadata.version("torch").split("+")[0]
    assert f"=={installed}" == str(pins()["torch"].specifier), "an extra changed torch"


def test_version_is_the_same_everywhere() -> None:
    import minisora

    assert minisora.__version__ == PROJECT["version"]
    assert importlib.metadata.version(PROJECT["name"]) == PROJECT["version"]


# --- README's file tree ---------------------------------------------------------------------------


def file_tree(markdown: str) -> dict[str, bool]:
    """Paths in the fenced block after the line that says 'File tree'; True for a folder.

    Entries are indented by four columns a level, with or without the lines that a `tree` draws;
    what follows a name after a space or `#` is a comment.
    """
    _, found, after = markdown.partition("File tree")
    assert found, "README.md has no line with 'File tree'"
    block = re.search(r"^```[^\n]*\n(.*?)^```", after, re.MULTILINE | re.DOTALL)
    assert block, "README.md has no fenced block after 'File tree'"
    entries: list[tuple[int, str]] = []
    for line in block[1].splitlines():
        entry = re.match(r"(?P<indent>[\s│├└─|`+-]*)(?P<name>[^\s#]+)", line)
        if entry is not None and entry["name"] not in (".", "./"):
            depth, rest = divmod(len(entry["indent"]), 4)
            assert rest == 0, f"README's file tree: odd indent in {line!r}"
            entries.append((depth, entry["name"]))
    assert entries, "README's file tree is empty"
    return join_tree(entries)


def join_tree(entries: list[tuple[int, str]]) -> dict[str, bool]:
    """Entries of (depth, name) to whole paths; True for a folder."""
    top = min(depth for depth, _ in entries)
    paths: dict[str, bool] = {}
    parents: list[str] = []
    for depth, name in entries:
        assert depth - top <= len(parents), f"README's file tree: {name} hangs in the air"
        parents[depth - top :] = [name.rstrip("/")]
        paths["/".join(parents)] = name.endswith("/")
    return paths


TREES = {
    "drawn": "## File tree\n```\n.\n├── a/\n│   ├── b.py   # why\n│   └── c/ # d\n└── e.md\n```\n",
    "indented": "File tree:\n\n```text\na/\n    b.py  why\n    c/\ne.md\n```\n",
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES.keys())
def test_file_tree_is_parsed(tree: str) -> None:
    assert file_tree(tree) == {"a": True, "a/b.py": False, "a/c": True, "e.md": False}


@pytest.mark.parametrize("markdown", ["", "File tree\n", "File tree\n```\n```\n", "```\na\n```\n"])
def test_missing_file_tree_is_an_error(markdown: str) -> None:
    with pytest.raises(AssertionError, match="README"):
        file_tree(markdown)


def children() -> dict[str, dict[str, bool]]:
    """Folder ('' is the root) to its entries in the repository; True for a folder."""
    folders: dict[str, dict[str, bool]] = {}
    for name in repository_files():
        path = PurePosixPath(name)
        for entry in (path, *path.parents[:-1]):
            parent = "" if str(entry.parent) == "." else str(entry.parent)
            folders.setdefault(parent, {})[entry.name] = entry != path
    return folders


def test_readme_file_tree_is_what_exists() -> None:
    listed, existing = file_tree((ROOT / "README.md").read_text()), children()
    for path, is_folder in listed.items():
        parent, _, name = path.rpartition("/")
        kind = existing.get(parent, {}).get(name)
        assert kind is not None, f"README's file tree lists {path}, which does not exist"
        assert kind == is_folder, f"README's file tree: a folder, and only that, ends in /: {path}"
    # A folder that is shown open is shown whole, except for hidden files and __init__.py.
    for folder in {path.rpartition("/")[0] for path in listed}:
        shown = {path.rpartition("/")[2] for path in listed if path.rpartition("/")[0] == folder}
        whole = {n for n in existing[folder] if not n.startswith(".") and n != "__init__.py"}
        assert whole <= shown, (
            f"README's file tree lacks in {folder or '.'}: {sorted(whole - shown)}"
        )
    assert any(path.startswith("minisora/") for path in listed), (
        "README's file tree shows no module"
    )


# --- nothing local in the files -------------------------------------------------------------------

# Written in pieces, so that this file passes its own test.
LOCAL = re.compile(
    "|".join(
        (
            r"(?<![\w./~-])/" + r"(?:work|root|opt|mnt|srv|tmp)/",
            r"(?<![\w./~-])/" + r"(?:home|Users)/\w",
            r"(?<!\w)[A-Z]:\\" + r"Users\\",
            r"file:" + r"//",
        )
    )
)
REGISTRY = re.compile(
    "|".join(
        (
            r"\bpypi\." + r"(?:org|python)",
            r"pythonhosted" + r"\.org",
            r"download\.pytorch" + r"\.org",
            r"registry\.npmjs" + r"\.org",
            r"conda\." + r"anaconda\.org",
            r"--(?:extra-)?index" + r"-url",
            r"--find" + r"-links",
            r"PIP_(?:EXTRA_)?INDEX" + r"_URL",
        )
    )
)


def offences(text: str) -> list[str]:
    """Machine paths and registry addresses in `text`, each with a little of its surroundings."""
    found = [match for pattern in (LOCAL, REGISTRY) for match in pattern.finditer(text)]
    return [text[max(0, match.start() - 20) : match.end() + 40] for match in found]


def test_offences_are_seen() -> None:
    for local in (
        "/work" + "/x",
        "'/home" + "/ann/clip.mp4'",
        "C:" + "\\Users\\ann",
        "file:" + "//x",
    ):
        assert offences(f"open({local}"), local
    for innocent in ("network/root/x", "~/work/x", "a/home/b", "#!/usr/bin/env bash", "and/or/"):
        assert not offences(innocent), innocent
    assert offences("https://pypi" + ".org/simple") and offences("pip --index" + "-url x")


def test_no_machine_path_or_registry_address_in_any_file() -> None:
    seen, found = 0, []
    for name in repository_files():
        data = (ROOT / name).read_bytes()
        if b"\0" in data:  # binary: weights, digits, pictures
            continue
        seen += 1
        found += [f"{name}: {where!r}" for where in offences(data.decode("utf-8"))]
    assert seen > 10
    assert not found, "\n".join(found)


# --- the tools ------------------------------------------------------------------------------------


def test_ci_runs_the_tests_and_hides_nothing() -> None:
    script = ROOT / ".ci" / "run"
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "set -euo pipefail" and "make test" in lines
    assert "||" not in script.read_text()
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_makefile_has_the_promised_targets() -> None:
    promised = {"demo", "test", "notebooks", "lab", "lint", "format", "typecheck", "bench"}
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert promised | {"clean", "help"} <= set(
        re.findall(r"^  make (\S+)", shown.stdout, re.MULTILINE)
    )


@pytest.mark.parametrize("python", ["no-such-python", "false"])
def test_make_says_in_one_sentence_that_python_is_missing_or_old(
    python: str, tmp_path: Path
) -> None:
    command = ["make", "-f", str(ROOT / "Makefile"), "demo", f"PYTHON={python}"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    said = [line for line in run.stderr.splitlines() if not line.startswith("make")]
    assert run.returncode != 0 and len(said) == 1, run.stderr
    assert "Python 3.11 or later" in said[0] and python in said[0]


def test_hooks_are_local() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
