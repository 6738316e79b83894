"""The lower floors work with no screen and no napari; the package itself costs nothing to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import napari_profet

LOW = ["atoms", "console", "errors", "files", "helix", "mmcif", "progress", "sequence", "structure", "databases"]


def loaded_after(code: str) -> set[str]:
    """Top-level modules of a fresh interpreter after some code."""
    script = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_lower_floors_import_neither_napari_nor_qt() -> None:
    code = "import " + ", ".join(f"napari_profet.{room}" for room in LOW)
    code += "\nfrom napari_profet import helix_bundle; helix_bundle(4)"
    assert not loaded_after(code) & {"napari", "qtpy", "magicgui", "vispy", "PyQt6", "PySide6"}


def test_importing_the_package_loads_nothing() -> None:
    assert not loaded_after("import napari_profet") & {"numpy", "pandas", "gemmi", "requests", "napari", "typer"}


@pytest.mark.parametrize("name", napari_profet.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert callable(getattr(napari_profet, name))
    assert name in dir(napari_profet)


def test_an_unknown_name_is_named() -> None:
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = napari_profet.nothing_here
