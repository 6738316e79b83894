"""Correlation of whole images with round templates, by Fourier transforms: many times faster than sums over discs.

An image is cut into blocks of a fixed size, whose results lie side by side, so that memory stays small and nothing
depends on how much of it there is. Templates are even on both axes, and so their transforms are real.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

__all__ = ["correlations"]

#: Side of the blocks in pixels, about: small enough for the processor's cache, large beside the usual templates.
_BLOCK = 576


def correlations(image: torch.Tensor, templates: Sequence[torch.Tensor], margin: int) -> torch.Tensor:
    """Correlations with round templates at every second pixel.

    Of the inverted image they are the inverted ones, to the last bit.

    Parameters
    ----------
    image
        ``(y, x)`` float32, both sides odd.
    templates
        Each ``(2 r + 1, 2 r + 1)`` with a radius ``r`` of its own: even on both axes.
    margin
        Even, at least the largest radius: so many pixels around the results only surround them.

    Returns
    -------
    torch.Tensor
        ``(len(templates), (y - 1) // 2 + 1 - margin, (x - 1) // 2 + 1 - margin)`` float32; element ``j`` of an axis
        lies at pixel ``margin + 2 * j``.
    """
    rows, columns = ((length - 1) // 2 + 1 - margin for length in image.shape)
    (down, height), (across, width) = _blocks(rows, margin), _blocks(columns, margin)
    kernels = torch.stack([_spectrum(one, (height, width)) for one in templates])
    result = image.new_empty((len(templates), rows, columns))
    for top in range(0, rows, down):
        for left in range(0, columns, across):
            block = image[2 * top : 2 * top + height, 2 * left : 2 * left + width]
            piece = result[:, top : top + down, left : left + across]
            maps = _block_correlations(block, kernels, (height, width))[:, margin // 2 :, margin // 2 :]
            piece.copy_(maps[:, : piece.shape[1], : piece.shape[2]])
    return result


def _blocks(results: int, margin: int) -> tuple[int, int]:
    """Results of a block along an axis of so many, and pixels of a block: a multiple of 4 that transforms fast."""
    from scipy.fft import next_fast_len

    most = max(_BLOCK, 8 * margin) // 2 - margin
    count = -(-results // -(-results // most))
    return count, 4 * next_fast_len(-(-(count + margin) // 2), real=True)


def _block_correlations(block: torch.Tensor, kernels: torch.Tensor, sides: tuple[int, int]) -> torch.Tensor:
    """Correlations ``(n, sides[0] // 2, sides[1] // 2)``; what lies beyond the block counts as zero, or as opposite."""
    padded = F.pad(block, (0, sides[1] - block.shape[1], 0, sides[0] - block.shape[0]))
    return _every_second(torch.fft.rfft2(padded) * kernels, sides)


def _every_second(spectra: torch.Tensor, sides: tuple[int, int]) -> torch.Tensor:
    """Every second pixel of images, from their half spectra ``(..., sides[0], sides[1] // 2 + 1)``.

    Taking every second pixel folds the upper half of the frequencies of an axis onto the lower. Those above the half
    of the columns are not there, but are conjugates of the opposite ones.
    """
    height, width = sides[0] // 2, sides[1] // 2
    rows = spectra[..., :height, :] + spectra[..., height:, :]
    opposite = rows[..., width // 2 :].flip(-1, -2).roll(1, -2).conj()
    return torch.fft.irfft2(rows[..., : width // 2 + 1] + opposite, s=(height, width)) / 4


def _spectrum(kernel: torch.Tensor, sides: tuple[int, int]) -> torch.Tensor:
    """Real ``(sides[0], sides[1] // 2 + 1)``: the transform of a kernel about its centre, even on both axes."""
    kernel = kernel.double()
    offsets = torch.arange(len(kernel)).to(kernel) - len(kernel) // 2
    down, across = (
        torch.cos(2 * torch.pi / side * torch.outer(torch.arange(count).to(kernel), offsets))
        for side, count in zip(sides, (sides[0], sides[1] // 2 + 1), strict=True)
    )
    return (down @ kernel @ across.T).float()
