"""RELION STAR files.

Frame (RELION, Scheres 2012; checked against its displayer): ``rlnCoordinateX`` is the column and ``rlnCoordinateY``
the row of the particle's centre in pixels of the unbinned micrograph, row 0 first: our own frame, so nothing is
flipped here. The one-block files up to RELION 3.0, files with ``data_optics``, and files of one micrograph are read
alike; columns that we have no use for travel in the features under their RELION names and are written back.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_empiarreader.coordinates._star_text import Block, format_blocks, label, read_blocks
from napari_empiarreader.coordinates.names import micrograph_of_file
from napari_empiarreader.coordinates.options import CoordinateOptions
from napari_empiarreader.coordinates.table import ParticleTable
from napari_empiarreader.errors import FormatError
from napari_empiarreader.files import replaced_when_complete

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_star", "render_star", "star_of_one", "write_star"]

_NAME, _X, _Y = "rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY"

#: Our name of a feature, and RELION's.
_FEATURES = {"score": "rlnAutopickFigureOfMerit", "class": "rlnClassNumber", "helix": "rlnHelicalTubeID"}

#: RELION writes this where a value was never set.
_NONE = -999.0


def read_star(path: str | os.PathLike[str], options: CoordinateOptions | None = None) -> ParticleTable:
    """Particles of a STAR file.

    Parameters
    ----------
    path
        The file. A per-micrograph file without micrograph names (``<micrograph>_autopick.star``,
        ``_manualpick.star``) belongs to the micrograph in its own name.
    options
        What the file does not say; see :class:`.CoordinateOptions`.

    Returns
    -------
    ParticleTable
        ``score`` holds ``rlnAutopickFigureOfMerit``, ``helix`` ``rlnHelicalTubeID``; other columns keep their names;
        further blocks (``data_optics``) wait in ``metadata["star_blocks"]`` for the writer.

    Raises
    ------
    NothingFoundError
        No such file.
    FormatError
        No STAR file, or none with particle coordinates.
    """
    path, options = Path(path), options or CoordinateOptions()
    blocks = read_blocks(path)
    name, particles = _particle_block(blocks, path)
    if _NAME in particles:
        import pandas as pd

        index, found = pd.factorize(particles[_NAME].astype(str))
        micrographs = tuple(str(micrograph) for micrograph in found)
    else:
        micrographs, index = (micrograph_of_file(path, options.micrographs),), np.zeros(len(particles), np.intp)
    x, y = (_coordinates(particles[column], path, name) for column in (_X, _Y))
    features = particles.drop(columns=[_X, _Y, _NAME], errors="ignore")
    features = features.rename(
        columns={theirs: ours for ours, theirs in _FEATURES.items() if theirs in features and ours not in features}
    )
    if "score" in features:
        features["score"] = _numbers(features["score"], path, name).replace(_NONE, np.nan)
    return ParticleTable(
        micrographs=micrographs,
        coordinates=options.to_array_frame(path, x, y, micrographs, index),
        features=features,
        metadata={
            "source": str(path),
            "star_block": name,
            "star_blocks": {key: block for key, block in blocks.items() if key != name},
        },
    )


def write_star(path: str | os.PathLike[str], table: ParticleTable, *, overwrite: bool = False) -> None:
    """Write particles as a STAR file with one particle block, and the blocks that came with them.

    Parameters
    ----------
    path
        File to make.
    table
        Particles; ``score`` is written as ``rlnAutopickFigureOfMerit``. Features that are not RELION's own (``logit``,
        ``diameter``) are written under their own names, which RELION ignores.
    overwrite
        Replace an existing file.

    Raises
    ------
    FileExistsAlreadyError
        The file exists and ``overwrite`` is false.
    FormatError
        A micrograph has a name that no STAR file can hold.
    """
    content = render_star(table, CoordinateOptions(), Path(path))
    with replaced_when_complete(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(content)


def render_star(table: ParticleTable, options: CoordinateOptions, path: Path) -> bytes:
    """Content of a STAR file that names its micrographs; see :func:`write_star`."""
    for micrograph in table.micrographs:
        bare = micrograph and micrograph[0] not in "#\"'" and '"' not in micrograph and micrograph != "<NA>"
        if not bare or not micrograph.isprintable():
            raise FormatError(f"{path}: a micrograph called {micrograph!r} cannot stand in a STAR file; rename it")
    names = np.array(table.micrographs, dtype=object)
    return _render(table, options, path, names[table.micrograph_index] if len(table) else np.array([], object))


def star_of_one(table: ParticleTable, options: CoordinateOptions, path: Path) -> bytes:
    """Content of a STAR file of one micrograph, as RELION's autopicking writes it: without the micrograph's name."""
    return _render(table, options, path, None)


def _render(table: ParticleTable, options: CoordinateOptions, path: Path, names: np.ndarray | None) -> bytes:
    import pandas as pd

    x, y = options.to_file_frame(path, table.coordinates, table.micrographs)
    # Numbers first: other readers take a row that begins with "data_" or "_" for something else.
    columns: dict[str, object] = {_X: x, _Y: y}
    if names is not None:
        columns[_NAME] = names
    for name, values in table.features.items():
        column = label(_FEATURES.get(str(name), str(name)))
        while column in columns:
            column += "_2"
        columns[column] = values.to_numpy()
    frame = pd.DataFrame(columns)
    if "rlnAutopickFigureOfMerit" in frame:
        frame["rlnAutopickFigureOfMerit"] = frame["rlnAutopickFigureOfMerit"].fillna(_NONE)
    blocks: dict[str, Block] = dict(table.metadata.get("star_blocks", {}))
    default = "particles" if names is not None else ""
    blocks[str(table.metadata.get("star_block", default))] = frame
    # The line of the version promises a table of optics; files without one are those of RELION 3.0.
    return format_blocks(blocks, head="# version 30001\n" if "optics" in blocks else "").encode()


def _coordinates(column: pd.Series, path: Path, block: str) -> np.ndarray:
    import pandas as pd

    numbers: np.ndarray = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    broken = ~np.isfinite(numbers)
    if broken.any():
        raise FormatError(
            f"{path}: row {int(np.flatnonzero(broken)[0]) + 1} of data_{block} has no numbers as coordinates"
        )
    return numbers


def _numbers(column: pd.Series, path: Path, block: str) -> pd.Series:
    import pandas as pd

    numbers = pd.to_numeric(column, errors="coerce")
    broken = numbers.isna() & column.notna()
    if broken.any():
        row = int(np.flatnonzero(broken)[0])
        raise FormatError(
            f"{path}: row {row + 1} of data_{block} has no number as {_FEATURES['score']}: {column.iloc[row]}"
        )
    return numbers


def _particle_block(blocks: dict[str, Block], path: Path) -> tuple[str, pd.DataFrame]:
    import pandas as pd

    for name, block in blocks.items():
        if isinstance(block, dict) and _X in block and _Y in block:
            block = pd.DataFrame([block])
        if isinstance(block, pd.DataFrame) and _X in block and _Y in block:
            return name, block.copy()
    described = ", ".join(f"data_{name}" for name in blocks) or "nothing"
    raise FormatError(f"{path}: no particle coordinates ({_X}, {_Y}) in this STAR file, which holds {described}")
