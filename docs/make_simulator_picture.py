"""Make the picture of the simulator: its preview beside the micrographs that it was matched to, in a real window.

xvfb-run -a -s "-screen 0 1920x1080x24" python docs/make_simulator_picture.py [--real FOLDER] [--out FILE]

Without ``--real`` everything in the picture is made by the project itself: the micrographs to match are simulated with
the noise of a detector at a dose of one or two frames, and the widget is told nothing of how. With ``--real`` it is
matched to micrographs of that folder (of a round particle of 120 Å), for ``--out`` to be looked at.
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
from PIL import Image
from qtpy.QtWidgets import QApplication

from napari_caked.simulate import Density, OpticsSettings, SceneSettings, SimulationSettings, ViewSettings, bank_of
from napari_caked.simulate import simulate_micrograph
from napari_caked.simulate.settings import MeasuredNoise
from napari_caked.layers import series_from_layer
from napari_caked.widgets.simulate import MicrographSimulator
from napari_caked.widgets.window import smooth
from napari_empiarreader.micrographs.mrc import write_mrc

BENCHMARKS = Path(__file__).parents[1] / "tests" / "benchmarks"
PIXEL_SIZE, PARTICLES = 1.5, 160


def main() -> None:
    """Match, preview, and save what is to be seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, help="folder of micrographs to match; simulated ones if left out")
    parser.add_argument("--particles", type=int, default=PARTICLES, help="on a micrograph, about")
    parser.add_argument("--pixel-size", type=float, default=PIXEL_SIZE, help="Å, where the micrographs do not say")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images" / "simulator_preview.jpg")
    arguments = parser.parse_args()
    volume = runpy.run_path(str(BENCHMARKS / "simulator_preview.py"))["shell"]()
    with tempfile.TemporaryDirectory() as folder:
        real = arguments.real or stand_ins(volume, Path(folder))
        write_mrc(Path(folder) / "shell.map", volume, PIXEL_SIZE)
        show(Path(folder) / "shell.map", sorted(real.glob("*.mrc")), arguments)


def stand_ins(volume: np.ndarray, folder: Path) -> Path:
    """Micrographs that take the place of real ones; of how they are made the window is told nothing."""
    curve = runpy.run_path(str(BENCHMARKS / "_barrels.py"))
    noise = MeasuredNoise(8000.0, curve["NOISE_DEVIATION"], 8.0, curve["NOISE_FREQUENCY"], curve["NOISE_POWER"])
    settings = SimulationSettings(
        PIXEL_SIZE,
        seed=77,
        scene=SceneSettings(shape=(1000, 1000), particles=PARTICLES),
        optics=OpticsSettings(defocus=(1.8, 2.2)),
        noise=noise,
    )
    bank = bank_of(Density(volume, PIXEL_SIZE, "shell"), ViewSettings(views=100), PIXEL_SIZE, seed=78)
    for index in range(3):
        write_mrc(folder / f"stand_in_{index}.mrc", simulate_micrograph(bank, settings, index).image, PIXEL_SIZE)
    return folder


def wait(seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
    """Let the window live."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        QApplication.processEvents()
        time.sleep(0.005)
    return until()


def show(density: Path, files: list[Path], arguments: argparse.Namespace) -> None:
    """Do it all in the window."""
    import napari

    viewer = napari.Viewer(title="napari")
    viewer.window.resize(1800, 900)
    simulator = MicrographSimulator(viewer)
    viewer.window.add_dock_widget(simulator, name="Simulate micrographs")
    form = simulator.form
    simulator.open_real([str(file) for file in files])
    if not wait(60, lambda: form.real.layer is not None):
        sys.exit(form.status.text())
    if not form.real.layer.metadata.get("pixel_size"):
        form.pixel_size.setValue(arguments.pixel_size)
    form.particles.setValue(arguments.particles)
    simulator.density.take_file(density)
    simulator.match()
    if not wait(600, lambda: not simulator.busy) or simulator.noise is None:
        sys.exit(form.status.text())
    print(form.status.text())
    # As large a part as the real micrograph shows, so that the two lie beside each other.
    form.side.setValue(max(form.height.value(), form.width.value()))
    form.live.setChecked(True)
    if not wait(120, lambda: simulator.preview.image is not None):
        sys.exit(form.latency.text())
    wait(3)
    ticket = simulator.preview._shown
    form.number.setValue(2)  # a preview without the beginnings of PyTorch in its time
    wait(60, lambda: simulator.preview._shown > ticket)
    # What has so little signal is looked at smoothed, both in the same way.
    real, made = form.real.layer, simulator.preview.image
    smooth(real, series_from_layer(real))
    made.interpolation2d, made.custom_interpolation_kernel_2d = "custom", real.custom_interpolation_kernel_2d
    made.contrast_limits = real.contrast_limits
    simulator.preview.points.border_width, simulator.preview.points.opacity = 0.03, 0.6
    viewer.reset_view()
    camera = getattr(viewer, "scene", viewer).camera
    camera.zoom *= 1.04
    wait(1)
    print(form.latency.text())
    picture = np.asarray(viewer.screenshot(canvas_only=False, flash=False))[..., :3]
    Image.fromarray(picture).save(arguments.out, quality=85)
    viewer.close()


if __name__ == "__main__":
    main()
