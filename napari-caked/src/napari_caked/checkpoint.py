"""Trained pickers as files: weights in safetensors, everything else as JSON in its header. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from napari_caked.calibration import Calibration
from napari_caked.errors import CheckpointError, SettingsError
from napari_caked.models.protocol import PickerNetwork
from napari_caked.models.registry import build_network
from napari_caked.preprocess import PreprocessSettings
from napari_caked.spacing import Spacing
from napari_caked.tensor_files import read_tensor_file
from napari_empiarreader.files import replaced_when_complete

__all__ = ["PickerModel", "described_model", "load_model", "model_from", "save_model"]

_FORMAT = "napari-caked picker"
_VERSION = 3


@dataclass(frozen=True)
class PickerModel:
    """A trained picker: all that picking needs to know.

    Attributes
    ----------
    network
        From working images to logits, in evaluation mode.
    particle_diameter
        Å; with a micrograph's pixel size it gives the rescaling.
    preprocess
        How micrographs become working images.
    calibration
        From a candidate's logit to its log-odds, as if it were alone.
    provenance
        Settings, seed, versions and a fingerprint of the data, for the record.
    spacing
        How near particles come to each other: what surer neighbours say about a candidate.
    """

    network: PickerNetwork
    particle_diameter: float
    preprocess: PreprocessSettings = field(default_factory=PreprocessSettings)
    calibration: Calibration = field(default_factory=Calibration)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    spacing: Spacing = field(default_factory=Spacing)


def save_model(path: str | os.PathLike[str], model: PickerModel, *, overwrite: bool = False) -> None:
    """Write a model as ``.safetensors``.

    Raises
    ------
    FileExistsAlreadyError
        The file exists and ``overwrite`` is false.
    """
    from safetensors.torch import save_file

    description, tensors = described_model(model)
    metadata = {"format": _FORMAT, "picker": json.dumps({"version": _VERSION, **description})}
    with replaced_when_complete(path, overwrite=overwrite) as temporary:
        save_file(tensors, temporary, metadata)


def described_model(model: PickerModel) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A model as a description that JSON can hold, and its tensors by name; :func:`model_from` makes it of them."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
    description = {
        "network": model.network.name,
        "configuration": model.network.configuration,
        "particle_diameter": model.particle_diameter,
        "preprocess": asdict(model.preprocess),
        "calibration": asdict(model.calibration),
        "spacing": asdict(model.spacing),
        "provenance": dict(model.provenance),
    }
    return description, tensors


def load_model(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> PickerModel:
    """Read a model.

    Raises
    ------
    CheckpointError
        No such file, a damaged file, one that is no picker, one of a newer version, or one whose tensors do not fit.
    """
    path = Path(path)
    metadata, tensors = read_tensor_file(path, _FORMAT, kind="picker", make="train one with 'napari-caked train'")
    try:
        description = json.loads(metadata["picker"])
        if description["version"] > _VERSION:
            raise CheckpointError(
                f"{path}: written by a newer napari-caked (format {description['version']}, this one knows "
                f"{_VERSION}); update napari-caked"
            )
        if description["version"] < _VERSION:
            raise CheckpointError(f"{path}: written by an older napari-caked, whose networks were others; train again")
        return model_from(description, tensors, device)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, SettingsError) as error:
        if isinstance(error, CheckpointError):
            raise
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: the model file is damaged or incomplete ({reason}); train it again") from error


def model_from(
    description: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], device: torch.device | str = "cpu"
) -> PickerModel:
    """The model that :func:`described_model` described.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError, RuntimeError, SettingsError
        The description is incomplete, or the tensors do not fit it or hold values that are not finite.
    """
    network = _built(description["network"], description["configuration"], tensors)
    model = PickerModel(
        network=network.eval().to(device),
        particle_diameter=float(description["particle_diameter"]),
        preprocess=PreprocessSettings(**description["preprocess"]),
        calibration=Calibration(**description["calibration"]),
        spacing=Spacing(**{name: tuple(values) for name, values in description["spacing"].items()}),
        provenance=dict(description["provenance"]),
    )
    if model.particle_diameter <= 0:
        raise ValueError(f"a particle diameter of {model.particle_diameter:g} Å")
    numbers = torch.tensor([model.particle_diameter, model.calibration.slope, model.calibration.offset])
    if not all(bool(torch.isfinite(tensor).all()) for tensor in (*tensors.values(), numbers)):
        raise ValueError("it holds values that are not finite")
    return model


def _built(name: str, configuration: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> PickerNetwork:
    """The network, its weights those of the file; a file cannot make it larger than its own tensors."""
    with torch.device("meta"):
        network = build_network(name, **configuration)
    wanted = network.state_dict()
    if odd := sorted(set(wanted) ^ set(tensors)):
        raise ValueError(f"tensors that are missing or too many: {', '.join(odd[:3])}")
    for key, tensor in wanted.items():
        if tensors[key].shape != tensor.shape or tensors[key].dtype != tensor.dtype:
            raise ValueError(f"{key} is {tuple(tensors[key].shape)} and should be {tuple(tensor.shape)}")
    network.load_state_dict(tensors, assign=True)
    return network


def checksum(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, for provenance."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
