"""RELION STAR files.

Frame (RELION, Scheres 2012; checked against its displayer): ``rlnCoordinateX`` is the column and ``rlnCoordinateY``
the row of the particle's centre in pixels of the unbinned micrograph, row 0 first: our own frame, so nothing is
flipped here. Both the one-block files up to RELION 3.0 and files with ``data_optics`` are read; columns that we have
no use for travel in the features under their RELION names and are written back.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_empiarreader.coordinates._star_text import parse_blocks
from napari_empiarreader.coordinates.table import ParticleTable
from napari_empiarreader.errors import FormatError, NothingFoundError
from napari_empiarreader.files import replaced_when_complete

if TYPE_CHECKING:
    import pandas as pd

    from napari_empiarreader.coordinates._star_text import Block

__all__ = ["read_star", "write_star"]

_NAME, _X, _Y = "rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY"

#: Our name of a feature, and RELION's.
_FEATURES = {"score": "rlnAutopickFigureOfMerit", "class": "rlnClassNumber"}

#: RELION writes this where a value was never set.
_NONE = -999.0


def read_star(path: str | os.PathLike[str]) -> ParticleTable:
    """Particles of a STAR file.

    Parameters
    ----------
    path
        The file. A per-micrograph file without micrograph names (``<micrograph>_autopick.star``,
        ``_manualpick.star``) belongs to the micrograph in its own name.

    Returns
    -------
    ParticleTable
        ``score`` holds ``rlnAutopickFigureOfMerit``; other columns keep their names; further blocks
        (``data_optics``) wait in ``metadata["star_blocks"]`` for the writer.

    Raises
    ------
    NothingFoundError
        No such file.
    FormatError
        No STAR file, or none with particle coordinates.
    """
    import pandas as pd

    path = Path(path)
    blocks = _read_blocks(path)
    name, particles = _particle_block(blocks, path)
    for column in (_X, _Y):
        particles[column] = pd.to_numeric(particles[column], errors="coerce")
    broken = ~np.isfinite(particles[[_X, _Y]].to_numpy(np.float64)).all(axis=1)
    if broken.any():
        raise FormatError(
            f"{path}: row {int(np.flatnonzero(broken)[0]) + 1} of data_{name} has no numbers as coordinates"
        )
    if _NAME in particles:
        micrographs = tuple(dict.fromkeys(particles[_NAME].astype(str)))
        lookup = {micrograph: i for i, micrograph in enumerate(micrographs)}
        index = particles[_NAME].astype(str).map(lookup).to_numpy()
    else:
        stem = path.stem
        for suffix in ("_autopick", "_manualpick", "_automatch"):
            stem = stem.removesuffix(suffix)
        micrographs, index = (f"{stem}.mrc",), np.zeros(len(particles))
    features = particles.drop(columns=[_X, _Y, _NAME], errors="ignore")
    for ours, theirs in _FEATURES.items():
        if theirs in features:
            features = features.rename(columns={theirs: ours})
    if "score" in features:
        features["score"] = _numbers(features["score"], path, name).replace(_NONE, np.nan)
    return ParticleTable(
        micrographs=micrographs,
        coordinates=np.column_stack([index, particles[_Y], particles[_X]]) if len(particles) else np.empty((0, 3)),
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
    import pandas as pd
    import starfile

    for micrograph in table.micrographs:
        if not micrograph or micrograph[0] in "#\"'" or '"' in micrograph or micrograph == "<NA>":
            raise FormatError(f"{path}: a micrograph called {micrograph!r} cannot stand in a STAR file; rename it")

    names = np.array(table.micrographs, dtype=object)
    columns: dict[str, object] = {
        # Numbers first: other readers take a row that begins with "data_" or "_" for something else.
        _X: table.coordinates[:, 2],
        _Y: table.coordinates[:, 1],
        _NAME: names[table.micrograph_index] if len(table) else np.array([], object),
    }
    for name, values in table.features.items():
        columns[_FEATURES.get(str(name), str(name))] = values.to_numpy()
    frame = pd.DataFrame(columns)
    if "rlnAutopickFigureOfMerit" in frame:
        frame["rlnAutopickFigureOfMerit"] = frame["rlnAutopickFigureOfMerit"].fillna(_NONE)
    # Within quotation marks STAR has no way to write another one.
    frame = frame.map(lambda value: value.replace('"', "'") if isinstance(value, str) else value)
    blocks = dict(table.metadata.get("star_blocks", {}))
    blocks[str(table.metadata.get("star_block", "particles"))] = frame
    with replaced_when_complete(path, overwrite=overwrite) as temporary:
        # Ten digits keep the order of tiny scores; the sign # keeps the point of 300.0, so that it stays no integer.
        starfile.write(blocks, temporary, overwrite=True, float_format="%#.10g", na_rep="<NA>", quote_character='"')


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


def _read_blocks(path: Path) -> dict[str, Block]:
    if not path.is_file():
        raise NothingFoundError(f"{path}: no such file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: no STAR file (not text: {error})") from error
    try:
        blocks = parse_blocks(text)
    except ValueError as error:
        raise FormatError(f"{path}: {error}; the file is damaged") from error
    if not blocks:
        raise FormatError(f"{path}: no STAR file (no line begins with 'data_')")
    return blocks


def _particle_block(blocks: dict[str, Block], path: Path) -> tuple[str, pd.DataFrame]:
    import pandas as pd

    for name, block in blocks.items():
        if isinstance(block, dict) and _X in block and _Y in block:
            block = pd.DataFrame([block])
        if isinstance(block, pd.DataFrame) and _X in block and _Y in block:
            return name, block.copy()
    described = ", ".join(f"data_{name}" for name in blocks) or "nothing"
    raise FormatError(f"{path}: no particle coordinates ({_X}, {_Y}) in this STAR file, which holds {described}")
