"""From a working image to a map of logits, whatever the network, in parts where the whole would take too much memory.

Every image gets a rim of its own mirror image, as wide as the network sees, so that no logit depends on what the
network takes to lie outside of images. A part is cut with the same rim from the same mirrored image and begins at a
multiple of the network's alignment; so each of its logits is computed from the same values in the same order as in the
whole, and has the same bits. Not so with another number of threads, among which convolutions divide their sums: picking
computes in one thread, and takes several micrographs at a time instead.
"""

from __future__ import annotations

import copy
import weakref
from contextlib import AbstractContextManager, nullcontext
from itertools import product

import torch
import torch.nn.functional as F

from napari_caked.errors import DeviceError, SettingsError
from napari_caked.models.inference import ScoringForm, scoring_form
from napari_caked.models.protocol import PickerNetwork
from napari_caked.settings import PickSettings

__all__ = ["choose_precision", "fastest_precision", "score_map", "score_with_decoy"]

_DEFAULTS = PickSettings()
#: Smaller parts would compute most pixels many times over; and for tiny images libraries sum in another order.
_LEAST_SIDE = 160
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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
    return _scored(network, image, (1,), precision, tile_memory)[0]


def score_with_decoy(
    network: PickerNetwork,
    image: torch.Tensor,
    *,
    precision: str = "float32",
    tile_memory: float = _DEFAULTS.tile_memory,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a working image, and of its decoy: the same image with its contrast inverted.

    Both as :func:`score_map` gives them, to the last bit, but what they have in common is computed once.
    """
    plain, decoy = _scored(network, image, (1, -1), precision, tile_memory)
    return plain, decoy


@torch.inference_mode()
def _scored(
    network: PickerNetwork, image: torch.Tensor, signs: tuple[int, ...], precision: str, tile_memory: float
) -> torch.Tensor:
    """Logits ``(len(signs), ceil(y / stride), ceil(x / stride))`` of the image times each sign."""
    if network.training:
        raise ValueError("a network that is learning gives no scores; set it to evaluation mode first")
    stride, alignment, device = network.stride, network.alignment, image.device
    form, dtype = scoring_form(network), choose_precision(precision, device)
    rim = form.rim
    height, width = (_rounded_up(length, alignment) for length in image.shape)
    tall, wide = part_shape(network, form, (height, width), tile_memory, dtype)
    around = _surrounded(image.float(), (height, width), rim + form.margin)
    planes = form.planes(around)
    around = around[form.margin : around.shape[0] - form.margin, form.margin : around.shape[1] - form.margin]
    result = torch.empty((len(signs), height // stride, width // stride), device=device)
    with _arithmetic(device, dtype):
        for top, left in product(_begins(height, tall), _begins(width, wide)):
            sides = tall + 2 * rim, wide + 2 * rim
            part = around[top : top + sides[0] + 1, left : left + sides[1] + 1]
            y, x, down, across = (n // stride for n in (top, left, *sides))
            known = None if planes is None else planes[:, y : y + down + 1, x : x + across + 1]
            for sign, logits in zip(signs, result, strict=True):
                found = form.logits(sign * part, None if known is None else sign * known)
                inside = logits[y : y + tall // stride, x : x + wide // stride]
                inside.copy_(found[: inside.shape[0], : inside.shape[1]])
    return result[:, : -(-image.shape[0] // stride), : -(-image.shape[1] // stride)]


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


def part_shape(
    network: PickerNetwork,
    form: ScoringForm,
    shape: tuple[int, int],
    tile_memory: float,
    dtype: torch.dtype = torch.float32,
) -> tuple[int, int]:
    """Sides in working pixels, without their rims, of the parts that an image of ``shape`` is scored in.

    Those with the least area, rims included, whose feature maps fit into ``tile_memory`` MB, but no side below 160.
    They depend on the network, the shape and the memory only, never on the machine. Sides are multiples of the
    network's alignment, as those of ``shape`` must be.
    """
    if not tile_memory > 0:
        raise SettingsError(f"tile_memory is {tile_memory}, but must be positive")
    alignment = network.alignment
    frame = 2 * form.rim + 1
    most = tile_memory * 1e6 / (_bytes_per_pixel(network, form) * dtype.itemsize / torch.float32.itemsize)
    choices = [
        [(n, _part(length, n, alignment)) for n in range(1, max(1, length // _LEAST_SIDE) + 1)] for length in shape
    ]
    fitting = [
        ((rows * (tall + frame)) * (columns * (wide + frame)), tall, wide)
        for (rows, tall), (columns, wide) in product(*choices)
        if (tall + frame) * (wide + frame) <= most
    ]
    return min(fitting)[1:] if fitting else (choices[0][-1][1], choices[1][-1][1])


def _part(length: int, count: int, alignment: int) -> int:
    """Length of the least equal parts that cover ``length`` by ``count``."""
    return _rounded_up(-(-length // count), alignment)


def _begins(length: int, part: int) -> list[int]:
    """Where parts begin that cover ``length``; the last one overlaps the one before it, so that all are equal."""
    return [min(start, length - part) for start in range(0, length, part)]


def _rounded_up(length: int, alignment: int) -> int:
    return -(-length // alignment) * alignment


def _surrounded(image: torch.Tensor, shape: tuple[int, int], frame: int) -> torch.Tensor:
    """An image continued to ``shape``, and one pixel and ``frame`` more on each side, as its own mirror image."""
    for axis, (length, wanted) in enumerate(zip(image.shape, shape, strict=True)):
        image = image.index_select(axis, _mirrored(-frame, wanted + frame + 1, length, image.device))
    return image


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


def _bytes_per_pixel(network: PickerNetwork, form: ScoringForm) -> float:
    """Memory of a network's feature maps in float32, per working pixel.

    Three times what the greediest layer reads and writes: libraries rearrange both for themselves. Measured on a small
    image that is wider than tall: what a map of it is wider than tall tells its scale, whatever is added to its sides
    or cut off.
    """
    if network not in _MEASURED:
        # Not the form itself: a network may be used by others meanwhile.
        shadow, greediest, more = copy.deepcopy(form).cpu(), 0.0, 4 * network.alignment
        height = 2 * form.rim + network.alignment + 1

        def note(module: torch.nn.Module, inputs: tuple[object, ...], output: object) -> None:
            nonlocal greediest
            maps = [one for one in (*inputs, output) if isinstance(one, torch.Tensor) and one.ndim == 4]
            taken = sum(4 * one.shape[1] * ((one.shape[3] - one.shape[2]) / more) ** 2 for one in maps)
            greediest = max(greediest, taken)

        for module in shadow.modules():
            module.register_forward_hook(note)
        with torch.no_grad():
            image = torch.zeros((height, height + more))
            shadow.logits(image, shadow.planes(F.pad(image, (form.margin,) * 4)))
        _MEASURED[network] = 3 * greediest
    return _MEASURED[network]
