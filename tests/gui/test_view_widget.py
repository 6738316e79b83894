"""Looking at micrographs: keys, names, contrast, low-pass, in a real window with real keys and clicks."""

import threading

import mrcfile
import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QLineEdit

from napari_empiarreader.layers import micrograph_layer
from napari_empiarreader.micrographs import MicrographSeries, contrast_limits
from napari_empiarreader.micrographs.contrast import percentile_limits

pytestmark = pytest.mark.gui

LEFT = Qt.MouseButton.LeftButton
NAMES = tuple(f"FoilHole_{i}_fractions.mrc" for i in range(6))


@pytest.fixture
def images():
    noise = np.random.default_rng(4).normal(size=(6, 96, 128)).astype(np.float32)
    return noise * np.arange(1, 7)[:, None, None] + 10 * np.arange(6)[:, None, None]


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)


@pytest.fixture
def layer(viewer, images):
    from napari.layers import Layer

    layer = Layer.create(*micrograph_layer(MicrographSeries.from_array(images, NAMES, 2.0), "movies"))
    viewer.add_layer(layer)
    viewer.dims.set_current_step(0, 0)
    return layer


@pytest.fixture
def told(monkeypatch):
    told = []
    monkeypatch.setattr("napari_empiarreader.widgets._telling.show_error", told.append)
    return told


@pytest.fixture
def view(viewer, layer, told):
    from napari_empiarreader.widgets.view import MicrographView

    view = MicrographView(viewer)
    viewer.window.add_dock_widget(view, name="Micrograph view")
    return view


def press(qtbot, viewer, canvas_widget, key):
    canvas = canvas_widget(viewer)
    canvas.setFocus()
    qtbot.keyClick(canvas, key)


def test_n_and_b_step_while_the_view_is_docked_and_belong_to_others_again_afterwards(
    qtbot, viewer, view, canvas_widget
):
    before = []
    view._give_keys_back()
    viewer.bind_key("N", before.append, overwrite=True)
    view._take_keys()

    for _ in range(3):
        press(qtbot, viewer, canvas_widget, Qt.Key.Key_N)
    press(qtbot, viewer, canvas_widget, Qt.Key.Key_B)
    assert viewer.dims.current_step[0] == 2
    assert view.place.text() == "3 of 6"
    assert view.name.text() == NAMES[2]
    assert before == []

    viewer.dims.set_current_step(0, 5)
    press(qtbot, viewer, canvas_widget, Qt.Key.Key_N)
    assert viewer.dims.current_step[0] == 5  # there is no next one

    # Typing an N into a field is typing.
    field = QLineEdit()
    viewer.window.add_dock_widget(field, name="somebody's field")
    field.setFocus()
    viewer.dims.set_current_step(0, 1)
    qtbot.keyClicks(field, "nb")
    assert field.text() == "nb" and viewer.dims.current_step[0] == 1

    viewer.window.remove_dock_widget(view)
    press(qtbot, viewer, canvas_widget, Qt.Key.Key_N)
    press(qtbot, viewer, canvas_widget, Qt.Key.Key_B)
    assert len(before) == 1 and viewer.dims.current_step[0] == 1


def test_buttons_and_names_lead_to_a_micrograph(qtbot, viewer, view, told):
    qtbot.mouseClick(view.next, LEFT)
    assert viewer.dims.current_step[0] == 1
    qtbot.mouseClick(view.back, LEFT)
    assert viewer.dims.current_step[0] == 0

    def go_to(text):
        view.name.setFocus()
        view.name.selectAll()
        qtbot.keyClicks(view.name, text)
        qtbot.keyClick(view.name, Qt.Key.Key_Return)

    go_to("hole_4")
    assert viewer.dims.current_step[0] == 4
    go_to("nowhere")
    assert viewer.dims.current_step[0] == 4
    assert "nowhere" in told[0] and view.status.text() == told[0]


