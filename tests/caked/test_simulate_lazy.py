"""Micrographs that are made when they are looked at: the same ones, with the same truth, as those that are written."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_caked.errors import SettingsError
from napari_caked.simulate import (
    CameraSettings,
    DecoySettings,
    OpticsSettings,
    SceneSettings,
    SimulationSettings,
    lazy_micrographs,
    simulate_micrograph,
)
from napari_caked.simulate.lazy import lazy_series
from napari_caked.simulate.micrograph import layout_of
from napari_caked.simulate.run import simulate_folder
from napari_empiarreader import open_micrographs, read_particles

sys.path.insert(0, str(Path(__file__).parent))
from simulated import small_bank  # noqa: E402

#: With everything that draws from the same chance as the places of the particles.
SETTINGS = SimulationSettings(
    2.5,
    seed=4,
    scene=SceneSettings(shape=(160, 200), particles=12, clumped=0.3),
    decoys=DecoySettings(broken=2, aggregates=1, ice_crystals=1, ice_lumps=1, gold=1, carbon="edge"),
    optics=OpticsSettings(astigmatism=0.3),
    camera=CameraSettings(dose=30.0),
)


@pytest.fixture(scope="module")
def bank():
    return small_bank(broken=8)


@pytest.mark.parametrize("carbon", ["none", "edge", "film"])
def test_the_layout_is_that_of_the_micrograph(bank, carbon: str) -> None:
    settings = replace(SETTINGS, decoys=replace(SETTINGS.decoys, carbon=carbon))
    layout, focus = layout_of(bank, settings, 3)
    micrograph = simulate_micrograph(bank, settings, 3)
    assert focus == micrograph.focus
    assert np.array_equal(layout.centres[layout.seen], micrograph.scene.centres)
    assert np.array_equal(layout.heights[layout.seen], micrograph.scene.heights)
    assert np.array_equal(bank.eulers[layout.views[layout.seen]], micrograph.eulers)
    assert [(d.kind, d.centre) for d in layout.decoys] == [(d.kind, d.centre) for d in micrograph.scene.decoys]


def test_images_and_truth_are_those_that_are_written(bank, tmp_path: Path) -> None:
    lazy = lazy_micrographs(bank, SETTINGS, 3)
    files = simulate_folder(bank, SETTINGS, tmp_path, 3, box=20)
    written = open_micrographs([tmp_path / "micrographs"])
    array = lazy.to_dask()
    assert array.chunks == ((1, 1, 1), (160,), (200,)) and array.dtype == np.float32
    assert np.array_equal(array[1].compute(), written.read(1))
    assert lazy.series.pixel_size == 2.5
    star = read_particles(files["particles"])
    assert star.micrographs == lazy.particles.micrographs == lazy.series.names
    assert lazy.particles.coordinates == pytest.approx(star.coordinates, abs=1e-3)
    for column in ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"):
        assert lazy.particles.features[column].to_numpy() == pytest.approx(star.features[column].to_numpy(), abs=1e-2)
    assert (lazy.particles.features["diameter"] == bank.diameter).all()
    decoys = read_particles(files["decoys"])
    assert lazy.decoys.coordinates == pytest.approx(decoys.coordinates, abs=1e-3)
    assert list(lazy.decoys.features["kind"]) == list(decoys.features["kind"])


def test_nothing_is_made_before_it_is_looked_at_and_nothing_twice() -> None:
    made: list[int] = []

    def make(index: int) -> np.ndarray:
        made.append(index)
        return np.full((160, 200), index, np.float32)

    series = lazy_series(SETTINGS, 1000, make, "nothing")
    array = series.to_dask()
    assert not made
    assert array[700, 0, 0].compute() == series.read(700)[0, 0] == 700
    assert made == [700]


def test_two_series_do_not_share_what_is_kept(bank) -> None:
    other = replace(SETTINGS, seed=5)
    one, two = (lazy_micrographs(bank, settings, 1).series for settings in (SETTINGS, other))
    assert not np.array_equal(one.read(0), two.read(0))


def test_no_micrograph_is_an_error_and_progress_is_told(bank) -> None:
    with pytest.raises(SettingsError, match="count: 0"):
        lazy_micrographs(bank, SETTINGS, 0)
    told: list[tuple[int, int]] = []
    lazy_micrographs(bank, SETTINGS, 2, progress=lambda done, total, _="": told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_a_folder_that_is_stopped_has_the_truth_of_what_is_there(bank, tmp_path: Path) -> None:
    done: list[int] = []
    files = simulate_folder(
        bank,
        SETTINGS,
        tmp_path,
        5,
        progress=lambda number, _total, _name="": done.append(number),
        stopped=lambda: len(done) == 2,
    )
    assert len(open_micrographs([tmp_path / "micrographs"])) == 2
    assert read_particles(files["particles"]).micrographs == lazy_micrographs(bank, SETTINGS, 2).series.names
