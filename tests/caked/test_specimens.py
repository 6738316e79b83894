"""Made-up particles: as large as asked for, of matter as dense as protein, each another one."""

import numpy as np
import pytest

from napari_caked.simulate.project import PROTEIN_OVER_ICE, looks_like_volts
from napari_caked.simulate.specimens import KINDS, hollow_shell, lobes, random_specimen


def drawn(count=60, diameter=150.0):
    return [random_specimen(np.random.default_rng(seed), diameter) for seed in range(count)]


@pytest.fixture(scope="module")
def specimens():
    return drawn()


def test_they_are_as_large_as_asked_for_and_centred(specimens):
    for specimen in specimens:
        assert specimen.diameter == pytest.approx(150.0, rel=1e-6)
        weight = specimen.volume / specimen.volume.sum()
        middle = [(weight.sum(axis=tuple(b for b in range(3) if b != a)) * np.arange(72)).sum() - 36 for a in range(3)]
        # A voxel is a fortieth of the particle.
        np.testing.assert_allclose(middle, 0, atol=0.3)


def test_they_are_of_protein(specimens):
    for specimen in specimens:
        assert looks_like_volts(specimen)
        assert 0.5 * PROTEIN_OVER_ICE < specimen.volume.max() <= PROTEIN_OVER_ICE
        assert np.abs(specimen.volume[[0, -1]]).max() == 0  # nothing is cut at the edge of the cube


def test_all_kinds_are_drawn_and_none_twice(specimens):
    assert {specimen.name.removeprefix("made-up ") for specimen in specimens} == set(KINDS)
    assert sum(KINDS.values()) == pytest.approx(1)
    flat = np.stack([specimen.volume.ravel() for specimen in specimens])
    likeness = np.corrcoef(flat) - np.eye(len(flat))
    assert likeness.max() < 0.999
    assert np.quantile(likeness, 0.1) < 0.7


def test_the_seed_makes_the_particle():
    one, two = drawn(1)[0], drawn(1)[0]
    np.testing.assert_array_equal(one.volume, two.volume)


def test_a_shell_is_empty_inside_and_as_thick_as_asked_for():
    shell = hollow_shell(120.0, 22.0, bumps=False)
    half = shell.volume.shape[0] // 2
    along = shell.volume[half, half, half:]
    away = np.arange(len(along)) * shell.voxel_size
    assert along[0] < 0.01 * PROTEIN_OVER_ICE
    inside = away[along > PROTEIN_OVER_ICE / 2]
    assert inside.min() == pytest.approx(38, abs=2) and inside.max() == pytest.approx(60, abs=2)
    assert hollow_shell(120.0, 22.0).diameter == pytest.approx(120, abs=6)


def test_the_bumps_of_a_shell_keep_its_mass():
    plain, bumpy = hollow_shell(120.0, 22.0, bumps=False), hollow_shell(120.0, 22.0)
    assert bumpy.volume.sum() == pytest.approx(plain.volume.sum(), rel=0.01)
    assert bumpy.volume.std() > plain.volume.std()


def test_lobes_have_three_axes_of_symmetry():
    volume = lobes(180.0, 60.0, 35.0).volume[1:, 1:, 1:]  # around voxel n // 2
    for axes in ((0, 1), (0, 2), (1, 2)):
        np.testing.assert_allclose(np.rot90(volume, 2, axes), volume, atol=1e-5)
    assert lobes(180.0, 60.0, 35.0).diameter == pytest.approx(180, abs=20)
