"""The rows of a long loop of a STAR file, read as a whole.

Particle files have millions of rows. Where a loop is plain (ASCII, no quotation marks, no comments, each line with as
many words as there are columns) pandas' own reader does in seconds what line by line takes minutes and gigabytes;
where it is not, this module declines, and the careful way decides.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FEWEST_ROWS", "fast_rows"]

#: Loops that are shorter are read line by line.
FEWEST_ROWS = 1000

_NOTHING = ["<NA>", "nan", "NaN", "-nan"]

#: Whole numbers from here on have more digits than the careful way believes.
_LARGEST_INTEGER = 10**18

_PIECE = 1 << 24


def fast_rows(
    text: str, start: int, columns: list[str], text_columns: Collection[str], fewest: int
) -> tuple[pd.DataFrame | None, int]:
    """Rows from ``start`` on, and where the text goes on; or None and ``start``.

    Parameters
    ----------
    text, start
        The file, and where its first row begins.
    columns
        Names of the columns.
    text_columns
        Columns that are text, whatever they look like.
    fewest
        Shorter loops are declined.
    """
    if len(columns) < 2 or len(set(columns)) < len(columns) or text.count("\n", start) + 1 < fewest:
        return None, start
    stop = _end_of_rows(text, start, len(columns))
    if stop == start:
        return None, start
    body = text[start:stop]
    if body.count("\n") + 1 < fewest or not body.isascii() or re.search("[#\"'\r\f\v\x1c-\x1f]", body):
        return None, start
    if re.search(r"(?<!\S)[+-]?0[0-9][0-9.eE+-]*(?!\S)", body):
        return None, start  # a number with leading zeros is text, and makes its column text
    frame = _frame(body, columns, text_columns)
    return (None, start) if frame is None else (frame, stop)


def _end_of_rows(text: str, start: int, width: int) -> int:
    """Where the first line begins that has neither ``width`` words nor none."""
    while start < len(text):
        stop = text.find("\n", start + _PIECE) + 1 or len(text)
        words, starts = _words_per_line(text[start:stop])
        odd = np.flatnonzero((words != width) & (words != 0))
        if len(odd):
            return start + int(starts[odd[0]])
        start = stop
    return len(text)


def _words_per_line(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Number of words, and the beginning, of each line."""
    # One byte per character, so that places in the one are places in the other.
    codes = np.frombuffer(text.encode("ascii", "replace"), np.uint8)
    starts = np.concatenate([[0], np.flatnonzero(codes == 10) + 1])
    starts = starts[starts < len(codes)]
    blank = codes <= 32
    begins = ~blank
    begins[1:] &= blank[:-1]
    return np.add.reduceat(begins.astype(np.int32), starts), starts


def _frame(body: str, columns: list[str], text_columns: Collection[str]) -> pd.DataFrame | None:
    import pandas as pd

    data = body.encode("ascii")

    def read(usecols: list[str] | None, **settings: Any) -> pd.DataFrame:
        return pd.read_csv(
            io.BytesIO(data), sep=r"\s+", header=None, names=columns, usecols=usecols, index_col=False,
            keep_default_na=False, engine="c", low_memory=False, **settings,
        )  # fmt: skip

    # From pandas 3.1 on the default reads every digit, and the setting warns.
    exact = {} if tuple(map(int, pd.__version__.split(".")[:2])) >= (3, 1) else {"float_precision": "round_trip"}
    try:
        frame = read(None, na_values=_NOTHING, **exact)
    except (ValueError, OverflowError, pd.errors.ParserError):
        return None
    kinds = {name: frame[name].dtype.kind for name in columns}
    if any(kind not in "ifObT" and not pd.api.types.is_string_dtype(frame[name]) for name, kind in kinds.items()):
        return None
    for name, kind in kinds.items():
        if kind == "i" and name not in text_columns and len(frame) and frame[name].abs().max() >= _LARGEST_INTEGER:
            return None
    words = [name for name in columns if kinds[name] not in "if" or name in text_columns]
    if words:
        texts = read(words, dtype=str, na_filter=False)
        for name in words:
            frame[name] = texts[name].where(texts[name] != "<NA>", None)
    return frame
