"""Errors of labelling, training and picking that a user can act on."""

from __future__ import annotations

from napari_empiarreader.errors import UserError

__all__ = [
    "CheckpointError",
    "DatasetError",
    "DeviceError",
    "DiameterError",
    "LabelsError",
    "MicrographError",
    "PickingError",
    "SettingsError",
    "TrainingError",
]


class LabelsError(UserError, ValueError):
    """No labels, or labels that cannot be trained from."""


class DiameterError(UserError, ValueError):
    """A particle diameter that does not fit the micrographs."""


class MicrographError(UserError, ValueError):
    """A micrograph without usable contrast: constant, or full of values that are not finite."""


class PickingError(UserError):
    """Picking many micrographs cannot begin or go on; the message says what to do."""


class CheckpointError(UserError, ValueError):
    """A model file that is damaged, of another kind, or of a newer version."""


class DatasetError(UserError, ValueError):
    """A data set, or a part of one, that cannot be built, read or split."""


class DeviceError(UserError, ValueError):
    """A device that this machine does not have, or that ran out of memory."""


class SettingsError(UserError, ValueError):
    """A setting with a value that cannot work."""


class TrainingError(UserError):
    """Training failed; the message says at which step and why.

    PyTorch raises RuntimeError for nearly everything, and a RuntimeError inside a napari worker is taken for a closed
    window and swallowed; so it never leaves this package as one.
    """
