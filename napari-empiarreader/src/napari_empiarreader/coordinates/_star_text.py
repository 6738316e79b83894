"""STAR files read as text: blocks of values, with names of files kept letter by letter.

The grammar is RELION's: one row of a loop is one line. General readers take ``data_001.mrc`` for a new block,
``a#1.mrc`` for a comment, ``0012`` for a number and an apostrophe for a quotation mark; here a line with as many
values as the loop has columns is a row, a comment begins a word, and a number has no leading zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    Block = pd.DataFrame | dict[str, object]

__all__ = ["parse_blocks"]

#: Columns that are text, whatever they look like.
_TEXT = frozenset({"rlnMicrographName"})

_BLANKS = " \t\r\f\v"
_WORD = re.compile(r"""("[^"]*"(?=\s|$)|'[^']*'(?=\s|$))|(\#.*)|(\S+)""", re.ASCII)
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?(inf|infinity)", re.IGNORECASE)
_NOTHING = frozenset({"<NA>", "nan", "NaN", "-nan"})


def parse_blocks(text: str) -> dict[str, Block]:
    """Blocks of a STAR file by name: a data frame for each loop, a dictionary for single values.

    Raises
    ------
    ValueError
        A row has more or fewer values than its loop has columns; the message names row and block.
    """
    blocks: dict[str, Block] = {}
    block = _Block("")
    for line in text.split("\n"):
        words = _words(line)
        if not words:
            continue
        if block.is_row(words):
            block.rows.append(words)
        elif words[0].startswith("data_") and len(words) == 1:
            block = _Block(words[0].removeprefix("data_"))
            blocks[block.name] = {}
        elif words[0] == "loop_":
            block.columns = []
        elif words[0].startswith("_") and not block.rows:
            block.define(words)
        elif block.columns:
            raise ValueError(
                f"row {len(block.rows) + 1} of data_{block.name} has {len(words)} values for "
                f"{len(block.columns)} columns"
            )
        if block.name in blocks:
            blocks[block.name] = block  # type: ignore[assignment]
    return {name: part.finished() if isinstance(part, _Block) else part for name, part in blocks.items()}


class _Block:
    """A block while its lines come in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.columns: list[str] | None = None
        self.rows: list[list[str]] = []
        self.values: dict[str, object] = {}

    def is_row(self, words: list[str]) -> bool:
        """Whether a line is a row of the loop; one word alone may be anything."""
        if not self.columns or len(words) != len(self.columns):
            return False
        return len(words) > 1 or not words[0].startswith(("data_", "loop_", "_"))

    def define(self, words: list[str]) -> None:
        """Take a line that begins with an underscore: a column, or a single value."""
        if self.columns is not None:
            self.columns.append(words[0][1:])
        else:
            name = words[0][1:]
            self.values[name] = _column(name, words[1:2] or ["<NA>"])[0]

    def finished(self) -> Block:
        import pandas as pd

        if self.columns is None:
            return self.values
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
    if name not in _TEXT and all(word in _NOTHING or _NUMBER.fullmatch(word) for word in words):
        if words and all(_INTEGER.fullmatch(word) and len(word) < 19 for word in words):
            return np.array([int(word) for word in words])
        return np.array([float("nan") if word in _NOTHING else float(word) for word in words], np.float64)
    return [None if word == "<NA>" else _unquoted(word) for word in words]


def _unquoted(word: str) -> str:
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'" else word
