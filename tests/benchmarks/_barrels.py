"""A simulated specimen that is not round: barrels seen from all sides, with exact truth and measured noise.

The particle is a barrel of 170 x 95 Å (28 subunits in four rings of seven, as in the core of a proteasome), at
uniformly random orientations; the image is formed in the weak-phase approximation at the defocus of its micrograph.
The noise has the spectrum and the deviation of the background of ``apoferritin_hard``: detector noise of one or two
frames. Its curve stands here as a table, so that no data are needed.

The difficulty, :data:`CONTRAST`, was set once, by the average precision of the radial template from ten labels (0.6 to
0.75 was wanted), before any other picker had seen a barrel.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries
from napari_empiarreader.samples import SimulationSettings
from napari_empiarreader.samples.simulate import contrast_transfer

__all__ = ["BARREL_LENGTH", "PIXEL_SIZE", "SHAPE", "barrels", "measured_noise"]

#: Å; the diameter that every picker is told.
BARREL_LENGTH = 170.0
BARREL_WIDTH = 95.0
PIXEL_SIZE = 1.5
SHAPE = (1200, 1240)
PARTICLES = 120
DEFOCUS = (1.0, 2.5)
#: Contrast of the middle of a side view, before the CTF, in deviations of the noise.
CONTRAST = 0.56
SEED = 20260

#: Deviation of a pixel of ``apoferritin_hard``, in its own counts.
NOISE_DEVIATION = 3629.0
#: Power of its background over that of white noise of the same deviation, by spatial frequency in 1/Å. Above 1/150 Å
#: measured between the particles of the eight training micrographs; below, on whole micrographs.
NOISE_FREQUENCY = (0.0008, 0.0021, 0.0039, 0.0065, 0.011, 0.0156, 0.022, 0.0314, 0.0445, 0.075, 0.127, 0.215, 0.305)
NOISE_POWER = (40.0, 3.2, 2.0, 1.65, 1.50, 1.40, 1.36, 1.29, 1.14, 1.08, 1.07, 1.02, 0.965)


def barrels(part: str) -> tuple[MicrographSeries, ParticleTable]:
    """Micrographs of barrels and where they are.

    Parameters
    ----------
    part
        ``"train"`` (8 micrographs) or ``"dev"`` (4 others).
    """
    first, count = {"train": (0, 8), "dev": (8, 4)}[part]
    names = tuple(f"barrels_{first + i + 1:02d}.mrc" for i in range(count))
    series = MicrographSeries(
        names, SHAPE, np.dtype(np.float32), PIXEL_SIZE, lambda i: _micrograph(first + i), "simulated barrels"
    )
    centres = [_placed(np.random.default_rng((SEED, first + i)))[0] for i in range(count)]
    rows = [np.column_stack([np.full(len(yx), i), yx]) for i, yx in enumerate(centres)]
    return series, ParticleTable(names, np.concatenate(rows))


@lru_cache(maxsize=12)
def _micrograph(index: int) -> np.ndarray:
    """Image ``(y, x)`` float32 of one micrograph."""
    rng = np.random.default_rng((SEED, index))
    centres, rotations = _placed(rng)
    density = np.zeros(SHAPE)
    for centre, rotation in zip(centres, rotations, strict=True):
        _add_barrel(density, centre, rotation)
    settings = SimulationSettings(shape=SHAPE, pixel_size=PIXEL_SIZE)
    transfer = contrast_transfer(rng.uniform(*DEFOCUS), settings)
    image = np.fft.irfft2(np.fft.rfft2(density) * transfer, s=SHAPE)
    return (NOISE_DEVIATION * (CONTRAST * image + measured_noise(rng, SHAPE))).astype(np.float32)


def measured_noise(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Gaussian noise ``(y, x)`` of the measured spectrum at 1.5 Å per pixel, in deviations of the real noise."""
    rows = np.fft.fftfreq(shape[0], PIXEL_SIZE)[:, None]
    frequency = np.hypot(rows, np.fft.rfftfreq(shape[1], PIXEL_SIZE)[None, :])
    log_power = np.interp(np.log(np.maximum(frequency, 1e-6)), np.log(NOISE_FREQUENCY), np.log(NOISE_POWER))
    return np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * np.exp(log_power / 2), s=shape)


def _placed(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Centres ``(n, 2)`` and rotations ``(n, 3, 3)`` of barrels that touch no other, thrown like darts."""
    from scipy.spatial.transform import Rotation

    apart, width = 0.75 * BARREL_LENGTH / PIXEL_SIZE, 1.02 * BARREL_WIDTH / PIXEL_SIZE
    steps = np.linspace(-0.5, 0.5, 5) * (BARREL_LENGTH - BARREL_WIDTH) / PIXEL_SIZE
    tries = 60 * PARTICLES
    darts = rng.uniform((0, 0), np.array(SHAPE) - 1, (tries, 2))
    rotations = Rotation.random(tries, random_state=rng).as_matrix()
    spines = darts[:, None] + steps[:, None] * rotations[:, None, :2, 2]
    kept: list[int] = []
    for i in range(tries):
        if kept:
            away = np.linalg.norm(darts[kept] - darts[i], axis=1)
            near = np.array(kept)[away < 2 * apart]
            gaps = np.linalg.norm(spines[near][:, :, None] - spines[i], axis=-1)
            if away.min() < apart or gaps.min(initial=np.inf) < width:
                continue
        kept.append(i)
        if len(kept) == PARTICLES:
            break
    return darts[kept], rotations[kept]


@lru_cache(maxsize=1)
def _blobs() -> np.ndarray:
    """``(n, 3)`` centres of Gaussian blobs in Å, the barrel's axis last: five to a subunit, of two kinds."""
    rng = np.random.default_rng(SEED)
    kinds = [blobs - blobs.mean(axis=0) for blobs in rng.normal(0, 10.0, (2, 5, 3))]
    found = []
    for ring, height in enumerate((-60.0, -20.0, 20.0, 60.0)):
        for sector in range(7):
            angle = 2 * np.pi * (sector / 7 + 0.1 * ring)
            turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
            # The outer rings are of one kind of subunit and the inner ones of another, the ends turned outwards.
            subunit = kinds[ring in (1, 2)] * [1, 1, 1 if ring > 1 else -1]
            found.append((subunit + [32.0, 0, height]) @ turn.T)
    return np.concatenate(found)


def _add_barrel(density: np.ndarray, centre: np.ndarray, rotation: np.ndarray, width: float = 8.0) -> None:
    """Add one projected barrel; a Gaussian blob projects to a Gaussian, so nothing is sampled in 3-D."""
    reach = int(np.ceil(0.75 * BARREL_LENGTH / PIXEL_SIZE))
    corner = np.rint(centre).astype(int) - reach
    low, high = np.maximum(corner, 0), np.minimum(corner + 2 * reach + 1, SHAPE)
    blobs = centre + (_blobs() @ rotation.T)[:, :2] / PIXEL_SIZE
    rows = np.exp(-0.5 * ((np.arange(low[0], high[0])[:, None] - blobs[:, 0]) * PIXEL_SIZE / width) ** 2)
    columns = np.exp(-0.5 * ((np.arange(low[1], high[1])[:, None] - blobs[:, 1]) * PIXEL_SIZE / width) ** 2)
    # The blobs of a side view add up to 3.26 in its middle.
    density[low[0] : high[0], low[1] : high[1]] += rows @ columns.T / 3.26
