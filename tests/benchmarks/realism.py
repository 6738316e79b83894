"""How well a classifier tells simulated patches from real ones, before and after matching: docs/explanation/simulation.

    CRYO_TEST_DATA=FOLDER python tests/benchmarks/realism.py [--only apoferritin_hard ...] [--draws 0 1 2]

Before: the default settings at the nominal dose. After: what ``likeness_of``, ``in_the_likeness_of`` and ``matched``
make of the real micrographs, without their labels. As many simulated micrographs as real ones; patches around particles
and of background, at full resolution (1.6 particle widths, each micrograph less its
median, over its deviation by quartiles) and as
the picker sees them (two particle widths of its working image, 40 pixels). Labels serve to cut real patches and nothing
else; centres, real and simulated, are moved by up to a quarter of a particle, so that no one learns how well labels are
centred. Folds leave out whole micrographs, and with each the simulated one that takes after it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from _specimens import data_folder
from _telling import Patches, accuracies
from scipy.spatial import cKDTree

from napari_caked.preprocess import prepare
from napari_caked.preprocess.valid import invalid_pixels, outlier_bounds
from napari_caked.simulate import (
    CameraSettings,
    Density,
    SceneSettings,
    SimulationSettings,
    ViewSettings,
    bank_of,
    in_the_likeness_of,
    likeness_of,
    matched,
    simulate_micrograph,
)
from napari_caked.simulate.project import PROTEIN_OVER_ICE
from napari_caked.simulate.specimens import hollow_shell
from napari_empiarreader import open_micrographs, read_particles
from napari_empiarreader.micrographs import MicrographSeries

#: Patches of each kind that are cut from a micrograph.
_EACH = 24


@dataclass(frozen=True)
class Case:
    """A real specimen, and what is simulated for it.

    Attributes
    ----------
    folder
        Of the real micrographs and their labels.
    diameter
        Å.
    density
        Of the made-up particle.
    dose
        Nominal, e/Å².
    border
        Pixels that are left out on all sides.
    """

    folder: str
    diameter: float
    density: Density
    dose: float
    border: int = 4


@dataclass(frozen=True)
class Micrograph:
    """An image ``(y, x)`` and the centres ``(n, 2)`` of its particles."""

    image: np.ndarray
    centres: np.ndarray


def four_ellipsoids(voxel: float = 4.0) -> Density:
    """Stand-in for beta-galactosidase: four ellipsoids with the symmetry D2 that have its size and mass.

    The enzyme measures about 175 x 135 x 90 Å (Jacobson et al., Nature 369, 761 (1994)) and weighs 465 kDa; 1.21 Å³ per
    Da make it thinner than solid protein in the space that the ellipsoids fill.
    """
    from scipy.spatial.transform import Rotation
    from scipy.special import expit

    half, centre, axes = 28, np.array([36.0, 28.0, 9.0]), np.array([48.0, 34.0, 34.0])
    leaning = Rotation.from_euler("z", 20, degrees=True).as_matrix()
    z, y, x = np.meshgrid(*[np.arange(-half, half) * voxel] * 3, indexing="ij")
    grid = np.stack([x, y, z], axis=-1)
    inside = np.zeros(x.shape)
    for turn in Rotation.create_group("D2"):
        away = np.linalg.norm((grid @ turn.as_matrix() - centre) @ leaning / axes, axis=-1)
        inside = np.maximum(inside, expit((1 - away) * axes.min() / 5.0))
    filled = 465_000 * 1.21 / (inside.sum() * voxel**3)
    return Density((PROTEIN_OVER_ICE * filled * inside).astype(np.float32), voxel, "four ellipsoids")


def cases() -> dict[str, Case]:
    """What is compared."""
    shell = hollow_shell(125.0, 24.0)
    return {
        "apoferritin_hard": Case("apoferritin_hard/train", 120.0, shell, 2.0),
        "apoferritin": Case("apoferritin/train", 120.0, shell, 40.0),
        "beta_galactosidase": Case("beta_galactosidase", 190.0, four_ellipsoids(), 40.0, border=24),
    }


def main() -> None:
    """Measure, and print a row for each specimen, stage and scale."""
    arguments = _arguments()
    for name, case in cases().items():
        if arguments.only and name not in arguments.only:
            continue
        series, real = _real(case)
        for stage in arguments.stages:
            started = time.process_time()
            simulated = _simulated(case, series, stage)
            print(f"{name} {stage}: {time.process_time() - started:.0f} s", flush=True)
            simulated = [_framed(one, like) for one, like in zip(simulated, real, strict=True)]
            for scale in arguments.scales:
                rows = []
                for draw in arguments.draws:
                    patches = _patches(case, series.require_pixel_size(), real, simulated, scale, draw)
                    rows.append(accuracies(patches, arguments.folds, draw, arguments.ways))
                summary = {key: round(100 * float(np.mean([row[key] for row in rows])), 1) for key in rows[0]}
                print(f"{name} {stage} {scale}: {json.dumps(summary)}", flush=True)


def _real(case: Case) -> tuple[MicrographSeries, list[Micrograph]]:
    folder = data_folder() / case.folder
    series = open_micrographs(folder / "micrographs")
    labels = read_particles(folder / "particles.star").renamed_to(series.names)
    rows = [labels.micrograph_index == index for index in range(len(series))]
    return series, [Micrograph(series.read(i), labels.coordinates[row, 1:]) for i, row in enumerate(rows)]


def _simulated(case: Case, series: MicrographSeries, stage: str) -> list[Micrograph]:
    """As many micrographs as there are real ones; ``after`` takes after them, and ``before`` does not."""
    plain = SimulationSettings(
        series.require_pixel_size(),
        scene=SceneSettings(shape=series.shape),
        camera=CameraSettings(dose=case.dose),
    )
    if stage == "before":
        bank = bank_of(case.density, ViewSettings(), plain.pixel_size)
        settings = plain
    else:
        likeness = likeness_of(series, case.diameter, at_most=len(series))
        settings = in_the_likeness_of(likeness, plain)
        bank = bank_of(case.density, ViewSettings(), settings.pixel_size)
        settings = matched(bank, settings, likeness, crowding=True, focusing=True)
        print(_told(settings), [f"{fit.defocus:.2f}{'' if fit.believed else '?'}" for fit in likeness.fits])
    made = (simulate_micrograph(bank, settings, index) for index in range(len(series)))
    return [Micrograph(one.image, one.scene.centres) for one in made]


def _framed(simulated: Micrograph, real: Micrograph) -> Micrograph:
    """With a frame of padding as wide as that of the real one: no specimen, but resampling rings at its edges."""
    no_specimen = invalid_pixels(real.image, outlier_bounds(real.image))
    if no_specimen is None:
        return simulated
    shown = [np.flatnonzero(~no_specimen.all(axis=axis)) for axis in (1, 0)]
    inner = tuple(slice(rows[0], rows[-1] + 1) for rows in shown)
    margins = [(rows[0], length - 1 - rows[-1]) for rows, length in zip(shown, real.image.shape, strict=True)]
    return replace(simulated, image=np.pad(simulated.image[inner], margins, mode="edge"))


def _told(settings: SimulationSettings) -> str:
    noise = settings.noise
    if noise is None:
        return f"particles {settings.scene.particles}"
    each = " ".join(f"{look.contrast:.2f} (uneven {look.uneven:.2f})" for look in noise.looks)
    low, high = settings.optics.defocus
    return (
        f"particles {settings.scene.particles}, strength {noise.strength:.2f}, of each {each}, "
        f"defocus {low:.2f} to {high:.2f} µm"
    )


# ---- patches -------------------------------------------------------------------------------------------------


def _patches(
    case: Case,
    pixel_size: float,
    real: Sequence[Micrograph],
    simulated: Sequence[Micrograph],
    scale: str,
    draw: int,
) -> Patches:
    images, is_real, is_particle, group = [], [], [], []
    for origin, micrographs in ((True, real), (False, simulated)):
        for number, micrograph in enumerate(micrographs):
            rng = np.random.default_rng((draw, number, int(origin)))
            for particle, place in _places(case, pixel_size, micrograph, rng):
                images.append((number, origin, place))
                is_real.append(origin)
                is_particle.append(particle)
                group.append(number)
    seen = {
        (number, origin): _view(case, pixel_size, micrograph, scale)
        for origin, micrographs in ((True, real), (False, simulated))
        for number, micrograph in enumerate(micrographs)
    }
    cut = [_cut(*seen[number, origin], place) for number, origin, place in images]
    return Patches(np.stack(cut), np.array(is_real), np.array(is_particle), np.array(group))


def _view(case: Case, pixel_size: float, micrograph: Micrograph, scale: str) -> tuple[np.ndarray, float, int]:
    """Image in the view of a scale, its pixels per pixel of the micrograph, and the side of a patch."""
    if scale == "full":
        inner = micrograph.image[case.border : -case.border, case.border : -case.border].astype(np.float64)
        low, middle, high = np.quantile(inner, (0.25, 0.5, 0.75))  # contamination leaves these alone
        image = ((micrograph.image - middle) / (0.741 * (high - low))).astype(np.float32)
        return image, 1.0, 2 * round(0.8 * case.diameter / pixel_size)
    work = prepare(micrograph.image, "micrograph", case.diameter, pixel_size)
    return work.image.numpy(), work.image.shape[0] / micrograph.image.shape[0], 40


def _cut(image: np.ndarray, factor: float, side: int, place: np.ndarray) -> np.ndarray:
    top, left = (int(round(v * factor - side / 2)) for v in place)
    top, left = (min(max(v, 0), n - side) for v, n in zip((top, left), image.shape, strict=True))
    return image[top : top + side, left : left + side]


def _places(
    case: Case, pixel_size: float, micrograph: Micrograph, rng: np.random.Generator
) -> list[tuple[bool, np.ndarray]]:
    """Places of patches that fit, around particles and away from them."""
    width = case.diameter / pixel_size
    low = np.full(2, case.border + width)  # two particle widths, the larger of the patches
    high = np.array(micrograph.image.shape) - low
    moved = micrograph.centres + rng.uniform(-width / 4, width / 4, micrograph.centres.shape)
    particles = moved[((moved >= low) & (moved <= high)).all(axis=1)]
    anywhere = rng.uniform(low, high, (40 * _EACH, 2))
    background = anywhere[cKDTree(micrograph.centres).query(anywhere)[0] > 0.8 * width]
    few = min(_EACH, len(particles))
    chosen = rng.permutation(particles)[:few]
    return [(True, place) for place in chosen] + [(False, place) for place in background[:_EACH]]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(cases()))
    parser.add_argument("--stages", nargs="+", default=["before", "after"], choices=("before", "after"))
    parser.add_argument("--scales", nargs="+", default=["working", "full"], choices=("working", "full"))
    parser.add_argument("--ways", nargs="+", default=["network", "features"], choices=("network", "features"))
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--folds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
