"""What the simulator does in threads: read densities and micrographs, make stacks, simulate ahead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_caked.simulate.lazy import lazy_series
from napari_caked.simulate.settings import SimulationSettings
from napari_caked.widgets._sim_layers import require_voxel_size, stack_layers
from napari_caked.widgets._sim_messages import Advanced, Specimen
from napari_caked.widgets._sim_stack import Stack
from napari_empiarreader.layers import LayerData, micrograph_layer

if TYPE_CHECKING:
    from napari.components import LayerList
    from napari.layers import Layer

    from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["MadeStack", "file_specimen", "layer_specimen", "made_stack", "opened_micrographs"]

_AHEAD = (1, 2, -1)
"""Neighbours of the micrograph in view that are simulated before somebody looks at them."""


@dataclass
class MadeStack:
    """A stack that is ready to be shown.

    Attributes
    ----------
    stack, series
        Where its micrographs come from.
    layer_data
        Of micrographs, particles, and of what is none.
    layers
        Made of them, in the main thread.
    """

    stack: Stack
    series: MicrographSeries
    layer_data: list[LayerData]
    layers: list[Layer] = field(default_factory=list)

    def end_with_layer(self, layers: LayerList) -> None:
        """End the helper once the layer of the micrographs is removed, whether there is still a widget or not."""
        micrographs, stack = self.layers[0], self.stack

        def end(event: Any) -> None:
            if event.value is micrographs:
                layers.events.removed.disconnect(end)
                stack.rest()

        layers.events.removed.connect(end)

    def ahead(self, index: int) -> Callable[[], None]:
        """Something to run in a thread: simulates the neighbours of this micrograph."""

        def read() -> None:
            for step in _AHEAD:
                if 0 <= index + step < len(self.series) and self.stack.awake:
                    self.series.read(index + step)

        return read


def layer_specimen(data: Any, name: str, voxel_size: float | None, mass: float | None) -> Callable[[], Specimen]:
    """Something to run in a thread: reads the density of a layer."""

    def read() -> Specimen:
        size = require_voxel_size(voxel_size, name)
        return Specimen(np.array(data, np.float32), size, name, mass)

    return read


def file_specimen(path: Path, voxel_size: float | None, mass: float | None) -> Callable[[], Specimen]:
    """Something to run in a thread: reads the density of an MRC or CCP4 file."""

    def read() -> Specimen:
        from napari_caked.simulate.project import read_density

        density = read_density(path, voxel_size)
        return Specimen(density.volume, density.voxel_size, density.name, mass)

    return read


def opened_micrographs(paths: list[str | Path]) -> Callable[[], LayerData]:
    """Something to run in a thread: opens micrographs, and reads the first."""

    def read() -> LayerData:
        from napari_empiarreader import open_micrographs

        return micrograph_layer(open_micrographs(paths), name=f"real {Path(paths[0]).stem}")

    return read


def made_stack(
    stack: Stack,
    settings: SimulationSettings,
    count: int,
    source: str,
    looked_at: int,
    heard: Callable[[object], None],
) -> MadeStack:
    """Truth and layers of a stack, and those of its micrographs in the cache that napari reads at once.

    Parameters
    ----------
    stack, settings, count, source
        What to simulate, of which density.
    looked_at
        Where the slider is.
    heard
        Told how far it is, in this thread.
    """
    laid = stack.truth(heard)
    series = lazy_series(settings, count, stack.image, source)
    # napari reads the first and the middle one when the layer is made, and then the one in view.
    first = sorted({0, count // 2, (count - 1) // 2, min(looked_at, count - 1)})
    for done, index in enumerate(first):
        heard(Advanced("Simulating", done, len(first)))
        series.read(index)
    return MadeStack(stack, series, stack_layers(series, laid, settings))
