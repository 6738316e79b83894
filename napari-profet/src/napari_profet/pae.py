"""Predicted aligned error (PAE) of AlphaFold: how far each residue may be off, seen from each other residue."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_profet.errors import FormatError
from napari_profet.files import read_bytes

__all__ = ["AlignedError", "parse_aligned_error", "read_aligned_error"]


@dataclass(frozen=True, eq=False)
class AlignedError:
    """Expected error of the position of each residue, when the structure is aligned on another one.

    Attributes
    ----------
    errors
        (n, n) float32, Å; read-only. Rows: the residue aligned on. Columns: the residue whose position is meant.
        Not symmetric. The residues count from 1 in the files, from 0 here.
    maximum
        The largest error that can be predicted, Å.
    name
        Short name.
    source
        Path or address it came from.
    """

    errors: np.ndarray
    maximum: float
    name: str = "PAE"
    source: str = ""

    def __post_init__(self) -> None:
        errors = np.array(self.errors, dtype=np.float32)
        if errors.ndim != 2 or errors.shape[0] != errors.shape[1] or not errors.size:
            raise FormatError(f"{self.name}: aligned errors are a square matrix, not of shape {errors.shape}")
        if not np.isfinite(errors).all() or errors.min() < 0:
            raise FormatError(f"{self.name}: aligned errors must be numbers of at least 0 Å; fetch the file again")
        # Files round the errors to whole or hundredth Å, and their maximum less coarsely.
        if not (np.isfinite(self.maximum) and errors.max() <= self.maximum + 0.51):
            raise FormatError(f"{self.name}: an error of {errors.max():g} Å is above the maximum {self.maximum:g}")
        errors.setflags(write=False)
        object.__setattr__(self, "errors", errors)

    def __len__(self) -> int:
        return len(self.errors)


def read_aligned_error(path: str | os.PathLike[str]) -> AlignedError:
    """Aligned errors from a JSON file of AlphaFold DB, plain or compressed by gzip; see :func:`parse_aligned_error`."""
    return parse_aligned_error(read_bytes(path), str(path))


def parse_aligned_error(content: bytes, source: str) -> AlignedError:
    """Aligned errors from the content of a JSON file of AlphaFold DB, in either of its two forms.

    Since 2022 it is a list of one object with the matrix ``predicted_aligned_error``; before, with the three lists
    ``residue1``, ``residue2`` and ``distance``, one entry for each pair of residues. Either has
    ``max_predicted_aligned_error``.

    Raises
    ------
    FormatError
        It is neither of the two, or pairs are missing, double or no numbers.
    """
    told = _told(content, source)
    try:
        maximum = float(told["max_predicted_aligned_error"])
        errors = _matrix(told) if "predicted_aligned_error" in told else _from_pairs(told)
        return AlignedError(errors, maximum, Path(source).name.split(".")[0] or "PAE", source)
    except KeyError as error:
        raise FormatError(
            f"{source}: no {error.args[0]!r} in it, so it holds no predicted aligned errors; give the PAE file"
        ) from error
    except FormatError as error:
        raise FormatError(f"{source}: {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"{source}: not readable as predicted aligned errors ({error}); fetch it again") from error


def _told(content: bytes, source: str) -> dict[str, Any]:
    """The one object in the file."""
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        told = json.loads(content)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise FormatError(f"{source}: not a readable JSON file ({error}); fetch it again") from error
    if isinstance(told, list) and len(told) == 1:
        told = told[0]
    if not isinstance(told, dict):
        raise FormatError(f"{source}: not the JSON of predicted aligned errors, which is one object; give the PAE file")
    return told


def _matrix(told: dict[str, Any]) -> np.ndarray:
    return np.array(told["predicted_aligned_error"], dtype=np.float32)


def _from_pairs(told: dict[str, Any]) -> np.ndarray:
    """The matrix from the older form, in which pairs may come in any order."""
    rows, columns = (np.array(told[name]) for name in ("residue1", "residue2"))
    distances = np.array(told["distance"], dtype=np.float32)
    if not (rows.shape == columns.shape == distances.shape) or rows.ndim != 1 or not rows.size:
        raise FormatError(f"residue1, residue2 and distance have {rows.size}, {columns.size}, {distances.size} entries")
    size = round(rows.size**0.5)
    whole = rows.dtype.kind == "i" and columns.dtype.kind == "i"
    if not whole or min(rows.min(), columns.min()) < 1 or max(rows.max(), columns.max()) > size:
        raise FormatError(f"the residues of {rows.size} pairs must be whole numbers from 1 to {size}")
    errors = np.full((size, size), np.nan, dtype=np.float32)
    errors[rows - 1, columns - 1] = distances
    if rows.size != size**2 or np.isnan(errors).any():
        raise FormatError(f"{rows.size} pairs do not fill the {size} x {size} pairs of residues, each once")
    return errors
