"""Make the picture of the README: the main job in a real window, on the built-in entry.

xvfb-run -a -s "-screen 0 1920x1080x24" python docs/make_pictures.py

Everything in the picture is simulated by the project itself.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from napari_caked.walkthrough import Job, run, served_sample
from napari_caked.widgets.window import open_window

FOLDER = Path(__file__).parent / "images"


def main() -> None:
    """Open the window, train in it, and save what is to be seen."""
    with served_sample() as (entry, archive, diameter):
        result = run(Job(entry, diameter), archive)
        viewer = open_window(result)
        trainer = _trainer(viewer)
        viewer.window.resize(1600, 960)
        _wait(lambda: False, 2)
        viewer.window.resize(1600, 960)  # the docks have their sizes now
        trainer.form.train.click()
        if not _wait(lambda: not trainer.training, 180):
            sys.exit("training did not end within three minutes")
        viewer.layers["first picks"].visible = False  # the widget has made its own
        viewer.reset_view()
        _wait(lambda: False, 2)
        window = viewer.screenshot(canvas_only=False, flash=False)
        canvas = viewer.screenshot(canvas_only=True, flash=False)
        if canvas[..., :3].std() < 5:
            sys.exit("the canvas is empty: this screen has no OpenGL")
        FOLDER.mkdir(exist_ok=True)
        Image.fromarray(np.asarray(window)[..., :3]).save(FOLDER / "window.jpg", quality=88)
        print(FOLDER / "window.jpg", window.shape)
        viewer.close()


def _trainer(viewer):
    from napari_caked.widgets.train import PickerTrainer

    docks = viewer.window.dock_widgets.values()
    return next(widget for widget in docks if isinstance(widget, PickerTrainer))


def _wait(done, seconds: float) -> bool:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while time.monotonic() < end and not done():
        QApplication.processEvents()
        time.sleep(0.01)
    return done()


if __name__ == "__main__":
    main()
