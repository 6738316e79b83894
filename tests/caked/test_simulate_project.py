"""Projections against formulae: which way, how much, and from where."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from napari_caked.errors import SettingsError
from napari_caked.simulate import Density, ViewSettings, bank_of, read_density, scaled_to_volts
from napari_caked.simulate.project import draw_rotations, eulers_of, looks_like_volts

sys.path.insert(0, str(Path(__file__).parent))
from simulated import BLOBS, HEIGHTS, WIDTH, ball, blobs  # noqa: E402


def relion_matrix(rot: float, tilt: float, psi: float) -> np.ndarray:
    """A = Z(psi) Y(tilt) Z(rot), written out as RELION's ``Euler_angles2matrix`` documents it."""
    a, b, g = np.radians([rot, tilt, psi])
    ca, cb, cg, sa, sb, sg = np.cos(a), np.cos(b), np.cos(g), np.sin(a), np.sin(b), np.sin(g)
    return np.array(
        [
            [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
            [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
            [sb * ca, sb * sa, cb],
        ]
    )


def projected_blobs(euler: np.ndarray, box: int, pixel_size: float) -> np.ndarray:
    """The projection in V Å by the formula: Gaussians project to Gaussians."""
    places = BLOBS @ relion_matrix(*euler).T
    along = (np.arange(box) - box // 2) * pixel_size
    columns = np.exp(-((along[None] - places[:, :1]) ** 2) / (2 * WIDTH**2))
    rows = np.exp(-((along[None] - places[:, 1:2]) ** 2) / (2 * WIDTH**2))
    return np.sqrt(2 * np.pi) * WIDTH * (rows * HEIGHTS[:, None]).T @ columns


@pytest.mark.parametrize("pixel_size", [2.5, 3.1, 2.0])
def test_the_angles_of_a_bank_reproduce_its_projections(pixel_size: float) -> None:
    bank = bank_of(blobs(), ViewSettings(views=12), pixel_size, seed=1)
    for image, euler in zip(bank.images, bank.eulers, strict=True):
        expected = projected_blobs(euler, bank.box, pixel_size)
        assert np.abs(image - expected).max() < 0.05 * expected.max()
        assert np.corrcoef(image.ravel(), expected.ravel())[0, 1] > 0.9995
    swapped = projected_blobs(bank.eulers[0][::-1], bank.box, pixel_size)
    assert np.corrcoef(bank.images[0].ravel(), swapped.ravel())[0, 1] < 0.95  # the test can fail


def test_a_projection_holds_the_whole_potential() -> None:
    whole = float(HEIGHTS.sum() * (2 * np.pi) ** 1.5 * WIDTH**3)
    for pixel_size in (1.7, 2.5, 4.0):
        bank = bank_of(blobs(), ViewSettings(views=5), pixel_size, seed=2)
        sums = bank.images.sum(axis=(1, 2)) * pixel_size**2
        assert sums == pytest.approx(np.full(5, whole), rel=0.03)


def test_anyhow_means_all_directions_alike() -> None:
    angles = eulers_of(draw_rotations(ViewSettings(views=4000), np.random.default_rng(0)))
    cosine = np.cos(np.radians(angles[:, 1]))
    shares = np.histogram(cosine, bins=8, range=(-1, 1))[0] / 4000
    assert shares == pytest.approx(np.full(8, 1 / 8), abs=0.02)
    for turn in (angles[:, 0], angles[:, 2]):
        assert np.abs(np.exp(1j * np.radians(turn)).mean()) < 0.05


def test_preferred_directions_are_preferred() -> None:
    settings = ViewSettings(views=3000, preferred=((40.0, 70.0),), preference=0.75, spread=5.0)
    angles = eulers_of(draw_rotations(settings, np.random.default_rng(0)))
    # The beam in the frame of the map is the last row of A.
    beam = np.array([relion_matrix(*euler)[2] for euler in angles])
    away = np.degrees(np.arccos(np.clip(beam @ relion_matrix(40, 70, 0)[2], -1, 1)))
    assert (away < 20).mean() == pytest.approx(0.75 + 0.25 * (1 - np.cos(np.radians(20))) / 2, abs=0.03)
    near = away[away < 20]
    assert np.sqrt((near**2).mean() / 2) == pytest.approx(5.0, rel=0.1)
    turns = np.radians(angles[away < 20][:, 2])
    assert np.abs(np.exp(1j * turns).mean()) < 0.1  # in the plane they still lie anyhow


def test_the_diameter_of_a_ball_is_its_diameter() -> None:
    assert ball(120.0, 2.5, 3.0).diameter == pytest.approx(120.0, abs=6.0)


def test_broken_particles_are_parts_of_whole_ones() -> None:
    bank = bank_of(blobs(), ViewSettings(views=4), 2.5, seed=1, broken=8)
    whole = float(bank.images[0].sum())
    shares = bank.broken.sum(axis=(1, 2)) / whole
    assert len(bank.broken) == 8
    assert (shares > 0.15).all() and (shares < 0.85).all()


def test_the_same_seed_makes_the_same_bank() -> None:
    first, second, other = (bank_of(blobs(), ViewSettings(views=3), 2.5, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.images, second.images)
    assert not np.array_equal(first.eulers, other.eulers)


def test_a_map_in_arbitrary_units_becomes_volts_by_its_mass() -> None:
    volts = ball(120.0, 2.5, 3.0)
    anything = Density(volts.volume * 0.013 + 0.4, 3.0, "map")
    mass = 4 / 3 * np.pi * 60**3 / 1.23 / 1e3
    assert not looks_like_volts(anything)
    scaled = scaled_to_volts(anything, mass)
    assert np.median(scaled.volume[np.abs(volts.volume - 2.5) < 0.1]) == pytest.approx(2.5, rel=0.06)
    assert scaled.volume[0, 0, 0] == pytest.approx(0.0, abs=0.05)
    assert looks_like_volts(scaled)
    with pytest.raises(SettingsError, match="check the mass"):
        scaled_to_volts(anything, 1e6)


def test_a_density_is_read_from_a_map_file(tmp_path: Path) -> None:
    import mrcfile

    path = tmp_path / "map.mrc"
    with mrcfile.new(path) as file:
        file.set_data(blobs().volume)
        file.set_volume()
        file.voxel_size = 2.5
    density = read_density(path)
    assert density.voxel_size == pytest.approx(2.5)
    assert np.array_equal(density.volume, blobs().volume)
    assert read_density(path, 3.0).voxel_size == 3.0


@pytest.mark.parametrize(
    ("volume", "voxel_size", "message"),
    [
        (np.ones((8, 8), np.float32), 1.0, r"is \(z, y, x\)"),
        (np.zeros((8, 8, 8), np.float32), 1.0, "empty"),
        (np.full((8, 8, 8), np.nan, np.float32), 1.0, "not finite"),
        (np.ones((8, 8, 8), np.float32), 0.0, "impossible"),
    ],
)
def test_what_is_no_density_is_refused(volume: np.ndarray, voxel_size: float, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Density(volume, voxel_size)
