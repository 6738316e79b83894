"""Tests of rescaling and filters, against functions that are known everywhere and against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_caked.datasets.augment_noise import measured_spectrum
from napari_caked.datasets.filtering import HighPass, LowPass, PhaseFlip, SoftMask, Whiten
from napari_caked.datasets.items import Item, Record
from napari_caked.datasets.recipe import Recipe
from napari_caked.datasets.resampling import Fit, Rescale, resampled
from napari_caked.datasets.sample import Sample
from napari_caked.errors import DatasetError

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def waves_in(shape, others, seed=0) -> tuple[np.ndarray, object]:
    """A periodic function with frequencies that both grids hold, on the first; and the function itself."""
    dice = np.random.default_rng(seed)
    terms = []
    for _ in range(25):
        highest = [(min(n, m) - 1) // 2 for n, m in zip(shape, others, strict=True)]
        terms.append(([dice.integers(-h, h + 1) for h in highest], dice.uniform(0, 2 * np.pi), dice.normal()))

    def at(places):
        total = np.zeros(np.broadcast_shapes(*(p.shape for p in places)))
        for cycles, phase, height in terms:
            angle = sum(2 * np.pi * c * p / n for c, p, n in zip(cycles, places, shape, strict=True))
            total += height * np.cos(angle + phase)
        return total

    return at(np.indices(shape).astype(float)), at


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "before, after",
    [
        ((16, 16), (8, 8)),
        ((16, 16), (24, 30)),
        ((15, 16), (9, 11)),
        ((16, 15), (21, 12)),
        ((9, 9), (9, 14)),
        ((12, 13, 16), (6, 9, 10)),
        ((12, 13, 16), (15, 13, 8)),
        ((7, 8, 9), (14, 15, 16)),
    ],
)
def test_resampling_is_exact_for_what_both_grids_hold_and_keeps_the_middle(before, after, device):
    values, at = waves_in(before, after)
    found = resampled(torch.tensor(values, dtype=torch.float32, device=device), after).cpu().numpy()
    grids = np.indices(after).astype(float)
    places = [(g - m // 2) * n / m + n // 2 for g, n, m in zip(grids, before, after, strict=True)]
    assert np.allclose(found, at(places), atol=1e-4)


@pytest.mark.parametrize("n, m", [(8, 4), (4, 8), (8, 6)])
def test_cropping_leaves_no_power_that_folds_and_padding_is_undone(n, m):
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(n, n)).astype(np.float32))
    if m > n:
        assert torch.allclose(resampled(resampled(image, (m, m)), (n, n)), image, atol=1e-5)
    else:
        fine = np.cos(np.pi * np.arange(n))[:, None] * np.ones(n)  # Nyquist of the old grid is beyond the new one
        assert np.abs(resampled(torch.from_numpy(fine.astype(np.float32)), (m, m)).numpy()).max() < 1e-6
    assert float(resampled(image, (m, m)).mean()) == pytest.approx(float(image.mean()), abs=1e-6)


def blob(shape, place, spacing, width=4.0) -> np.ndarray:
    grid = np.indices(shape)
    return np.exp(-sum(((g - p) * a) ** 2 for g, p, a in zip(grid, place, spacing, strict=True)) / (2 * width**2))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "shape, spacing, wanted",
    [
        ((40, 44), (1.0, 1.0), 1.5),
        ((41, 40), (1.0, 2.0), 1.3),
        ((24, 30, 33), (2.0, 1.2, 1.2), 1.4),
        ((30, 30, 30), (1.5, 1.5, 1.5), 1.0),
    ],
)
def test_rescaling_brings_every_axis_to_the_voxel_size_and_all_parts_with_it(shape, spacing, wanted, device):
    """Defect 4 of CAKED: its `rescale` squeezes every volume into a cube, and knows no voxel size."""
    place = np.array([n // 2 for n in shape]) + 1.3
    image = blob(shape, place, spacing)
    points = np.array([place, [n // 2 for n in shape]])
    mask = (image > 0.5).astype(np.int16)
    done = Rescale(wanted)(Sample.from_array(image, spacing, points=points, mask=mask, partner=image, device=device))
    assert np.allclose(done.voxel_size, wanted, rtol=3e-3)
    lengths = np.array(done.record.shape) * done.voxel_size
    assert np.all(np.abs(lengths - np.array(shape) * spacing) <= wanted)
    assert done.points[1].tolist() == [m // 2 for m in done.record.shape]
    expected = blob(done.record.shape, done.points[0].cpu().numpy(), done.voxel_size)
    assert np.abs(done.image.cpu().numpy() - expected).max() < 5e-3
    assert torch.equal(done.partner, done.image)
    # The mask's volume in Å is that of before, and its middle is on the point.
    volume = float(done.mask.sum()) * np.prod(done.voxel_size)
    assert volume == pytest.approx(mask.sum() * np.prod(spacing), rel=0.15)
    found = ndimage.center_of_mass(done.mask.cpu().numpy())
    assert np.abs(np.array(found) - done.points[0].cpu().numpy()).max() < 0.5


def test_rescaling_to_the_size_at_hand_changes_nothing():
    image = np.random.default_rng(0).normal(size=(9, 12)).astype(np.float32)
    sample = Sample.from_array(image, 2.0)
    done = Rescale(2.0)(sample)
    assert torch.equal(done.image, sample.image) and done.record == sample.record


@pytest.mark.parametrize("old, new", [(1.0, 1.05), (1.06, 1.0), (1.0, 3.7), (2.0, 1.31)])
@pytest.mark.parametrize("size", [47, 64, 100])
def test_rescaling_meets_awkward_voxel_sizes(size, old, new):
    done = Rescale(new)(Sample.from_array(np.random.default_rng(0).normal(size=(size, size)), old))
    assert np.allclose(done.voxel_size, new, rtol=2e-3 if size >= 64 else 5e-3)
    assert done.record.shape[0] == round(size * old / new)


def test_rescaling_says_what_it_lacks():
    with pytest.raises(DatasetError, match="voxel size is not known"):
        Rescale(1.0)(Sample.from_array(np.zeros((8, 8))))
    with pytest.raises(DatasetError, match=r"image: of \(8, 8\) voxels .* only \(1, 1\) are left"):
        Rescale(10.0)(Sample.from_array(np.zeros((8, 8)), 1.0))
    with pytest.raises(DatasetError, match="give 2 sizes"):
        Rescale((1.0, 1.0, 1.0))(Sample.from_array(np.zeros((8, 8)), 1.0))
    with pytest.raises(DatasetError, match="voxel_size is -1.0"):
        Rescale(-1.0)


def test_fitting_keeps_the_aspect():
    """Defect 4 of CAKED: `rescale=16` of (10, 20, 40) voxels is a 16-cube there."""
    image = blob((10, 20, 40), (5, 10, 20), (1, 1, 1), 3.0)
    sample = Sample.from_array(image, 1.0, points=np.array([[5.0, 10, 20]]))
    flat = Fit(16, pad=False)(sample)
    assert flat.record.shape == (4, 8, 16) and flat.voxel_size == (2.5, 2.5, 2.5)
    done = Fit(16)(sample)
    assert done.record.shape == (16, 16, 16) and done.points.tolist() == [[8, 8, 8]]
    weights = flat.image.numpy() - flat.image.numpy().min()
    grid = np.indices((4, 8, 16))
    spread = [np.sqrt(np.average((grid[a] - c) ** 2, weights=weights**4)) for a, c in ((1, 4), (2, 8))]
    assert spread[0] == pytest.approx(spread[1], rel=0.05)


def filtered(step, shape, device="cpu", seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Factor at each frequency, and its length in 1/Å at a voxel size of (2, 2, …) Å."""
    image = np.random.default_rng(seed).normal(size=shape)
    done = step(Sample.from_array(image, 2.0, device=device)).image.cpu().numpy()
    radius = np.sqrt(sum(k**2 for k in np.meshgrid(*[np.fft.fftfreq(n, 2.0) for n in shape], indexing="ij")))
    return (np.fft.fftn(done) / np.fft.fftn(image.astype(np.float32))).real, radius


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(64, 50), (30, 31, 32)])
def test_passes_cut_at_their_resolution(shape, device):
    for step, inside in ((LowPass(10.0), 1), (HighPass(10.0), 0)):
        factor, k = filtered(step, shape, device)
        assert np.allclose(factor[k < 0.09], inside, atol=0.02) and np.allclose(factor[k > 0.11], 1 - inside, atol=0.02)
        expected = 0.5 + 0.5 * np.cos(np.pi * (k - 0.09) / 0.02)
        edge = (k > 0.091) & (k < 0.109)
        assert np.allclose(factor[edge], expected[edge] if inside else 1 - expected[edge], atol=0.02)
    sharp, k = filtered(LowPass(10.0, edge=0.0), shape, device)
    off = np.abs(k - 0.1) > 1e-6
    assert np.allclose(sharp[off], (k <= 0.1)[off], atol=0.01)


