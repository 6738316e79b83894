"""Densities in files: MRC2014 out; any MRC, CCP4 or EMDB map in (Cheng et al. 2015, J. Struct. Biol. 192, 146).

The columns, rows and sections of such a file may be any permutation of x, y, z, and its first voxel may lie anywhere;
here data become (z, y, x) and the place of the first voxel becomes the origin.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_profet.density import Density
from napari_profet.errors import FormatError
from napari_profet.files import read_bytes, refuse_existing, replaced_when_complete

if TYPE_CHECKING:
    from mrcfile.mrcinterpreter import MrcInterpreter

__all__ = ["read_density", "write_density"]

_POTENTIAL = "electrostatic potential in volts"
_HEADER_BYTES = 1024


def read_density(path: str | os.PathLike[str], *, voxel_size: float | None = None) -> Density:
    """Density from a map in MRC, CCP4 or EMDB format, plain or compressed by gzip or bzip2.

    Parameters
    ----------
    path
        The file; its content decides how it is read, not its name.
    voxel_size
        Å; in place of what the header says.

    Returns
    -------
    Density
        In volts if it was written by :func:`write_density` as such, else in arbitrary units. The origin is the
        header's ORIGIN; where that is zero, NSTART times the voxel size, as most programs take it.

    Raises
    ------
    NothingFoundError
        There is no such file.
    FormatError
        It is no map, a damaged one, or one without a place in space (a stack of images, skewed axes, no voxel size).
    """
    content = _unpacked(read_bytes(path), str(path))
    with warnings.catch_warnings():
        # Each of mrcfile's warnings is about something that is checked here.
        warnings.simplefilter("ignore")
        mrc = _interpreted(content, str(path))
    size = _voxel_size(mrc, str(path)) if voxel_size is None else voxel_size
    data, starts = _in_zyx(mrc, str(path))
    header = mrc.header
    origin = np.array([header.origin.z, header.origin.y, header.origin.x], dtype=float)
    if not np.isfinite(origin).all() or not origin.any():
        origin = starts * size
    labels = " ".join(label.decode("latin-1") for label in header.label[: max(int(header.nlabl), 0)])
    z, y, x = origin
    unit: Literal["V", ""] = "V" if _POTENTIAL in labels else ""
    name = re.sub(r"(\.(mrc|map|ccp4))?(\.(gz|bz2))?$", "", Path(path).name, flags=re.IGNORECASE)
    return Density(data, size, (z, y, x), unit, name, str(path))


def write_density(path: str | os.PathLike[str], density: Density, *, overwrite: bool = False) -> Path:
    """Write a density as MRC2014, 32-bit real; return the path.

    Parameters
    ----------
    path
        File to make, ending in .mrc or .map, or one of these and .gz for a compressed one.
    density
        What to write. The header gets its voxel size, its origin (Å), and its unit in a label.
    overwrite
        Replace an existing file.

    Raises
    ------
    FormatError
        The name does not end as it should.
    FileExistsAlreadyError
        The file exists and ``overwrite`` is false.
    """
    target = Path(path)
    packed = target.name.lower().endswith(".gz")
    if not target.name.lower().removesuffix(".gz").endswith((".mrc", ".map")):
        raise FormatError(f"{target}: densities are written as MRC; let the name end in .mrc, .map or .mrc.gz")
    if not overwrite:
        refuse_existing(target)
    import mrcfile

    with replaced_when_complete(target, overwrite=overwrite) as temporary:
        with mrcfile.new(temporary, overwrite=True) as mrc:
            mrc.set_data(density.data)
            mrc.set_volume()
            mrc.voxel_size = density.voxel_size
            mrc.header.origin.z, mrc.header.origin.y, mrc.header.origin.x = density.origin
            # mrcfile's own label holds the time; without it the same density makes the same bytes.
            mrc.header.label[0] = f"napari-profet: {_POTENTIAL if density.unit else 'density'}".encode()
            mrc.header.nlabl = 1
        if packed:
            temporary.write_bytes(gzip.compress(temporary.read_bytes(), mtime=0))
    return target


def _unpacked(content: bytes, source: str) -> bytes:
    import bz2
    import zlib

    try:
        if content.startswith(b"\x1f\x8b"):
            return gzip.decompress(content)
        if content.startswith(b"BZh"):
            return bz2.decompress(content)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise FormatError(f"{source}: the compressed file is damaged ({error}); fetch or copy it again") from error
    return content


def _interpreted(content: bytes, source: str) -> MrcInterpreter:
    """Header and data of a file's content."""
    from mrcfile.mrcinterpreter import MrcInterpreter

    if len(content) < _HEADER_BYTES:
        raise FormatError(f"{source}: {len(content)} bytes are no map, whose header alone has 1024; fetch it again")
    try:
        return MrcInterpreter(iostream=io.BytesIO(content))
    except (ValueError, OverflowError, MemoryError) as error:
        raise FormatError(f"{source}: not a readable MRC, CCP4 or EMDB map ({error}); fetch it again") from error


def _voxel_size(mrc: MrcInterpreter, source: str) -> float:
    """Å, of a map whose voxels are cubes."""
    angles = [float(mrc.header.cellb[name]) for name in ("alpha", "beta", "gamma")]
    if any(abs(angle - 90) > 0.01 for angle in angles):
        raise FormatError(f"{source}: the axes have angles of {angles} degrees; resample the map to right angles first")
    sizes = np.array([float(mrc.voxel_size[axis]) for axis in "xyz"])
    if not np.isfinite(sizes).all() or (sizes <= 0).any():
        raise FormatError(f"{source}: the header has no voxel size ({sizes.tolist()} Å); give the right one")
    if np.ptp(sizes) > 1e-3 * sizes.mean():
        raise FormatError(f"{source}: the voxels are no cubes ({sizes.tolist()} Å); resample the map first")
    return float(sizes.mean())


def _in_zyx(mrc: MrcInterpreter, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Data as (z, y, x) float32, and the numbers of its first voxel along z, y, x, (3,)."""
    data: Any = mrc.data
    if data is None or data.ndim != 3 or mrc.is_image_stack():
        shape = None if data is None else data.shape
        raise FormatError(f"{source}: a stack of images or a single one of shape {shape}, not a map; give a volume")
    if np.iscomplexobj(data):
        raise FormatError(f"{source}: complex numbers, a Fourier transform and not a map; transform it back first")
    header = mrc.header
    axes = [int(header[name]) for name in ("maps", "mapr", "mapc")]
    if sorted(axes) != [1, 2, 3]:
        if any(axes):
            raise FormatError(f"{source}: sections, rows and columns are axes {axes}, not 1, 2, 3 in any order")
        axes = [3, 2, 1]  # Old programs left these fields empty.
    starts = [int(header[name]) for name in ("nzstart", "nystart", "nxstart")]
    # The array's axes are sections, rows, columns; axes 1, 2, 3 of the header are x, y, z.
    order = [axes.index(axis) for axis in (3, 2, 1)]
    return data.transpose(order).astype(np.float32), np.array(starts, dtype=float)[order]
