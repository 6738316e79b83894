"""Words as the catalogue searches them: the same on both sides, so that what was typed meets what was stored."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

__all__ = ["match_expression", "spoken"]

_LONGEST = 500
_MOST_WORDS = 16


def spoken(text: str) -> str:
    """Text with compatibility letters made plain and Greek letters spelled out: β-tubulin is beta-tubulin."""
    return unicodedata.normalize("NFKC", text).translate(_greek())


def match_expression(text: str) -> str:
    """What a user typed as an FTS5 expression: every word must be there, each may still be half typed.

    Each word is quoted, so that no quote, operator or column name in it means anything. Empty where no word is typed.
    """
    plain = spoken(text[:_LONGEST].encode("utf-8", "replace").decode("utf-8"))
    plain = re.sub(r"[\x00-\x1f\x7f]", " ", plain)
    words = [word for word in plain.split() if any(map(_counts, word))][:_MOST_WORDS]
    return " AND ".join('"' + word.replace('"', '""') + '"*' for word in words)


def _counts(letter: str) -> bool:
    """Whether FTS5's unicode61 tokenizer takes a character for a part of a word."""
    return unicodedata.category(letter)[0] in "LN" or unicodedata.category(letter) == "Co"


@cache
def _greek() -> dict[int, str]:
    table = {}
    for code in range(0x370, 0x400):
        name = unicodedata.name(chr(code), "")
        if match := re.fullmatch(r"GREEK (?:SMALL|CAPITAL) LETTER (?:FINAL )?([A-Z]+)(?: WITH .*)?", name):
            table[code] = match[1].lower().replace("lamda", "lambda")
    return table
