"""Rescaling: what is where stays where it was, and what can be kept is kept exactly."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from napari_caked.preprocess import Rescaling, rescale


def blobs(shape, centres, width):
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])
    image = np.zeros(shape)
    for y, x in centres:
        image += np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * width**2))
    return image


def centroid(image, around, reach):
    y, x = np.rint(around).astype(int)
    rows, columns = np.mgrid[y - reach : y + reach + 1, x - reach : x + reach + 1]
    weights = image[y - reach : y + reach + 1, x - reach : x + reach + 1]
    return np.array([(weights * rows).sum(), (weights * columns).sum()]) / weights.sum()


@pytest.mark.parametrize("factor", [1, 1.37, 2, 3, 4.5, 7, 11.3, 16])
@pytest.mark.parametrize("shape", [(600, 700), (601, 709), (587, 640)], ids=str)
def test_a_blob_is_found_where_it_was_to_a_thousandth_of_a_pixel(shape, factor):
    """Given Gaussian blobs at known places, when rescaled, then their centroids map back to these places."""
    width = 2.2 * factor + 1
    for centre in np.array(shape) / 2 + [[1.37, -9.81], [5.5, 7.123]]:
        image = torch.from_numpy(blobs(shape, [centre], width))
        plan = Rescaling.plan(shape, factor)
        small = rescale(image, plan).numpy()
        there = plan.to_rescaled(centre[None])[0]
        reach = int(5.5 * width / factor)
        back = plan.to_original(centroid(small, there, reach)[None])[0]
        np.testing.assert_allclose(back, centre, atol=1e-3)


def separable_blob(shape, centre, width):
    y, x = (np.exp(-((np.arange(n) - c) ** 2) / (2 * width**2)) for n, c in zip(shape, centre, strict=True))
    return torch.from_numpy(y[:, None] * x)


def located(image, width):
    """Where the one Gaussian of an image lies: the straight line through the ratios of neighbours of its logarithm."""
    values = image.numpy()
    peak = np.unravel_index(values.argmax(), values.shape)
    found = []
    for axis in (0, 1):
        line = values[:, peak[1]] if axis == 0 else values[peak[0]]
        at = np.arange(peak[axis] - 2, peak[axis] + 3)
        slope, offset = np.polyfit(at, np.log(line[at + 1] / line[at - 1]) / 2, 1)
        found.append(-offset / slope)
    return np.array(found)


@pytest.mark.parametrize("shape", [(512, 540), (509, 641), (600, 523)], ids=str)
@pytest.mark.parametrize("factor", [*range(1, 17), 1.5, 2.718, 5.01, 9.5, 15.9])
def test_places_are_exact_through_every_factor_even_near_corners(shape, factor):
    """Given blobs in the middle and towards all corners, whose distance shows any error of the scale, then to 1e-3."""
    width = 2.0 * factor
    reach = min(6.0 * width, 0.4 * min(shape))
    plan = Rescaling.plan(shape, factor)
    last = np.array(shape) - 1
    for share in ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1)):
        centre = reach + np.array(share) * (last - 2 * reach) + [0.372, -0.241]
        small = rescale(separable_blob(shape, centre, width), plan)
        found = located(small, width / factor)
        np.testing.assert_allclose(plan.to_original(found[None])[0], centre, atol=1e-3)
        np.testing.assert_allclose(plan.to_rescaled(centre[None])[0], found, atol=1e-3)


@given(st.integers(150, 420), st.integers(150, 420), st.floats(0.3, 12), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_places_are_exact_for_any_size_and_factor(height, width, factor, seed):
    deviation = max(2.0 * factor, 1.6)
    middle = np.array([height, width]) / 2 + np.random.default_rng(seed).uniform(-9, 9, 2)
    plan = Rescaling.plan((height, width), factor)
    found = located(rescale(separable_blob((height, width), middle, deviation), plan), deviation / factor)
    np.testing.assert_allclose(plan.to_original(found[None])[0], middle, atol=1e-3)


@pytest.mark.parametrize("factor", [0.3, 0.5, 0.83])
def test_enlarging_keeps_places_too(factor):
    shape, centre = (101, 128), np.array([47.3, 60.9])
    plan = Rescaling.plan(shape, factor)
    large = rescale(torch.from_numpy(blobs(shape, [centre], 4.0)), plan).numpy()
    assert large.shape[0] > shape[0] and large.shape[1] > shape[1]
    there = plan.to_rescaled(centre[None])[0]
    back = plan.to_original(centroid(large, there, int(26 / factor))[None])[0]
    np.testing.assert_allclose(back, centre, atol=1e-3)
    assert large.max() == pytest.approx(1.0, abs=0.02)


@given(
    st.integers(8, 3000),
    st.integers(8, 3000),
    st.floats(0.2, 16),
    st.lists(st.tuples(st.floats(-50, 5000), st.floats(-50, 5000)), max_size=5),
)
def test_there_and_back_is_the_same_place_for_any_size(height, width, factor, places):
    plan = Rescaling.plan((height, width), factor)
    yx = np.array(places, float).reshape(-1, 2)
    np.testing.assert_allclose(plan.to_original(plan.to_rescaled(yx)), yx, atol=1e-9)
    np.testing.assert_array_equal(plan.to_rescaled(np.zeros((1, 2))), [[0, 0]])
    for original, small, exact in zip(plan.original_shape, plan.shape, plan.factor, strict=True):
        # The last pixel of the result lies on the original, the next would lie outside of it.
        assert (small - 1) * exact <= original - 1 + 1e-6 < small * exact + 1e-3
        assert exact == pytest.approx(factor, rel=0.5 * factor / original + 1e-6)


@pytest.mark.parametrize("shape", [(256, 300), (257, 301), (251, 263), (97, 640)], ids=str)
@pytest.mark.parametrize("factor", [0.4, 0.77, 1.0, 1.7, 2, 3.3])
def test_waves_slower_than_the_new_pixels_are_kept(shape, factor):
    """Given a wave that the new grid can hold, then away from the edges it is what the formula says."""
    wavelength_y, wavelength_x = 37.0, 53.0
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])

    # A window that falls to zero at the edges makes the image periodic, so the formula holds everywhere.
    def formula(y, x):
        window = np.exp(-(((y - shape[0] / 2) / (shape[0] / 11)) ** 2) - ((x - shape[1] / 2) / (shape[1] / 11)) ** 2)
        return window * np.cos(2 * np.pi * (y / wavelength_y + x / wavelength_x) + 0.4)

    plan = Rescaling.plan(shape, factor)
    small = rescale(torch.from_numpy(formula(rows, columns)), plan).numpy()
    expected = formula(np.arange(plan.shape[0])[:, None] * plan.factor[0], np.arange(plan.shape[1]) * plan.factor[1])
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(small, expected, atol=2e-5)


def test_a_factor_of_one_changes_nothing():
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(101, 64)))
    np.testing.assert_allclose(rescale(image, Rescaling.plan((101, 64), 1.0)), image, atol=1e-12)


@pytest.mark.parametrize("factor", [0.5, 0.7, 2, 3.1])
def test_a_constant_stays_constant(factor):
    plan = Rescaling.plan((100, 90), factor)
    np.testing.assert_allclose(rescale(torch.full((100, 90), 7.0), plan), 7.0, atol=1e-4)


def test_waves_faster_than_the_new_pixels_vanish_rather_than_alias():
    columns = np.arange(512)
    image = torch.from_numpy(np.tile(np.cos(2 * np.pi * columns / 5.3), (512, 1)))
    small = rescale(image, Rescaling.plan((512, 512), 4))
    assert small[16:-16, 16:-16].abs().max() < 0.01


def test_enlarging_invents_no_energy():
    """Given noise up to the finest detail, when enlarged, then it does not become louder."""
    image = torch.from_numpy(np.random.default_rng(1).normal(size=(90, 90)))
    for factor in (0.5, 0.51):
        large = rescale(image, Rescaling.plan((90, 90), factor))
        assert float((large**2).mean()) <= float((image**2).mean()) * 1.02


def by_definition(image, plan, bounds=None):
    """Pad, transform, cut, transform back: as the equations have it, all at once and in float64."""
    image = np.asarray(image, float)
    if bounds is not None:
        image = image.clip(*bounds)
    for axis, padded in enumerate(plan.padded_shape):
        image = np.moveaxis(image, axis, 0)
        steps = padded - len(image)
        weight = (np.arange(1, steps + 1) / (steps + 1))[:, None]
        image = np.concatenate([image, (1 - weight) * image[-1] + weight * image[0]])
        image = np.moveaxis(image, 0, axis)
    spectrum = np.fft.fftshift(np.fft.fft2(image))
    for axis, size in enumerate(plan.cropped_shape):
        middle, low = spectrum.shape[axis] // 2, (size - 1) // 2
        spectrum = np.take(spectrum, np.arange(middle - low, middle + low + 1), axis=axis)
        if size % 2 == 0:  # without the Nyquist frequency
            spectrum = np.insert(spectrum, 0, 0, axis=axis)
    result = np.fft.ifft2(np.fft.ifftshift(spectrum)).real * np.prod(plan.cropped_shape) / np.prod(plan.padded_shape)
    return result[: plan.shape[0], : plan.shape[1]]


@pytest.mark.parametrize("shape", [(64, 70), (65, 71), (129, 300), (200, 67)], ids=str)
@pytest.mark.parametrize("factor", [1.3, 2, 5.1])
@pytest.mark.parametrize("bounds", [None, (-1.0, 1.5)])
def test_row_by_row_is_the_same_as_all_at_once(shape, factor, bounds):
    image = np.random.default_rng(0).normal(size=shape)
    plan = Rescaling.plan(shape, factor)
    np.testing.assert_allclose(rescale(image, plan, bounds), by_definition(image, plan, bounds), atol=1e-12)


@pytest.mark.parametrize("kind", ["u1", "i2", ">i2", "u2", "f2", "f4", ">f4", "f8"])
def test_arrays_of_any_type_read_only_and_flipped_are_rescaled(kind):
    image = np.random.default_rng(0).uniform(0, 200, (90, 81)).astype(kind)[::-1, ::-1]
    image.flags.writeable = False
    plan = Rescaling.plan(image.shape, 2.5)
    np.testing.assert_allclose(rescale(image, plan), by_definition(image, plan), atol=2e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_type_is_kept(dtype):
    result = rescale(torch.rand(50, 60, dtype=dtype), Rescaling.plan((50, 60), 2))
    assert result.dtype == dtype
    assert result.is_contiguous()


def test_neighbouring_particles_stay_apart():
    shape = (400, 400)
    centres = [(150, 150), (150, 190), (250, 250)]
    plan = Rescaling.plan(shape, 4)
    small = rescale(torch.from_numpy(blobs(shape, centres, 8.0)), plan).numpy()
    assert label(small > 0.5)[1] == 3
