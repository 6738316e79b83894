"""From a working image to a map of logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from napari_caked.models import MatchedFilterNetwork

__all__ = ["score_map"]

#: Mirrored rim around the image, in working pixels: wider than what a network's output pixel sees of its zero padding.
_RIM = 32


@torch.inference_mode()
def score_map(network: MatchedFilterNetwork, image: torch.Tensor) -> torch.Tensor:
    """Logits of a whole working image.

    Parameters
    ----------
    network
        In evaluation mode, on the device of ``image``.
    image
        ``(y, x)``.

    Returns
    -------
    torch.Tensor
        ``(ceil(y / stride), ceil(x / stride))``; element ``j`` lies at working pixel ``stride * j``.
    """
    height, width = image.shape
    # The network wants sides of 4 k + 1; the rim is a multiple of its stride, so that no pixel centre moves.
    bottom, right = _RIM + (1 - height - 2 * _RIM) % 4, _RIM + (1 - width - 2 * _RIM) % 4
    mode = "reflect" if min(height, width) > _RIM + 4 else "replicate"
    padded = F.pad(image[None, None], (_RIM, right, _RIM, bottom), mode=mode)
    logits = network(network.with_correlation(padded))[0]
    first = _RIM // network.stride
    rows, columns = -(-height // network.stride), -(-width // network.stride)
    return logits[first : first + rows, first : first + columns]
