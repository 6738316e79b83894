"""napari readers of micrographs and of particle coordinates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_empiarreader.coordinates import ParticleTable
    from napari_empiarreader.layers import LayerData

__all__ = ["get_micrograph_reader", "get_particle_reader", "open_shapes", "sample_layers"]

_SHARED = (".csv", ".tsv", ".txt", ".json")
"""Suffixes that others use as well; such a file is ours only where it begins like coordinates."""


def get_micrograph_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Reader for images of any format, for folders that hold some, and for ``empiar://`` addresses."""
    from pathlib import Path

    from napari_empiarreader.micrographs.formats import IMAGE_SUFFIXES

    first = path if isinstance(path, str) else path[0]
    if first.startswith("empiar:") or first.lower().endswith(IMAGE_SUFFIXES):
        return read_micrographs
    folder = Path(first)
    if folder.is_dir() and any(file.name.lower().endswith(IMAGE_SUFFIXES) for file in folder.iterdir()):
        return read_micrographs
    return None


def get_particle_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Reader for coordinate files; None for tables and texts that hold something else."""
    from pathlib import Path

    from napari_empiarreader.coordinates.formats import SUFFIXES, begins_like_coordinates
    from napari_empiarreader.errors import UserError

    first = Path(path if isinstance(path, str) else path[0])
    if first.suffix.lower() not in SUFFIXES:
        return None
    if first.suffix.lower() in _SHARED:
        try:
            if not begins_like_coordinates(first):
                return None
        except UserError:
            return None
    return read_particle_layers


def read_micrographs(path: str | Sequence[str]) -> list[LayerData]:
    """Lazy Image layers of everything that ``path`` means, one for each size; what is odd is warned about."""
    import warnings

    from napari_empiarreader.opening import open_layers

    opened = open_layers(path if isinstance(path, str) else list(path))
    for sentence in (*opened.warnings, *opened.left_out.values()):
        warnings.warn(sentence, stacklevel=2)
    return opened.layers


def read_particle_layers(path: str | Sequence[str]) -> list[LayerData]:
    """A Points layer for each file, laid on the open micrographs it belongs to."""
    from pathlib import Path

    from napari_empiarreader.coordinates import read_particles
    from napari_empiarreader.layers import particles_layer

    layers = []
    for file in [path] if isinstance(path, str) else path:
        table = read_particles(file, shapes=open_shapes() or None)
        names, pixel_size = _open_micrographs_of(table)
        if names is not None:
            table = table.renamed_to(names)
        layers.append(particles_layer(table, name=Path(file).stem, pixel_size=pixel_size))
    return layers


def open_shapes() -> dict[str, tuple[int, int]]:
    """Size ``(y, x)`` of every open micrograph, for formats that count rows from the bottom."""
    from napari import current_viewer
    from napari.layers import Image

    shapes: dict[str, tuple[int, int]] = {}
    viewer = current_viewer()
    for layer in [] if viewer is None else viewer.layers:
        if isinstance(layer, Image) and layer.metadata.get("micrographs"):
            data = layer.data[0] if layer.multiscale else layer.data
            shapes |= dict.fromkeys(layer.metadata["micrographs"], (int(data.shape[-2]), int(data.shape[-1])))
    return shapes


def _open_micrographs_of(table: ParticleTable) -> tuple[Sequence[str] | None, float | None]:
    """Names and pixel size of the open Image layer that holds all micrographs of ``table``, if there is one."""
    from napari import current_viewer
    from napari.layers import Image

    from napari_empiarreader.coordinates import match_names

    viewer = current_viewer()
    for layer in [] if viewer is None else viewer.layers:
        names = layer.metadata.get("micrographs") if isinstance(layer, Image) else None
        if names and None not in match_names(table.micrographs, names):
            return names, layer.metadata.get("pixel_size")
    return None, None


def sample_layers() -> list[Any]:
    """Simulated micrographs, made when they are looked at, and their true particles."""
    from napari_empiarreader.layers import micrograph_layer, particles_layer
    from napari_empiarreader.samples import SimulationSettings, sample_series

    settings = SimulationSettings()
    series, truth = sample_series(settings=settings)
    particles = particles_layer(
        truth, name="true particles", pixel_size=settings.pixel_size, diameter=settings.particle_diameter
    )
    return [micrograph_layer(series, name="simulated micrographs"), particles]
