"""Errors a user can act on. Each message names the file or address, what was found, and the remedy."""

from __future__ import annotations

__all__ = [
    "AmbiguousIdError",
    "CancelledError",
    "DensityError",
    "FileExistsAlreadyError",
    "FormatError",
    "IdentifierError",
    "LayerError",
    "NothingFoundError",
    "SelectionError",
    "OfflineError",
    "ServerUnreachableError",
    "UnknownIdError",
    "UnusableAnswerError",
    "UserError",
]


class UserError(Exception):
    """Base of every error that a user can mend.

    The command line prints its message as one line and exits with 1; the widget shows it as a notification.
    Anything else that escapes is a defect of ours and keeps its traceback.
    """


class FormatError(UserError, ValueError):
    """A file is not a structure, or a damaged one."""


class NothingFoundError(UserError, FileNotFoundError):
    """A path names no file."""


class FileExistsAlreadyError(UserError, FileExistsError):
    """An output file exists and nobody asked for it to be replaced."""


class LayerError(UserError, ValueError):
    """A layer does not hold the atoms of a structure."""


class SelectionError(UserError, ValueError):
    """What is to be chosen from a structure is not in it, or the choice is not understood."""


class DensityError(UserError, ValueError):
    """A density cannot be made, or not like this: a box too small, an element without form factor."""


class IdentifierError(UserError, ValueError):
    """A text is neither a PDB id nor a UniProt accession."""


class UnknownIdError(UserError, LookupError):
    """The database has no entry with this id."""


class AmbiguousIdError(UserError, LookupError):
    """A name stands for several entries; the message lists them, and nobody chooses in silence."""


class OfflineError(UserError, ConnectionError):
    """Something is not kept on this machine, and nothing may be asked of a server."""


class ServerUnreachableError(UserError, ConnectionError):
    """No usable answer within the time-out, after all retries."""


class UnusableAnswerError(UserError, OSError):
    """The server answered, but with something else than was asked for: a web page, nothing at all, half a file."""


class CancelledError(UserError):
    """The user asked to stop."""
