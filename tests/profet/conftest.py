"""A databank of our own, and structures to put into it."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from napari_profet import DatabaseSettings, helix_bundle, write_structure

if TYPE_CHECKING:
    from napari_profet import Structure

Databank = runpy.run_path(str(Path(__file__).with_name("databank.py")))["Databank"]


@pytest.fixture
def databank() -> Iterator[Any]:
    """Serve structures from this machine, and any fault."""
    bank = Databank()
    yield bank
    bank.close()


@pytest.fixture
def settings(databank: Any, tmp_path: Path) -> DatabaseSettings:
    """Point at the databank, with little patience."""
    return DatabaseSettings(
        **databank.addresses,
        cache_folder=tmp_path / "cache",
        timeout=0.5,
        retries=1,
        backoff=0.01,
    )


@pytest.fixture(scope="session")
def bundle() -> Structure:
    return helix_bundle(8)


@pytest.fixture(scope="session")
def bundle_file(bundle: Structure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_structure(tmp_path_factory.mktemp("bundle") / "bundle.cif", bundle)


@pytest.fixture
def reachable(databank: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lead windows, which take their settings from the environment, to the databank and nowhere else."""
    for name, value in databank.addresses.items():
        if name != "emdb_urls":
            monkeypatch.setenv(f"PROFET_{name.upper()}", value)
    monkeypatch.setenv("PROFET_EMDB_URL", " ".join(databank.addresses["emdb_urls"]))
    monkeypatch.setenv("PROFET_CACHE", str(tmp_path / "cache"))
    return databank


@pytest.fixture
def docked(make_napari_viewer: Callable[..., Any]) -> tuple[Any, Any, Any]:
    """The viewer, the dock and the widget, as the menu would open them."""
    viewer = make_napari_viewer(show=True)
    dock, widget = viewer.window.add_plugin_dock_widget("napari-profet", "Structure to density")
    return viewer, dock, widget
