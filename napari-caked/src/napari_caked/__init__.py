"""Particle picking from a few labels: train, pick, score.

Importing this package is cheap: a name is loaded when it is first used, and PyTorch with it.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

# PyTorch's OpenMP threads wait for each other by spinning. On a machine with anything else to do, every barrier then
# costs a time slice: training beside one busy program took 54 s, and 13 s with threads that sleep while they wait.
# It must be said before PyTorch is loaded; whoever has chosen otherwise is left alone.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_HOMES = {
    "PickSettings": "settings",
    "PickerModel": "checkpoint",
    "TrainingControl": "training",
    "TrainingSettings": "settings",
    "cross_validate": "cross_validation",
    "evaluate": "evaluation",
    "load_model": "checkpoint",
    "pick": "picking",
    "save_model": "checkpoint",
    "train": "training",
    "training_events": "training",
}

__all__ = [
    "PickSettings",
    "PickerModel",
    "TrainingControl",
    "TrainingSettings",
    "cross_validate",
    "evaluate",
    "load_model",
    "pick",
    "save_model",
    "train",
    "training_events",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
