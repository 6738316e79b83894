"""Coordinate files that are text: read them, turn their words into numbers, and numbers into words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_empiarreader.errors import FormatError, NothingFoundError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["column_texts", "is_number", "number_text", "read_text", "to_numbers", "typed", "words_of"]

_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)", re.ASCII)
_NUMBER = re.compile(
    r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?(inf|infinity)", re.ASCII | re.IGNORECASE
)
_NOTHING = frozenset({"<NA>", "nan", "NaN", "-nan"})


def read_text(path: Path, kind: str) -> str:
    """Text of a file of the ``kind`` (for messages), with line ends as on Unix.

    Raises
    ------
    NothingFoundError
        No such file.
    FormatError
        Not text.
    """
    if not path.is_file():
        raise NothingFoundError(f"{path}: no such file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: no {kind} file (not text: {error})") from error
    if "\0" in text:
        raise FormatError(f"{path}: no {kind} file (it holds bytes that are no text)")
    return text


def words_of(text: str) -> list[list[str]]:
    """Words of each line that has any and is no comment, parted by blanks or commas."""
    lines = (line.replace(",", " ").split() for line in text.split("\n") if not line.lstrip().startswith("#"))
    return [words for words in lines if words]


def to_numbers(words: Sequence[str], path: Path, what: str) -> np.ndarray:
    """``(n,)`` float64 of words; nothing (``<NA>``, an empty word) is NaN.

    Raises
    ------
    FormatError
        A word that is no number, with its row.
    """
    numbers = np.empty(len(words))
    for row, word in enumerate(words):
        word = word.strip()
        if not word or word in _NOTHING:
            numbers[row] = np.nan
        elif is_number(word):
            numbers[row] = float(word)
        else:
            raise FormatError(
                f"{path}: row {row + 1} has '{word[:40]}' as {what}, which is no number; the file is damaged"
            )
    return numbers


def is_number(word: str) -> bool:
    """Whether a word is a number as files write it; ``0012`` and ``1_000`` are none."""
    return bool(_NUMBER.fullmatch(word)) or bool(re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?(e[+-]?[0-9]+)?", word, re.I))


def typed(words: Iterable[str], text: Callable[[str], str] = str) -> np.ndarray | list[object]:
    """Values of a column: whole numbers, numbers, or text; ``0012`` is text, and ``<NA>`` is nothing.

    ``text`` makes a value of a word where the column is text.
    """
    words = list(words)
    if all(word in _NOTHING or _NUMBER.fullmatch(word) for word in words):
        if words and all(_INTEGER.fullmatch(word) and len(word) < 19 for word in words):
            return np.array([int(word) for word in words])
        return np.array([float("nan") if word in _NOTHING else float(word) for word in words], np.float64)
    return [None if word == "<NA>" else text(word) for word in words]


def number_text(value: float) -> str:
    """The shortest text that reads back as the same number; whole numbers without a point."""
    return str(int(value)) if abs(value) < 1e15 and value == int(value) else repr(float(value))


def column_texts(values: pd.Series) -> list[str]:
    """Texts of a feature, with ``<NA>`` for nothing."""
    return [
        "<NA>" if missing else number_text(value) if isinstance(value, float) else str(value)
        for value, missing in zip(values.tolist(), values.isna().tolist(), strict=True)
    ]
