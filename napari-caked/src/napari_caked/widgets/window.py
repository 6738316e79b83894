"""A napari window with the layers of a finished job and the training widget beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_empiarreader.micrographs import contrast_limits

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from napari_caked.walkthrough import JobResult
    from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["open_window", "show", "smooth"]


def show(result: JobResult) -> None:
    """Open the window and stay until it is closed."""
    import napari

    open_window(result)
    napari.run()


def open_window(result: JobResult) -> napari.Viewer:
    """Viewer with micrographs, labels and picks of a job, ready to click on and to train again."""
    import napari
    from napari.layers import Layer

    from napari_empiarreader.layers import micrograph_layer, particles_layer

    frame = {"pixel_size": result.series.pixel_size, "diameter": result.model.particle_diameter}
    name = f"EMPIAR-{result.entry.number}"
    viewer = napari.Viewer(title=name)
    micrographs = viewer.add_layer(Layer.create(*micrograph_layer(result.series, name=name)))
    smooth(micrographs, result.series)
    picks = Layer.create(*particles_layer(result.picks, name="first picks", border_color="cyan", **frame))
    picks.shown = result.picks.features["score"].to_numpy() >= result.evaluation.threshold
    viewer.add_layer(picks)
    viewer.add_layer(Layer.create(*particles_layer(result.labels, name="labels", border_color="yellow", **frame)))
    # Begin where nothing was trained on, so that what is seen is what the picker found by itself.
    viewer.dims.set_current_step(0, result.series.names.index(result.held_out[0]))
    _, trainer = viewer.window.add_plugin_dock_widget("napari-caked", "Train particle picker")
    trainer.form.diameter.setValue(result.model.particle_diameter)
    return viewer


def smooth(layer: Image, series: MicrographSeries) -> None:
    """Blur what is shown by 1.5 pixels: in the shader, the data stay as they are."""
    width = 1.5
    offsets = np.arange(-3, 4)  # without a graphics card every element costs 1 ms in each repaint
    kernel = np.exp(-0.5 * ((offsets[:, None] / width) ** 2 + (offsets / width) ** 2))
    kernel = (kernel / kernel.sum()).astype(np.float32)
    layer.interpolation2d = "custom"
    layer.custom_interpolation_kernel_2d = kernel
    # White noise keeps this share of its deviation.
    low, high = contrast_limits(series.read(0))
    middle, reach = (low + high) / 2, (high - low) / 2 * max(2.5 * float(np.sqrt((kernel**2).sum())), 0.2)
    layer.contrast_limits = (middle - reach, middle + reach)
