"""Cutting particles out of micrographs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_caked.errors import LabelsError
from napari_empiarreader.coordinates import ParticleTable, write_star
from napari_empiarreader.files import replaced_when_complete
from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["ExtractedStack", "extract_particles", "write_particle_stack"]


@dataclass(frozen=True)
class ExtractedStack:
    """What :func:`write_particle_stack` wrote.

    Attributes
    ----------
    images, star
        The stack (``.mrcs``) and the table that says where each image came from.
    written
        Particles in the stack.
    left_out
        Particles whose box would reach over the edge of their micrograph.
    """

    images: Path
    star: Path
    written: int
    left_out: int


def fits(table: ParticleTable, shape: tuple[int, int], box_size: int) -> np.ndarray:
    """``(n,)`` bool: whether a box of ``box_size`` pixels around each particle lies on its micrograph."""
    corner = _corners(table.coordinates[:, 1:], box_size)
    inside = (corner >= 0) & (corner + box_size <= np.array(shape))
    return inside[:, 0] & inside[:, 1]


def extract_particles(
    series: MicrographSeries, particles: ParticleTable, box_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut boxes, one micrograph after the other, each read once.

    Parameters
    ----------
    series
        Micrographs.
    particles
        Counted into ``series``; all must fit (see :func:`fits`).
    box_size
        Side in pixels. The particle's centre, rounded to a pixel, lies at ``box_size // 2``.

    Yields
    ------
    rows : numpy.ndarray
        ``(m,)`` int: which particles these are.
    boxes : numpy.ndarray
        ``(m, box_size, box_size)`` float32, each with mean 0 and standard deviation 1.
    """
    for index in np.unique(particles.micrograph_index):
        rows = np.flatnonzero(particles.micrograph_index == index)
        image = np.asarray(series.read(int(index)), np.float32)
        corners = _corners(particles.coordinates[rows, 1:], box_size)
        boxes = np.stack([image[y : y + box_size, x : x + box_size] for y, x in corners])
        boxes -= boxes.mean(axis=(1, 2), keepdims=True)
        deviation = boxes.std(axis=(1, 2), keepdims=True)
        yield rows, boxes / np.where(deviation > 0, deviation, 1)


def write_particle_stack(
    path: str | os.PathLike[str],
    series: MicrographSeries,
    particles: ParticleTable,
    box_size: int,
    *,
    overwrite: bool = False,
) -> ExtractedStack:
    """Write particles as an MRC stack and a STAR file beside it that RELION reads.

    Parameters
    ----------
    path
        Stack to make (``.mrcs``); the table gets the suffix ``.star``.
    series, particles
        Micrographs, and particles on them, matched by name.
    box_size
        Side of a box in pixels, an even number.
    overwrite
        Replace existing files.

    Raises
    ------
    LabelsError
        No particle's box lies on its micrograph, or the box size is odd or too small.
    FileExistsAlreadyError
        A file exists and ``overwrite`` is false.
    """
    import mrcfile

    if box_size < 8 or box_size % 2:
        raise LabelsError(f"a box of {box_size} pixels cannot be used; give an even number of at least 8")
    particles = particles.renamed_to(series.names)
    inside = fits(particles, series.shape, box_size)
    kept = particles.where(inside)
    if not len(kept):
        raise LabelsError(f"none of {len(particles)} particles has a whole box of {box_size} pixels on its micrograph")
    images, star = Path(path), Path(path).with_suffix(".star")
    with (
        replaced_when_complete(star, overwrite=overwrite) as star_copy,
        replaced_when_complete(images, overwrite=overwrite) as images_copy,
    ):
        with mrcfile.new_mmap(images_copy, (len(kept), box_size, box_size), mrc_mode=2, overwrite=True) as stack:
            stack.set_image_stack()
            for rows, boxes in extract_particles(series, kept, box_size):
                stack.data[rows] = boxes
            stack.voxel_size = series.pixel_size or 0.0
            stack.update_header_stats()
        names = [f"{i + 1:06d}@{images.name}" for i in range(len(kept))]
        features = kept.features.assign(rlnImageName=names)
        if series.pixel_size:
            features = features.assign(rlnDetectorPixelSize=series.pixel_size, rlnMagnification=10_000.0)
        write_star(star_copy, replace(kept, features=features), overwrite=True)
    return ExtractedStack(images, star, len(kept), int((~inside).sum()))


def _corners(yx: np.ndarray, box_size: int) -> np.ndarray:
    """First (y, x) of each box; the rounded centre lies at ``box_size // 2``, as in RELION."""
    return np.rint(yx).astype(np.intp) - box_size // 2
