"""What can go wrong on the way from an archive: one small value per way, for :class:`LoopbackArchive` to act out."""

from __future__ import annotations

import fnmatch
import threading
from dataclasses import dataclass

__all__ = [
    "AnswerHtml",
    "AnswerPage",
    "CutBody",
    "Delay",
    "FailWith",
    "Fault",
    "Hang",
    "IgnoreRanges",
    "OtherRange",
    "OtherSize",
    "Redirect",
    "Reset",
    "ShortBody",
    "StallBody",
    "Throttle",
    "Trickle",
    "WrongLength",
]


@dataclass(frozen=True)
class FailWith:
    """Answer with an error status instead of data, and perhaps a Retry-After header."""

    status: int = 503
    retry_after: str | None = None


@dataclass(frozen=True)
class Hang:
    """Say nothing for this many seconds, then close the connection."""

    seconds: float = 30.0


@dataclass(frozen=True)
class Delay:
    """Wait this many seconds, then answer properly."""

    seconds: float = 0.02


@dataclass(frozen=True)
class Throttle:
    """Send bodies no faster than this on each connection; whatever else is to happen happens as well."""

    bytes_per_second: float = 1.5e6


@dataclass(frozen=True)
class CutBody:
    """Promise the whole body and close the connection after this many bytes of it."""

    after: int = 0


@dataclass(frozen=True)
class ShortBody:
    """Claim the whole range, but send ``missing`` bytes fewer under a matching (so wrong) Content-Length."""

    missing: int = 1


@dataclass(frozen=True)
class IgnoreRanges:
    """Answer a Range request with 200 and the whole file."""


@dataclass(frozen=True)
class AnswerHtml:
    """Answer 200 with a web page (a maintenance notice, a login form) in place of the data."""


@dataclass(frozen=True)
class AnswerPage:
    """Answer 200 with a page of one's own: a hostile listing, for example."""

    page: str
    content_type: str = "text/html"


@dataclass(frozen=True)
class Reset:
    """Reset the connection (RST, not an orderly end), before the answer or after so many bytes of its body."""

    after: int | None = None


@dataclass(frozen=True)
class StallBody:
    """Send so many bytes of the body, then nothing for these seconds, then close the connection."""

    after: int = 0
    seconds: float = 30.0


@dataclass(frozen=True)
class WrongLength:
    """Send the right body under a Content-Length that is off by so many bytes, then close the connection."""

    difference: int = 1


@dataclass(frozen=True)
class OtherRange:
    """Send a range that begins so many bytes later than the one asked for, and say so in Content-Range."""

    shift: int = 1


@dataclass(frozen=True)
class OtherSize:
    """Send the right bytes, but call the file longer (or shorter) than it is."""

    difference: int = 1


@dataclass(frozen=True)
class Redirect:
    """Answer with a redirect; without a target, to the address asked for, round and round."""

    target: str | None = None
    status: int = 302


@dataclass(frozen=True)
class Trickle:
    """Send the body byte by byte, with so many seconds before each: never silent for long, and never done."""

    seconds: float = 0.05


Fault = (
    FailWith
    | Hang
    | Delay
    | CutBody
    | ShortBody
    | IgnoreRanges
    | AnswerHtml
    | AnswerPage
    | Reset
    | StallBody
    | Throttle
    | WrongLength
    | OtherRange
    | OtherSize
    | Redirect
    | Trickle
)


_SLOWNESS = (Delay, Throttle)


class FaultPlan:
    """Which requests fail, how, and how often still. Safe under threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[tuple[str, Fault, int | None]] = []

    def add(self, fault: Fault, pattern: str, times: int | None) -> None:
        """Let ``fault`` happen to the next ``times`` requests (None: to all) whose path fits the glob ``pattern``."""
        with self._lock:
            self._rules.append((pattern, fault, times))

    def clear(self) -> None:
        """Let nothing fail any more."""
        with self._lock:
            self._rules.clear()

    def take(self, path: str) -> list[Fault]:
        """Faults for one request to ``path``: all slowness that fits, and the first other fault that fits."""
        taken: list[Fault] = []
        with self._lock:
            for rule in list(self._rules):
                pattern, fault, times = rule
                if not fnmatch.fnmatchcase(path, pattern):
                    continue
                if not isinstance(fault, _SLOWNESS) and any(not isinstance(other, _SLOWNESS) for other in taken):
                    continue
                taken.append(fault)
                if times is not None:
                    position = self._rules.index(rule)
                    self._rules[position : position + 1] = [(pattern, fault, times - 1)] if times > 1 else []
        return taken
