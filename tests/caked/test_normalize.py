"""Normalisation and preparation: one scale of values, whatever the micrograph, or a specific error."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from napari_caked.errors import DiameterError, MicrographError
from napari_caked.preprocess import PreprocessSettings, flatten_background, normalize, prepare
from napari_caked.preprocess.normalize import fit_two_gaussians, gaussian_blur


def mixture(shape, share_dark, bright=100.0, dark=40.0, deviation=10.0, seed=0):
    dice = np.random.default_rng(seed)
    is_dark = np.zeros(shape, bool)
    is_dark[:, : int(share_dark * shape[1])] = True
    return dice.normal(np.where(is_dark, dark, bright), deviation)


@pytest.mark.parametrize("share_dark", [0.0, 0.05, 0.2, 0.4])
def test_a_known_mixture_is_recovered(share_dark):
    """Given dark carbon on part of a micrograph, then it does not shift the scale of the rest."""
    fit = fit_two_gaussians(mixture((200, 200), share_dark).ravel())
    assert fit.bright == pytest.approx(100, abs=0.3)
    assert fit.deviation == pytest.approx(10, rel=0.02)
    assert fit.weight == pytest.approx(1 - share_dark, abs=0.02)
    if share_dark:
        assert fit.dark == pytest.approx(40, abs=1)


def maximum_posterior(values, weight, bright, dark, deviation, alpha=900.0, beta=1.0):
    """Expectation maximisation as the textbook has it: every value by itself, until nothing changes any more."""
    for _ in range(2000):
        p = weight * norm.pdf(values, bright, deviation)
        q = (1 - weight) * norm.pdf(values, dark, deviation)
        r = p / (p + q)
        weight = (alpha - 1 + r.sum()) / (alpha + beta - 2 + len(values))
        bright, dark = np.average(values, weights=r), np.average(values, weights=1 - r)
        deviation = np.sqrt((r * (values - bright) ** 2 + (1 - r) * (values - dark) ** 2).mean())
    return weight, bright, dark, deviation


@pytest.mark.parametrize("share_dark, dark", [(0.3, 40.0), (0.1, 60.0), (0.4, 65.0)])
def test_the_fit_is_that_of_a_textbook(share_dark, dark):
    """Given a start at the truth, then float64 expectation maximisation without bins ends at the same place."""
    values = mixture((100, 100), share_dark, dark=dark).ravel()
    fit = fit_two_gaussians(values)
    expected = maximum_posterior(values, 1 - share_dark, 100.0, dark, 10.0)
    assert (fit.weight, fit.bright, fit.dark, fit.deviation) == pytest.approx(expected, rel=5e-3)


def test_a_strong_prior_makes_the_bright_part_larger():
    values = mixture((100, 100), 0.4, dark=75.0).ravel()
    weights = [fit_two_gaussians(values, alpha=alpha).weight for alpha in (1.0, 900.0, 20_000.0)]
    assert weights[0] == pytest.approx(0.6, abs=0.03)
    assert weights[0] < weights[1] < weights[2]


def test_a_single_gaussian_is_found_as_such():
    fit = fit_two_gaussians(np.random.default_rng(1).normal(-5, 3, 40_000))
    assert fit.bright == pytest.approx(-5, abs=0.05)
    assert fit.deviation == pytest.approx(3, rel=0.01)


def test_the_bright_part_has_mean_0_and_deviation_1():
    image = torch.from_numpy(mixture((300, 400), 0.2)).float()
    bright = normalize(image, "gmm")[:, 80:]
    assert float(bright.mean()) == pytest.approx(0, abs=0.05)
    assert float(bright.std()) == pytest.approx(1, abs=0.05)


def test_affine_takes_all_pixels():
    image = normalize(torch.from_numpy(mixture((300, 400), 0.2)).float(), "affine")
    assert float(image.mean()) == pytest.approx(0, abs=1e-4)
    assert float(image.std()) == pytest.approx(1, abs=1e-4)


def test_the_fit_does_not_depend_on_the_size_of_the_image():
    for i, shape in enumerate([(100, 100), (400, 300), (1000, 1000)]):
        fit = fit_two_gaussians(mixture(shape, 0.2, seed=i).ravel())
        assert (fit.bright, fit.deviation) == pytest.approx((100, 10), rel=0.02)


@pytest.mark.parametrize("gain, offset", [(1e-3, 0), (1, 1e4), (250, -7)])
def test_gain_and_offset_of_the_detector_do_not_matter(gain, offset):
    values = mixture((200, 200), 0.2).ravel()
    fit, scaled = fit_two_gaussians(values), fit_two_gaussians(gain * values + offset)
    assert scaled.bright == pytest.approx(gain * fit.bright + offset, rel=1e-3)
    assert scaled.deviation == pytest.approx(gain * fit.deviation, rel=1e-3)


def test_the_same_image_gives_the_same_result():
    image = torch.from_numpy(mixture((300, 400), 0.2)).float()
    assert torch.equal(normalize(image), normalize(image.clone()))


def test_an_unknown_method_is_an_error():
    with pytest.raises(ValueError, match="'gmm' or 'affine', not 'zscore'"):
        normalize(torch.rand(5, 5), "zscore")


# ---- background ----------------------------------------------------------------------------------------------


def test_a_blur_is_the_gaussian_it_claims_to_be():
    image = torch.zeros(61, 61, dtype=torch.float64)
    image[30, 30] = 1
    offsets = np.arange(-30, 31)
    expected = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 5.0**2))
    expected[(np.abs(offsets)[:, None] > 15) | (np.abs(offsets) > 15)] = 0
    np.testing.assert_allclose(gaussian_blur(image, 5.0), expected / expected.sum(), atol=1e-12)


def test_a_flat_background_is_zero_up_to_the_edges():
    flat = flatten_background(torch.full((60, 80), 9.0), 12.0)
    np.testing.assert_allclose(flat, 0, atol=1e-4)


def test_a_slope_goes_and_a_particle_stays():
    rows, columns = np.mgrid[:200, :200]
    particle = np.exp(-((rows - 100.0) ** 2 + (columns - 100.0) ** 2) / (2 * 5**2))
    image = torch.from_numpy(particle + 0.05 * columns)
    flat = flatten_background(image, 12.0)
    assert abs(float(flat[100, 50] - flat[100, 150])) < 0.02
    assert float(flat[100, 100] - flat[100, 60]) > 0.8


# ---- preparation ---------------------------------------------------------------------------------------------


@pytest.fixture
def micrograph() -> np.ndarray:
    return np.random.default_rng(0).normal(100, 10, (240, 300))


def test_a_particle_is_always_equally_wide(micrograph):
    for pixel_size in (1.0, 2.5, 5.0):
        working = prepare(micrograph, "a.mrc", 100.0, pixel_size)
        assert np.mean(working.rescaling.factor) == pytest.approx(100 / pixel_size / 20, rel=0.01)
        assert working.image.shape == working.rescaling.shape
        assert working.image.dtype == torch.float32
        assert abs(float(working.image.mean())) < 0.01
        assert float(working.image.std()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("kind", ["i1", "u2", ">i2", ">f4", "f2", "f8", "i4"])
def test_every_real_type_is_prepared_alike(micrograph, kind):
    whole = np.rint(micrograph / 2)
    expected = prepare(whole, "a.mrc", 100.0, 5.0).image
    torch.testing.assert_close(prepare(whole.astype(kind), "a.mrc", 100.0, 5.0).image, expected)


def test_the_micrograph_itself_is_not_changed(micrograph):
    micrograph.flags.writeable = False
    before = micrograph.copy()
    prepare(micrograph, "a.mrc", 100.0, 5.0)
    np.testing.assert_array_equal(micrograph, before)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_few_missing_pixels_change_little(micrograph, value):
    expected = prepare(micrograph, "a.mrc", 100.0, 5.0).image
    micrograph[::17, ::13] = value
    image = prepare(micrograph, "a.mrc", 100.0, 5.0).image
    assert bool(torch.isfinite(image).all())
    assert float(torch.corrcoef(torch.stack([image.ravel(), expected.ravel()]))[0, 1]) > 0.98


def test_a_hot_pixel_does_not_ring(micrograph):
    expected = prepare(micrograph, "a.mrc", 100.0, 5.0).image
    micrograph[100, 100] = 1e7
    image = prepare(micrograph, "a.mrc", 100.0, 5.0).image
    assert float((image - expected).abs().max()) < 12  # at the pixel itself
    assert float((image - expected).abs()[140:].max()) < 0.2


def test_a_micrograph_of_missing_pixels_is_an_error_with_its_name(micrograph):
    micrograph[:130] = np.nan
    with pytest.raises(MicrographError, match=r"a\.mrc: more than half of the pixels are NaN"):
        prepare(micrograph, "a.mrc", 100.0, 5.0)
    with pytest.raises(MicrographError, match=r"a\.mrc"):
        prepare(np.full((50, 50), np.nan), "a.mrc", 20.0, 5.0)


@pytest.mark.parametrize("value", [0, 7, -1e30])
def test_a_constant_micrograph_is_an_error_with_its_name(value):
    with pytest.raises(MicrographError, match=r"a\.mrc: all pixels have the value"):
        prepare(np.full((100, 100), value, np.float32), "a.mrc", 100.0, 5.0)


@pytest.mark.parametrize("pixel_size", [0.5, 0.83])
def test_a_particle_larger_than_half_the_micrograph_is_an_error_with_the_numbers(micrograph, pixel_size):
    with pytest.raises(DiameterError, match=r"a\.mrc: a particle of 100 Å is \d+ pixels wide .*\(300 x 240\)"):
        prepare(micrograph, "a.mrc", 100.0, pixel_size)


@pytest.mark.parametrize("diameter", [0, -5, 14.9])
def test_a_particle_of_hardly_any_pixels_is_an_error(micrograph, diameter):
    with pytest.raises(DiameterError, match=r"a\.mrc.*only .* pixels wide"):
        prepare(micrograph, "a.mrc", diameter, 5.0)


def test_a_diameter_that_is_no_number_is_an_error(micrograph):
    with pytest.raises(DiameterError):
        prepare(micrograph, "a.mrc", float("nan"), 5.0)


def test_the_settings_decide_the_working_scale(micrograph):
    working = prepare(micrograph, "a.mrc", 100.0, 2.5, PreprocessSettings(particle_width=10.0))
    assert np.mean(working.rescaling.factor) == pytest.approx(4, rel=0.01)
