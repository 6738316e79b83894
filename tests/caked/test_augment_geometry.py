"""Tests of turning, scaling and moving: noise stays noise, and points and masks stay on what they mark."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from napari_caked.datasets.affine import pulled, sheared, whitening
from napari_caked.datasets.augment_geometry import Rotate, Scale, Shift
from napari_caked.datasets.augment_quarters import TurnQuarters
from napari_caked.datasets.recipe import Recipe
from napari_caked.datasets.sample import Sample
from napari_caked.errors import DatasetError

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def noise(shape, seed=0, device="cpu") -> Sample:
    return Sample.from_array(np.random.default_rng(seed).normal(size=shape).astype(np.float32), 2.0, device=device)


def blobs(shape, places, spacing, width=3.0) -> np.ndarray:
    """Gaussian blobs of a width in Å at places in pixels, on voxels of any size."""
    image = np.zeros(shape, np.float32)
    grid = np.indices(shape)
    for place in places:
        square = sum(((one - p) * a) ** 2 for one, p, a in zip(grid, place, spacing, strict=True))
        image += np.exp(-square / (2 * width**2)).astype(np.float32)
    return image


def centre_of_mass(image: np.ndarray, near: np.ndarray, reach: int) -> np.ndarray:
    window = tuple(slice(max(round(p) - reach, 0), round(p) + reach + 1) for p in near)
    return np.array(ndimage.center_of_mass(image[window])) + [one.start for one in window]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "step, shape",
    [
        (Rotate(), (64, 64)),
        (Rotate(), (48, 48, 48)),
        (Rotate(about="z"), (48, 48, 48)),
        (Rotate(largest=3), (48, 48, 48)),
        (Rotate(largest=0.5), (48, 48, 48)),
        (Rotate(), (32, 48, 40)),
        (Rotate(scale=(0.9, 1.1)), (48, 48, 48)),
        (Scale(), (48, 48, 48)),
        (Scale(), (128, 128)),
        (Shift(3), (64, 64)),
        (Shift(3), (48, 48, 48)),
    ],
)
def test_geometry_keeps_the_variance_of_white_noise_within_two_per_cent(step, shape, device):
    """Linear interpolation alone leaves 30 % of it in three dimensions."""
    ratios = []
    for index in range(10):
        before = noise(shape, index, device)
        ratios.append(float(step(before, index=index).image.var() / before.image.var()))
    # Of one picture of 64² the variance has an error of 2 % itself: mirrored corners replace a part of the pixels.
    # A magnified volume shows fewer of its voxels, and its variance is of fewer numbers.
    single = 0.05 if len(shape) == 2 else 0.025 if isinstance(step, Scale) else 0.02
    assert np.mean(ratios) == pytest.approx(1, abs=0.01) and max(abs(r - 1) for r in ratios) < single, ratios


@pytest.mark.parametrize("degrees", [0.1, 0.5, 1.0, 1.5, 2.0, 3.0, 6.0, 10.0, 90.5])
def test_turns_of_any_size_keep_the_variance_of_white_noise(degrees):
    """Given a turn about an axis of the image or any other, then the variance of noise is kept.

    If it is small, places far apart lie between voxels alike, and the fractions on two axes go together.
    """
    dice = np.random.default_rng(round(10 * degrees))
    volumes = [noise((48, 48, 48), seed).image for seed in range(3)]
    for axis in ([0.0, 1.0, 0.0], *dice.normal(size=(2, 3)).tolist()):
        turn = Rotation.from_rotvec(np.radians(degrees) * np.array(axis) / np.linalg.norm(axis))
        matrix = torch.from_numpy(turn.as_matrix())
        factor = whitening((48, 48, 48), matrix, "cpu")
        turned = [torch.fft.irfftn(torch.fft.rfftn(one) * factor, s=one.shape) for one in pulled(volumes, matrix)]
        ratios = [float(after.var() / before.var()) for after, before in zip(turned, volumes, strict=True)]
        assert np.mean(ratios) == pytest.approx(1, abs=0.01) and max(abs(r - 1) for r in ratios) < 0.02, (axis, ratios)


@pytest.mark.parametrize("device", DEVICES)
def test_turned_noise_has_a_flat_spectrum(device):
    """In shells of frequencies, far beyond the variance alone; without the correction, 0.02 to 1."""
    for shape in ((128, 128), (48, 48, 48)):
        power = 0
        for index in range(12):
            waves = torch.fft.fftn(Rotate()(noise(shape, index, device), index=index).image).abs().square()
            power = power + waves.cpu() / waves.numel() / 12
        radius = np.sqrt(sum(k**2 for k in np.meshgrid(*[np.fft.fftfreq(n) for n in shape], indexing="ij")))
        means = ndimage.mean(power.numpy(), np.minimum(radius * 16, 9).astype(int), range(10))
        # The mirrored corners repeat some noise, which shows at the lowest frequencies.
        assert np.all(np.abs(means[1:] - 1) < 0.08) and np.all(np.abs(means[2:-1] - 1) < 0.04), means
        corrected_not = pulled([noise((48,) * 3).image], torch.linalg.qr(torch.randn(3, 3))[0])[0]
        assert float(corrected_not.var()) < 0.4


def test_whitening_is_what_many_turned_pictures_of_noise_show():
    """Given one rotation, when 60 volumes of noise are turned, then their mean power is the inverse of the filter."""
    matrix = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64))[0]
    volumes = [noise((24, 24, 24), seed).image for seed in range(60)]
    power = torch.stack([torch.fft.rfftn(one).abs().square() for one in pulled(volumes, matrix)]).mean(0) / 24**3
    product = power * whitening((24, 24, 24), matrix, "cpu").square()
    assert float(product[1:, 1:, 1:].mean()) == pytest.approx(1, abs=0.03)
    assert float(product[1:, 1:, 1:].std()) < 0.25  # that of 60 draws is 0.13


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "step", [Rotate(), Rotate(largest=20), Rotate(scale=(0.85, 1.2)), Scale(), Shift(4), TurnQuarters()]
)
@pytest.mark.parametrize(
    "shape, spacing",
    [
        ((96, 96), (1.0, 1.0)),
        ((97, 80), (1.0, 1.0)),
        ((64, 96), (1.5, 1.0)),
        ((64, 64, 64), (1.0, 1.0, 1.0)),
        ((40, 60, 61), (1.5, 1.0, 1.0)),
    ],
)
def test_points_and_masks_follow_blobs(step, shape, spacing, device):
    middle = np.array([n // 2 for n in shape])
    offsets = np.random.default_rng(3).uniform(-11, 11, (40, len(shape))) / spacing
    chosen = []
    for offset in offsets:  # some that do not touch each other
        if all(np.linalg.norm((offset - other) * spacing) > 19 for other in chosen) and len(chosen) < 3:
            chosen.append(offset)
    places = np.array(chosen) + middle
    wide = blobs(shape, places, spacing, 2.0)
    sample = Sample.from_array(wide, spacing, points=places, mask=(wide > 0.3).astype(int), partner=wide, device=device)
    for index in range(4):
        done = step(sample, index=index)
        image = done.image.cpu().numpy()
        assert len(done.points) == len(places)
        for point in done.points.cpu().numpy():
            found = centre_of_mass(image, point, 7)
            assert np.linalg.norm(found - point) < 0.05, (index, found, point)
            # A mask moves by whole pixels.
            found = centre_of_mass(done.mask.cpu().numpy(), point, 7)
            assert np.abs(found - point).max() < 0.5
        assert torch.allclose(done.partner, done.image, atol=1e-5)
        assert done.record.shape == shape and done.voxel_size == spacing


def test_turning_agrees_with_splines_of_high_order():
    """Given a smooth volume, when it is turned, then scipy's quintic splines say the same."""
    places = np.array([[20.0, 17, 15], [14, 22, 20]])
    volume = blobs((36, 36, 36), places, (1, 1, 1), 2.5)
    sample = Sample.from_array(volume, 1.0, points=np.vstack([np.full(3, 18) + np.eye(3), np.full((1, 3), 18)]))
    done = Rotate()(sample, index=5)
    turn = (done.points[:3] - done.points[3]).numpy().T  # where the axes went
    expected = ndimage.affine_transform(volume, turn.T, 18 - turn.T @ np.full(3, 18.0), order=5, mode="mirror")
    # What is left is the error of linear interpolation about its mean, which differs from voxel to voxel.
    assert np.abs(done.image.numpy() - expected).max() < 0.045
    assert np.linalg.norm(done.image.numpy() - expected) < 0.03 * np.linalg.norm(volume)
    picture = blobs((48, 48), [[20.0, 30.0], [30, 25]], (1, 1), 2.0)
    for angle in (0.3, 1.2, -2.6):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        expected = ndimage.affine_transform(picture, turn, 24 - turn @ [24, 24], order=5, mode="mirror")
        assert np.abs(sheared([torch.from_numpy(picture)], angle)[0].numpy() - expected).max() < 4e-3


