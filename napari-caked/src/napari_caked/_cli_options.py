"""Options that several commands share, and what they check before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_caked.errors import SettingsError
from napari_empiarreader.errors import FileExistsAlreadyError

__all__ = ["Device", "Diameter", "Micrographs", "Overwrite", "PixelSize", "refuse_existing", "require_picture"]

Micrographs = Annotated[list[str], typer.Argument(help="Files, folders, patterns or empiar:// addresses.")]
PixelSize = Annotated[
    float | None, typer.Option(help="Å per pixel of the micrographs; overrides the header.", show_default=False)
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Diameter = Annotated[float, typer.Option(help="Particle diameter in Å.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Say that a file exists before the work, not after it."""
    if path.exists() and not overwrite:
        raise FileExistsAlreadyError(f"{path} exists already; choose another name or add --overwrite")


def require_picture(path: Path) -> None:
    """Say that a picture cannot be written in this format before the work, not after it."""
    known = (".svg", ".png", ".pdf")
    if path.suffix.lower() not in known:
        raise SettingsError(f"{path}: a picture can be written as {', '.join(known)}")
