"""Tables that say what the images of a stack are: one row for each, in RELION's words for image and micrograph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.datasets.ctf import with_optics
from napari_caked.errors import DatasetError
from napari_empiarreader.files import LocalFile

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["IMAGE", "MICROGRAPH", "pixel_sizes", "rows_of"]

IMAGE, MICROGRAPH = "rlnImageName", "rlnMicrographName"
_PIXEL_SIZE = "rlnImagePixelSize"
_BLOB, _SECTION, _BLOB_SIZE = "blob/path", "blob/idx", "blob/psize_A"
_CS_MICROGRAPHS = ("location/micrograph_path", "location/micrograph_uid")


def rows_of(path: Path) -> pd.DataFrame:
    """Rows of a STAR file, of a ``.cs`` file, or for all images of a stack alone; the column ``IMAGE`` names each.

    Raises
    ------
    DatasetError
        The table does not say where its images are.
    """
    suffix = path.suffix.lower()
    if suffix == ".star":
        return _star_rows(path)
    return _cryosparc_rows(path) if suffix == ".cs" else _bare(path)


def pixel_sizes(table: pd.DataFrame) -> list[float | None]:
    """Å per pixel of each row, as RELION 3.1 and as older ones write it."""
    import pandas as pd

    if _PIXEL_SIZE in table:
        sizes = pd.to_numeric(table[_PIXEL_SIZE], errors="coerce")
    elif "rlnDetectorPixelSize" in table and "rlnMagnification" in table:
        detector, magnification = table["rlnDetectorPixelSize"], table["rlnMagnification"]
        # µm on the detector, divided by the magnification.
        sizes = 1e4 * pd.to_numeric(detector, errors="coerce") / pd.to_numeric(magnification, errors="coerce")
    else:
        return [None] * len(table)
    return [round(float(size), 6) if 0 < size < np.inf else None for size in sizes]


def _bare(path: Path) -> pd.DataFrame:
    import pandas as pd

    from napari_empiarreader.micrographs.mrc import read_mrc_header

    sections = read_mrc_header(LocalFile(path)).shape[0]
    return pd.DataFrame({IMAGE: [f"{i + 1:06d}@{path.name}" for i in range(sections)]})


def _star_rows(path: Path) -> pd.DataFrame:
    """Rows of a STAR file, with those of its optics groups beside them."""
    import pandas as pd

    from napari_empiarreader.coordinates import read_blocks

    blocks = {k: pd.DataFrame([v]) if isinstance(v, dict) else v for k, v in read_blocks(path).items()}
    rows = next((block for block in blocks.values() if IMAGE in block), None)
    if rows is None:
        raise DatasetError(f"{path}: no column {IMAGE}, which names the images; is it the STAR file of the stack?")
    return with_optics(rows, {} if blocks.get("optics") is rows else blocks, str(path))


def _cryosparc_rows(path: Path) -> pd.DataFrame:
    """Rows of a ``.cs`` file; cryoSPARC counts sections from 0, and begins paths within the project with ``>``."""
    from napari_empiarreader.coordinates import read_cryosparc_fields

    rows = read_cryosparc_fields(path)
    for field in (_BLOB, _SECTION):
        if field not in rows:
            held = ", ".join(sorted({str(name).split("/")[0] for name in rows}))
            raise DatasetError(
                f"{path}: no images of particles ({field}) in this file, which holds {held}; take the file of "
                "extracted particles, or cut picks from their micrographs"
            )
    stacks, sections = rows[_BLOB].astype(str).str.lstrip(">"), rows[_SECTION].to_numpy(np.int64) + 1
    rows = rows.assign(**{IMAGE: [f"{at:06d}@{stack}" for at, stack in zip(sections.tolist(), stacks, strict=True)]})
    micrograph = next((name for name in _CS_MICROGRAPHS if name in rows), None)
    if micrograph is not None:
        rows = rows.assign(**{MICROGRAPH: rows[micrograph].astype(str).str.lstrip(">")})
    return rows.assign(**{_PIXEL_SIZE: rows[_BLOB_SIZE]}) if _BLOB_SIZE in rows else rows
