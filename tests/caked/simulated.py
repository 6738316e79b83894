"""Densities made of formulae, for the tests of the simulator."""

from __future__ import annotations

import numpy as np

from napari_caked.simulate import Density, ViewSettings, bank_of

#: Å: centres (x, y, z) and height of the Gaussian blobs of a particle without any symmetry.
BLOBS = np.array([(30, 0, 0), (0, 20, 0), (0, 0, -25), (-15, -10, 20), (10, -25, 5), (-20, 15, -12)], float)
HEIGHTS = np.array([8.0, 6.0, 7.0, 5.0, 9.0, 4.0])
WIDTH = 7.0


def blobs(side: int = 48, voxel_size: float = 2.5) -> Density:
    """Particle of about 90 Å made of six blobs, the origin at voxel ``side // 2``."""
    z, y, x = (np.arange(side) - side // 2 for _ in range(3))
    grid = np.stack(np.meshgrid(z, y, x, indexing="ij"))[::-1] * voxel_size
    volume = sum(
        height * np.exp(-((grid - centre[:, None, None, None]) ** 2).sum(axis=0) / (2 * WIDTH**2))
        for centre, height in zip(BLOBS, HEIGHTS, strict=True)
    )
    return Density(volume.astype(np.float32), voxel_size, "six blobs")


def ball(diameter: float, volts: float, voxel_size: float) -> Density:
    """Homogeneous ball with a rim two voxels soft."""
    side = 2 * int(np.ceil(0.6 * diameter / voxel_size)) + 8
    axes = np.ogrid[tuple(slice(-(side // 2), side // 2) for _ in range(3))]
    radius = np.sqrt(sum(axis.astype(float) ** 2 for axis in axes)) * voxel_size
    volume = volts / (1 + np.exp(np.clip((radius - diameter / 2) / (0.5 * voxel_size), -50, 50)))
    return Density(volume.astype(np.float32), voxel_size, "ball")


def small_bank(views: int = 40, pixel_size: float = 2.5, broken: int = 0):
    return bank_of(blobs(), ViewSettings(views=views), pixel_size, seed=3, broken=broken)
