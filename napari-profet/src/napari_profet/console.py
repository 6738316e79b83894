"""What the command line shows besides results: one line for a user's mistake, one line for progress."""

from __future__ import annotations

import sys
from collections.abc import Callable

from napari_profet.errors import UserError

__all__ = ["progress_line", "run"]


def run(app: Callable[[], object]) -> None:
    """Run a typer application; a :class:`UserError` becomes one line on standard error and exit code 1."""
    try:
        app()
    except UserError as error:
        _clear_progress()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        _clear_progress()
        print("cancelled", file=sys.stderr)
        sys.exit(130)


def progress_line(done: int, total: int, message: str = "") -> None:
    """Draw progress on one line of standard error; silent where that is no terminal (a log, a batch job)."""
    if not sys.stderr.isatty():
        return
    share = f"{done / 1e6:.1f}/{total / 1e6:.1f} MB" if total else f"{done / 1e6:.1f} MB"
    print(f"\r\033[K{share:>16}  {message}", end="", file=sys.stderr, flush=True)
    if total and done >= total:
        _clear_progress()


def _clear_progress() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
