"""A napari window with the layers of a finished job and the training widget beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import napari

    from napari_caked.walkthrough import JobResult

__all__ = ["open_window", "show"]


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
    viewer = napari.Viewer(title=f"EMPIAR-{result.entry.number}")
    viewer.add_layer(Layer.create(*micrograph_layer(result.series, name=f"EMPIAR-{result.entry.number}")))
    picks = particles_layer(result.picks, name="picks", border_color="cyan", **frame)
    viewer.add_layer(Layer.create(*picks))
    viewer.layers["picks"].shown = result.picks.features["score"].to_numpy() >= result.evaluation.threshold
    viewer.add_layer(Layer.create(*particles_layer(result.labels, name="labels", border_color="yellow", **frame)))
    # Begin where nothing was trained on, so that what is seen is what the picker found by itself.
    viewer.dims.set_current_step(0, result.series.names.index(result.held_out[0]))
    viewer.window.add_plugin_dock_widget("napari-caked", "Train particle picker")
    return viewer
