"""Make the picture of pruning: the wall of pictures before and after learning from marks, and the map of junk.

xvfb-run -a -s "-screen 0 1920x1080x24" python docs/make_pruning_picture.py [--out FILE]

Everything in it is simulated by the project itself: particles among ice, gold, heaps and broken particles, and an edge
of carbon. The picks are all true places, and as many others anywhere between them.
"""

from __future__ import annotations

import argparse
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
from napari.layers import Layer
from PIL import Image
from qtpy.QtWidgets import QApplication
from scipy.spatial import cKDTree

from napari_caked.simulate import (
    DecoySettings,
    Density,
    OpticsSettings,
    SceneSettings,
    SimulationSettings,
    ViewSettings,
)
from napari_caked.simulate import bank_of, simulate_micrograph
from napari_caked.widgets._gallery import Mark
from napari_caked.widgets.prune import PickPruner
from napari_caked.widgets.window import smooth
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.layers import micrograph_layer, particles_layer
from napari_empiarreader.micrographs import MicrographSeries

BENCHMARKS = Path(__file__).parents[1] / "tests" / "benchmarks"
PIXEL_SIZE, DIAMETER, SIDE = 2.0, 130.0, 1024
MARKS = 12


def main() -> None:
    """Judge, mark, learn, map, and save what is to be seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images" / "pruning.jpg")
    out = parser.parse_args().out
    series, picks, right = made_up()
    import napari

    viewer = napari.Viewer(title="napari")
    viewer.window.resize(1700, 1000)
    layer = viewer.add_layer(Layer.create(*micrograph_layer(series, name="micrographs")))
    smooth(layer, series)
    frame = {"pixel_size": PIXEL_SIZE, "diameter": DIAMETER}
    viewer.add_layer(Layer.create(*particles_layer(picks, name="picks", border_color="cyan", **frame)))
    pruner = PickPruner(viewer)
    viewer.window.add_dock_widget(pruner, name="Prune picks")
    pruner.form.diameter.setValue(DIAMETER)
    wait(3)
    viewer.reset_view()
    pruner.start()
    finish(pruner)
    pictures = [picture(viewer)]
    rng = np.random.default_rng(0)
    pruner.marks.mark(rng.choice(np.flatnonzero(right), MARKS, replace=False), Mark.GOOD)
    pruner.marks.mark(rng.choice(np.flatnonzero(~right), MARKS, replace=False), Mark.BAD)
    told_apart(pruner, right, "before learning")
    pruner.start(learn=True)
    finish(pruner)
    told_apart(pruner, right, f"after {MARKS} marks of each kind")
    pruner.map_junk()
    finish(pruner)
    pictures.append(picture(viewer))
    viewer.close()
    sheet = Image.fromarray(np.vstack(pictures))
    sheet.resize((sheet.width * 3 // 4, sheet.height * 3 // 4), Image.Resampling.LANCZOS).save(out, quality=82)
    print(out)


def made_up() -> tuple[MicrographSeries, ParticleTable, np.ndarray]:
    """Three micrographs, picks on them, and which of these are particles."""
    volume = runpy.run_path(str(BENCHMARKS / "simulator_preview.py"))["shell"]()
    bank = bank_of(Density(volume, 1.5, "shell"), ViewSettings(views=60), PIXEL_SIZE, seed=8, broken=24)
    settings = SimulationSettings(
        PIXEL_SIZE,
        seed=7,
        scene=SceneSettings(shape=(SIDE, SIDE), particles=60),
        decoys=DecoySettings(broken=6, aggregates=4, ice_crystals=5, ice_lumps=5, gold=6, carbon="edge"),
        optics=OpticsSettings(defocus=(1.5, 2.2)),
    )
    images, places, right = [], [], []
    for index in range(3):
        made = simulate_micrograph(bank, settings, index)
        images.append(made.image.astype(np.float32))
        true = np.asarray(made.scene.centres)[:, -2:]
        rng = np.random.default_rng(index)
        others = rng.uniform(40, SIDE - 40, (400, 2))
        others = others[cKDTree(true).query(others)[0] > DIAMETER / PIXEL_SIZE][: len(true)]
        for yx, is_right in ((true, True), (others, False)):
            places.append(np.column_stack([np.full(len(yx), index), yx]))
            right.append(np.full(len(yx), is_right))
    names = tuple(f"made_up_{i + 1}.mrc" for i in range(3))
    series = MicrographSeries.from_array(np.stack(images), names, pixel_size=PIXEL_SIZE)
    table = ParticleTable(names, np.concatenate(places))
    inside = ((table.coordinates[:, 1:] >= 0) & (table.coordinates[:, 1:] <= SIDE - 1)).all(axis=1)
    return series, table.where(inside), np.concatenate(right)[inside]


def told_apart(pruner: PickPruner, right: np.ndarray, when: str) -> None:
    """Say how many are judged right."""
    assert pruner.verdicts is not None
    said = pruner.verdicts["probability"].to_numpy() >= 0.5
    print(f"{when}: {(said == right).mean():.1%} of {len(right)} picks are judged right", flush=True)


def finish(pruner: PickPruner) -> None:
    """Wait for the job."""
    if not wait(300, lambda: not pruner.judging):
        sys.exit("not done in five minutes")
    print(pruner.form.status.text(), flush=True)
    wait(2)


def wait(seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
    """Let the window live."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        QApplication.processEvents()
        time.sleep(0.005)
    return until()


def picture(viewer) -> np.ndarray:
    """The whole window."""
    return np.asarray(viewer.screenshot(canvas_only=False, flash=False))[..., :3]


if __name__ == "__main__":
    main()