def test_all_orientations_are_as_likely():
    """Of uniform rotations the trace has the mean 0, and each axis goes everywhere alike."""
    cross = np.vstack([np.full(3, 8) + np.eye(3), np.full((1, 3), 8)])
    sample = Sample.from_array(np.zeros((16, 16, 16)), points=cross)
    turns = []
    for index in range(600):
        points = Rotate()(sample, index=index).points.numpy()
        turns.append((points[:3] - points[3]).T)
    turns = np.array(turns)
    assert np.allclose(turns @ turns.transpose(0, 2, 1), np.eye(3), atol=1e-4) and np.all(np.linalg.det(turns) > 0.99)
    assert np.abs(turns.mean(axis=0)).max() < 0.1 and np.abs((turns**2).mean(axis=0) - 1 / 3).max() < 0.06
    # Of the angle a: density (1 - cos a) / pi, so that the mean of cos a is -1/2.
    cosines = (np.trace(turns, axis1=1, axis2=2) - 1) / 2
    assert cosines.mean() == pytest.approx(-0.5, abs=0.08)
    small = Rotate(largest=10)(sample, index=1).points.numpy()
    assert np.trace(small[:3] - small[3]) > 1 + 2 * np.cos(np.radians(10)) - 1e-4
    flat = Rotate(about="z")(sample, index=1).points.numpy()
    assert np.allclose((flat[:3] - flat[3])[0], [1, 0, 0], atol=1e-6)


