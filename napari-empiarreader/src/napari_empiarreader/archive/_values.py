"""Tolerant reading of single values out of the services' answers: any JSON comes in, plain typed values go out.

The services are not strict with themselves: numbers come as strings, lists as single values, text escaped for the web
once or twice. Nothing here raises; what cannot be understood is empty, or None.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["count", "date", "flag", "index", "length", "listed", "names", "number", "path", "records", "size", "text"]

_MOST = 2**53
"""Beyond this a count is a slip of the hand, and no longer exact as a float."""


def text(value: object) -> str:
    """Text of a value, unescaped twice, without control characters and half characters."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return ""
    try:
        plain = html.unescape(html.unescape(str(value)))
    except ValueError:  # a whole number of thousands of digits
        return ""
    plain = plain.encode("utf-8", "replace").decode("utf-8")
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", " ", plain).strip()


def path(value: object) -> str:
    """A path inside the entry, without slashes at its ends; empty where it would lead out of the entry."""
    parts = [part for part in text(value).replace("\\", "/").split("/") if part not in ("", ".")]
    return "" if ".." in parts else "/".join(parts)


def date(value: object) -> str:
    """``YYYY-MM-DD`` out of a date or a date with its time; empty for anything else."""
    match = re.match(r"\d{4}-\d\d-\d\d(?![\d-])", text(value), re.ASCII)
    return match[0] if match else ""


def number(value: object) -> float | None:
    """A finite number, also out of ``"300"`` and ``{"valueOf_": "300", "units": "kV"}``."""
    if isinstance(value, Mapping):
        value = next((value[key] for key in ("valueOf_", "value", "#text") if key in value), None)
    try:
        found = float(text(value))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def length(value: object) -> float | None:
    """A positive, finite number; the archive also says "variable", 0 and null."""
    found = number(value)
    return found if found is not None and found > 0 else None


def count(value: object) -> int | None:
    """A positive whole number."""
    found = length(value)
    return None if found is None or found > _MOST else round(found) or None


def index(value: object) -> int | None:
    """A whole number from zero up."""
    found = number(value)
    return None if found is None or not 0 <= found <= _MOST else round(found)


def flag(value: object) -> bool | None:
    """True or False, also as a word or a digit; None for anything else."""
    if isinstance(value, bool):
        return value
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text(value).lower())


def listed(value: object) -> list[Any]:
    """A list as it is, and a single value as the list that it should have been."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def records(value: object) -> list[dict[str, Any]]:
    """The dictionaries of a list, or of a single value that should have been one."""
    return [item for item in listed(value) if isinstance(item, dict) and item]


def names(value: object) -> tuple[str, ...]:
    """Names out of ``["A"]``, ``[{"name": "A"}]`` and ``[{"author": {"name": "A"}}]`` alike, each once."""
    found = []
    for item in listed(value):
        if isinstance(item, dict) and isinstance(item.get("author"), dict | str):
            item = item["author"]
        found.append(text(item.get("name")) if isinstance(item, dict) else text(item))
    return _each_once(name for name in found if name)


def _each_once(found: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found))


_SIZE = re.compile(
    r"(?P<number>\d[\d.,\s]*?)\s*(?P<unit>[KMGTPE]?)(?P<binary>i?)(?:B|bytes?)?", re.IGNORECASE | re.ASCII
)


def size(words: str) -> int | None:
    """Bytes in ``"1.9 TB"``, ``"1,900 GB"`` or ``"512 MiB"``; None where no size can be made out.

    A unit counts in thousands and one with an i (KiB) in 1024s; what the archive itself means by TB it does not say.
    """
    match = _SIZE.fullmatch(words.strip())
    if match is None or len(match["number"]) > 30:
        return None
    digits = re.sub(r"\s", "", match["number"])
    digits = re.sub(r",(?=\d{3}(?:\D|$))", "", digits).replace(",", ".")
    try:
        found = float(digits) * (1024 if match["binary"] else 1000) ** " KMGTPE".index(match["unit"].upper() or " ")
    except ValueError:
        return None
    return round(found) if found <= 2**62 else None
