"""What the command lines of these plugins share: one line for a user's mistake, one line for progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from napari_empiarreader.errors import UserError

__all__ = ["print_paths", "progress_line", "run"]


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


def print_paths(paths: Sequence[Path], as_json: bool) -> None:
    """Print the files made, one in a line, or as one JSON list."""
    if as_json:
        print(json.dumps([str(path) for path in paths], indent=2, ensure_ascii=False))
        return
    for path in paths:
        print(path)


def progress_line(done: int, total: int, message: str = "") -> None:
    """Draw progress on one line of standard error; silent where that is no terminal (a log, a batch job)."""
    if not sys.stderr.isatty():
        return
    share = f"{done}/{total}" if total else f"{done}"
    print(f"\r\033[K{share:>11}  {message}", end="", file=sys.stderr, flush=True)
    if total and done >= total:
        _clear_progress()


def _clear_progress() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