def test_a_shift_is_exact_in_fourier_space():
    before = noise((15, 20))
    done = Shift((2.0, 3.5))(Sample.from_array(before.image, points=np.array([[14.4, 0.0]])), index=2)
    move = done.points.numpy()[0] - [14.4, 0.0]
    move = (move + [7, 10]) % [15, 20] - [7, 10]
    assert abs(move[0]) <= 2 and abs(move[1]) <= 3.5
    expected = ndimage.fourier_shift(np.fft.fft2(before.image.numpy()), move)
    found = np.fft.fft2(done.image.numpy())
    inside = np.arange(20) != 10  # Nyquist of the even axis is treated on its own
    assert np.allclose(found[:, inside], expected[:, inside], atol=1e-3)
    assert np.all(done.points.numpy() >= -0.5) and np.all(done.points.numpy() < [14.5, 19.5])


def test_points_that_leave_are_dropped():
    sample = Sample.from_array(np.zeros((32, 32)), points=np.array([[0.0, 0.0], [16, 16], [31, 31]]))
    corners = Rotate(45)(sample, index=1).points
    assert corners.tolist() == [[16, 16]]
    assert len(Scale((2.0, 2.0))(sample).points) == 1 and len(Scale((0.5, 0.5))(sample).points) == 3


def test_what_cannot_be_turned_or_asked_for_is_said():
    with pytest.raises(DatasetError, match="slab.*too small to turn"):
        Rotate()(Sample.from_array(np.zeros((1, 32, 32)), name="slab"))
    for wrong in (lambda: Rotate(0), lambda: Rotate(about="x"), lambda: Scale((1.1, 0.9)), lambda: Shift(-1.0)):
        with pytest.raises(DatasetError, match="(largest|about|scale) is"):
            wrong()
    with pytest.raises(DatasetError, match="give 3 sizes"):
        Shift((1.0, 2.0))(noise((8, 8, 8)))


def test_geometry_goes_through_json():
    recipe = Recipe((), (Rotate(30, scale=(0.9, 1.1)), Scale(), Shift((1.0, 2.0))))
    assert Recipe.from_json(recipe.to_json()) == recipe
