"""napari readers of trained models and of data sets, and the sample data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from napari_caked.datasets.store import Store
    from napari_empiarreader.layers import LayerData

__all__ = ["get_dataset_reader", "get_model_reader", "sample_layers"]

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


def get_dataset_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Reader for data sets (``*.dataset.zarr``); None for any other folder, Zarr or not."""
    from napari_caked.datasets.store import is_store

    folders = [path] if isinstance(path, str) else path
    return read_datasets if all(map(is_store, folders)) else None


def read_datasets(path: str | Sequence[str]) -> list[LayerData]:
    """Layers of data sets: images (masks, partners, points) that are read when shown, and a point with each class."""
    from napari_caked.datasets.store import open_store

    folders = [path] if isinstance(path, str) else path
    return [layer for folder in folders for layer in _dataset_layers(open_store(folder))]


def _dataset_layers(store: Store) -> list[LayerData]:
    import numpy as np

    from napari_caked.datasets.store import SUFFIX

    name, axes = store.path.name.removesuffix(SUFFIX), len(store.shape)
    frame = {
        "scale": (1.0, *(store.voxel_size or (1.0,) * axes)),
        "units": ("pixel", *("angstrom" if store.voxel_size else "pixel",) * axes),
        "axis_labels": ("item", *"zyx"[-axes:]),
        "metadata": {"dataset": str(store.path), "classes": store.classes},
    }
    some = store.images(np.unique(np.linspace(0, len(store) - 1, 8).astype(int)))
    low, high = (float(value) for value in np.percentile(some, [1, 99]))
    look = {"colormap": "gray", "contrast_limits": (low, high if high > low else low + 1)}
    layers: list[LayerData] = [(store.dask(), frame | look | {"name": name}, "image")]
    if "partner" in store.kinds:
        layers.append((store.dask("partner"), frame | look | {"name": f"{name} partners", "visible": False}, "image"))
    if "mask" in store.kinds:
        layers.append((store.dask("mask"), frame | {"name": f"{name} masks", "opacity": 0.4}, "labels"))
    places = [store.points(i) for i in range(len(store))]
    points = [np.insert(of_item, 0, i, axis=1) for i, of_item in enumerate(places) if of_item is not None]
    if points:
        look = {"name": f"{name} points", "face_color": "transparent", "border_color": "yellow"}
        layers.append((np.concatenate(points), frame | look, "points"))
    return [*layers, (_corners(store), frame | _class_look(store, f"{name} classes"), "points")]


def _corners(store: Store) -> np.ndarray:
    """``(n, 1 + axes)`` a place in the first corner of each item, of volumes in the middle section."""
    import numpy as np

    corner = (store.shape[0] // 2, 0, 0) if len(store.shape) == 3 else (0, 0)
    return np.column_stack([np.arange(len(store)), np.tile(corner, (len(store), 1))]).astype(np.float32)


def _class_look(store: Store, name: str) -> dict[str, object]:
    """Points that say the class of their item, with all that is known of it as features."""
    import numpy as np

    classes = np.array([*store.classes, "-"], object)[store.labels]  # the label of items without a class is -1
    features = {"class": classes, "group": list(store.groups), "name": list(store.names), "weight": store.weights}
    text = {"string": "{class}", "color": "yellow", "anchor": "upper_left", "size": 12}
    unseen = {"face_color": "transparent", "border_color": "transparent", "size": 1}
    return {"name": name, "features": features, "text": text, "opacity": 1.0} | unseen


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
