"""From a working image to a map of logits, whatever the network, in parts where the whole would take too much memory.

Every image gets a rim of its own mirror image, as wide as the network sees, so that no logit depends on what the
network takes to lie outside of images. A part is cut with the same rim from the same mirrored image and begins at a
multiple of the network's alignment; so each of its logits is computed from the same values in the same order as in the
whole, and has the same bits. Not so with another number of threads, among which convolutions divide their sums: picking
computes in one thread, and takes several micrographs at a time instead.
"""

from __future__ import annotations

import copy
import math
import weakref
from contextlib import AbstractContextManager, nullcontext

import torch

from napari_caked.errors import DeviceError, SettingsError
from napari_caked.models.protocol import PickerNetwork
from napari_caked.settings import PickSettings

__all__ = ["choose_precision", "fastest_precision", "score_map"]

_DEFAULTS = PickSettings()
#: Smaller parts would compute most pixels many times over; and for tiny images libraries sum in another order.
_LEAST_SIDE = 160
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@torch.inference_mode()
def score_map(
    network: PickerNetwork,
    image: torch.Tensor,
    *,
    precision: str = "float32",
    tile_memory: float = _DEFAULTS.tile_memory,
) -> torch.Tensor:
    """Logits of a whole working image.

    Parameters
    ----------
    network
        In evaluation mode, on the device of ``image``.
    image
        ``(y, x)``.
    precision
        Of the network's arithmetic: see :func:`choose_precision`.
    tile_memory
        MB that the network's feature maps may take; a larger image is scored in parts. The logits are the same.

    Returns
    -------
    torch.Tensor
        ``(ceil(y / stride), ceil(x / stride))`` float32; element ``j`` lies at working pixel ``stride * j``.
    """
    stride, alignment = network.stride, network.alignment
    rim = _rounded_up(network.reach, alignment)
    dtype = choose_precision(precision, image.device)
    height, width = image.shape
    rows, columns = -(-height // stride), -(-width // stride)
    side = tile_side(network, tile_memory, dtype)
    tall, wide = _part(height, side, alignment), _part(width, side, alignment)
    result = torch.empty((rows, columns), dtype=torch.float32, device=image.device)
    with _arithmetic(image.device, dtype):
        for top in range(0, height, tall):
            mirrored = image.float()[_mirrored(top - rim, top + tall + rim + 1, height, image.device)]
            for left in range(0, width, wide):
                part = mirrored[:, _mirrored(left - rim, left + wide + rim + 1, width, image.device)]
                logits = network(part[None, None])[0]
                first = rim // stride
                piece = result[top // stride : (top + tall) // stride, left // stride : (left + wide) // stride]
                piece.copy_(logits[first : first + piece.shape[0], first : first + piece.shape[1]])
    return result


def choose_precision(wish: str, device: torch.device) -> torch.dtype:
    """The arithmetic for ``wish`` on ``device``.

    Parameters
    ----------
    wish
        ``"float32"``, the reference; ``"bfloat16"`` or ``"float16"``, faster on devices that have them, with picks that
        may differ in the last place; ``"auto"``: ``"float16"`` on CUDA, else ``"float32"``, so that picks made on CPUs
        of several kinds are the same.
    device
        Where the network runs.

    Raises
    ------
    SettingsError
        No such precision.
    DeviceError
        The device does not have it.
    """
    if wish == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if wish not in _DTYPES:
        raise SettingsError(f"precision is {wish!r}, but must be auto, {', '.join(_DTYPES)}")
    dtype = _DTYPES[wish]
    if dtype == torch.float32 or _has(device, dtype):
        return dtype
    raise DeviceError(f"this {device.type} device does not compute in {wish}; use --precision float32 or auto")


def fastest_precision(device: torch.device) -> torch.dtype:
    """The fastest arithmetic that a device has itself; for learning, where rounding is one noise of many."""
    if device.type == "mps":
        return torch.float32
    wanted = (torch.bfloat16, torch.float16) if device.type == "cuda" else (torch.bfloat16,)
    return next((dtype for dtype in wanted if _has(device, dtype)), torch.float32)


def tile_side(network: PickerNetwork, tile_memory: float, dtype: torch.dtype = torch.float32) -> int:
    """Side in working pixels, without its rim, of the largest part whose feature maps fit into ``tile_memory`` MB.

    A multiple of the network's alignment, never below 160. It depends on the network and the memory only, never on the
    machine.
    """
    if not tile_memory > 0:
        raise SettingsError(f"tile_memory is {tile_memory}, but must be positive")
    per_pixel = _bytes_per_pixel(network) * dtype.itemsize / torch.float32.itemsize
    whole = math.isqrt(int(tile_memory * 1e6 / per_pixel))
    rim = _rounded_up(network.reach, network.alignment)
    return _rounded_up(max(whole - 2 * rim - 1, _LEAST_SIDE), network.alignment)


def _part(length: int, side: int, alignment: int) -> int:
    """Length of equal parts, at most ``side``, that cover ``length``."""
    return _rounded_up(-(-length // -(-length // side)), alignment)


def _rounded_up(length: int, alignment: int) -> int:
    return -(-length // alignment) * alignment


def _mirrored(start: int, stop: int, length: int, device: torch.device) -> torch.Tensor:
    """Indices ``start`` to ``stop`` of an axis that goes on as its own mirror image, the first and last pixel once."""
    period = max(2 * (length - 1), 1)
    index = torch.arange(start, stop, device=device).remainder(period)
    return torch.minimum(index, period - index) if length > 1 else torch.zeros_like(index)


def _has(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a device computes in ``dtype`` itself; elsewhere it is emulated, and slower than float32."""
    if device.type == "cuda":
        return dtype == torch.float16 or torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        capability = torch.cpu._is_avx512_bf16_supported() if hasattr(torch.cpu, "_is_avx512_bf16_supported") else False
        return dtype == torch.bfloat16 and capability
    return dtype == torch.float16


def _arithmetic(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    if dtype != torch.float32:
        return torch.autocast(device.type, dtype)
    # NVIDIA's convolutions otherwise round float32 to 10 bits (TF32), which is no reference.
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


_MEASURED: weakref.WeakKeyDictionary[PickerNetwork, float] = weakref.WeakKeyDictionary()


def _bytes_per_pixel(network: PickerNetwork) -> float:
    """Memory of a network's feature maps in float32, per working pixel.

    Three times what the greediest layer reads and writes: libraries rearrange both for themselves. Measured without
    computing anything, on tensors that have a shape and no values.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    if network not in _MEASURED:
        shadow, greediest = copy.deepcopy(network).cpu(), 1
        side = _rounded_up(1024, network.alignment) + 1

        def note(module: torch.nn.Module, inputs: tuple[object, ...], output: object) -> None:
            nonlocal greediest
            tensors = [one for one in (*inputs, output) if isinstance(one, torch.Tensor)]
            greediest = max(greediest, sum(4 * one.numel() for one in tensors))

        for module in shadow.modules():
            module.register_forward_hook(note)
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            shadow(torch.empty((1, 1, side, side)))
        _MEASURED[network] = 3 * greediest / side**2
    return _MEASURED[network]
