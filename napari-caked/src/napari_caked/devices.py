"""Where the computing happens, and how to say so."""

from __future__ import annotations

import torch

from napari_caked.errors import DeviceError

__all__ = ["choose_device", "device_in_words"]


def choose_device(wish: str = "auto") -> torch.device:
    """The device for ``wish``: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Raises
    ------
    DeviceError
        This machine has no such device, or PyTorch does not know the word.
    """
    if wish == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wish)
    except RuntimeError as error:
        raise DeviceError(f"there is no device called '{wish}'; use auto, cpu, cuda, cuda:N or mps") from error
    here = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not here.get(device.type, False):
        raise DeviceError(f"this machine has no '{wish}' that PyTorch {torch.__version__} can use; use auto or cpu")
    return device


def device_in_words(device: torch.device) -> str:
    """What a person calls the device: ``CPU``, or the name of the GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return {"cpu": "CPU", "mps": "Apple GPU"}.get(device.type, str(device))
