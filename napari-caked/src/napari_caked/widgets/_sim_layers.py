"""Layers of the simulator: the preview with its truth on top, and stacks that the trainer takes as they are."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_caked.errors import SettingsError
from napari_caked.layers import SHOWN_ONLY, is_ours, pixel_size_of
from napari_caked.simulate.decoys import CLASSES
from napari_caked.simulate.settings import SimulationSettings
from napari_empiarreader.layers import LayerData, layer_pixel_size, micrograph_layer, particles_layer

if TYPE_CHECKING:
    import napari.viewer
    import pandas as pd
    from napari.layers import Layer

    from napari_caked.widgets._sim_messages import Laid, Seen
    from napari_empiarreader.micrographs import MicrographSeries

__all__ = [
    "bring_into_view",
    "frame_beside",
    "is_real",
    "may_be_density",
    "preview_layers",
    "preview_marks",
    "require_voxel_size",
    "stack_layers",
    "voxel_size_of",
]

_PARTICLE, _DECOY = "cyan", "orange"
_GAP = 0.04
"""Between the real micrograph and the preview beside it, as a share of its width."""


def may_be_density(layer: Layer) -> bool:
    """Whether a layer is a volume with equal voxels, and no stack of micrographs."""
    if not isinstance(layer, Image) or layer.rgb or layer.multiscale or layer.ndim != 3 or is_ours(layer):
        return False
    scale, shape = np.abs(np.asarray(layer.scale, float)), layer.data.shape
    cubic = bool(np.ptp(scale) <= 1e-3 * scale.mean())
    return cubic and "micrographs" not in layer.metadata and min(shape) >= 4 and max(shape) <= 4 * min(shape)


def is_real(layer: Layer) -> bool:
    """Whether a layer may show real micrographs."""
    image = isinstance(layer, Image) and not layer.rgb and layer.ndim in (2, 3)
    return image and not is_ours(layer) and not may_be_density(layer) and "simulated" not in layer.metadata


def voxel_size_of(layer: Image) -> float | None:
    """Å per voxel of a density layer; None where it does not say."""
    return layer_pixel_size({"metadata": layer.metadata, "units": layer.units, "scale": layer.scale})


def bring_into_view(viewer: napari.viewer.Viewer, layer: Layer) -> None:
    """Move the slider to a stack of micrographs, where layers with depth have moved it away from all of them."""
    if layer.ndim < 3:
        return
    axis = viewer.dims.ndim - 3
    low, high = layer.extent.world[:, -3]
    if not low - 0.5 <= viewer.dims.point[axis] <= high + 0.5:
        viewer.dims.set_point(axis, float(layer.data_to_world((0,) * layer.ndim)[-3]))


def frame_beside(real: Image | None, pixel_size: float, *, beside: bool) -> dict[str, Any]:
    """Scale, translation and units ``(y, x)`` of a preview: at the right of a real micrograph, or on its corner."""
    if real is None:
        return {"scale": (pixel_size,) * 2, "translate": (0.0, 0.0), "units": ("angstrom",) * 2}
    scale, origin = (np.asarray(part, float)[-2:] for part in (real.scale, real.translate))
    size = pixel_size_of(real)
    unit = scale / size if size else scale / pixel_size
    width = (real.data[0] if real.multiscale else real.data).shape[-1]
    right = (width * (1 + _GAP)) * scale[1] if beside else 0.0
    return {
        "scale": tuple(float(part) for part in unit * pixel_size),
        "translate": (float(origin[0]), float(origin[1] + right)),
        "units": tuple(str(part) for part in real.units[-2:]),
    }


def preview_layers(seen: Seen, settings: SimulationSettings, frame: dict[str, Any]) -> tuple[LayerData, LayerData]:
    """Image and Points layer of a preview; they are there to be looked at only."""
    shared = frame | {"axis_labels": ("y", "x"), "metadata": {SHOWN_ONLY: True, "pixel_size": settings.pixel_size}}
    image = {
        **shared,
        "name": "simulator preview",
        "colormap": "gray",
        "contrast_limits": seen.limits,
        "interpolation2d": "linear",
    }
    points, look, features = preview_marks(seen, settings)
    marks = shared | look | {"name": "simulator truth", "features": features, "symbol": "disc", "border_width": 0.04}
    return (seen.image, image, "image"), (points, {**marks, "face_color": "transparent", "ndim": 2}, "points")


def preview_marks(
    seen: Seen, settings: SimulationSettings
) -> tuple[np.ndarray, dict[str, np.ndarray | list[str]], pd.DataFrame]:
    """Places ``(n, 2)`` of particles and of what is none, how they are marked, and what they are."""
    import pandas as pd

    particles, decoys = seen.particles, seen.decoys
    places = np.concatenate([particles[:, :2], decoys[:, :2]])
    width = seen.diameter / settings.pixel_size
    look: dict[str, np.ndarray | list[str]] = {
        "size": np.concatenate([np.full(len(particles), width), 2 * decoys[:, 2]]),
        "border_color": [_PARTICLE] * len(particles) + [_DECOY] * len(decoys),
    }
    nothing = np.full(len(decoys), np.nan)
    columns = {
        name: np.concatenate([values, nothing])
        for name, values in zip(("rot", "tilt", "psi", "defocus"), particles[:, 2:6].T, strict=True)
    }
    kinds = ["particle"] * len(particles) + [CLASSES[int(kind)] for kind in decoys[:, 3]]
    return places, look, pd.DataFrame({"kind": kinds, **columns})


def stack_layers(series: MicrographSeries, laid: Laid, settings: SimulationSettings) -> list[LayerData]:
    """Layers of a stack: micrographs, particles, and what is no particle where there is such.

    The first micrograph is read here, for the contrast limits.
    """
    provenance = {"simulated": asdict(settings)}
    data, attributes, kind = micrograph_layer(series, name=f"simulated micrographs (seed {settings.seed})")
    attributes["metadata"] |= provenance
    layers = [(data, attributes, kind)]
    particles = replace(laid.particles, metadata={**laid.particles.metadata, "provenance": provenance})
    name = f"simulated particles (seed {settings.seed})"
    layers.append(particles_layer(particles, name=name, pixel_size=settings.pixel_size, diameter=laid.diameter))
    if len(laid.decoys):
        decoys = replace(laid.decoys, metadata={"provenance": provenance})
        name = f"not particles (simulated, seed {settings.seed})"
        points = particles_layer(decoys, name=name, pixel_size=settings.pixel_size, border_color="#ff5fa2")
        points[1]["size"] = 2 * decoys.features["radius"].to_numpy()
        layers.append(points)
    return layers


def require_voxel_size(size: float | None, name: str) -> float:
    """Å per voxel, or an error that says how to give it."""
    if not size:
        raise SettingsError(f"{name}: nobody says how wide a voxel is; type it in Å in the field 'Voxel size'")
    return size
