"""Micrographs in small, their power spectra, and the smoothing with which they are looked at."""

import numpy as np
import pytest

from napari_empiarreader.micrographs.contrast import contrast_limits, percentile_limits
from napari_empiarreader.micrographs.lowpass import (
    gaussian_kernel,
    kernel_deviation,
    smoothed_sample,
    widest_resolution,
)
from napari_empiarreader.micrographs.preview import as_grey, power_spectrum, thumbnail


@pytest.mark.parametrize("side", [64, 63])
def test_the_power_of_one_tile_is_that_of_its_fourier_transform(side):
    image = np.random.default_rng(1).normal(5, 1, (side, side)).astype(np.float32)
    window = np.outer(np.hanning(side), np.hanning(side))
    expected = np.log(np.abs(np.fft.fftshift(np.fft.fft2((image - image.mean()) * window))) ** 2)

    found = power_spectrum(image, side)

    expected[side // 2, side // 2] = found[side // 2, side // 2]  # the mean has no place in a picture of the power
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)


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
