"""What the network sees of a pick: a near patch in which every particle is equally wide, and a wide one around it.

Both are cut from one prepared micrograph (:func:`napari_caked.preprocess.prepare`); micrographs are read and prepared
one after the other, and only one of them is in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from napari_caked.preprocess import PreprocessSettings, WorkingImage, prepare
from napari_caked.pruning.settings import PatchSettings
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["WIDE_CHANNELS", "Opinion", "Patches", "cut_patches", "patches_of", "prepare_for_patches"]

#: Log-odds ``(m,)`` that somebody gives places of one micrograph: of its image ``(y, x)``, its name, Å per pixel, the
#: rows ``(m,)`` of the picks, and their places ``(m, 2)`` in pixels.
Opinion = Callable[[np.ndarray, str, float, np.ndarray, np.ndarray], np.ndarray]

#: Mean, deviation and share of specimen of each pixel of the wide patch.
WIDE_CHANNELS = 3
#: A micrograph is enlarged to no more than so many times its pixels, or to this many; patches are then enlarged
#: themselves. As in :func:`napari_caked.preprocess.prepare`, which refuses beyond, with room for rounding.
_MOST_ENLARGED, _ALWAYS_ALLOWED = 1.9, 0.95 * 2048**2
#: Median absolute deviation of a Gaussian, in standard deviations.
_MAD = 0.6745
_DEFAULTS = PatchSettings()


@dataclass(frozen=True)
class Patches:
    """Patches around ``n`` picks.

    Attributes
    ----------
    near
        ``(n, 1, side, side)`` float32, each with median 0 and robust deviation 1; the pick is at pixel ``side // 2``.
    wide
        ``(n, 3, wide_side, wide_side)`` float32, on the scale of the micrograph: mean, deviation, share of specimen.
    odds
        ``(n,)`` float32 log-odds of being a particle that a picker gives the places; 0 where none was asked.
    """

    near: torch.Tensor
    wide: torch.Tensor
    odds: torch.Tensor

    def __len__(self) -> int:
        return len(self.near)

    def __getitem__(self, which: np.ndarray | torch.Tensor | slice) -> Patches:
        which = torch.from_numpy(which) if isinstance(which, np.ndarray) else which
        return Patches(self.near[which], self.wide[which], self.odds[which])

    def to(self, device: torch.device | str) -> Patches:
        """The same on another device."""
        return Patches(self.near.to(device), self.wide.to(device), self.odds.to(device))

    @staticmethod
    def joined(parts: list[Patches]) -> Patches:
        """All of them, in their order."""
        near, wide, odds = (torch.cat([getattr(part, name) for part in parts]) for name in ("near", "wide", "odds"))
        return Patches(near, wide, odds)


def prepare_for_patches(
    image: np.ndarray,
    name: str,
    particle_diameter: float,
    pixel_size: float,
    settings: PatchSettings = _DEFAULTS,
    device: torch.device | str = "cpu",
) -> tuple[WorkingImage, float]:
    """Prepare one micrograph for :func:`cut_patches`.

    Parameters
    ----------
    image
        ``(y, x)``.
    name
        For messages.
    particle_diameter, pixel_size
        Å.
    settings, device
        How, and where.

    Returns
    -------
    working : WorkingImage
        Of which particles are as wide as in the near patch, or less so where the micrograph would become too large.
    step : float
        Pixels of ``working`` per pixel of the near patch: 1, or less.

    Raises
    ------
    DiameterError, MicrographError
        As :func:`napari_caked.preprocess.prepare`.
    """
    width = particle_diameter / pixel_size
    most = max(_MOST_ENLARGED, _ALWAYS_ALLOWED / image.size)
    step = min(1.0, width * math.sqrt(most) / settings.particle_width)
    how = PreprocessSettings(particle_width=step * settings.particle_width, background_width=settings.background_width)
    return prepare(image, name, particle_diameter, pixel_size, how, device), step


def cut_patches(
    working: WorkingImage, yx: np.ndarray, step: float = 1.0, settings: PatchSettings = _DEFAULTS
) -> Patches:
    """Patches around places of one prepared micrograph.

    Parameters
    ----------
    working, step
        From :func:`prepare_for_patches`.
    yx
        ``(n, 2)`` places in pixels of the micrograph as it was before.
    settings
        As for the preparation.

    Returns
    -------
    Patches
        On the device of ``working``.
    """
    image = working.image.float()
    places = torch.from_numpy(working.rescaling.to_rescaled(np.asarray(yx).reshape(-1, 2))).to(image.device).float()
    # Whole pixels need no interpolation, which would take some of the noise away.
    near_places, mode = (places.round(), "nearest") if step == 1.0 else (places, "bicubic")
    near = _sampled(image[None], near_places, settings.side, step, "reflection", mode)
    pooling = max(1, round(settings.pooling * step))
    between = (pooling - 1) / 2
    wide = _sampled(
        _pooled(image, working.valid, pooling),
        (places - between) / pooling,
        settings.wide_side,
        settings.pooling * step / pooling,
        "zeros",
        "bilinear",
    )
    return Patches(_locally_normalised(near), wide, near.new_zeros(len(near)))


def patches_of(
    series: MicrographSeries,
    picks: ParticleTable,
    particle_diameter: float,
    settings: PatchSettings = _DEFAULTS,
    device: torch.device | str = "cpu",
    opinion: Opinion | None = None,
) -> Iterator[tuple[np.ndarray, Patches]]:
    """Patches around picks, one micrograph after the other, each read and prepared once.

    Parameters
    ----------
    series
        Micrographs with a pixel size.
    picks
        Counted into ``series``.
    particle_diameter
        Å.
    settings, device
        How, and where.
    opinion
        Of a picker, asked for each micrograph.

    Yields
    ------
    rows : numpy.ndarray
        ``(m,)`` int: which picks these are.
    patches : Patches
        Of them.

    Raises
    ------
    PixelSizeError, DiameterError, MicrographError, UserError
        What a micrograph lacks, by name.
    """
    pixel_size = series.require_pixel_size()
    index_of = picks.micrograph_index
    order = np.argsort(index_of, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(index_of[order])) + 1) if len(order) else []:
        index = int(index_of[rows[0]])
        image = series.read(index)
        working, step = prepare_for_patches(image, series.names[index], particle_diameter, pixel_size, settings, device)
        yx = picks.coordinates[rows, 1:]
        patches = cut_patches(working, yx, step, settings)
        if opinion is not None:
            odds = torch.from_numpy(opinion(image, series.names[index], pixel_size, rows, yx))
            patches = replace(patches, odds=odds.to(patches.odds))
        yield rows, patches


def _sampled(
    planes: torch.Tensor, places: torch.Tensor, side: int, step: float, padding: str, mode: str
) -> torch.Tensor:
    """Squares ``(n, c, side, side)`` of planes ``(c, y, x)``, pixels ``step`` apart, ``side // 2`` at the place."""
    height, width = planes.shape[-2:]
    along = (torch.arange(side, device=planes.device, dtype=torch.float32) - side // 2) * step
    # Pixel centres at whole numbers, -1 and 1 the outer edges of the first and the last pixel.
    rows = (2 * (places[:, 0:1] + along) + 1) / height - 1
    columns = (2 * (places[:, 1:2] + along) + 1) / width - 1
    count = len(places)
    grid = torch.stack(
        [columns[:, None, :].expand(count, side, side), rows[:, :, None].expand(count, side, side)], dim=-1
    )
    cut = F.grid_sample(
        planes[None], grid.reshape(1, count * side, side, 2), mode=mode, padding_mode=padding, align_corners=False
    )
    return cut.reshape(len(planes), count, side, side).transpose(0, 1).contiguous()


def _pooled(image: torch.Tensor, valid: torch.Tensor, pooling: int) -> torch.Tensor:
    """Mean, deviation and share of specimen ``(3, y, x)`` of squares of ``pooling`` pixels; a rest is left out."""
    planes = torch.stack([image, image**2, valid.float()])
    mean, square, share = F.avg_pool2d(planes[None], pooling)[0]
    return torch.stack([mean, (square - mean**2).clamp(min=0).sqrt(), share])


def _locally_normalised(near: torch.Tensor) -> torch.Tensor:
    """Each patch with median 0 and, by its median absolute deviation, standard deviation 1; within +-6."""
    flat = near.flatten(1)
    flat = flat - flat.median(dim=1, keepdim=True).values
    deviation = flat.abs().median(dim=1, keepdim=True).values / _MAD
    return (flat / deviation.clamp(min=1e-3)).clamp(-6, 6).reshape(near.shape)
