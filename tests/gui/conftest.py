"""What the tests of windows share: a folder for the state of the widgets that is not the user's."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def kept_pickers(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which trainings keep their best picker; it is made only if one does."""
    folder = tmp_path_factory.mktemp("state", numbered=True)
    monkeypatch.setenv("CAKED_STATE", str(folder))
    return folder / "pickers"