@pytest.mark.parametrize("device", DEVICES)
def test_a_soft_mask_keeps_the_middle_and_the_mean_outside(device):
    image = np.random.default_rng(0).normal(5, 1, (40, 40))
    done = SoftMask(50.0, edge=8.0)(Sample.from_array(image, (2.0, 1.5), device=device)).image.cpu().numpy()
    rows, columns = np.indices((40, 40)) - 20
    distance = np.hypot(rows * 2.0, columns * 1.5)
    outside = done[distance > 29]
    assert np.allclose(done[distance < 21], image[distance < 21], atol=1e-5) and np.ptp(outside) < 1e-5
    assert outside[0] == pytest.approx(image[distance > 25].mean(), abs=0.02)
    with pytest.raises(DatasetError, match="a sphere of 500 Å holds all"):
        SoftMask(500.0)(Sample.from_array(image, 1.0))


def test_phase_flipping_makes_every_ring_positive():
    """Given a blob seen through a lens, when phases are flipped, then it is like the blob at all frequencies."""
    shape, pixel = (96, 96), 2.0
    ky, kx = np.meshgrid(np.fft.fftfreq(96, pixel), np.fft.fftfreq(96, pixel), indexing="ij")
    k2, wavelength = kx**2 + ky**2, 0.0196875
    defocus = 1.5e4 + 0.1e4 * np.cos(2 * (np.arctan2(ky, kx) - np.radians(35)))
    phase = np.pi * wavelength * defocus * k2 - np.pi / 2 * 2.7e7 * wavelength**3 * k2**2 + np.arcsin(0.1)
    clean = np.fft.fftn(np.random.default_rng(0).normal(size=shape))
    seen = np.fft.ifftn(clean * -np.sin(phase)).real
    origin = {"defocus_u": 16000.0, "defocus_v": 14000.0, "defocus_angle": 35.0}
    record = Record("p", 0, "m", shape, (pixel, pixel), origin=origin)
    inside = np.abs(ky) < 0.5 / pixel - 1e-9
    for step in (PhaseFlip(), PhaseFlip(1.5, 0.2, 35.0)):
        done = np.fft.fftn(step(Sample.of(Item(record, seen.astype(np.float32)))).image.numpy())
        ratio = (done / clean).real[inside & (np.abs(kx) < 0.5 / pixel - 1e-9)]
        expected = -np.abs(np.sin(phase))[inside & (np.abs(kx) < 0.5 / pixel - 1e-9)]
        assert (np.abs(ratio - expected) < 0.02).mean() > 0.995  # but for zeros, where rounding decides
    with pytest.raises(DatasetError, match="image: its defocus is not known .*give defocus to PhaseFlip"):
        PhaseFlip()(Sample.from_array(seen, pixel))