def test_presets_set_the_contrast_of_the_micrograph_shown_and_follow_it(qtbot, viewer, layer, view, images):
    def limits_are(expected):
        qtbot.waitUntil(lambda: np.allclose(layer.contrast_limits, expected, rtol=1e-5), timeout=10_000)

    viewer.dims.set_current_step(0, 3)
    qtbot.mouseClick(view.contrast.percentile, LEFT)
    limits_are(percentile_limits(images[3]))
    qtbot.mouseClick(view.contrast.sigma, LEFT)
    limits_are(contrast_limits(images[3]))

    viewer.dims.set_current_step(0, 4)
    assert np.allclose(layer.contrast_limits, contrast_limits(images[3]))
    view.contrast.each.click()
    limits_are(contrast_limits(images[4]))
    viewer.dims.set_current_step(0, 5)
    limits_are(contrast_limits(images[5]))


def test_a_slow_micrograph_neither_stops_the_window_nor_changes_another_ones_contrast(qtbot, viewer, told):
    from napari_empiarreader.widgets.view import MicrographView

    arrived, reading = threading.Event(), threading.Event()
    image = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    slow = []

    def read(index):
        if index == 1 and slow:
            reading.set()
            assert arrived.wait(20)
        return image * (index + 1)

    series = MicrographSeries(("a", "b"), (32, 32), image.dtype, 1.0, read, "slow")
    data, attributes, _ = micrograph_layer(series)
    layer = viewer.add_image(data, **attributes)
    viewer.dims.set_current_step(0, 1)
    view = MicrographView(viewer)
    viewer.window.add_dock_widget(view, name="Micrograph view")
    before = tuple(layer.contrast_limits)
    slow.append(True)

    qtbot.mouseClick(view.contrast.percentile, LEFT)
    qtbot.waitUntil(reading.is_set, timeout=10_000)
    viewer.dims.set_current_step(0, 0)
    arrived.set()
    qtbot.waitUntil(lambda: view._tasks.threads == 0, timeout=10_000)
    assert tuple(layer.contrast_limits) == before and told == []


def test_the_low_pass_smooths_the_canvas_and_not_the_data(qtbot, viewer, layer, view, images):
    def canvas():
        return viewer.screenshot(canvas_only=True, flash=False)[..., 0].astype(float)

    rough = np.abs(np.diff(canvas(), axis=1)).mean()
    view.contrast.low_pass.setValue(20.0)
    qtbot.waitUntil(lambda: view._tasks.threads == 0 and not view.contrast.settled.isActive(), timeout=10_000)

    assert layer.interpolation2d == "custom"
    assert layer.custom_interpolation_kernel_2d.sum() == pytest.approx(1, abs=1e-4)
    assert np.abs(np.diff(canvas(), axis=1)).mean() < rough / 2
    np.testing.assert_array_equal(np.asarray(layer.data[0]), images[0])
    # White noise keeps a part of its deviation; the contrast follows.
    kept = (layer.contrast_limits[1] - layer.contrast_limits[0]) / np.ptp(contrast_limits(images[0]))
    assert 0.05 < kept < 0.5

    view.contrast.low_pass.setValue(0)
    assert layer.interpolation2d == "nearest"


def test_the_power_spectrum_follows_the_micrograph_and_tells_resolutions(qtbot, viewer, told):
    from napari_empiarreader.widgets.view import MicrographView

    x = np.arange(512)
    waves = np.stack([np.tile(np.cos(2 * np.pi * x * turns / 512), (512, 1)) for turns in (64, 128)])
    waves = (waves + np.random.default_rng(0).normal(0, 0.1, waves.shape)).astype(np.float32)
    data, attributes, _ = micrograph_layer(MicrographSeries.from_array(waves, pixel_size=2.0))
    viewer.add_image(data, **attributes)
    viewer.dims.set_current_step(0, 0)
    view = MicrographView(viewer)
    viewer.window.add_dock_widget(view, name="Micrograph view")

    def wave():
        """Which of the two waves the picture shows."""
        image = view.spectrum.picture.picture.toImage()
        return [turns for turns in (64, 128) if image.pixelColor(256 + turns, 256).red() == 255]

    qtbot.mouseClick(view.spectrum.button, LEFT)
    qtbot.waitUntil(lambda: view.spectrum.picture.picture is not None, timeout=10_000)
    assert wave() == [64]
    viewer.dims.set_current_step(0, 1)
    qtbot.waitUntil(lambda: wave() == [128], timeout=10_000)

    # 128 turns on 512 pixels of 2 Å: 8 Å.
    picture = view.spectrum.picture
    place = picture.place()
    qtbot.mouseMove(picture, QPoint(place.left() + round((256.5 + 128) / 512 * place.width()), place.center().y()))
    qtbot.waitUntil(lambda: "Å" in view.spectrum.frequency.text(), timeout=5_000)
    assert float(view.spectrum.frequency.text().split()[0]) == pytest.approx(8.0, rel=0.03)
    assert told == []


