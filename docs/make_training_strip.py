"""Make the strip of pictures of a training in the window: clicks, live picks, corrections, a second training, saving.

xvfb-run -a -s "-screen 0 1920x1080x24" python docs/make_training_strip.py [--out FILE]

Everything in the pictures is simulated by the project itself, and done by mouse and keyboard. Printed at the end is the
longest time for which the window answered nobody while the picker learned.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("NAPARI_CONFIG", str(Path(tempfile.mkdtemp(prefix="napari-")) / "settings.yaml"))

import numpy as np
from napari.layers import Points
from PIL import Image, ImageDraw, ImageFont
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_caked.widgets.train import PickerTrainer
from napari_caked.widgets.window import smooth
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.layers import micrograph_layer
from napari_empiarreader.micrographs import MicrographSeries
from napari_empiarreader.samples import SimulationSettings, sample_series

SIZE = (1500, 1000)
TICK = 16


class Window:
    """A napari window with the trainer, and hands for it."""

    def __init__(self, series: MicrographSeries, diameter: float) -> None:
        import napari
        from napari.layers import Layer

        self.viewer = napari.Viewer(title="napari")
        layer = self.viewer.add_layer(Layer.create(*micrograph_layer(series, name="micrographs")))
        smooth(layer, series)
        self.viewer.dims.set_current_step(0, 0)
        self.trainer = PickerTrainer(self.viewer)
        self.viewer.window.add_dock_widget(self.trainer, name="Train particle picker")
        self.trainer.form.diameter.setValue(diameter)
        self.viewer.window.resize(*SIZE)
        self.wait(3)
        self.viewer.window.resize(*SIZE)  # the docks have their sizes now
        self.viewer.reset_view()
        self.scale = series.require_pixel_size()
        self.pictures: list[tuple[str, np.ndarray]] = []
        self.gaps: list[float] = []

    @property
    def canvas(self):
        """The widget that napari paints on."""
        return self.viewer.window._qt_viewer.canvas.native

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let the window live."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            QApplication.processEvents()
            time.sleep(0.005)
        return until()

    def at(self, y: float, x: float) -> QPoint:
        """Where a pixel of the micrograph is on the canvas."""
        camera = getattr(self.viewer, "scene", self.viewer).camera
        offset = (np.array([y, x]) * self.scale - np.array(camera.center[-2:])) * camera.zoom
        return QPoint(round(self.canvas.width() / 2 + offset[1]), round(self.canvas.height() / 2 + offset[0]))

    def click(self, y: float, x: float) -> None:
        """Click on the micrograph."""
        QTest.mouseMove(self.canvas, self.at(y, x))
        QTest.mouseClick(self.canvas, Qt.MouseButton.LeftButton, pos=self.at(y, x))
        self.wait(0.15)

    def key(self, key: Qt.Key, y: float, x: float) -> None:
        """Press a key with the mouse on the micrograph."""
        self.canvas.setFocus()
        QTest.mouseMove(self.canvas, self.at(y, x))
        self.wait(0.8)
        QTest.keyClick(self.canvas, key)
        self.wait(0.8)

    def picture(self, caption: str) -> None:
        """Remember what is to be seen, without the mouse."""
        QTest.mouseMove(self.canvas, QPoint(3, 3))
        self.wait(2.5)  # picks are painted in parts
        self.pictures.append((caption, np.asarray(self.viewer.screenshot(canvas_only=False, flash=False))[..., :3]))
        print(caption, flush=True)

    def watch(self, done: Callable[[], bool], seconds: float) -> None:
        """Wait, measuring for how long the window answers nobody."""
        ticks = [time.perf_counter()]
        timer = QTimer()
        timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
        timer.start(TICK)
        if not self.wait(seconds, done):
            sys.exit(f"not done within {seconds:.0f} s: {self.trainer.form.status.text()}")
        timer.stop()
        self.gaps.extend(np.diff(ticks) * 1e3)


def main() -> None:
    """Tell the story and save its pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images" / "training_strip.jpg")
    out = parser.parse_args().out.absolute()
    series, truth = sample_series()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # so that messages name the file alone
        os.environ["CAKED_STATE"] = folder  # where the best picker so far is kept
        window = Window(series, SimulationSettings().particle_diameter)
        tell(window, truth)
        window.viewer.close()
        os.chdir("/")
    strip(window.pictures).save(out, quality=82)
    gaps = np.array(window.gaps)
    print(f"{out}: longest stall while learning {gaps.max():.0f} ms, 99 % below {np.percentile(gaps, 99):.0f}")


