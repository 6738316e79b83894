"""Pruners as files: weights in safetensors, everything else as JSON in its header. Nothing is unpickled."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from napari_caked.checkpoint import PickerModel, described_model, model_from
from napari_caked.errors import CheckpointError, SettingsError
from napari_caked.pruning.network import PrunerNetwork
from napari_caked.pruning.settings import CLASSES, PatchSettings
from napari_caked.tensor_files import read_tensor_file
from napari_empiarreader.files import replaced_when_complete

__all__ = ["PRUNER_WEIGHTS", "Pruner", "general_pruner", "load_pruner", "save_pruner"]

#: The file that is shipped; what it was trained on is in ``pruner.md`` beside it.
PRUNER_WEIGHTS = Path(__file__).parents[1] / "weights" / "pruner.safetensors"
_FORMAT = "napari-caked pruner"
_VERSION = 2
#: Tensors of the pickers are named so, with the number of the picker and a dot.
_PICKER = "picker"
#: A file cannot make the network wider than this.
_WIDEST = 64


@dataclass(frozen=True)
class Pruner:
    """All that judging picks needs to know.

    Attributes
    ----------
    network
        In evaluation mode.
    patches
        What it sees.
    temperature
        What the log-odds of being a particle are divided by to be calibrated, where as many picks are particles as
        are not.
    provenance
        How it came about, for the record.
    pickers
        Whose opinion it asks, of the specimen that it has learned; empty where it has learned none.
    """

    network: PrunerNetwork
    patches: PatchSettings = field(default_factory=PatchSettings)
    temperature: float = 1.0
    provenance: Mapping[str, Any] = field(default_factory=dict)
    pickers: tuple[PickerModel, ...] = ()


def save_pruner(path: str | os.PathLike[str], pruner: Pruner, *, overwrite: bool = False) -> None:
    """Write a pruner as ``.safetensors``.

    Raises
    ------
    FileExistsAlreadyError
        The file exists and ``overwrite`` is false.
    """
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in pruner.network.state_dict().items()}
    descriptions = []
    for number, picker in enumerate(pruner.pickers):
        described, parts = described_model(picker)
        descriptions.append(described)
        tensors |= {f"{_PICKER}{number}.{name}": tensor for name, tensor in parts.items()}
    description = {
        "version": _VERSION,
        "classes": CLASSES,
        "width": pruner.network.width,
        "patches": asdict(pruner.patches),
        "temperature": pruner.temperature,
        "provenance": dict(pruner.provenance),
        "pickers": descriptions,
    }
    metadata = {"format": _FORMAT, "pruner": json.dumps(description)}
    with replaced_when_complete(path, overwrite=overwrite) as temporary:
        save_file(tensors, temporary, metadata)


def load_pruner(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Pruner:
    """Read a pruner.

    Raises
    ------
    CheckpointError
        No such file, a damaged file, one that is no pruner, one of a newer version, or one whose tensors do not fit.
    """
    path = Path(path)
    metadata, tensors = read_tensor_file(path, _FORMAT, kind="pruner", make="'napari-caked prune --save' writes one")
    try:
        description = json.loads(metadata["pruner"])
        if description["version"] > _VERSION:
            raise CheckpointError(
                f"{path}: written by a newer napari-caked (format {description['version']}, this one knows "
                f"{_VERSION}); update napari-caked"
            )
        if description["version"] < _VERSION:
            raise CheckpointError(f"{path}: written by an older napari-caked, which asked no picker; learn again")
        if tuple(description["classes"]) != CLASSES:
            raise ValueError(f"classes {', '.join(map(str, description['classes']))}")
        pickers, own = _pickers(description["pickers"], tensors, device)
        pruner = Pruner(
            network=_built(int(description["width"]), own).eval().to(device),
            patches=PatchSettings(**description["patches"]),
            temperature=float(description["temperature"]),
            provenance=dict(description["provenance"]),
            pickers=pickers,
        )
        if not 0 < pruner.temperature < float("inf"):
            raise ValueError(f"a temperature of {pruner.temperature:g}")
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, SettingsError) as error:
        if isinstance(error, CheckpointError):
            raise
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: the pruner is damaged or incomplete ({reason}); make it again") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise CheckpointError(f"{path}: the pruner holds values that are not finite; make it again")
    return pruner


def general_pruner() -> Pruner:
    """The pruner that is shipped: it has seen made-up specimens only; every fine-tuning starts from it.

    Raises
    ------
    CheckpointError
        The weights are missing or damaged: install napari-caked again.
    """
    return _shipped()


@lru_cache(maxsize=1)
def _shipped() -> Pruner:
    return load_pruner(PRUNER_WEIGHTS)


def _pickers(
    descriptions: Sequence[Mapping[str, Any]], tensors: Mapping[str, torch.Tensor], device: torch.device | str
) -> tuple[tuple[PickerModel, ...], dict[str, torch.Tensor]]:
    """The pickers of a file, and the tensors of it that are not theirs."""
    own, pickers = dict(tensors), []
    for number, description in enumerate(descriptions):
        prefix = f"{_PICKER}{number}."
        parts = {name.removeprefix(prefix): own.pop(name) for name in tensors if name.startswith(prefix)}
        pickers.append(model_from(description, parts, device))
    return tuple(pickers), own


def _built(width: int, tensors: Mapping[str, torch.Tensor]) -> PrunerNetwork:
    """The network, its weights those of the file; a file cannot make it larger than its own tensors."""
    if not 1 <= width <= _WIDEST:
        raise ValueError(f"{width} channels")
    with torch.device("meta"):
        network = PrunerNetwork(width)
    wanted = network.state_dict()
    if odd := sorted(set(wanted) ^ set(tensors)):
        raise ValueError(f"tensors that are missing or too many: {', '.join(odd[:3])}")
    for key, tensor in wanted.items():
        if tensors[key].shape != tensor.shape or tensors[key].dtype != tensor.dtype:
            raise ValueError(f"{key} is {tuple(tensors[key].shape)} and should be {tuple(tensor.shape)}")
    network.load_state_dict(tensors, assign=True)
    return network
