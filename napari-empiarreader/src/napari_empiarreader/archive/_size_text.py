"""Bytes and files in words, as messages about downloads use them."""

from __future__ import annotations

__all__ = ["counted", "size_text"]


def size_text(count: float) -> str:
    """A number of bytes in the unit that suits it, by powers of 1000 as disks and EMPIAR count: ``4.2 GB``."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.1f} {units[0]}" if value < 99.95 and units[0] != "B" else f"{value:.0f} {units[0]}"


def counted(files: int) -> str:
    """``1 file``, ``2 files``."""
    return f"{files:,} file{'' if files == 1 else 's'}"
