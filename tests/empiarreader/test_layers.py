"""Layers, readers, writers and samples, as a script without a screen uses them."""

from __future__ import annotations

import mrcfile
import npe2
import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Layer

from napari_empiarreader import MicrographSeries, ParticleTable, open_micrographs, read_particles
from napari_empiarreader.errors import CoordinatesError
from napari_empiarreader.layers import (
    layer_pixel_size,
    micrograph_layer,
    particles_from_layer,
    particles_layer,
)
from napari_empiarreader.micrographs import contrast_limits
from napari_empiarreader.samples import SimulationSettings, make_sample_entry, simulate_micrograph
from napari_empiarreader.samples.simulate import contrast_transfer, electron_wavelength


@pytest.fixture(scope="module", autouse=True)
def plugins():
    npe2.PluginManager.instance().discover()


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(4):
        with mrcfile.new(tmp_path / f"m{i}.mrc") as mrc:
            mrc.set_data(rng.normal(i, 1, (48, 64)).astype(np.float32))
            mrc.voxel_size = 1.7
    return tmp_path


def table(names, n=5):
    rng = np.random.default_rng(1)
    coordinates = np.column_stack([rng.integers(len(names), size=n), rng.uniform(0, 47, n), rng.uniform(0, 63, n)])
    return ParticleTable(
        names, coordinates, pd.DataFrame({"score": rng.uniform(size=n), "rlnAnglePsi": rng.normal(size=n)})
    )


def test_a_folder_opens_as_one_lazy_layer_that_keeps_the_contract(folder):
    ((data, attributes, kind),) = npe2.read([str(folder)], stack=False, plugin_name="napari-empiarreader")
    assert kind == "image"
    assert data.chunks == ((1, 1, 1, 1), (48,), (64,))
    layer = Layer.create(data, attributes, kind)
    assert layer.scale.tolist() == pytest.approx([1, 1.7, 1.7])
    assert [str(unit) for unit in layer.units] == ["pixel", "angstrom", "angstrom"]
    assert layer.axis_labels == ("micrograph", "y", "x")
    assert layer.metadata["micrographs"] == ["m0.mrc", "m1.mrc", "m2.mrc", "m3.mrc"]
    assert layer.metadata["pixel_size"] == pytest.approx(1.7)
    assert np.asarray(data[3]).mean() == pytest.approx(3, abs=0.1)


def test_a_layer_is_named_after_its_folder_not_after_a_pattern(folder):
    for location in (folder, f"{folder}/m*.mrc"):
        assert micrograph_layer(open_micrographs(location))[1]["name"] == folder.name
    assert micrograph_layer(open_micrographs(folder / "m1.mrc"))[1]["name"] == "m1.mrc"


def test_an_unknown_pixel_size_leaves_the_layer_in_pixels(folder):
    series = MicrographSeries.from_array(np.zeros((2, 8, 8), np.float32))
    _, attributes, _ = micrograph_layer(series)
    assert attributes["units"] == ("pixel", "pixel", "pixel")
    assert layer_pixel_size(attributes) is None


def test_contrast_limits_ignore_a_hot_pixel_and_survive_a_constant_image():
    image = np.random.default_rng(0).normal(10, 2, (400, 400))
    image[0, 0] = 1e9
    assert contrast_limits(image) == pytest.approx((4, 16), abs=0.5)
    low, high = contrast_limits(np.full((16, 16), 7.0))
    assert low < 7 < high


def test_particles_land_on_the_open_micrographs_they_belong_to(folder, monkeypatch):
    viewer = ViewerModel()
    viewer.add_layer(Layer.create(*micrograph_layer(open_micrographs(folder))))
    monkeypatch.setattr("napari.current_viewer", lambda: viewer)
    particles = table(("micrographs/m3", "m1.mrc"))
    (path,) = npe2.write(str(folder / "p.star"), [particles_layer(particles)])
    ((data, attributes, _),) = npe2.read([path], stack=False)
    assert attributes["metadata"]["micrographs"] == ["m0.mrc", "m1.mrc", "m2.mrc", "m3.mrc"]
    assert attributes["scale"] == pytest.approx((1, 1.7, 1.7))
    np.testing.assert_allclose(data[:, 0], np.array([3, 1])[particles.micrograph_index])
    np.testing.assert_allclose(data[:, 1:], particles.coordinates[:, 1:], atol=1e-5)


def test_saving_points_writes_only_what_is_shown_with_every_feature(folder):
    particles = table(("a.mrc", "b.mrc"), n=20)
    layer = Layer.create(*particles_layer(particles, pixel_size=1.7, diameter=40))
    layer.shown = particles.features["score"].to_numpy() >= 0.5
    (path,) = npe2.write(str(folder / "shown.star"), [layer.as_layer_data_tuple()])
    back = read_particles(path)
    kept = particles.where(layer.shown)
    assert 0 < len(kept) < len(particles)
    np.testing.assert_allclose(back.coordinates[:, 1:], kept.coordinates[:, 1:], atol=1e-5)
    np.testing.assert_allclose(back.features["score"], kept.features["score"], atol=1e-5)
    np.testing.assert_allclose(back.features["rlnAnglePsi"], kept.features["rlnAnglePsi"], atol=1e-5)


