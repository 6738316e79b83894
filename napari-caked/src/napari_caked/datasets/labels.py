"""From labelled centres to labelled pixels, and from an expected number of particles to a class prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from napari_caked.errors import LabelsError

__all__ = ["LabelMaps", "disc_area", "label_maps"]


@dataclass(frozen=True)
class LabelMaps:
    """Which pixels are labelled, and how many of the others should be particles.

    Attributes
    ----------
    maps
        ``(micrograph, y, x)`` bool: pixels within the label radius of a labelled centre.
    unlabelled_prior
        Expected share of particle pixels among the pixels that are not labelled.
    """

    maps: torch.Tensor
    unlabelled_prior: float


def disc_area(radius: float) -> int:
    """Pixels within ``radius`` of a pixel, counted."""
    reach = np.arange(-int(radius), int(radius) + 1)
    return int((reach[:, None] ** 2 + reach**2 <= radius**2).sum())


def label_maps(
    centres: Sequence[np.ndarray],
    shape: tuple[int, int],
    radius: float,
    expected_particles: float,
    valid: Sequence[torch.Tensor] | None = None,
) -> LabelMaps:
    """Mark discs around labelled centres, and work out the prior of the rest.

    The labelled pixels are taken out of both sides of the prior: out of the area, because they are never sampled as
    unlabelled, and out of the expected particles.

    Parameters
    ----------
    centres
        For each micrograph ``(n, 2)`` (y, x) in pixels of ``shape``.
    shape
        ``(y, x)`` of every micrograph.
    radius
        Label radius in the same pixels.
    expected_particles
        Particles per micrograph, the labelled ones included.
    valid
        For each micrograph ``(y, x)`` bool: pixels that show specimen; the others are neither labelled nor unlabelled.

    Raises
    ------
    LabelsError
        The expected particles would cover most of the micrograph.
    """
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])
    maps = np.zeros((len(centres), *shape), bool)
    for labelled, points in zip(maps, centres, strict=True):
        for y, x in points:
            labelled |= (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    area = maps.size
    if valid is not None:
        shown = np.stack([one.cpu().numpy() for one in valid])
        maps &= shown
        area = int(shown.sum())
    labelled_pixels = int(maps.sum())
    expected_pixels = expected_particles * len(centres) * disc_area(radius)
    # Where the labels outnumber the expectation, some particles are still assumed unlabelled: prior zero would forbid
    # the network to find anything new.
    rest = max(expected_pixels - labelled_pixels, 0.1 * labelled_pixels)
    prior = rest / max(area - labelled_pixels, 1)
    if prior > 0.5:
        raise LabelsError(
            f"{expected_particles:g} particles would cover more than half of the micrograph; check the diameter and "
            "the expected number of particles"
        )
    return LabelMaps(torch.from_numpy(maps), prior)
