"""Micrographs in small, their power spectra, and the smoothing with which they are looked at."""

import numpy as np
import pytest

from napari_empiarreader.errors import FormatError
from napari_empiarreader.micrographs import MicrographSeries, MovieSeries
from napari_empiarreader.micrographs.contrast import contrast_limits, low_pass, percentile_limits
from napari_empiarreader.micrographs.lowpass import (
    gaussian_kernel,
    kernel_deviation,
    smoothed_sample,
    widest_resolution,
)
from napari_empiarreader.micrographs.preview import as_grey, binned, power_spectrum, pyramid, thumbnail


@pytest.mark.parametrize("side", [64, 63])
def test_the_power_of_one_tile_is_that_of_its_fourier_transform(side):
    image = np.random.default_rng(1).normal(5, 1, (side, side)).astype(np.float32)
    line = np.sin(np.pi * np.arange(side) / side) ** 2
    window = np.outer(line, line)
    power = np.abs(np.fft.fftshift(np.fft.fft2((image - image.mean()) * window))) ** 2 / (window**2).sum()
    expected = np.log(power)

    found = power_spectrum(image, side)

    expected[side // 2, side // 2] = found[side // 2, side // 2]  # the mean has no place in a picture of the power
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_power_of_white_noise_is_its_variance():
    noise = np.random.default_rng(4).normal(0, 3, (1024, 1024))
    assert np.exp(power_spectrum(noise, 128)).mean() == pytest.approx(9, rel=0.03)


def thon_rings(side: int, pixel_size: float, defocus: float) -> np.ndarray:
    """Noise behind a contrast transfer function: 300 kV, no spherical aberration, no amplitude contrast."""
    wavelength = 0.0196876  # Å
    frequency = np.fft.fftfreq(side, pixel_size)
    squared = frequency[:, None] ** 2 + frequency**2
    transfer = np.sin(np.pi * wavelength * defocus * squared)
    noise = np.random.default_rng(5).normal(size=(side, side))
    return np.fft.ifft2(np.fft.fft2(noise) * transfer).real.astype(np.float32)


@pytest.mark.parametrize("finest", [None, 8.0])
def test_thon_rings_lie_where_the_transfer_function_is_zero(finest):
    """Given a defocus of 1.5 micrometres, then the power is lowest at f = sqrt(n / (wavelength defocus))."""
    pixel_size, defocus, side = 2.0, 15_000.0, 256
    image = thon_rings(2048, pixel_size, defocus)

    found = power_spectrum(image, side, pixel_size=pixel_size if finest else None, finest=finest)

    assert found.shape == (side, side)
    tile = side if finest is None else side * finest / (2 * pixel_size)
    rows, columns = np.indices(found.shape) - side // 2
    radius = np.hypot(rows, columns)
    profile = np.array([found[(radius >= r - 0.5) & (radius < r + 0.5)].mean() for r in range(side // 2)])
    for order in (1, 2, 3):
        expected = np.sqrt(order / (0.0196876 * defocus)) * tile * pixel_size
        near = int(round(expected))
        lowest = near - 4 + int(np.argmin(profile[near - 4 : near + 5]))
        assert lowest == pytest.approx(expected, abs=1.5)
        assert profile[lowest] < profile[lowest - 6] - 1  # a ring, not a slope


def test_a_resolution_finer_than_the_pixels_is_an_error():
    with pytest.raises(FormatError, match="3 Å cannot be had from pixels of 2 Å"):
        power_spectrum(np.zeros((64, 64)), 32, pixel_size=2, finest=3)


def test_a_wave_is_found_at_its_frequency_in_every_tile():
    x = np.arange(300)
    wave = np.tile(np.cos(2 * np.pi * x * 8 / 64), (200, 1)).astype(np.float32)
    found = power_spectrum(wave, 64)
    brightest = np.argsort(found.ravel())[-2:]
    assert sorted(map(tuple, np.argwhere(np.isin(np.arange(64 * 64).reshape(64, 64), brightest)))) == [
        (32, 24),
        (32, 40),
    ]


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (511, 513)])
def test_small_and_uneven_images_have_pictures_too(shape):
    image = np.random.default_rng(2).normal(size=shape)
    image[0, 0] = np.nan
    small = thumbnail(image, 100)
    assert small.dtype == np.uint8 and max(small.shape) <= 100 and min(small.shape) >= 1
    if min(shape) > 1:
        assert np.isfinite(power_spectrum(image)).all()


def test_grey_runs_from_the_lower_limit_to_the_upper():
    grey = as_grey(np.array([[-1.0, 0, 5, 10, 99, np.nan]]), (0, 10))
    np.testing.assert_array_equal(grey, [[0, 0, 127, 255, 255, 0]])


def test_the_kernel_halves_amplitudes_at_its_resolution():
    pixel_size, resolution = 1.5, 24.0
    kernel = gaussian_kernel(kernel_deviation(resolution, pixel_size)).astype(float)
    assert kernel.sum() == pytest.approx(1, abs=1e-6) and kernel.shape[0] % 2 == 1
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    amplitude = (kernel.sum(axis=0) * np.cos(2 * np.pi * offsets * pixel_size / resolution)).sum()
    assert amplitude == pytest.approx(0.5, abs=0.02)


def test_no_kernel_is_wider_than_the_widest():
    widest = gaussian_kernel(kernel_deviation(widest_resolution(2.0), 2.0))
    assert gaussian_kernel(1e9).shape == widest.shape
    assert gaussian_kernel(0).shape == (1, 1)


def test_blocks_quieten_noise_as_the_kernel_does():
    noise = np.random.default_rng(3).normal(size=(800, 800)).astype(np.float32)
    deviation = 3.0
    expected = np.sqrt((gaussian_kernel(deviation).astype(float) ** 2).sum())
    assert smoothed_sample(noise, deviation).std() == pytest.approx(expected, rel=0.1)
    assert smoothed_sample(noise, 0) is noise


def test_percentiles_leave_out_what_is_rare():
    image = np.linspace(0, 100, 101 * 101).reshape(101, 101)
    image[0, 0] = 1e9
    low, high = percentile_limits(image, 1, 99, step=1)
    assert low == pytest.approx(1, abs=0.1) and high == pytest.approx(99, abs=0.1)
    flat = np.full((9, 9), 3.0)
    assert percentile_limits(flat) == contrast_limits(flat)
    assert percentile_limits(np.full((9, 9), np.nan)) == (0, 1)


def test_contrast_by_preset_is_that_of_its_rule():
    image = np.random.default_rng(6).normal(10, 2, (400, 400))
    image[0, 0] = 1e6
    assert contrast_limits(image, preset="sigma") == pytest.approx((4, 16), abs=0.3)
    assert contrast_limits(image, preset="percentile") == percentile_limits(image)
    assert contrast_limits(image, preset="full") == (image[::4, ::4].min(), 1e6)
    with pytest.raises(FormatError, match="'bright'; there are sigma, percentile, full"):
        contrast_limits(image, preset="bright")


def test_contrast_is_told_from_a_sixteenth_of_the_pixels():
    image = np.full((64, 64), np.nan)
    image[::4, ::4] = np.arange(256).reshape(16, 16)
    for preset in ("sigma", "percentile", "full"):
        low, high = contrast_limits(image, preset=preset)
        assert np.isfinite((low, high)).all() and low < high


# ---- smoothing -----------------------------------------------------------------------------------------------


def test_a_low_pass_halves_a_wave_at_its_cutoff_and_keeps_the_mean():
    pixel_size, cutoff = 2.0, 40.0
    x = np.arange(800)
    wave = 5 + np.tile(np.cos(2 * np.pi * x * pixel_size / cutoff), (100, 1))
    smooth = low_pass(wave, cutoff, pixel_size)
    assert smooth.dtype == np.float32 and smooth.shape == wave.shape
    inside = smooth[:, 100:-100]
    assert (inside.max() - inside.min()) / 2 == pytest.approx(0.5, abs=0.01)
    assert smooth.mean() == pytest.approx(wave.mean(), abs=1e-3)


def test_a_low_pass_is_the_gaussian_of_its_definition():
    """Inside, it is a convolution with a Gaussian of sigma = cutoff sqrt(ln 2 / 2) / pi."""
    from scipy.ndimage import gaussian_filter

    image = np.random.default_rng(7).normal(size=(101, 90))
    sigma = 20 * np.sqrt(np.log(2) / 2) / np.pi / 1.5
    expected = gaussian_filter(image, sigma, mode="reflect", truncate=8)
    np.testing.assert_allclose(low_pass(image, 20, 1.5), expected, atol=2e-3)


def test_a_low_pass_does_not_spread_missing_values():
    image = np.full((32, 32), 4.0)
    image[3, 3] = np.nan
    np.testing.assert_allclose(low_pass(image, 10, 1), 4, atol=1e-4)
    assert np.isfinite(low_pass(np.full((8, 8), np.nan), 10, 1)).all()


@pytest.mark.parametrize("cutoff, pixel_size", [(0, 1), (10, 0), (-5, 1), (float("nan"), 1), (10, float("inf"))])
def test_an_impossible_low_pass_is_an_error(cutoff, pixel_size):
    with pytest.raises(FormatError, match="impossible"):
        low_pass(np.zeros((8, 8)), cutoff, pixel_size)


# ---- levels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["u1", "i2", "f4"])
@pytest.mark.parametrize("factor", [1, 2, 3, 7])
def test_binning_is_the_mean_of_blocks(kind, factor):
    image = np.random.default_rng(8).integers(0, 100, (23, 40)).astype(kind)
    found = binned(image, factor)
    rows, columns = 23 // factor, 40 // factor
    expected = [
        [image[i * factor : (i + 1) * factor, j * factor : (j + 1) * factor].mean() for j in range(columns)]
        for i in range(rows)
    ]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("factor", [0, -1, 24])
def test_binning_by_more_than_there_is_is_an_error(factor):
    with pytest.raises(FormatError, match=f"40 x 23 pixels cannot be binned by {factor}"):
        binned(np.zeros((23, 40)), factor)


def test_a_pyramid_has_the_levels_that_a_screen_needs_and_reads_each_micrograph_once():
    reads = []

    def read(index):
        reads.append(index)
        return np.full((96, 5000), index + 0.5, np.float32)

    series = MicrographSeries(("a", "b"), (96, 5000), np.dtype(np.float32), None, read)
    levels = pyramid(series)
    assert [level.shape for level in levels] == [(2, 96, 5000), (2, 48, 2500), (2, 24, 1250), (2, 12, 625)]
    assert [level.chunks[0] for level in levels] == [(1, 1)] * 4
    assert reads == []
    assert (levels[3][1].compute() == 1.5).all()
    assert (levels[3][1].compute() == 1.5).all()
    assert reads == [1]


def test_small_micrographs_have_one_level():
    series = MicrographSeries.from_array(np.zeros((1, 40, 4096), np.float32))
    assert len(pyramid(series)) == 1


def test_a_pyramid_of_movies_has_a_chunk_for_each_frame_and_their_type():
    frames = np.random.default_rng(9).integers(0, 9, (2, 3, 8, 9)).astype(np.uint8)
    levels = pyramid(MovieSeries.from_array(frames), large=4)
    assert len(levels) == 1  # nine pixels fit on any screen
    movies = MovieSeries(("a",), (2, 4, 4100), np.dtype(np.uint8), None, lambda i, f: np.full((4, 4100), f, np.uint8))
    levels = pyramid(movies)
    assert [level.shape[2:] for level in levels] == [(4, 4100), (2, 2050), (1, 1025)]
    assert levels[2].dtype == np.uint8 and levels[2].chunks[1] == (1, 1)
    assert (levels[2][0, 1].compute() == 1).all()
