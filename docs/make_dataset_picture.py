"""Make the pictures of the window of data sets: its contact sheet, a recipe that is tried, and a split.

xvfb-run -a -s "-screen 0 1920x1080x24" python docs/make_dataset_picture.py

Everything in them is made by the project itself: micrographs of a shell are simulated, its particles and its decoys are
the classes.
"""

from __future__ import annotations

import os
import runpy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("NAPARI_CONFIG", str(Path(tempfile.mkdtemp(prefix="napari-")) / "settings.yaml"))

import napari_caked  # noqa: F401, I001  (before PyTorch)
import numpy as np
from PIL import Image
from qtpy.QtWidgets import QApplication

from napari_caked.simulate import Density, OpticsSettings, SceneSettings, SimulationSettings, ViewSettings, bank_of
from napari_caked.simulate import simulate_micrograph
from napari_caked.simulate.settings import DecoySettings
from napari_caked.simulate.truth import truth_of
from napari_caked.widgets.dataset import DatasetBuilder

IMAGES = Path(__file__).parent / "images"
BENCHMARKS = Path(__file__).parents[1] / "tests" / "benchmarks"
PIXEL_SIZE, MICROGRAPHS, BOX = 3.0, 3, 220.0
RECIPE = {
    "LowPass": {"resolution": 25.0},
    "ZScore": {},
    "Rotate": {},
    "Contrast": {"factor": [0.7, 1.4]},
    "Erase": {"side": [0.2, 0.4]},
}


def main() -> None:
    """Look at items, try a recipe, and save what is to be seen."""
    import napari

    viewer = napari.Viewer(title="napari")
    viewer.window.resize(1500, 950)
    add_layers(viewer)
    builder = DatasetBuilder(viewer)
    viewer.window.add_dock_widget(builder, name="Build data set")
    form = builder.form
    for name in ("particles", "decoys"):
        form.layers.tick(viewer.layers[name])
    form.box.setValue(BOX)
    builder.show_items()
    if not wait(120, lambda: form.recipe.add.isEnabled()):
        sys.exit(form.status.text())
    save(viewer, "dataset_items.jpg")
    form.sheet.scroll_to(5)
    form.tabs.setCurrentIndex(1)
    for name, parameters in RECIPE.items():
        form.recipe.append(name, parameters)
    for _ in range(4):  # the first answers have the beginnings of PyTorch in their time
        form.another.click()
        wait(20, lambda: builder.trying.shown == builder.trying.asked)
        print(form.latency.text())
        wait(0.3)
    form.recipe.steps.setCurrentRow(2)
    save(viewer, "dataset_recipe.jpg")
    builder._work.close()
    viewer.close()


def add_layers(viewer: object) -> None:
    """Micrographs of a shell, its particles and its decoys."""
    volume = runpy.run_path(str(BENCHMARKS / "simulator_preview.py"))["shell"]()
    settings = SimulationSettings(
        PIXEL_SIZE,
        seed=5,
        scene=SceneSettings(shape=(700, 700), particles=40),
        optics=OpticsSettings(defocus=(1.8, 2.4)),
        decoys=DecoySettings(aggregates=4, ice_lumps=4, gold=2),
    )
    bank = bank_of(Density(volume, 1.5, "shell"), ViewSettings(views=100), PIXEL_SIZE, seed=6)
    made = [simulate_micrograph(bank, settings, index) for index in range(MICROGRAPHS)]
    names = [f"stand_in_{index}.mrc" for index in range(MICROGRAPHS)]
    about = {"scale": (1, PIXEL_SIZE, PIXEL_SIZE), "metadata": {"micrographs": names, "pixel_size": PIXEL_SIZE}}
    viewer.add_image(np.stack([one.image for one in made]), name="micrographs", **about)
    truths = [truth_of(one, 2) for one in made]
    look = {"face_color": "transparent", "size": bank.diameter / PIXEL_SIZE}
    for name, colour in (("particles", "yellow"), ("decoys", "#ff5fa2")):
        tables = [getattr(truth, name) for truth in truths]
        places = [np.insert(table[:, :2], 0, index, axis=1) for index, table in enumerate(tables)]
        viewer.add_points(np.concatenate(places), name=name, border_color=colour, **look, **about)


def wait(seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
    """Let the window live."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        QApplication.processEvents()
        time.sleep(0.005)
    return until()


def save(viewer: object, name: str) -> None:
    """What the window shows now."""
    wait(1)
    picture = np.asarray(viewer.screenshot(canvas_only=False, flash=False))[..., :3]
    Image.fromarray(picture).save(IMAGES / name, quality=85)


if __name__ == "__main__":
    main()
