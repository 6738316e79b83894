"""The state of a training that is not over, as a file: safetensors, with JSON in the header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from napari_caked.errors import CheckpointError
from napari_empiarreader.files import replaced_when_complete

if TYPE_CHECKING:
    from napari_caked.lessons import Lesson

__all__ = ["load_state", "save_state"]

_FORMAT = "napari-caked training state"


def save_state(path: Path, lesson: Lesson, step: int) -> None:
    """Write what is needed to go on after ``step``, in place of an older state."""
    from safetensors.torch import save_file

    metadata = {"format": _FORMAT, "training": json.dumps({"fingerprint": lesson.fingerprint, "step": step})}
    with replaced_when_complete(path, overwrite=True) as temporary:
        save_file(lesson.learner.state_dict(), temporary, metadata)


def load_state(path: Path, lesson: Lesson) -> int:
    """Put a lesson where it was; the step after which it goes on, 0 where there is no file.

    Raises
    ------
    CheckpointError
        The file is damaged, or the state of another training.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return 0
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
        if metadata.get("format") != _FORMAT:
            raise CheckpointError(f"{path}: not the state of a training; give another name, or remove it")
        description = json.loads(metadata["training"])
        fingerprint, step = description["fingerprint"], int(description["step"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: the state of the training is damaged ({error}); remove it") from error
    if fingerprint != lesson.fingerprint:
        raise CheckpointError(
            f"{path}: the state of another training (other micrographs, labels, settings or versions); remove it to "
            "train anew"
        )
    lesson.learner.load_state_dict(tensors)
    return step
