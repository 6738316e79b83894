"""The built-in archive entry: simulated micrographs with their true particles, laid out as EMPIAR lays out an entry."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from napari_empiarreader.coordinates import ParticleTable, write_star
from napari_empiarreader.micrographs import MicrographSeries, write_mrc
from napari_empiarreader.progress import Progress, silent
from napari_empiarreader.samples.simulate import SimulationSettings, simulate_micrograph

__all__ = ["SAMPLE_ENTRY", "make_sample_entry", "sample_folder", "sample_series"]

#: Its number; far above those that EMPIAR gives.
SAMPLE_ENTRY = 99001

_FOLDER = "data/micrographs"
_PARTICLES = "data/particles.star"


def sample_folder() -> Path:
    """Where the built-in entry is kept: the user's cache folder."""
    from platformdirs import user_cache_path

    return user_cache_path("napari-empiarreader", appauthor=False) / "sample-archive"


def sample_series(
    count: int = 6, settings: SimulationSettings = SimulationSettings()
) -> tuple[MicrographSeries, ParticleTable]:
    """Simulated micrographs that come into being when they are looked at, and where their particles are."""
    from functools import lru_cache

    made = lru_cache(maxsize=count)(lambda index: simulate_micrograph(index, settings))
    names = tuple(f"simulated_{i + 1:03d}.mrc" for i in range(count))
    series = MicrographSeries(
        names=names,
        shape=settings.shape,
        dtype=np.dtype(np.float32),
        pixel_size=settings.pixel_size,
        reader=lambda index: made(index)[0],
        source="simulated",
    )
    centres = [made(i)[1] for i in range(count)]
    return series, _table(names, centres)


def make_sample_entry(
    folder: str | os.PathLike[str],
    *,
    count: int = 6,
    settings: SimulationSettings = SimulationSettings(),
    progress: Progress = silent,
) -> Path:
    """Write the built-in entry, unless it is there already.

    Parameters
    ----------
    folder
        Folder to hold ``99001/``; :class:`~napari_empiarreader.archive.server.LoopbackArchive` serves it.
    count
        Micrographs.
    settings
        What they show.
    progress
        Told after each micrograph.

    Returns
    -------
    Path
        ``folder``.
    """
    root = Path(folder) / str(SAMPLE_ENTRY)
    description = root / "entry.json"
    text = json.dumps(_description(count, settings), indent=1)
    # The description is written last: where it fits, all the rest is there.
    if description.is_file() and description.read_text() == text:
        return Path(folder)
    description.unlink(missing_ok=True)
    names = tuple(f"simulated_{i + 1:03d}.mrc" for i in range(count))
    centres = []
    for i, name in enumerate(names):
        image, truth = simulate_micrograph(i, settings)
        write_mrc(root / _FOLDER / name, image, settings.pixel_size, overwrite=True)
        centres.append(truth)
        progress(i + 1, count, f"simulated {name}")
    write_star(root / _PARTICLES, _table(names, centres), overwrite=True)
    description.write_text(text)
    return Path(folder)


def _table(names: tuple[str, ...], centres: list[np.ndarray]) -> ParticleTable:
    rows = [np.column_stack([np.full(len(yx), i), yx]) for i, yx in enumerate(centres)]
    return ParticleTable(names, np.concatenate(rows))


def _description(count: int, settings: SimulationSettings) -> dict[str, object]:
    height, width = settings.shape
    return {
        "title": "Simulated micrographs of a hollow cage of 24 subunits",
        "status": "REL",
        "release_date": "2026-01-01",
        "dataset_size": f"{count * height * width * 4 / 2**20:.0f} MB",
        "experiment_type": "INSILICO",
        "scale": "molecule",
        "authors": [{"author": {"name": "napari-empiarreader", "author_orcid": None}}],
        "cross_references": [],
        "citation": [],
        "imagesets": [
            {
                "name": "Simulated micrographs",
                "directory": _FOLDER,
                "category": "micrographs - single frame",
                "header_format": "MRC",
                "data_format": "MRC",
                "num_images_or_tilt_series": count,
                "frames_per_image": 1,
                "voxel_type": "32 BIT FLOAT",
                "pixel_width": settings.pixel_size,
                "pixel_height": settings.pixel_size,
                "image_width": str(width),
                "image_height": str(height),
                "details": f"particle diameter {settings.particle_diameter:g} A, {settings.dose:g} e/A^2, "
                f"phase {settings.phase:g} rad, seed {settings.seed}",
                "micrographs_file_pattern": f"{_FOLDER}/*.mrc",
                "picked_particles_file_pattern": _PARTICLES,
                "picked_particles_directory": "data",
            }
        ],
    }
