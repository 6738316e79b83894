"""What is measured on micrographs without labels, and micrographs made in their likeness."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_caked.cli import app
from napari_caked.errors import MicrographError, SettingsError
from napari_caked.simulate import (
    CameraSettings,
    OpticsSettings,
    SceneSettings,
    SimulationSettings,
    ViewSettings,
    bank_of,
    in_the_likeness_of,
    likeness_of,
    matched,
    simulate_micrograph,
)
from napari_caked.simulate.like import fit_defocus, radial_power
from napari_caked.simulate.likeness_grain import grain_of, skewed_noise
from napari_caked.simulate.settings import Look, MeasuredNoise
from napari_empiarreader.micrographs import MicrographSeries
from napari_empiarreader.micrographs.mrc import write_mrc

sys.path.insert(0, str(Path(__file__).parent))
from simulated import blobs  # noqa: E402

#: What the "real" micrographs are: a strong background of known spectrum, of which the simulator is told nothing.
CURVE = MeasuredNoise(500.0, 40.0, 16.0, (0.0, 0.02, 0.1, 0.25), (6.0, 2.0, 1.0, 0.7))
TRUE = SimulationSettings(
    2.5,
    seed=11,
    scene=SceneSettings(shape=(384, 448), particles=60),
    optics=OpticsSettings(defocus=(1.5, 1.5), astigmatism=0.0),
    noise=CURVE,
)


@pytest.fixture(scope="module")
def bank():
    return bank_of(blobs(), ViewSettings(views=30), 2.5, seed=3)


@pytest.fixture(scope="module")
def real(bank) -> MicrographSeries:
    images = np.stack([simulate_micrograph(bank, TRUE, index).image for index in range(3)])
    return MicrographSeries.from_array(images, pixel_size=2.5)


def test_white_noise_has_power_1_at_all_frequencies() -> None:
    frequency, power = radial_power(np.random.default_rng(0).standard_normal((300, 260)), 2.0)
    assert frequency[-1] == pytest.approx(0.25, rel=0.01)
    assert power[40:] == pytest.approx(np.ones(216), abs=0.5)
    assert power.mean() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("defocus", [0.8, 1.7, 3.2])
def test_the_defocus_is_found_from_the_rings_of_the_ice(bank, defocus: float) -> None:
    settings = SimulationSettings(
        2.5,
        scene=SceneSettings(shape=(512, 512), particles=0),
        optics=OpticsSettings(defocus=(defocus, defocus)),
        camera=CameraSettings(dose=60.0),
    )
    image = simulate_micrograph(bank, settings).image
    fit = fit_defocus(*radial_power(image, 2.5), OpticsSettings())
    assert fit.believed
    assert fit.defocus == pytest.approx(defocus, abs=0.06)


def test_noise_without_rings_has_no_defocus() -> None:
    fits = [
        fit_defocus(*radial_power(np.random.default_rng(i).standard_normal((400, 400)), 2.0), OpticsSettings())
        for i in range(10)
    ]
    assert not any(fit.believed for fit in fits)


def test_mean_deviation_and_spectrum_are_measured(bank, real: MicrographSeries) -> None:
    likeness = likeness_of(real, bank.diameter)
    assert likeness.shape == (384, 448)
    assert likeness.mean == pytest.approx(np.mean([real.read(i).mean() for i in range(3)]), rel=1e-3)
    assert likeness.deviation == pytest.approx(np.mean([real.read(i).std() for i in range(3)]), rel=1e-3)
    fine = likeness.frequency > 0.12  # where particles show no more
    expected = np.interp(likeness.frequency, CURVE.frequency, CURVE.power) * (40.0 / likeness.deviation) ** 2
    assert likeness.power[fine] == pytest.approx(expected[fine], rel=0.25)
    assert likeness.contrast[0] < 0 < likeness.contrast[1]


def test_what_is_made_in_the_likeness_has_spectrum_and_contrast_of_the_real(bank, real: MicrographSeries) -> None:
    likeness = likeness_of(real, bank.diameter)
    start = replace(TRUE, noise=None, seed=5)
    settings = matched(bank, in_the_likeness_of(likeness, start), likeness)
    assert settings.noise is not None
    # The strength is told in deviations of the whole image.
    assert settings.noise.strength * settings.noise.deviation == pytest.approx(16.0 * 40.0, rel=0.25)
    made = np.stack([simulate_micrograph(bank, settings, index).image for index in range(3)])
    again = likeness_of(MicrographSeries.from_array(made, pixel_size=2.5), bank.diameter)
    assert again.deviation == pytest.approx(likeness.deviation, rel=0.1)
    ratio = again.power / likeness.power
    assert np.exp(np.log(ratio).std()) < 1.35
    assert np.abs(again.quantiles - likeness.quantiles).max() < 0.35


def test_stronger_particles_are_found_stronger(bank) -> None:
    found = []
    for strength in (14.0, 28.0):
        true = replace(TRUE, noise=replace(CURVE, strength=strength))
        images = np.stack([simulate_micrograph(bank, true, index).image for index in range(3)])
        likeness = likeness_of(MicrographSeries.from_array(images, pixel_size=2.5), bank.diameter)
        made = matched(bank, in_the_likeness_of(likeness, replace(TRUE, noise=None)), likeness)
        found.append(made.noise.strength * made.noise.deviation)
    assert found[1] > 1.6 * found[0]


def test_the_number_of_particles_is_measured(bank) -> None:
    for true, least, most in ((25, 12, 45), (80, 50, 130)):
        images = [
            simulate_micrograph(bank, replace(TRUE, scene=replace(TRUE.scene, particles=true)), i).image
            for i in range(3)
        ]
        likeness = likeness_of(MicrographSeries.from_array(np.stack(images), pixel_size=2.5), bank.diameter)
        made = matched(bank, in_the_likeness_of(likeness, replace(TRUE, noise=None)), likeness, crowding=True)
        assert least <= made.scene.particles <= most
        assert made.noise.strength * made.noise.deviation == pytest.approx(16.0 * 40.0, rel=0.3)


def test_each_micrograph_has_particles_of_its_own_contrast(bank) -> None:
    """The second is in thicker ice: its particles are half as strong in the same noise."""
    images = [simulate_micrograph(bank, TRUE, 0).image]
    images.append(simulate_micrograph(bank, replace(TRUE, noise=replace(CURVE, strength=8.0)), 1).image)
    likeness = likeness_of(MicrographSeries.from_array(np.stack(images), pixel_size=2.5), bank.diameter)
    settings = in_the_likeness_of(likeness, replace(TRUE, noise=None, seed=5))
    made = matched(bank, settings, likeness).noise
    strengths = [made.strength * look.contrast * look.deviation for look in made.looks]
    assert strengths[0] == pytest.approx(16.0 * 40.0, rel=0.3)
    assert strengths[1] == pytest.approx(8.0 * 40.0, rel=0.4)
    # A dose is the same for all of them.
    assert [look.contrast for look in matched(bank, settings, likeness, dose=30.0).noise.looks] == [1.0, 1.0]


def test_micrographs_are_made_as_uneven_as_the_real_ones(bank) -> None:
    images = []
    for index, uneven in enumerate((0.0, 0.3)):
        look = Look(500.0, 40.0, CURVE.power, uneven=uneven)
        noise = replace(CURVE, looks=(look,), slow=bank.diameter)
        images.append(simulate_micrograph(bank, replace(TRUE, noise=noise), index).image)
    likeness = likeness_of(MicrographSeries.from_array(np.stack(images), pixel_size=2.5), bank.diameter)
    settings = matched(bank, in_the_likeness_of(likeness, replace(TRUE, noise=None, seed=5)), likeness)
    assert settings.noise.looks[0].uneven < 0.1
    assert settings.noise.looks[1].uneven == pytest.approx(0.3, abs=0.12)
    made = [simulate_micrograph(bank, settings, index).image for index in range(2)]
    again = likeness_of(MicrographSeries.from_array(np.stack(made), pixel_size=2.5), bank.diameter)
    assert again.each[1].uneven == pytest.approx(likeness.each[1].uneven, rel=0.4)
    assert again.each[0].uneven < 0.5 * again.each[1].uneven


def test_without_thon_rings_the_particles_tell_the_defocus(bank) -> None:
    found = []
    for true in (1.0, 5.0):
        optics = replace(TRUE.optics, defocus=(true, true))
        white = replace(CURVE, power=(1.0,) * 4, strength=24.0)
        micrographs = [simulate_micrograph(bank, replace(TRUE, optics=optics, noise=white), i).image for i in range(2)]
        likeness = likeness_of(MicrographSeries.from_array(_filtered(micrographs), pixel_size=2.5), bank.diameter)
        assert likeness.defocus is None
        settings = in_the_likeness_of(likeness, replace(TRUE, noise=None, optics=OpticsSettings(astigmatism=0.0)))
        assert matched(bank, settings, likeness).optics.defocus == OpticsSettings.defocus
        found.append(float(np.mean(matched(bank, settings, likeness, focusing=True).optics.defocus)))
    assert found[0] < 2.6 < found[1]


def test_filtered_pictures_keep_grey_values_and_get_no_detail_back(bank) -> None:
    """Bright values are compressed before the filter, so that the filtered noise leans to the dark side."""
    noise = replace(CURVE, power=(1.0,) * 4)
    bare = [simulate_micrograph(bank, replace(TRUE, noise=noise), index).image - 500 for index in range(2)]
    filtered = _filtered([image - 0.0025 * image**2 for image in bare])
    likeness = likeness_of(MicrographSeries.from_array(filtered, pixel_size=2.5), bank.diameter)
    settings = matched(bank, in_the_likeness_of(likeness, replace(TRUE, noise=None, seed=5)), likeness)
    looks = tuple(replace(look, greys=()) for look in settings.noise.looks)
    grey = replace(settings, noise=replace(settings.noise, looks=looks))
    made, without = ([simulate_micrograph(bank, one, i).image for i in range(2)] for one in (settings, grey))

    def apart(images: list[np.ndarray]) -> float:
        pairs = zip(images, filtered, strict=True)
        return max(np.abs(_shares(image) - _shares(real)).max() for image, real in pairs)

    assert apart(made) < 0.07
    assert apart(without) > 2 * apart(made)
    fine = likeness.frequency > 0.16
    again = likeness_of(MicrographSeries.from_array(np.stack(made), pixel_size=2.5), bank.diameter)
    assert again.power[fine].mean() < 3 * likeness.power[fine].mean()


def _shares(image: np.ndarray) -> np.ndarray:
    return np.asarray(np.quantile((image - image.mean()) / image.std(), [0.02, 0.05, 0.5, 0.95, 0.99]))


def _filtered(images: list[np.ndarray]) -> np.ndarray:
    rows, columns = np.fft.fftfreq(384)[:, None], np.fft.rfftfreq(448)
    left = np.exp(-((np.hypot(rows, columns) / 0.15) ** 2))
    return np.stack([np.fft.irfft2(np.fft.rfft2(image) * left, s=image.shape) for image in images]).astype(np.float32)


def test_each_micrograph_takes_after_a_real_one(bank, real: MicrographSeries) -> None:
    """Of which one has twice the deviation, a spectrum drawn out along one axis, and skewed whole numbers."""
    odd = real.read(1).astype(np.float64)
    odd = 2 * (odd - odd.mean())
    columns = np.fft.rfftfreq(448)
    odd = np.fft.irfft2(np.fft.rfft2(odd) * np.exp(-8 * columns**2), s=odd.shape)
    odd = np.rint(1000 + odd + 0.002 * odd**2)
    series = MicrographSeries.from_array(np.stack([np.rint(real.read(0)), odd]).astype(np.int16), pixel_size=2.5)
    likeness = likeness_of(series, bank.diameter)
    settings = matched(bank, in_the_likeness_of(likeness, replace(TRUE, noise=None, seed=5)), likeness)
    for index in range(2):
        made = simulate_micrograph(bank, settings, index + 2).image.astype(np.float64)
        given = series.read(index).astype(np.float64)
        assert (made == np.rint(made)).all()
        assert made.std() == pytest.approx(given.std(), rel=0.05)
        assert made.mean() == pytest.approx(given.mean(), abs=0.05 * given.std())
        for one in (made, given):
            one -= one.mean()
        assert (made**3).mean() / made.std() ** 3 == pytest.approx((given**3).mean() / given.std() ** 3, abs=0.1)
        across, down = (np.diff(made, axis=axis).std() / made.std() for axis in (1, 0))
        assert across == pytest.approx(np.diff(given, axis=1).std() / given.std(), rel=0.08)
        assert down == pytest.approx(np.diff(given, axis=0).std() / given.std(), rel=0.08)


@pytest.mark.parametrize(("skew", "width", "trough"), [(0.8, 0.0, 0.0), (0.7, 0.5, 0.0), (-0.6, 0.3, 0.4)])
def test_the_grain_of_skewed_noise_is_found_again(skew: float, width: float, trough: float) -> None:
    noise = skewed_noise(np.random.default_rng(2), (900, 900), skew, width, trough)
    assert noise.std() == pytest.approx(1.0, abs=0.01)
    # White all the same.
    assert np.abs(radial_power(noise, 1.0)[1][40:] - 1).max() < 0.4
    found, wide, deep = grain_of(noise)
    assert found == pytest.approx(skew, rel=0.25)
    assert wide == pytest.approx(width, abs=0.15)
    assert deep == pytest.approx(trough, abs=0.21)


def test_a_filter_that_took_the_fine_detail_takes_that_of_particles(bank, real: MicrographSeries) -> None:
    rows, columns = np.fft.fftfreq(384)[:, None], np.fft.rfftfreq(448)
    left = np.exp(-((np.hypot(rows, columns) / 0.09) ** 2))
    white = replace(TRUE, noise=replace(CURVE, power=(1.0,) * 4))  # as the noise of counted electrons is
    bare = [simulate_micrograph(bank, white, index).image for index in range(2)]
    filtered = np.stack([np.fft.irfft2(np.fft.rfft2(image) * left, s=real.shape) for image in bare])
    series = MicrographSeries.from_array(filtered.astype(np.float32), pixel_size=2.5)
    likeness = likeness_of(series, bank.diameter)
    settings = matched(bank, in_the_likeness_of(likeness, replace(TRUE, noise=None)), likeness)
    found = np.interp(np.array([0.02, 0.04, 0.06]), settings.noise.frequency, settings.noise.transfer)
    expected = np.exp(-((np.array([0.02, 0.04, 0.06]) * 2.5 / 0.09) ** 2))
    assert found == pytest.approx(expected, abs=0.12)
    plain = matched(
        bank,
        in_the_likeness_of(likeness_of(real, bank.diameter), replace(TRUE, noise=None)),
        likeness_of(real, bank.diameter),
    )
    assert plain.noise.transfer == ()


def test_particles_too_faint_to_be_measured_need_a_dose(bank) -> None:
    true = replace(TRUE, noise=replace(CURVE, strength=3.0))
    images = np.stack([simulate_micrograph(bank, true, index).image for index in range(2)])
    likeness = likeness_of(MicrographSeries.from_array(images, pixel_size=2.5), bank.diameter)
    settings = in_the_likeness_of(likeness, replace(TRUE, noise=None))
    with pytest.raises(SettingsError, match="--dose"):
        matched(bank, settings, likeness)
    assert matched(bank, settings, likeness, dose=4.0).noise.strength == pytest.approx(2.0 * 2.5)


def test_frames_of_padding_are_no_background(bank, real: MicrographSeries) -> None:
    padded = real.read(0).copy()
    padded[:24] = padded[:, :24] = padded[24, 24]
    framed = MicrographSeries.from_array(padded, pixel_size=2.5)
    bare = MicrographSeries.from_array(real.read(0), pixel_size=2.5)
    one, other = (likeness_of(series, bank.diameter) for series in (framed, bare))
    assert one.deviation == pytest.approx(other.deviation, rel=0.03)


def test_contamination_changes_neither_spectrum_nor_contrast(bank, real: MicrographSeries) -> None:
    dirty = real.read(0).copy()
    y, x = np.ogrid[:384, :448]
    dirty[np.hypot(y - 60, x - 80) < 30] -= 6 * 40.0
    one, other = (
        likeness_of(MicrographSeries.from_array(image, pixel_size=2.5), bank.diameter)
        for image in (dirty, real.read(0))
    )
    coarse = one.frequency < 0.05
    absolute, expected = (part.power[coarse] * part.deviation**2 for part in (one, other))
    assert absolute.mean() == pytest.approx(expected.mean(), rel=0.2)
    # The rings around it reach into the next part: the outermost quantiles tell.
    assert np.abs(one.quantiles - other.quantiles)[2:-2].max() < 0.15


def test_what_cannot_be_measured_is_said(real: MicrographSeries) -> None:
    with pytest.raises(MicrographError, match="one value"):
        likeness_of(MicrographSeries.from_array(np.ones((128, 128), np.float32), pixel_size=2.0), 60.0)
    with pytest.raises(SettingsError, match="no particle on micrographs"):
        likeness_of(real, 5000.0)


def test_the_command_line_takes_after_micrographs(tmp_path: Path, real: MicrographSeries) -> None:
    from napari_empiarreader import open_micrographs

    for index in range(2):
        write_mrc(tmp_path / "real" / f"{index}.mrc", real.read(index), 2.5)
    write_mrc(tmp_path / "map.mrc", blobs().volume, 2.5)
    arguments = ["simulate", str(tmp_path / "map.mrc"), "-o", str(tmp_path / "out"), "--particles", "40"]
    arguments += ["--views", "10", "--like", str(tmp_path / "real"), "--defocus", "1.4", "1.6"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    made = open_micrographs([tmp_path / "out" / "micrographs"])
    assert made.shape == real.shape and made.pixel_size == pytest.approx(2.5)
    assert made.read(0).mean() == pytest.approx(real.read(0).mean(), rel=0.05)
    assert made.read(0).std() == pytest.approx(real.read(0).std(), rel=0.2)
    with pytest.raises(SettingsError, match="leave it out"):
        CliRunner().invoke(app, [*arguments, "--size", "64", "64", "--overwrite"], catch_exceptions=False)


def test_the_command_line_measures_what_nobody_says(tmp_path: Path, real: MicrographSeries) -> None:
    for index in range(2):
        write_mrc(tmp_path / "real" / f"{index}.mrc", real.read(index), 2.5)
    write_mrc(tmp_path / "map.mrc", blobs().volume, 2.5)
    arguments = ["simulate", str(tmp_path / "map.mrc"), "-o", str(tmp_path / "out"), "--views", "10"]
    arguments += ["--like", str(tmp_path / "real")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    written = json.loads((tmp_path / "out" / "simulation.json").read_text(encoding="utf-8"))["settings"]
    assert 35 <= written["scene"]["particles"] <= 100  # 60 in truth, and 150 by default
    CliRunner().invoke(app, [*arguments, "--overwrite", "--dose", "30"], catch_exceptions=False)
    written = json.loads((tmp_path / "out" / "simulation.json").read_text(encoding="utf-8"))["settings"]
    assert written["scene"]["particles"] == SceneSettings.particles