@pytest.fixture
def movies(tmp_path):
    """Two movies of eight frames as seen through a detector of uneven gain, and the gain reference, turned."""
    random = np.random.default_rng(7)
    gain = random.uniform(0.7, 1.3, (64, 96)).astype(np.float32)
    truth = 20 + np.zeros((2, 8, 64, 96), np.float32)
    seen = random.poisson(truth / gain).astype(np.float32)
    file = tmp_path / "gain.mrc"
    with mrcfile.new(file) as mrc:
        mrc.set_data(np.ascontiguousarray(np.rot90(gain, 1)))  # so a rotation by 90° clockwise lays it right
    return seen, gain, file


def test_frames_are_summed_with_the_gain_reference_that_fits_best(qtbot, viewer, told, movies):
    from napari_empiarreader.layers import movie_layer
    from napari_empiarreader.micrographs.movies import MovieSeries
    from napari_empiarreader.widgets.view import MicrographView

    seen, gain, file = movies
    data, attributes, _ = movie_layer(MovieSeries.from_array(seen, ("a.mrc", "b.mrc"), 1.5), "movies")
    movie = viewer.add_image(data, **attributes)
    viewer.dims.set_current_step(0, 1)
    view = MicrographView(viewer)
    viewer.window.add_dock_widget(view, name="Micrograph view")
    qtbot.waitUntil(view.sums.isVisible, timeout=5_000)

    qtbot.mouseClick(view.sums.propose, LEFT)
    assert "choose the gain reference" in told.pop()
    qtbot.keyClicks(view.sums.gain, str(file))
    qtbot.mouseClick(view.sums.propose, LEFT)
    qtbot.waitUntil(lambda: view.sums.rotate.currentData() == 90, timeout=10_000)
    assert view.sums.flip.currentData() == "none"
    assert "Likeliest: rotated by 90°" in view.status.text()

    qtbot.mouseClick(view.sums.button, LEFT)
    qtbot.waitUntil(lambda: viewer.layers[0] is not movie and viewer.layers[0].visible, timeout=10_000)
    (summed,) = viewer.layers
    assert summed.data.shape == (2, 64, 96)
    assert list(summed.metadata["micrographs"]) == ["a.mrc", "b.mrc"]
    np.testing.assert_allclose(np.asarray(summed.data[1]), (seen[1] * gain).sum(0), rtol=1e-4)
    np.testing.assert_allclose(summed.scale[1:], 1.5)
    assert view.layer is summed and view.place.text() == "2 of 2" and viewer.dims.ndim == 3

    # Back to the frames, at the same micrograph; and the sums may be asked for again.
    qtbot.mouseClick(view.frames, LEFT)
    assert list(viewer.layers) == [movie] and movie.visible and view.place.text() == "2 of 2"
    assert view.sums.isVisible() and not view.frames.isVisible()

    # A reference that does not fit is refused in words.
    view.sums.rotate.setCurrentIndex(0)
    qtbot.mouseClick(view.sums.button, LEFT)
    qtbot.waitUntil(lambda: len(told) == 1, timeout=10_000)
    assert "gain.mrc" in told[0] and list(viewer.layers) == [movie]


def test_a_closed_view_follows_nothing(qtbot, viewer, layer, view):
    viewer.window.remove_dock_widget(view)
    viewer.dims.set_current_step(0, 3)
    assert view.place.text() == "1 of 6"
    assert view._tasks.closed
    view.contrast.set_contrast()
    assert view._tasks.threads == 0
