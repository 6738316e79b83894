"""The rules of the house that a reader of one file cannot see: who imports whom, and what the manifests promise."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from npe2 import PluginManifest
from npe2.manifest.contributions import ContributionPoints

PACKAGES = ("napari-profet", "napari-empiarreader", "napari-caked")
MAY_IMPORT = {
    "napari_profet": set(),
    "napari_empiarreader": set(),
    "napari_caked": {"napari_empiarreader"},
}
SCREEN = {"napari", "qtpy", "magicgui", "superqt", "vispy", "PyQt5", "PyQt6", "PySide2", "PySide6"}
UPPER_ROOMS = {
    "widgets",
    "cli",
    "_cli_cleave",
    "_cli_convert",
    "_cli_dataset",
    "_cli_density",
    "_cli_download",
    "_cli_fetch",
    "_cli_info",
    "_cli_pick",
    "_cli_prune",
    "_cli_score",
    "_cli_simulate",
    "_cli_suggest",
    "_cli_train",
    "item_layers",
    "layers",
    "layers_density",
    "layers_pairs",
    "opening",
    "_reader",
    "_writer",
}

every_package = pytest.mark.parametrize("package", PACKAGES)


def folder_of(package: str) -> Path:
    """The folder a package is imported from."""
    spec = importlib.util.find_spec(package.replace("-", "_"))
    assert spec and spec.submodule_search_locations, f"{package} is not installed"
    return Path(next(iter(spec.submodule_search_locations)))


def contributions_of(package: str) -> ContributionPoints:
    """What the manifest of an installed package promises."""
    try:
        return PluginManifest.from_distribution(package).contributions
    except (FileNotFoundError, ValueError) as error:
        pytest.fail(f"{package} has no usable napari.yaml: {error}", pytrace=False)


def modules_of(package: str) -> dict[str, Path]:
    """Every module of a package, by its dotted name."""
    folder = folder_of(package)
    modules = {}
    for file in sorted(folder.rglob("*.py")):
        parts = list(file.relative_to(folder.parent).with_suffix("").parts)
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return modules


def is_low(module: str) -> bool:
    """Whether a module is on floor 1 or 2, where there is neither napari nor Qt."""
    rooms = module.split(".")[1:]
    return not rooms or not (rooms[0] in UPPER_ROOMS or rooms[0].startswith("_sample"))


def imports_of(module: str, file: Path) -> Iterator[tuple[str, int]]:
    """Every import in a file, also inside functions, as (dotted name, line); not those for the type checker only."""
    tree = ast.parse(file.read_text(), str(file))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield from ((f"{origin}.{name.name}", node.lineno) for name in node.names)


@every_package
def test_floors_1_and_2_import_neither_napari_nor_qt(package: str) -> None:
    """Given a fresh interpreter, when all low modules are imported, then no part of a screen is loaded."""
    script = """
import importlib, json, sys
screen, found = set(json.loads(sys.argv[1])), {}
for module in sys.argv[2:]:
    importlib.import_module(module)
    found.update({name: module for name in screen & set(sys.modules) if name not in found})
print(json.dumps(found))
"""
    low = [module for module in modules_of(package) if is_low(module)]
    command = [sys.executable, "-c", script, json.dumps(sorted(SCREEN)), *low]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, f"a module of {package} cannot be imported:\n{result.stderr}"
    found = json.loads(result.stdout.splitlines()[-1])
    guilty = [f"{module} brings in {name}" for name, module in found.items()]
    assert not guilty, f"floors 1 and 2 must work with no screen: {'; '.join(guilty)}"


@every_package
def test_imports_go_down_never_up_and_only_to_allowed_packages(package: str) -> None:
    own = package.replace("-", "_")
    forbidden = set(MAY_IMPORT) - MAY_IMPORT[own] - {own}
    wrong = []
    for module, file in modules_of(package).items():
        for name, line in imports_of(module, file):
            where = f"{file.relative_to(folder_of(package).parent)}:{line}"
            root, *rooms = name.split(".")
            if root in forbidden:
                wrong.append(f"{where} imports {name}: {own} must not know {root}")
            if is_low(module) and root in MAY_IMPORT and rooms and rooms[0] in UPPER_ROOMS:
                wrong.append(f"{where} imports {name}, from a floor above its own")
            if is_low(module) and root in SCREEN:
                wrong.append(f"{where} imports {name}: floors 1 and 2 know neither napari nor Qt")
    assert not wrong, "\n" + "\n".join(wrong)


@every_package
def test_every_command_of_the_manifest_resolves(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    broken = []
    for command in contributions_of(package).commands or ():
        home, _, name = str(command.python_name).partition(":")
        try:
            target = getattr(importlib.import_module(home), name)
        except (ImportError, AttributeError) as error:
            broken.append(f"{command.id} -> {command.python_name}: {error}")
        else:
            if not callable(target):
                broken.append(f"{command.id} -> {command.python_name} cannot be called")
    assert not broken, "\n" + "\n".join(broken)


@every_package
def test_every_contribution_names_a_command_of_the_manifest(package: str) -> None:
    contributions = contributions_of(package)
    commands = {command.id for command in contributions.commands or ()}
    users = [*(contributions.readers or ()), *(contributions.writers or ()), *(contributions.widgets or ())]
    users += [sample for sample in contributions.sample_data or () if hasattr(sample, "command")]
    unknown = {user.command for user in users} - commands
    assert not unknown, f"{package}/napari.yaml uses commands it does not list: {sorted(unknown)}"


@every_package
def test_each_plugin_brings_a_reader_a_writer_a_widget_and_a_sample(package: str) -> None:
    contributions = contributions_of(package)
    kinds = ("readers", "writers", "widgets", "sample_data")
    lacking = [kind for kind in kinds if not getattr(contributions, kind)]
    assert not lacking, f"{package}/napari.yaml contributes no {', no '.join(lacking)}"


def test_no_two_plugins_claim_the_same_files() -> None:
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for package in PACKAGES:
        for reader in contributions_of(package).readers or ():
            for pattern in reader.filename_patterns:
                owners[pattern.lower()].add(package)
    shared = {pattern: sorted(names) for pattern, names in owners.items() if len(names) > 1}
    assert not shared, f"napari would ask the user each time which plugin opens these: {shared}"


@every_package
def test_bars_of_progress_are_calm_ones(package: str) -> None:
    """A bare one whose end nobody knows makes the whole window compose itself anew 30 times a second."""
    bare = [
        f"{file.relative_to(folder_of(package).parent)}:{node.lineno}"
        for file in modules_of(package).values()
        for node in ast.walk(ast.parse(file.read_text(), str(file)))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("QProgressBar")
    ]
    assert not bare, f"use CalmProgressBar: {', '.join(bare)}"


@every_package
def test_the_help_of_commands_is_not_broken_in_the_middle_of_a_line(package: str) -> None:
    """typer keeps the line ends of a docstring, and breaks lines where the terminal ends."""
    app = importlib.import_module(f"{package.replace('-', '_')}.cli").app
    paragraphs = [
        (command.callback.__name__, paragraph)
        for command in app.registered_commands
        for paragraph in (inspect.getdoc(command.callback) or "").split("\n\n")
    ]
    assert len(paragraphs) >= 3
    broken = [f"{name}: {paragraph!r}" for name, paragraph in paragraphs if "\n" in paragraph.strip()]
    assert not broken, "write each paragraph of a command's docstring on one line:\n" + "\n".join(broken)