def tell(window: Window, truth: ParticleTable) -> None:
    """Ten clicks, a training with its live picks, two corrections, a second training, a file."""
    viewer, trainer, form = window.viewer, window.trainer, window.trainer.form
    form.new_labels.click()
    window.wait(2.5)
    places = truth.on(0)
    apart = places[np.argsort(np.abs(places - places.mean(axis=0)).max(axis=1))][:10]
    for y, x in apart:
        window.click(y, x)
    window.picture("1  Ten clicks")

    form.score_map.click()
    form.train.click()
    window.watch(lambda: len(viewer.layers["picks"].data) > 0 and form.curve.step > 80, 300)
    window.picture("2  Picks and score map while it learns")
    window.watch(lambda: not trainer.training, 300)
    form.score_map.click()
    viewer.dims.set_current_step(0, 1)
    window.picture("3  Picks on every micrograph, most of them never labelled")

    picks = viewer.layers["picks"]
    shape = viewer.layers["micrographs"].data.shape[-2:]
    missed, wrong, lowest = corrections(picks, truth, 1, form.diameter.value() / window.scale, shape)
    camera = getattr(viewer, "scene", viewer).camera
    camera.center = (0.0, *(np.mean([missed, wrong], axis=0) * window.scale))
    apart_by = np.abs(missed - wrong) * window.scale * camera.zoom + 150
    camera.zoom *= min(1.6, window.canvas.height() / apart_by[0], window.canvas.width() / apart_by[1])
    window.wait(0.5)
    form.inspector.set_threshold(0.9 * lowest)  # what is not shown cannot be corrected
    window.wait(2.0)
    window.key(Qt.Key.Key_A, *missed)
    window.key(Qt.Key.Key_X, *wrong)
    if (len(viewer.layers["labels"].data), len(viewer.layers["not particles"].data)) != (len(apart) + 1, 1):
        sys.exit(f"the corrections were not taken: {form.counts.text()}; {form.hint.text()}")
    form.inspector.set_threshold(0.5)
    window.picture("4  Two corrections by key: A accepts (yellow), X rejects (pink)")

    form.improve.click()
    window.watch(lambda: not trainer.training, 300)
    window.picture("5  Trained on from there")

    form.inspector.save(Path("picks.star"))
    window.wait(20, lambda: bool(form.inspector.status.text()))
    viewer.reset_view()
    viewer.dims.set_current_step(0, 2)
    bar = form._area.verticalScrollBar()
    bar.setValue(bar.maximum())
    window.picture("6  Saved for RELION: what is shown")


def corrections(
    picks: Points, truth: ParticleTable, index: int, width: float, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, float]:
    """A particle whose pick has a low score, the surest pick that is none, on one micrograph, and the lower score."""
    data, scores = np.asarray(picks.data), picks.features["score"].to_numpy()
    inside = ((data[:, 1:] > width) & (data[:, 1:] < np.array(shape) - width)).all(axis=1)
    here = np.flatnonzero((data[:, 0] == index) & inside)
    away = np.linalg.norm(data[here, None, 1:] - truth.on(index)[None], axis=-1).min(axis=1)
    right, wrong = here[away < width / 4], here[away > width / 2]
    if not len(right) or not len(wrong):
        sys.exit("there is nothing to correct")
    missed, false = right[scores[right].argmin()], wrong[scores[wrong].argmax()]
    return data[missed, 1:], data[false, 1:], float(min(scores[missed], scores[false]))


def strip(pictures: list[tuple[str, np.ndarray]], columns: int = 2, width: int = 1000) -> Image.Image:
    """All pictures as one, with their captions."""
    font, bar, gap = ImageFont.load_default(size=24), 44, 12
    small = [Image.fromarray(picture) for _, picture in pictures]
    small = [one.resize((width, round(one.height * width / one.width)), Image.Resampling.LANCZOS) for one in small]
    height = max(one.height for one in small) + bar
    rows = -(-len(small) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (one, (caption, _)) in enumerate(zip(small, pictures, strict=True)):
        left, top = gap + i % columns * (width + gap), gap + i // columns * (height + gap)
        draw.text((left + 4, top + 6), caption, "black", font)
        sheet.paste(one, (left, top + bar))
    return sheet


if __name__ == "__main__":
    main()
