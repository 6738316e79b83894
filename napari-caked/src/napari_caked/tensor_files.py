"""Safetensors files of pickers and pruners: named tensors, and text in the header. Nothing is unpickled."""

from __future__ import annotations

from pathlib import Path

import torch

from napari_caked.errors import CheckpointError

__all__ = ["read_tensor_file"]


def read_tensor_file(path: Path, form: str, *, kind: str, make: str) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Header and tensors of a file.

    Parameters
    ----------
    path
        The file.
    form
        What its header calls its format.
    kind
        What such files hold, for messages.
    make
        How to get one, for messages.

    Raises
    ------
    CheckpointError
        No such file, a damaged one, or one of another kind.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"{path}: no such model file; {make}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copies: the tensors of the file would end with it, should somebody replace or remove it.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: no readable safetensors file ({error}); fetch or make it again") from error
    if metadata.get("format") != form:
        raise CheckpointError(f"{path}: a safetensors file, but no {kind} of napari-caked")
    return metadata, tensors
