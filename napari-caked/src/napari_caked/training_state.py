"""The state of a training that is not over, as a file: safetensors, with JSON in the header."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from napari_caked.errors import CheckpointError
from napari_empiarreader.files import replaced_when_complete

if TYPE_CHECKING:
    from napari_caked.lessons import Lesson

__all__ = ["Best", "Reached", "load_state", "save_state"]

_FORMAT = "napari-caked training state"
_BEST = "best."


class Best:
    """The best state of a network so far, by looks at micrographs that are held out.

    Parameters
    ----------
    patience
        Looks without progress after which to give up; None never does.

    Attributes
    ----------
    weights
        Of the network; None before the first look.
    precision
        Average precision with these weights.
    since
        Looks since then.
    """

    def __init__(self, patience: int | None = None) -> None:
        self.weights: dict[str, torch.Tensor] | None = None
        self.precision, self.since = -math.inf, 0
        self._patience = patience

    def take(self, precision: float, network: torch.nn.Module) -> bool:
        """Whether this state is better than all before, and is kept."""
        self.since += 1
        if precision <= self.precision:
            return False
        self.weights, self.precision, self.since = copy.deepcopy(network.state_dict()), precision, 0
        return True

    @property
    def given_up(self) -> bool:
        """Whether it has been long since anything got better."""
        return self._patience is not None and self.since >= self._patience


@dataclass(frozen=True)
class Reached:
    """How far a training is: the last step that was done, and the seconds of learning so far, pauses left out."""

    step: int = 0
    seconds: float = 0.0


def save_state(path: Path, lesson: Lesson, best: Best, reached: Reached) -> None:
    """Write what is needed to go on from there, in place of an older state."""
    from safetensors.torch import save_file

    training: dict[str, object] = {
        "fingerprint": lesson.fingerprint,
        "step": reached.step,
        "seconds": reached.seconds,
    }
    tensors = lesson.learner.state_dict()
    if best.weights is not None:
        training |= {"precision": best.precision, "since": best.since}
        tensors |= {f"{_BEST}{name}": tensor.cpu().contiguous() for name, tensor in best.weights.items()}
    with replaced_when_complete(path, overwrite=True) as temporary:
        save_file(tensors, temporary, {"format": _FORMAT, "training": json.dumps(training)})


def load_state(path: Path, lesson: Lesson, best: Best) -> Reached:
    """Put a lesson, and the best so far, where they were; tells where that is: the very beginning without a file.

    Raises
    ------
    CheckpointError
        The file is damaged, or the state of another training.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return Reached()
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copies: the tensors of the file would end with it, should somebody replace or remove it.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  (not a dict)
        if metadata.get("format") != _FORMAT:
            raise CheckpointError(f"{path}: not the state of a training; give another name, or remove it")
        training = json.loads(metadata["training"])
        fingerprint = training["fingerprint"]
        reached = Reached(int(training["step"]), float(training["seconds"]))
        if not (reached.step >= 0 and 0 <= reached.seconds < math.inf):
            raise ValueError(f"step {reached.step} after {reached.seconds:g} seconds")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: the state of the training is damaged ({error}); remove it") from error
    if fingerprint != lesson.fingerprint:
        raise CheckpointError(
            f"{path}: the state of another training (other micrographs, labels, settings or versions); remove it to "
            "train anew"
        )
    kept = {name.removeprefix(_BEST): tensors.pop(name) for name in list(tensors) if name.startswith(_BEST)}
    try:
        lesson.learner.load_state_dict(tensors)
        if kept:
            best.weights = {name: kept[name].to(now.device) for name, now in lesson.network.state_dict().items()}
            best.precision, best.since = float(training["precision"]), int(training["since"])
    except (CheckpointError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the state of the training is damaged ({error}); remove it") from error
    return reached
