"""napari reader of trained models, and the sample data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_empiarreader.layers import LayerData

__all__ = ["get_model_reader", "sample_layers"]

_FORMAT, _TEMPLATE = "napari-caked picker", "filter.profile"
"""What the header of a picker says, and the tensor of its template; :mod:`napari_caked.checkpoint` needs PyTorch."""


def get_model_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Reader for models (``.safetensors``) that have a template to show; None for any other file."""
    files = [path] if isinstance(path, str) else path
    return read_model if all(map(_has_template, files)) else None


def _has_template(file: str) -> bool:
    """Whether a file is a picker with a template. Its header says so, without PyTorch."""
    from safetensors import SafetensorError, safe_open

    if not file.lower().endswith(".safetensors"):
        return False
    try:
        with safe_open(file, framework="numpy") as header:
            is_picker = (header.metadata() or {}).get("format") == _FORMAT
            return is_picker and _TEMPLATE in header.keys()  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError):
        return False


def read_model(path: str | Sequence[str]) -> list[LayerData]:
    """What a model looks for: its template as an Image layer in Å, with the model's provenance as metadata."""
    from pathlib import Path

    from napari_caked.checkpoint import checksum, load_model
    from napari_caked.errors import CheckpointError
    from napari_caked.models import MatchedFilterNetwork

    layers: list[LayerData] = []
    for file in [path] if isinstance(path, str) else path:
        model = load_model(file)
        if not isinstance(model.network, MatchedFilterNetwork):
            raise CheckpointError(
                f"{file}: a network of the kind {model.network.name} has no template to show; pick with it instead "
                "(napari-caked pick)"
            )
        template = model.network.filter.kernel()
        pixel = model.particle_diameter / model.preprocess.particle_width
        attributes = {
            "name": f"template of {Path(file).stem}",
            "scale": (pixel, pixel),
            "units": ("angstrom", "angstrom"),
            "axis_labels": ("y", "x"),
            "colormap": "gray",
            "metadata": {
                "model": str(file),
                "checksum": checksum(file),
                "particle_diameter": model.particle_diameter,
                "provenance": dict(model.provenance),
            },
        }
        layers.append((template.numpy(), attributes, "image"))
    return layers


def sample_layers() -> list[LayerData]:
    """Simulated micrographs and ten labels on them: all that training needs."""
    import numpy as np

    from napari_empiarreader.layers import micrograph_layer, particles_layer
    from napari_empiarreader.samples import SimulationSettings, sample_series

    settings = SimulationSettings()
    series, truth = sample_series(settings=settings)
    first_three = np.flatnonzero(truth.micrograph_index < 3)
    clicked = np.sort(np.random.default_rng(0).choice(first_three, 10, replace=False))
    labels = particles_layer(
        truth.where(clicked),
        name="ten labels",
        pixel_size=settings.pixel_size,
        diameter=settings.particle_diameter,
        border_color="orange",
    )
    return [micrograph_layer(series, name="micrographs to pick"), labels]
