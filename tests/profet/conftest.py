"""A databank of our own, and structures to put into it."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
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
