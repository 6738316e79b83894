"""Where a micrograph shows something that is neither particles nor ice between them: ice crystals, carbon, gold, dirt.

The network that judges picks is asked about places on a grid, in the same way; what it takes for a contaminant or for
carbon, and what the preparation found to be padding or dead, is junk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from napari_caked.devices import choose_device
from napari_caked.pruning.checkpoint import Pruner, general_pruner
from napari_caked.pruning.network import folded, head_logits, pooled_features
from napari_caked.pruning.patches import cut_patches, prepare_for_patches
from napari_caked.pruning.settings import CLASSES, PruneSettings
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["JUNK", "JunkMap", "flagged", "junk_map", "junk_maps"]

JUNK = ("contaminant", "carbon")
"""The classes that are junk wherever they are found."""

#: From one place of the grid to the next, in particle diameters.
_SPACING = 0.7
#: Standard deviation of the smoothing, in places: one place alone says little, and junk is larger than that.
_SMOOTHING = 0.7
_DEFAULTS = PruneSettings(flips=1)


@dataclass(frozen=True)
class JunkMap:
    """How likely each part of a micrograph is junk.

    Attributes
    ----------
    probability
        ``(rows, columns)`` float32 on a grid.
    spacing
        Pixels of the micrograph from one place to the next.
    origin
        Pixel of the micrograph, on both axes, of the first place.
    shape
        ``(y, x)`` of the micrograph.
    """

    probability: np.ndarray
    spacing: float
    origin: float
    shape: tuple[int, int]

    def at(self, yx: np.ndarray) -> np.ndarray:
        """``(n,)`` float32: at places ``(n, 2)`` in pixels, interpolated between those of the grid."""
        from scipy.ndimage import map_coordinates

        places = (np.asarray(yx, float).reshape(-1, 2) - self.origin) / self.spacing
        return np.asarray(map_coordinates(self.probability, places.T, order=1, mode="nearest"), np.float32)

    def full(self) -> np.ndarray:
        """``(y, x)`` float32: at every pixel."""
        rows, columns = (
            np.clip((np.arange(side) - self.origin) / self.spacing, 0, count - 1)
            for side, count in zip(self.shape, self.probability.shape, strict=True)
        )
        return _along(_along(self.probability, rows, 0), columns, 1)


def junk_map(
    image: np.ndarray,
    name: str,
    particle_diameter: float,
    pixel_size: float,
    pruner: Pruner | None = None,
    settings: PruneSettings = _DEFAULTS,
) -> JunkMap:
    """Map the junk of one micrograph.

    Parameters
    ----------
    image
        ``(y, x)``.
    name
        For messages.
    particle_diameter, pixel_size
        Å.
    pruner
        That knows what junk looks like; by default the one that is shipped.
    settings
        Device, batch and views of each place.

    Raises
    ------
    DiameterError, MicrographError
        As :func:`napari_caked.preprocess.prepare`.
    """
    from scipy.ndimage import gaussian_filter

    pruner = pruner or general_pruner()
    device = choose_device(settings.device)
    network = folded(pruner.network).to(device)
    working, step = prepare_for_patches(image, name, particle_diameter, pixel_size, pruner.patches, device)
    spacing = _SPACING * particle_diameter / pixel_size
    origin = spacing / 2
    rows, columns = (_places(side, spacing, origin) for side in image.shape)
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    parts = []
    for start in range(0, len(grid), settings.batch):
        patches = cut_patches(working, grid[start : start + settings.batch], step, pruner.patches)
        with torch.inference_mode():
            logits = head_logits(network, pooled_features(network, patches, settings.flips, settings.batch))
            parts.append(_junk_of(logits, pruner.temperature).cpu().numpy())
    probability = np.concatenate(parts).reshape(len(rows), len(columns)).astype(np.float32)
    probability = gaussian_filter(probability, _SMOOTHING, mode="nearest")
    at = np.rint(working.rescaling.to_rescaled(grid)).astype(int)
    at = np.clip(at, 0, np.array(working.valid.shape) - 1)
    valid = working.valid.cpu().numpy()[at[:, 0], at[:, 1]].reshape(probability.shape)
    return JunkMap(np.where(valid, probability, np.float32(1.0)), spacing, origin, (image.shape[0], image.shape[1]))


def junk_maps(
    series: MicrographSeries,
    particle_diameter: float,
    pruner: Pruner | None = None,
    settings: PruneSettings = _DEFAULTS,
    *,
    indices: Sequence[int] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, JunkMap]]:
    """Map the junk of micrographs, one after the other; parameters and errors as of :func:`junk_map`.

    Parameters
    ----------
    indices
        Which micrographs; by default all.
    stop
        Asked before each; where it says yes, :class:`KeyboardInterrupt` is raised.

    Yields
    ------
    index, map
    """
    pixel_size = series.require_pixel_size()
    for index in range(len(series)) if indices is None else indices:
        if stop():
            raise KeyboardInterrupt
        image = series.read(index)
        yield index, junk_map(image, series.names[index], particle_diameter, pixel_size, pruner, settings)


def flagged(picks: ParticleTable, maps: dict[int, JunkMap]) -> ParticleTable:
    """Picks with the feature ``junk``: how likely they lie on some; NaN where their micrograph has no map.

    Parameters
    ----------
    picks
        None is left out.
    maps
        By the number of the micrograph.
    """
    junk = np.full(len(picks), np.nan, np.float32)
    for index, found in maps.items():
        here = picks.micrograph_index == index
        junk[here] = found.at(picks.coordinates[here, 1:])
    return replace(picks, features=picks.features.assign(junk=junk))


def _junk_of(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Probability of junk ``(n,)`` of logits ``(n, classes)``."""
    which = [CLASSES.index(name) for name in JUNK]
    return torch.softmax(logits / temperature, dim=1)[:, which].sum(dim=1)


def _places(side: int, spacing: float, origin: float) -> np.ndarray:
    """Places along an axis of ``side`` pixels."""
    return origin + spacing * np.arange(int((side - 1 - origin) // spacing) + 1)


def _along(values: np.ndarray, at: np.ndarray, axis: int) -> np.ndarray:
    """Values between those of a grid, linearly along one axis."""
    low = np.minimum(at.astype(int), values.shape[axis] - 1)
    high = np.minimum(low + 1, values.shape[axis] - 1)
    share = (at - low).astype(np.float32)
    share = share[:, None] if axis == 0 else share[None, :]
    return np.asarray(values.take(low, axis) * (1 - share) + values.take(high, axis) * share, np.float32)
