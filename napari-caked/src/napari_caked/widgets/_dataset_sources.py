"""From layers and folders to what the helper is told of a source. Knows no Qt and no PyTorch.

:func:`captured` belongs to the main thread and copies little; :meth:`Capture.parts` is slow where much is painted, and
belongs to any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_caked.datasets.classes import ByCsv, ByFolder, ByPattern, ByPrefix, ClassRule, OneClass
from napari_caked.datasets.sources.files import SUFFIXES
from napari_caked.datasets.sources.painted import Region, drawn, painted
from napari_caked.datasets.sources.particles import column_of, pixels_of_box, united_tables
from napari_caked.errors import DatasetError
from napari_caked.item_layers import class_names_of, regions_of, require_same_pixels
from napari_caked.layers import series_from_layer, table_from_points
from napari_caked.widgets._dataset_messages import Cut, InFolder, OnMicrographs
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries

if TYPE_CHECKING:
    from napari.layers import Image, Layer

__all__ = ["RULES", "Capture", "captured", "example_of", "rule_of"]

RULES: Mapping[str, str] = {
    "prefix": "the name up to",
    "folder": "the folder it is in",
    "pattern": "a regular expression",
    "csv": "a CSV file",
    "one": "one class for all",
}
"""How the class of a file is known, in words."""
_SHOWN = 4


@dataclass(frozen=True)
class _Painted:
    """A Labels layer: its pixels, and the names of the classes that its numbers stand for."""

    data: Any
    names: Mapping[int, str] | None


@dataclass(frozen=True)
class Capture:
    """What layers hold.

    Attributes
    ----------
    series
        The micrographs.
    box
        Å where the pixel size is known, pixels where not.
    tables, painted, regions
        What is clicked, by its class; painted; drawn.
    """

    series: MicrographSeries
    box: float
    tables: Mapping[str, ParticleTable] = field(default_factory=dict)
    classes: str | None = None
    painted: tuple[_Painted, ...] = ()
    regions: tuple[tuple[Region, ...], ...] = ()

    def parts(self) -> tuple[OnMicrographs, Callable[[int], np.ndarray]]:
        """What the helper is told, and what reads micrographs and masks for it.

        Raises
        ------
        DatasetError
            There is nothing on the layers, or what there is cannot be used.
        """
        series = self.series
        box = pixels_of_box(series, self.box, "Å" if series.pixel_size else "pixel")
        cuts, masks = [], []
        if any(len(table) for table in self.tables.values()):
            cuts.append(Cut(self._clicked(), box))
        for one in self.painted:
            table, stack = painted(one.data, series.names, box, one.names)
            masks.append(stack)
            cuts.append(Cut(table, box, len(masks)))
        for regions in self.regions:
            table, stack = drawn(regions, series.names, series.shape, box)
            masks.append(stack)
            cuts.append(Cut(table, box, len(masks)))
        if not cuts:
            raise DatasetError("there is nothing on the layers that are ticked; click, paint or draw something")

        def read(index: int) -> np.ndarray:
            stack, micrograph = divmod(index, len(series))
            return np.asarray((series, *masks)[stack].read(micrograph))

        about = series.names, series.shape, series.dtype, series.pixel_size, str(series.source)
        return OnMicrographs(*about, tuple(cuts)), read

    def _clicked(self) -> ParticleTable:
        """All points, with nothing but the class of each."""
        import pandas as pd

        table = united_tables(self.tables, self.series.names)
        table.require_inside(self.series.shape)
        names = column_of(table.features, self.classes or "class_name", "the points")
        features = pd.DataFrame({"class_name": [name or "" for name in names]})
        return ParticleTable(table.micrographs, table.coordinates, features)


def captured(
    micrographs: Image,
    layers: Sequence[Layer],
    box: float,
    classes: str | None = None,
    pixel_size: float | None = None,
) -> Capture:
    """What is clicked, painted and drawn on micrographs.

    Parameters
    ----------
    micrographs
        Their layer.
    layers
        Points, Labels and Shapes.
    box
        Side of an item: Å where the pixel size is known, pixels where not.
    classes
        Feature that holds the class; without it the names of Points and Shapes layers and the numbers of Labels.
    pixel_size
        Å, in place of what the layer says.

    Raises
    ------
    DatasetError
        There are no layers, a layer has no such feature, does not lie on the micrographs, or as of what reads it.
    """
    if not layers:
        raise DatasetError("tick the layers that hold what is to be cut out: points, labels or shapes")
    if len({layer.name for layer in layers}) < len(layers):
        raise DatasetError("two of the layers have the same name; rename one of them")
    if not box:
        raise DatasetError("the side of a box is unknown; give it")
    series = series_from_layer(micrographs, pixel_size)
    of: dict[str, list[Any]] = {"points": [], "labels": [], "shapes": []}
    for layer in layers:
        of[layer._type_string].append(layer)
    tables = {layer.name: table_from_points(layer, series.names, micrographs) for layer in of["points"]}
    for name, table in tables.items():
        if classes is not None and len(table):
            column_of(table.features.head(0), classes, f"the layer '{name}'")  # the values take their time elsewhere
    return Capture(
        series,
        box,
        tables,
        classes,
        tuple(_painted_on(micrographs, series, layer, classes) for layer in of["labels"]),
        tuple(tuple(regions_of(micrographs, layer, classes)) for layer in of["shapes"]),
    )


def _painted_on(micrographs: Image, series: MicrographSeries, labels: Any, classes: str | None) -> _Painted:
    data = labels.data[0] if labels.multiscale else labels.data
    require_same_pixels(micrographs, labels, data.shape, (len(series), *series.shape))
    return _Painted(data, None if classes is None else class_names_of(labels, classes))


def rule_of(said: InFolder) -> ClassRule:
    """How the class of a file is known.

    Raises
    ------
    DatasetError
        A regular expression that is none, or nothing given where something is needed.
    """
    match said.rule:
        case "prefix":
            return ByPrefix(said.said or "_")
        case "folder":
            return ByFolder()
        case "csv" if said.said:
            return ByCsv(Path(said.said))
        case "pattern" if said.said:
            return ByPattern(said.said)
        case "one":
            return OneClass(said.said or None)
    raise DatasetError(f"to know classes by {RULES.get(said.rule, said.rule)}, say which")


def example_of(said: InFolder) -> str:
    """What a rule makes of the first names of a folder, in words; an error of the rule is one of these."""
    root = Path(said.path)
    if not said.path or not root.is_dir():
        return f"{said.path}: no such folder" if said.path else ""
    try:
        rule, names = rule_of(said), _first_names(root)
    except DatasetError as error:
        return str(error)
    if not names:
        return f"{root}: none of its files ends with {', '.join(SUFFIXES)}"
    lines = []
    for name in names:
        try:
            lines.append(f"{name} → {rule.said_of(name).name or 'no class'}")
        except DatasetError as error:
            lines.append(str(error))
    return "\n".join(lines)


def _first_names(root: Path) -> list[str]:
    """Names of the first files that look like images, with their folders below the root."""
    import itertools

    # A glob is lazy; a folder of a million files is not read to its end.
    files = (path for path in root.rglob("*") if path.name.lower().endswith(tuple(SUFFIXES)))
    return sorted(path.relative_to(root).as_posix() for path in itertools.islice(files, _SHOWN))