def test_points_of_a_foreign_layer_are_named_by_the_image_beside_them(folder):
    image = Layer.create(*micrograph_layer(open_micrographs(folder)))
    points = Layer.create(np.array([[2, 10.0, 20.0]]), {"ndim": 3}, "points")
    (path,) = npe2.write(str(folder / "f.star"), [image.as_layer_data_tuple(), points.as_layer_data_tuple()])
    assert read_particles(path).micrographs == ("m2.mrc",)
    with pytest.raises(CoordinatesError, match="does not say which micrographs"):
        npe2.write(str(folder / "g.star"), [points.as_layer_data_tuple()])
    assert not (folder / "g.star").exists()


def test_two_dimensional_points_lie_on_the_only_micrograph():
    found = particles_from_layer(np.array([[3.0, 4.0]]), {}, ["one.mrc"])
    assert found.coordinates.tolist() == [[0, 3, 4]]


def test_saving_micrographs_writes_a_stack_with_its_pixel_size(folder, tmp_path):
    layer = Layer.create(*micrograph_layer(open_micrographs(folder)))
    (path,) = npe2.write(str(tmp_path / "stack.mrcs"), [layer.as_layer_data_tuple()])
    back = open_micrographs(path)
    assert len(back) == 4
    assert back.pixel_size == pytest.approx(1.7)
    np.testing.assert_array_equal(back.read(2), open_micrographs(tmp_path / "m2.mrc").read(0))


def test_the_sample_opens_in_a_viewer_with_particles_on_the_micrographs():
    image, points = ViewerModel().open_sample("napari-empiarreader", "simulated")
    truth = points.data[points.data[:, 0] == 0][:, 1:]
    assert len(truth) > 50
    frame = np.asarray(image.data[0])
    # Particles are dark: the mean inside circles lies below the mean of everything.
    rows, columns = np.indices(frame.shape)
    inside = np.zeros(frame.shape, bool)
    for y, x in truth:
        inside |= (rows - y) ** 2 + (columns - x) ** 2 < 32**2
    assert frame[inside].mean() < frame[~inside].mean() - 0.2 * frame.std() / np.sqrt(100)


def test_the_simulator_repeats_itself_and_follows_its_formulas():
    settings = SimulationSettings(shape=(256, 256), particles=6)
    first, second = simulate_micrograph(3, settings), simulate_micrograph(3, settings)
    np.testing.assert_array_equal(first[0], second[0])
    assert not np.array_equal(first[0], simulate_micrograph(4, settings)[0])
    # Textbook wavelengths (Reimer and Kohl): 0.0197 Å at 300 kV, 0.0251 Å at 200 kV.
    assert electron_wavelength(300) == pytest.approx(0.019687, rel=1e-4)
    assert electron_wavelength(200) == pytest.approx(0.025079, rel=1e-4)
    # First zero of the CTF without spherical aberration and amplitude contrast: k² = 1 / (lambda dz).
    plain = SimulationSettings(shape=(512, 512), spherical_aberration=0.0, amplitude_contrast=0.0)
    row = contrast_transfer(1.0, plain)[0]
    k = np.fft.rfftfreq(512, plain.pixel_size)
    zero = 1 / np.sqrt(electron_wavelength(300) * 1e4)
    assert row[(k > 0.2 * zero) & (k < zero)].max() < 0 < row[(k > zero) & (k < 1.3 * zero)].min()
    # Electrons are counted: an empty field has the variance of a Poisson distribution.
    empty, _ = simulate_micrograph(0, SimulationSettings(shape=(512, 512), particles=0, phase=0.01))
    electrons = SimulationSettings().dose * SimulationSettings().pixel_size ** 2
    detail = empty - (np.roll(empty, 1, 0) + np.roll(empty, -1, 0)) / 2
    assert detail.var() / 1.5 * electrons == pytest.approx(1, abs=0.1)


def test_the_sample_entry_is_made_once_and_made_again_when_it_is_damaged(tmp_path):
    settings = SimulationSettings(shape=(128, 128), particles=4, particle_diameter=60)
    make_sample_entry(tmp_path, count=2, settings=settings)
    image = tmp_path / "99001/data/micrographs/simulated_002.mrc"
    stamp = image.stat().st_mtime_ns
    make_sample_entry(tmp_path, count=2, settings=settings)
    assert image.stat().st_mtime_ns == stamp
    (tmp_path / "99001/entry.json").unlink()
    make_sample_entry(tmp_path, count=2, settings=settings)
    assert image.stat().st_mtime_ns > stamp
    assert len(read_particles(tmp_path / "99001/data/particles.star")) > 0
