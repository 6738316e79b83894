"""STAR files as text: blocks of values, read and written, with names of files kept letter by letter.

The grammar is RELION's: one row of a loop is one line. General readers take ``data_001.mrc`` for a new block,
``a#1.mrc`` for a comment, ``0012`` for a number and an apostrophe for a quotation mark; here a line with as many
values as the loop has columns is a row, a comment begins a word, and a number has no leading zero.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from napari_empiarreader.coordinates._star_rows import FEWEST_ROWS, fast_rows
from napari_empiarreader.coordinates._text import read_text, typed
from napari_empiarreader.errors import FormatError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TEXT_COLUMNS", "Block", "format_blocks", "label", "parse_blocks", "read_blocks"]

Block: TypeAlias = "pd.DataFrame | dict[str, object]"
"""A loop, or single values by name."""

#: Columns that are text, whatever they look like.
TEXT_COLUMNS = frozenset({"rlnMicrographName"})

_BLANKS = " \t\r\f\v"
_WORD = re.compile(r"""("[^"]*"(?=\s|$)|'[^']*'(?=\s|$))|(\#.*)|(\S+)""", re.ASCII)


def read_blocks(path: Path, kind: str = "STAR") -> dict[str, Block]:
    """Blocks of a STAR file by name.

    Raises
    ------
    NothingFoundError
        No such file.
    FormatError
        No text, no blocks, or a row that has not as many values as its loop has columns.
    """
    text = read_text(path, kind)
    try:
        blocks = parse_blocks(text)
    except ValueError as error:
        raise FormatError(f"{path}: {error}; the file is damaged") from error
    if not blocks:
        raise FormatError(f"{path}: no {kind} file (no line begins with 'data_')")
    return blocks


def parse_blocks(text: str, fewest: int = FEWEST_ROWS) -> dict[str, Block]:
    """Blocks of a STAR file by name: a data frame for each loop, a dictionary for single values.

    Parameters
    ----------
    text
        The whole file.
    fewest
        Rows from which a loop is read as a whole instead of line by line; the result is the same.

    Raises
    ------
    ValueError
        A row has more or fewer values than its loop has columns; the message names row and block.
    """
    blocks: dict[str, _Block] = {}
    block, start = _Block(""), 0
    while start <= len(text):
        stop = text.find("\n", start)
        stop = len(text) if stop < 0 else stop
        words = _words(text[start:stop])
        if words and block.is_row(words) and not block.rows and block.columns and block.frame is None:
            block.frame, taken = fast_rows(text, start, block.columns, TEXT_COLUMNS, fewest)
            if taken > start:
                start = taken
                continue
        start = stop + 1
        if block.frame is not None and block.is_row(words):
            return parse_blocks(text, len(text) + 1)  # the types of columns follow from all rows together
        if words:
            if words[0].startswith("data_") and len(words) == 1 and not block.is_row(words):
                block = _Block(words[0].removeprefix("data_"))
                blocks[block.name] = block
            else:
                block.take(words)
    return {name: part.finished() for name, part in blocks.items()}


class _Block:
    """A block while its lines come in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.columns: list[str] | None = None
        self.rows: list[list[str]] = []
        self.frame: pd.DataFrame | None = None
        self.values: dict[str, object] = {}

    def is_row(self, words: list[str]) -> bool:
        """Whether a line is a row of the loop; one word alone may be anything."""
        if not self.columns or len(words) != len(self.columns):
            return False
        return len(words) > 1 or not words[0].startswith(("data_", "loop_", "_"))

    def take(self, words: list[str]) -> None:
        """Take the words of a line that opens no block."""
        done = len(self.rows) + (0 if self.frame is None else len(self.frame))
        if self.is_row(words):
            self.rows.append(words)
        elif words[0] == "loop_":
            self.columns = []
        elif words[0].startswith("_") and not done:
            self._define(words)
        elif self.columns:
            raise ValueError(
                f"row {done + 1} of data_{self.name} has {len(words)} values for {len(self.columns)} columns"
            )

    def _define(self, words: list[str]) -> None:
        """Take a line that begins with an underscore: a column, or a single value."""
        name = words[0][1:]
        if self.columns is not None:
            self.columns.append(name)
        else:
            self.values[name] = _column(name, words[1:2] or ["<NA>"])[0]

    def finished(self) -> Block:
        import pandas as pd

        if self.columns is None:
            return self.values
        if self.frame is not None:
            return self.frame
        columns: Iterable[Iterable[str]] = zip(*self.rows, strict=True) if self.rows else [[] for _ in self.columns]
        return pd.DataFrame(
            {name: _column(name, list(words)) for name, words in zip(self.columns, columns, strict=True)}
        )


def _words(line: str) -> list[str]:
    """Values of a line, quotation marks still on, comment off."""
    if line.isascii() and not any(sign in line for sign in "#\"'"):
        return line.split()
    return [found[1] or found[3] for found in _WORD.finditer(line.strip(_BLANKS)) if not found[2]]


def _column(name: str, words: list[str]) -> np.ndarray | list[object]:
    """Values of a column: whole numbers, numbers, or text."""
    if name in TEXT_COLUMNS:
        return [None if word == "<NA>" else _unquoted(word) for word in words]
    return typed(words, _unquoted)


def _unquoted(word: str) -> str:
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'" else word


def format_blocks(blocks: Mapping[str, Block], head: str = "# version 30001\n", numbered: bool = True) -> str:
    """Text of a STAR file; every number is written with as many digits as it takes to read the same again.

    Parameters
    ----------
    blocks
        A data frame for each loop, a dictionary for single values.
    head
        First line; RELION writes its version of the format there.
    numbered
        Whether columns have ``#1`` behind their names, as RELION writes them.
    """
    parts = [head]
    for name, block in blocks.items():
        parts.append(f"\ndata_{name}\n\n")
        if isinstance(block, Mapping):
            parts += [f"_{label(key)} {_quoted(value)}\n" for key, value in block.items()]
        else:
            parts += ["loop_\n", *_labels(block, numbered), _rows(block)]
        parts.append("\n")
    return "".join(parts)


def label(name: object) -> str:
    """The name of a column as one word."""
    return re.sub(r"\s+", "_", str(name)) or "unnamed"


def _labels(frame: pd.DataFrame, numbered: bool) -> list[str]:
    return [f"_{label(name)}{f' #{i}' if numbered else ''}\n" for i, name in enumerate(frame.columns, 1)]


def _rows(frame: pd.DataFrame) -> str:
    import pandas as pd

    if not len(frame):
        return ""
    columns = {
        i: (series if series.dtype.kind in "iuf" else series.map(_quoted))
        for i, (_, series) in enumerate(frame.reset_index(drop=True).items())
    }
    text: str = pd.DataFrame(columns).to_csv(
        sep="\t", header=False, index=False, na_rep="<NA>", quoting=csv.QUOTE_NONE, lineterminator="\n"
    )
    return text


def _quoted(value: object) -> str:
    """One word for any value. Within quotation marks STAR has no way to write another one."""
    if value is None or value != value:
        return "<NA>"
    if not isinstance(value, str):
        return str(value)
    word = re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", " ", value).replace('"', "'")
    bare = word and word[0] not in "#'" and word.isascii() and " " not in word
    return word if bare or (word and word[0] not in "#'" and not re.search(r"\s", word)) else f'"{word}"'
