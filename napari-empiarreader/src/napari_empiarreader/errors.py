"""Errors a user can act on. Each message names the file or address, what was found, and the remedy."""

from __future__ import annotations

__all__ = [
    "ArchiveError",
    "CatalogueError",
    "CoordinatesError",
    "DiskSpaceError",
    "EntryNotFoundError",
    "FileExistsAlreadyError",
    "FileChangedError",
    "FormatError",
    "MissingLibraryError",
    "MixedSizesError",
    "NothingFoundError",
    "OfflineError",
    "OverBudgetError",
    "PixelSizeError",
    "RangesNotSupportedError",
    "ServerUnreachableError",
    "TargetBusyError",
    "TruncatedFileError",
    "UnsafeNameError",
    "UserError",
]


class UserError(Exception):
    """Base of every error that a user can mend.

    The command line prints its message as one line and exits with 1; the widgets show it as a notification.
    Anything else that escapes is a defect of ours and keeps its traceback.
    """


class FormatError(UserError, ValueError):
    """A file is not what it says it is: unknown mode, hostile sizes, damaged header, missing columns."""


class TruncatedFileError(FormatError):
    """A file or a server's answer ends before its header says it should."""


class MissingLibraryError(UserError, ImportError):
    """A library that only some need is not installed, or too old."""


class MixedSizesError(UserError, ValueError):
    """Micrographs of different sizes were asked to share one array."""


class PixelSizeError(UserError, ValueError):
    """The pixel size is missing or impossible."""


class CoordinatesError(UserError, ValueError):
    """Particle coordinates do not fit their micrographs."""


class NothingFoundError(UserError, FileNotFoundError):
    """A path, pattern or archive folder matches no file."""


class FileExistsAlreadyError(UserError, FileExistsError):
    """An output file exists and nobody asked for it to be replaced."""


class ArchiveError(UserError, OSError):
    """The archive answered with something that cannot be used."""


class EntryNotFoundError(ArchiveError, LookupError):
    """The archive has no such entry, folder or file."""


class ServerUnreachableError(ArchiveError, ConnectionError):
    """No usable answer within the time-out, after all retries."""


class FileChangedError(ArchiveError):
    """A file of the archive is no longer the one that was opened."""


class OfflineError(ArchiveError):
    """Only the cache may answer, and it does not hold what was asked for."""


class RangesNotSupportedError(ArchiveError):
    """The server ignores byte ranges, so nothing can be read lazily from it."""


class CatalogueError(UserError, OSError):
    """The index of all entries is missing, damaged, busy or not ours."""


class DiskSpaceError(UserError, OSError):
    """The disk is full, or cannot hold what is to be written."""


class OverBudgetError(UserError, ValueError):
    """More bytes were chosen than may be moved.

    Attributes
    ----------
    commands
        How to fetch the same files with Globus and Aspera, as text for a shell.
    """

    def __init__(self, message: str, commands: str = "") -> None:
        super().__init__(message)
        self.commands = commands


class TargetBusyError(UserError, BlockingIOError):
    """Somebody else is writing the same file at this moment."""


class UnsafeNameError(ArchiveError, ValueError):
    """A name of the archive cannot be a file below the chosen folder."""
