"""Where particles lie: apart from each other, touching, or one on the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from napari_caked.simulate.settings import SceneSettings

__all__ = ["Forbidden", "place"]

#: Given places ``(n, 2)``, which of them no particle may have.
Forbidden = Callable[[np.ndarray], np.ndarray]

#: Darts thrown per particle wanted, before the field counts as full.
_DARTS = 60
#: Darts that are compared with all particles in one go.
_AT_ONCE = 256
#: Distance of a particle to the one it clings to, in diameters.
_CLINGING = (0.6, 0.95)


def place(
    rng: np.random.Generator, settings: SceneSettings, diameter: float, forbidden: Forbidden | None = None
) -> np.ndarray:
    """Centres ``(n, 2)`` as (y, x) in pixels, in no order.

    Parameters
    ----------
    rng
        Source of all chance.
    settings
        How many, how far apart, and whether at the edges.
    diameter
        Of a particle, in pixels.
    forbidden
        Where none may lie.

    Returns
    -------
    numpy.ndarray
        At most ``settings.particles`` of them inside of the field. Where particles may be cut by its edge, others lie
        outside and still show.
    """
    margin = 0.5 * diameter if settings.at_edges else -0.5 * diameter
    field = np.array([(-margin, length - 1 + margin) for length in settings.shape]).T
    if (field[1] <= field[0]).any() or not settings.particles:
        return np.empty((0, 2))
    clinging = round(settings.clumped * settings.particles)
    apart = settings.spacing * diameter
    darts = rng.uniform(field[0], field[1], (_DARTS * settings.particles, 2))
    placed = _thin(darts, apart, settings.shape, settings.particles - clinging, forbidden)
    if not clinging or not len(placed):
        return placed
    # Beside one that is there already, and at least as far from all others.
    hosts = placed[rng.integers(len(placed), size=_DARTS * clinging)]
    angle, away = rng.uniform(0, 2 * np.pi, len(hosts)), rng.uniform(*_CLINGING, len(hosts)) * diameter
    beside = hosts + away[:, None] * np.column_stack([np.sin(angle), np.cos(angle)])
    beside = beside[((beside >= field[0]) & (beside <= field[1])).all(axis=1)]
    return _thin(beside, _CLINGING[0] * diameter, settings.shape, settings.particles, forbidden, placed)


def _thin(
    darts: np.ndarray,
    apart: float,
    shape: tuple[int, int],
    wanted: int,
    forbidden: Forbidden | None,
    placed: np.ndarray | None = None,
) -> np.ndarray:
    """Darts in their order, less those too near to an earlier one, until enough are inside the field."""
    if forbidden is not None:
        darts = darts[~forbidden(darts)]
    kept = np.empty((len(darts) + (0 if placed is None else len(placed)), 2))
    count = 0 if placed is None else len(placed)
    if placed is not None:
        kept[:count] = placed
    inside = int(_inside(kept[:count], shape).sum())
    for start in range(0, len(darts), _AT_ONCE):
        free = _free(darts[start : start + _AT_ONCE], kept[:count], apart)
        before = count
        for dart, within in zip(free, _inside(free, shape), strict=True):
            if inside >= wanted:
                return kept[:count].copy()
            if count > before and ((kept[before:count] - dart) ** 2).sum(axis=1).min() < apart**2:
                continue
            kept[count] = dart
            count += 1
            inside += int(within)
    return kept[:count].copy()


def _free(darts: np.ndarray, kept: np.ndarray, apart: float) -> np.ndarray:
    """Darts that are far enough from all that is kept."""
    from scipy.spatial import cKDTree

    return darts[cKDTree(kept).query(darts)[0] >= apart] if len(kept) else darts


def _inside(places: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.asarray(((places >= 0) & (places <= np.array(shape) - 1)).all(axis=1))
