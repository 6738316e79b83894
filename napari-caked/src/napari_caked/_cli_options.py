"""Options that several commands share, and what they check before any work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated

import typer

from napari_caked.errors import DiameterError, LabelsError, SettingsError
from napari_empiarreader import console
from napari_empiarreader.errors import FileExistsAlreadyError

if TYPE_CHECKING:
    from napari_empiarreader.coordinates import ParticleTable

__all__ = [
    "Device",
    "Diameter",
    "Empty",
    "Micrographs",
    "Negatives",
    "Overwrite",
    "PixelSize",
    "particles_on",
    "positive_diameter",
    "refuse_existing",
    "require_picture",
    "say",
    "with_empty",
]


def positive_diameter(diameter: float | None) -> float | None:
    """The same diameter; an error where it is given and cannot be one."""
    if diameter is not None and not 0 < diameter < math.inf:
        raise DiameterError(f"--diameter {diameter:g}: a particle diameter is positive; give it in Å")
    return diameter


Micrographs = Annotated[list[str], typer.Argument(help="Files, folders, patterns or empiar:// addresses.")]
PixelSize = Annotated[
    float | None, typer.Option(help="Å per pixel of the micrographs; overrides the header.", show_default=False)
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Diameter = Annotated[
    float, typer.Option(help="Particle diameter in Å.", show_default=False, callback=positive_diameter)
]
Negatives = Annotated[Path | None, typer.Option(help="STAR file of places that are no particle.", show_default=False)]
Empty = Annotated[
    list[str] | None,
    typer.Option(
        help="Micrograph without any particle: its name, or a pattern in quotes. May be given several times.",
        show_default=False,
    ),
]
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


def say(words: str) -> None:
    """Say something on standard error, on a line of its own."""
    console.progress_line(1, 1)  # which clears the line of progress on a terminal
    typer.echo(words, err=True)


def particles_on(file: Path, names: Sequence[str], what: str, *, required: bool = True) -> ParticleTable:
    """Particles of a file on the named micrographs.

    A file may know of more of them, and that is said; but of none of them only if particles are not ``required``.
    """
    from napari_empiarreader import read_particles

    table = read_particles(file)
    kept = table.only_on(names)
    if not len(kept) and required:
        return table.renamed_to(names)  # says what is wrong
    if len(kept) < len(table):
        say(f"{len(table) - len(kept)} of {len(table)} {what} lie on other micrographs: not used")
    return kept


def with_empty(
    negatives: ParticleTable | None, patterns: Sequence[str] | None, names: Sequence[str]
) -> ParticleTable | None:
    """Negatives that also tell which of the named micrographs are empty; None where there is nothing to tell.

    Raises
    ------
    LabelsError
        A name or a pattern fits no micrograph.
    """
    if not patterns:
        return negatives
    import numpy as np

    from napari_empiarreader.coordinates import ParticleTable

    table = negatives if negatives is not None else ParticleTable(tuple(names), np.empty((0, 3)))
    empty = {name for pattern in patterns for name in _named(pattern, names)}
    return replace(table, metadata={**table.metadata, "empty_micrographs": sorted(empty)})


def _named(pattern: str, names: Sequence[str]) -> list[str]:
    """Names that a pattern fits, with its folders or, where the names have none, without."""
    from napari_empiarreader.coordinates import match_names

    fits = [name for name in names if fnmatchcase(name, pattern)]
    fits = fits or [name for name in names if "/" not in name and fnmatchcase(name, PurePath(pattern).name)]
    (match,) = match_names([pattern], names)
    if match is not None:
        return [names[match]]
    if not fits:
        raise LabelsError(
            f"--empty {pattern}: none of the {len(names)} micrographs is called so (the first: {names[0]}); give the "
            "name of one of them, or a pattern in quotes"
        )
    return fits
