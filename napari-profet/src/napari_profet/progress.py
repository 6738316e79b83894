"""One small callback through which long work says how far it is; the command line and napari each draw it their way."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "silent"]


class Progress(Protocol):
    """Called with what is done, what there is to do, and a few words."""

    def __call__(self, done: int, total: int, message: str = "") -> None:
        """Report progress: ``done`` of ``total`` bytes, or of the steps that ``message`` names; 0 means unknown."""
        ...


def silent(done: int, total: int, message: str = "") -> None:
    """Report nothing."""
