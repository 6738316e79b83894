"""The command line: ``napari-profet fetch``, ``info``, ``cache``, ``density`` and ``convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_profet import console
from napari_profet._cli_cleave import cleave
from napari_profet._cli_density import density
from napari_profet._cli_fetch import fetch
from napari_profet._cli_info import cache, info

__all__ = ["app", "main"]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]


@app.callback()
def _about() -> None:
    """Structures from PDB and AlphaFold DB."""


app.command()(fetch)
app.command()(info)
app.command()(cache)
app.command()(cleave)
app.command()(density)


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="mmCIF or PDB, plain or .gz.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUTPUT", help="Ends in .cif or .cif.gz.")],
    overwrite: Overwrite = False,
) -> None:
    """Write a structure file as mmCIF."""
    from napari_profet.structure import read_structure, write_structure

    print(write_structure(output, read_structure(file), overwrite=overwrite))


def main() -> None:
    """Entry point of the command ``napari-profet``."""
    console.run(app)
