"""Micrographs of our own: rings in noise, and where they lie."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries

DIAMETER = 24  # pixels


def ring(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A soft ring of 24 pixels around (0, 0)."""
    return np.exp(-(((np.hypot(y, x) - 0.4 * DIAMETER) / 2.5) ** 2))


@pytest.fixture(scope="session")
def ring_data() -> Callable[..., tuple[MicrographSeries, ParticleTable]]:
    """Make (series, truth): micrographs of 256 pixels, pixel size 5 Å, 25 rings of 120 Å on each; 9 on 164 pixels."""

    def make(
        count: int = 3, seed: int = 0, noise: float = 0.8, size: int = 256
    ) -> tuple[MicrographSeries, ParticleTable]:
        dice = np.random.default_rng(seed)
        rows, columns = np.mgrid[:size, :size]
        images, coordinates = [], []
        for i in range(count):
            image = dice.normal(scale=noise, size=(size, size))
            places = np.array([(y, x) for y in range(28, size - 16, 44) for x in range(28, size - 16, 44)], float)
            places += dice.uniform(-7, 7, places.shape)
            for y, x in places:
                image += ring(rows - y, columns - x)
            images.append(image.astype(np.float32))
            coordinates.append(np.column_stack([np.full(len(places), i), places]))
        names = [f"m{i}.mrc" for i in range(count)]
        series = MicrographSeries.from_array(np.stack(images), names, pixel_size=5.0)
        return series, ParticleTable(tuple(names), np.concatenate(coordinates))

    return make