@pytest.mark.parametrize("device", DEVICES)
def test_whitening_makes_all_frequencies_as_strong(device):
    dice = np.random.default_rng(0)
    pictures = [ndimage.gaussian_filter(dice.normal(size=(64, 64)), 0.6, mode="wrap") * 30 + 9 for _ in range(20)]
    image = pictures[0]
    for spectrum in (None, measured_spectrum([Sample.from_array(one) for one in pictures[1:]])):
        done = Whiten(spectrum)(Sample.from_array(image, device=device)).image.cpu().numpy()
        power = np.abs(np.fft.fftn(done)) ** 2 / done.size
        radius = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64), indexing="ij"))
        means = ndimage.mean(power, (radius * 16).astype(int), range(1, 8))
        assert np.all(np.abs(means - 1) < 0.2) and abs(done.mean()) < 1e-5
    with pytest.raises(DatasetError, match="image: some of its frequencies have no power"):
        Whiten()(Sample.from_array(np.ones((16, 16))))


@pytest.mark.parametrize(
    "wrong", [lambda: LowPass(0.0), lambda: HighPass(5.0, 3.0), lambda: Whiten((1.0, 0.0)), lambda: Fit(1)]
)
def test_parameters_that_cannot_be_are_refused(wrong):
    with pytest.raises(DatasetError, match=" is .*; give "):
        wrong()


def test_transforms_go_through_json():
    filters = (LowPass(8), HighPass(300.0), SoftMask(90.0), PhaseFlip(1.2), Whiten(), Whiten((1.0, 2.0)))
    steps = (Rescale((1.0, 2.0)), Fit(16), *filters)
    assert Recipe.from_json(Recipe(steps).to_json()) == Recipe(steps)
