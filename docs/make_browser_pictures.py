"""Make the pictures of the browser: a search, a movie, and particles from a file over a micrograph.

xvfb-run -a -s "-screen 0 1920x1080x24" python docs/make_browser_pictures.py

Everything in the pictures is simulated or made up by the project itself, and served from this machine.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parent / "images"
SAMPLE, MOVIES = 99001, 99002
SIZE = (1600, 960)
DOCK = 400


def main() -> None:
    """Make the three pictures."""
    with tempfile.TemporaryDirectory() as scratch:
        # Before napari and the archive look: neither the user's settings nor the user's caches are touched.
        os.environ["NAPARI_CONFIG"] = str(Path(scratch) / "settings.yaml")
        os.environ["EMPIAR_CACHE"] = str(Path(scratch) / "cache")
        from napari_empiarreader.archive.server import LoopbackArchive
        from napari_empiarreader.samples import make_sample_entry

        root = make_sample_entry(Path(scratch) / "archive")
        make_movies(root)
        with LoopbackArchive(root) as server:
            describe_entries(server)
            show_search(server, Path(scratch))
            show_movie(server, Path(scratch))
            show_particles(server, root, Path(scratch))


# ---- what is shown -----------------------------------------------------------------------------------------------


def describe_entries(server) -> None:
    """Let the archive know three hundred made-up entries."""
    from napari_empiarreader.samples.descriptions import describe_entry

    for number in range(10_002, 10_302):
        server.add_metadata(number, describe_entry(number))


def make_movies(root: Path, count: int = 2, frames: int = 12) -> None:
    """Write an entry of movies seen through an uneven detector, and its gain reference, which lies turned."""
    import tifffile

    from napari_empiarreader.samples import SimulationSettings, simulate_micrograph

    folder = root / str(MOVIES) / "data" / "movies"
    folder.mkdir(parents=True)
    random = np.random.default_rng(1)
    settings = SimulationSettings(dose=60.0)
    gain = random.normal(1, 0.12, settings.shape).clip(0.5, 1.5).astype(np.float32)
    for index in range(count):
        image, _ = simulate_micrograph(index, settings)
        seen = random.poisson(image / frames / gain, (frames, *image.shape)).astype(np.uint16)
        tifffile.imwrite(folder / f"FoilHole_{index + 1}_fractions.tiff", seen, compression="zlib")
    tifffile.imwrite(folder / "gain_reference.tiff", np.rot90(gain))
    imageset = {
        "name": "Simulated movies",
        "directory": "data/movies",
        "category": "micrographs - multiframe",
        "data_format": "TIFF",
        "frames_per_image": frames,
        "num_images_or_tilt_series": count,
        "pixel_width": settings.pixel_size,
    }
    description = {"title": "Simulated movies of a hollow cage of 24 subunits", "imagesets": [imageset]}
    (root / str(MOVIES) / "entry.json").write_text(json.dumps(description))


# ---- the pictures ------------------------------------------------------------------------------------------------


def show_search(server, scratch: Path) -> None:
    """Search for a protein while a micrograph is open."""
    viewer, browser = open_browser(server, scratch)
    open_folder(browser, viewer, SAMPLE, "data/micrographs")
    browser.form.search.index_button.click()
    wait_for(lambda: "just now" in browser.form.search.index_label.text(), "the index was not built")
    type_into(browser.form.entry_edit, "galactosidase")
    wait_for(lambda: "galactosidase" in titles(browser), "nothing was found")
    look(viewer, 30)
    save(viewer, browser, "search")


def show_movie(server, scratch: Path) -> None:
    """Show a movie, and the proposed orientation of its gain reference."""
    viewer, browser = open_browser(server, scratch)
    browser.form.filter_edit.setText("*_fractions.tiff")
    open_folder(browser, viewer, MOVIES, "data/movies")
    view = look(viewer, 40)
    view.sums.gain.setText(str(server.root / str(MOVIES) / "data" / "movies" / "gain_reference.tiff"))
    view.sums.propose.click()
    wait_for(lambda: "Likeliest" in view.status.text(), "no orientation was proposed")
    save(viewer, view, "movie")


def show_particles(server, root: Path, scratch: Path) -> None:
    """Import particles whose rows count from the bottom."""
    import csv

    from napari_empiarreader.coordinates import read_particles
    from napari_empiarreader.widgets.particles import ParticleImporter

    viewer, browser = open_browser(server, scratch)
    open_folder(browser, viewer, SAMPLE, "data/micrographs")
    table = read_particles(root / str(SAMPLE) / "data" / "particles.star")
    file = scratch / "picks.csv"
    with file.open("w", newline="") as out:
        rows = [(table.micrographs[int(m)], f"{x:.1f}", f"{1023 - y:.1f}") for m, y, x in table.coordinates]
        csv.writer(out).writerows([("micrograph", "x", "y"), *rows])
    look(viewer, 30)
    importer = ParticleImporter(viewer)
    dock(viewer, importer, "Import particles")
    importer.diameter.setValue(130)
    importer.path.setText(str(file))
    importer.read_button.click()
    wait_for(lambda: importer.imported is not None, "the particles were not read")
    save(viewer, importer, "particles")


# ---- hands -------------------------------------------------------------------------------------------------------


def open_browser(server, scratch: Path):
    """A window with the browser in it."""
    import napari

    from napari_empiarreader.archive.catalogue import Catalogue
    from napari_empiarreader.widgets.browser import ArchiveBrowser

    viewer = napari.Viewer()
    viewer.window.resize(*SIZE)
    browser = ArchiveBrowser(viewer, archive=server.archive, catalogue=Catalogue(scratch / "catalogue.sqlite"))
    dock(viewer, browser, "EMPIAR browser")
    wait_for(lambda: browser.form.search.state is not None, "the catalogue was not looked at")
    return viewer, browser


def dock(viewer, widget, name: str) -> None:
    """Dock a widget at the right, behind the others."""
    window = viewer.window._qt_window
    before = right_docks(window)
    docked = viewer.window.add_dock_widget(widget, name=name, area="right")
    if before:
        window.tabifyDockWidget(before[0], docked)
    wait(0.3)


def right_docks(window) -> list:
    """The docks at the right."""
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QDockWidget

    docks = window.findChildren(QDockWidget)
    return [each for each in docks if window.dockWidgetArea(each) == Qt.DockWidgetArea.RightDockWidgetArea]


def look(viewer, low_pass: float):
    """Dock the view of micrographs, and smooth what is shown to a resolution in Å."""
    from napari_empiarreader.widgets.view import MicrographView

    view = MicrographView(viewer)
    dock(viewer, view, "Micrograph view")
    view.contrast.low_pass.setValue(low_pass)
    wait_for(lambda: not view.contrast.settled.isActive() and not view._tasks.running, "no contrast")
    return view


def open_folder(browser, viewer, number: int, path: str) -> None:
    """Open an entry, and one of its folders lazily."""
    browser.open_entry(number)
    wait_for(lambda: path in browser.form.tree._nodes, f"{path} was not listed")
    browser.form.tree.select(path)
    browser.form.lazy_button.click()
    wait_for(lambda: len(viewer.layers) > 0, f"{path} was not opened")
    wait_for(lambda: not browser._tasks.running, "something is still under way")


def type_into(field, text: str) -> None:
    """Type as a person does."""
    from qtpy.QtTest import QTest

    QTest.keyClicks(field, text)


def titles(browser) -> str:
    """Titles of the entries found."""
    return " ".join(entry.title for entry in browser.form.search.results.entries())


def save(viewer, front, name: str) -> None:
    """Save what the window shows with ``front`` before the other docks, unless its canvas is empty, and close it."""
    from qtpy.QtCore import Qt

    window = viewer.window._qt_window
    docked = next(each for each in right_docks(window) if each.isAncestorOf(front))
    docked.show()
    docked.raise_()
    window.resizeDocks([docked], [DOCK], Qt.Orientation.Horizontal)
    for width in (SIZE[0] - 1, SIZE[0]):  # another size makes the docks divide their room anew
        viewer.window.resize(width, SIZE[1])
        wait(1)
    viewer.reset_view()
    wait(1)
    picture = viewer.screenshot(canvas_only=False, flash=False)
    canvas = viewer.screenshot(canvas_only=True, flash=False)
    if canvas[..., :3].std() < 5:
        sys.exit("the canvas is empty: this screen has no OpenGL")
    FOLDER.mkdir(exist_ok=True)
    Image.fromarray(np.asarray(picture)[..., :3]).save(FOLDER / f"{name}.jpg", quality=85)
    print(FOLDER / f"{name}.jpg", picture.shape)
    viewer.close()


def wait_for(done, otherwise: str, seconds: float = 60) -> None:
    """Let the window work until something has happened."""
    if not wait(seconds, done):
        sys.exit(f"{otherwise} within {seconds:g} s")


def wait(seconds: float, done=lambda: False) -> bool:
    """Let the window work."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while time.monotonic() < end and not done():
        QApplication.processEvents()
        time.sleep(0.01)
    return done()


if __name__ == "__main__":
    main()
