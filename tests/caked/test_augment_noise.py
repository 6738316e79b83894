"""Tests of noise, and of what the microscope leaves: spectra, energies and factors against numpy's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from napari_caked.datasets.augment_fourier import BandDropout, CtfVariation, Dose, MissingWedge, missing_wedge
from napari_caked.datasets.augment_geometry import Rotate
from napari_caked.datasets.augment_noise import ColouredNoise, GaussianNoise, PoissonNoise, measured_spectrum
from napari_caked.datasets.normalising import ZScore
from napari_caked.datasets.optics import Lens, transfer
from napari_caked.datasets.recipe import Recipe
from napari_caked.datasets.sample import Sample
from napari_caked.errors import DatasetError

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
SHAPES = [(96, 96), (64, 81), (32, 32, 32), (21, 32, 33)]


def random_sample(shape, seed=0, device="cpu", mean=3.0, partner=False) -> Sample:
    pixels = np.random.default_rng(seed).normal(mean, 2, shape)
    return Sample.from_array(pixels, 2.0, device=device, partner=pixels + 1 if partner else None)


def radius(shape, full=True) -> np.ndarray:
    axes = [np.fft.fftfreq(n) for n in shape]
    return np.sqrt(sum(one**2 for one in np.meshgrid(*axes, indexing="ij")))


def added(step, shape, index, device="cpu") -> np.ndarray:
    before = random_sample(shape, index, device)
    return (step(before, index=index).image - before.image).cpu().numpy()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES)
def test_gaussian_noise_is_gaussian_white_and_as_strong_as_asked(shape, device):
    noise = np.stack([added(GaussianNoise((0.5, 0.5)), shape, index, device) for index in range(20)])
    assert noise.std() == pytest.approx(0.5 * 2, rel=0.02) and abs(noise.mean()) < 0.02
    assert stats.kstest(noise.ravel()[::7], "norm", args=(0, noise.std())).pvalue > 1e-3
    power = (np.abs(np.fft.fftn(noise, axes=range(1, noise.ndim))) ** 2).mean(0) / noise[0].size
    # Every single frequency, also those that are their own negatives: 20 draws of a chi square with 1 or 2 degrees.
    last = shape[-1] // 2
    assert power[..., 0].mean() == pytest.approx(1, rel=0.12) and power[..., last].mean() == pytest.approx(1, rel=0.12)
    means = ndimage.mean(power, (radius(shape) * 12).astype(int), range(1, 8))
    assert np.all(np.abs(means - 1) < 0.1), means


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES)
def test_coloured_noise_has_the_spectrum_it_was_given(shape, device):
    spectrum = tuple(float(1 / (0.1 + k) ** 2) for k in np.linspace(0, 0.5, 11))
    step = ColouredNoise(spectrum, (0.7, 0.7))
    noise = np.stack([added(step, shape, index, device) for index in range(24)])
    power = (np.abs(np.fft.fftn(noise, axes=range(1, noise.ndim))) ** 2).mean(0) / noise[0].size
    expected = np.interp(radius(shape), np.linspace(0, 0.5, 11), spectrum)
    expected *= (0.7 * 2) ** 2 / expected.mean()
    assert noise.std() == pytest.approx(0.7 * 2, rel=0.03)
    shells = np.minimum((radius(shape) * 16).astype(int), 8)
    found, wanted = (ndimage.mean(one, shells, range(1, 9)) for one in (power, expected))
    assert np.all(np.abs(found / wanted - 1) < 0.1), found / wanted


def test_a_measured_spectrum_is_that_of_the_pictures_and_makes_alike_noise():
    dice = np.random.default_rng(0)
    pictures = [ndimage.gaussian_filter(dice.normal(size=(64, 64)), 1.0, mode="wrap") for _ in range(30)]
    spectrum = measured_spectrum([Sample.from_array(one + 100) for one in pictures], 17)
    expected = np.exp(-((2 * np.pi * np.linspace(0, 0.5, 17)) ** 2))  # of a Gaussian filter, squared
    assert np.all(np.abs(np.array(spectrum[1:9]) / expected[1:9] - 1) < 0.25)
    white = Sample.from_array(dice.normal(size=(64, 64)))
    noise = [ColouredNoise(spectrum, (1.0, 1.0))(white, index=i).image - white.image for i in range(30)]
    again = measured_spectrum([Sample.from_array(one) for one in noise], 17)
    ratio = np.array(again[1:12]) / np.array(spectrum[1:12])
    assert np.all(np.abs(ratio / ratio.mean() - 1) < 0.15)
    with pytest.raises(DatasetError, match="no pictures"):
        measured_spectrum([])
    with pytest.raises(DatasetError, match="image: 40 shells are more"):
        measured_spectrum([white], 40)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(96, 96), (32, 32, 32)])
def test_poisson_noise_is_counts_of_electrons(shape, device):
    before = random_sample(shape, device=device)
    electrons, contrast = 30.0, 0.1
    done = np.stack([
        PoissonNoise((electrons, electrons), contrast)(before, index=i).image.cpu().numpy() for i in range(40)
    ])  # fmt: skip
    z = (before.image.cpu().numpy() - before.image.mean().item()) / before.image.std(correction=0).item()
    expected = electrons * (1 + contrast * z)
    scale = before.image.std(correction=0).item() / (electrons * contrast)
    counts = (done - before.image.mean().item()) / scale + electrons
    assert np.allclose(counts, np.rint(counts), atol=1e-2), "electrons are whole"
    assert np.allclose(counts.mean(0), expected, atol=6 * np.sqrt(expected.max() / 40))
    # Variance equals mean, pixel by pixel on average, and pictures do not know each other: white.
    assert (counts.var(0, ddof=1) / expected).mean() == pytest.approx(1, abs=0.02)
    power = np.abs(np.fft.fftn(counts - expected, axes=range(1, counts.ndim))) ** 2
    means = ndimage.mean(power.mean(0) / z.size / electrons, (radius(shape) * 10).astype(int), range(1, 6))
    assert np.all(np.abs(means - 1) < 0.08), means
    with pytest.raises(DatasetError, match="image: it is constant"):
        PoissonNoise()(Sample.from_array(np.ones((4, 4))))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(32, 32, 32), (21, 33, 27), (24, 30, 36)])
@pytest.mark.parametrize("largest, pretilt", [(60, 0), (50, 0), (60, 7), (45, -10)])
def test_the_energy_of_a_wedge_is_exact(shape, largest, pretilt, device):
    """Given numpy's full transform, when the angle of each frequency decides, then the same energy is left."""
    before = random_sample(shape, device=device)
    step = MissingWedge((largest, largest), (pretilt, pretilt))
    done = step(before).image.cpu().numpy()
    kz, _, kx = np.meshgrid(*[np.fft.fftfreq(n) for n in shape], indexing="ij")
    # The angle of the plane through (kz, kx) that holds the tilt axis, from -90 to 90 degrees.
    angle = np.degrees(np.arctan(np.divide(kz, kx, out=np.full(shape, np.inf), where=kx != 0)))
    kept = (angle >= pretilt - largest - 1e-9) & (angle <= pretilt + largest + 1e-9) | ((kx == 0) & (kz == 0))
    waves = np.fft.fftn(before.image.cpu().numpy().astype(float))
    # Nyquist of x and of z are their own negatives, and stand for both signs: there a lopsided series is ambiguous.
    clear = np.ones(shape, bool)
    if pretilt:
        clear = (np.abs(kz) < 0.5) & (np.abs(kx) < 0.5)
    found = np.fft.fftn(done.astype(float))
    assert np.allclose(found[clear], (waves * kept)[clear], atol=2e-3)
    energy = (np.abs(waves * kept)[clear] ** 2).sum()
    assert (np.abs(found[clear]) ** 2).sum() == pytest.approx(energy, rel=1e-5)


def test_a_wedge_of_ninety_degrees_is_everything_and_of_none_a_plane():
    assert missing_wedge((8, 8, 8), (1.0,) * 3, -90, 90, "cpu").all()
    plane = missing_wedge((9, 9, 9), (1.0,) * 3, 0, 0, "cpu")
    assert plane[0].all() and int(plane[1:].sum()) == 0
    # Voxels four times as thick: 45 degrees in 1/Å.
    thick = missing_wedge((8, 8, 8), (4.0, 1.0, 1.0), -45, 45, "cpu")
    assert thick[1, 0, 0] == 0 and thick[1, 0, 1] == 1 and thick[3, 0, 1] == 1
    with pytest.raises(DatasetError, match="image: a picture has no missing wedge"):
        MissingWedge()(random_sample((8, 8)))


@pytest.mark.parametrize("astigmatism, angle", [(0.0, 0.0), (0.2, 30.0), (0.4, 110.0)])
def test_the_ctf_is_that_of_torch_ctf(astigmatism, angle):
    from napari_caked.simulate.optics import Focus, contrast_transfer
    from napari_caked.simulate.settings import OpticsSettings

    settings = OpticsSettings(voltage=200.0, spherical_aberration=2.0, amplitude_contrast=0.07, phase_plate=20.0)
    lens = Lens(1.3, astigmatism, angle, 200.0, 2.0, 0.07, 20.0)
    expected = contrast_transfer(Focus(1.3, astigmatism, angle), np.zeros(1), settings, (64, 60), 1.7)
    assert torch.allclose(transfer(lens, (64, 60), (1.7, 1.7), "cpu"), expected.squeeze(0), atol=2e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_ctf_variation_is_the_formula_of_the_textbook_in_volumes_too(device):
    step = CtfVariation((1.5, 1.5), (0.0, 0.0), (80.0, 80.0))
    before = random_sample((24, 24, 24), device=device)
    found = np.fft.fftn(step(before).image.cpu().numpy())
    k = radius((24, 24, 24)) / 2.0
    wavelength = 0.0196875  # Å at 300 kV
    phase = np.pi * wavelength * 1.5e4 * k**2 - np.pi / 2 * 2.7e7 * wavelength**3 * k**4 + np.arcsin(0.1)
    expected = np.fft.fftn(before.image.cpu().numpy()) * -np.sin(phase) * np.exp(-80 / 4 * k**2)
    assert np.allclose(found, expected, atol=0.02 * np.abs(expected).std())
    one, two = (CtfVariation()(random_sample((24, 24)), index=i).image for i in range(2))
    assert not torch.allclose(one, two, atol=0.1)
    with pytest.raises(DatasetError, match="voxel size is not known"):
        CtfVariation()(Sample.from_array(np.ones((8, 8))))


def test_dose_fades_what_grant_and_grigorieff_say():
    before = random_sample((64, 64))
    found = np.fft.fftn(Dose((40.0, 40.0))(before).image.numpy())
    k = np.maximum(radius((64, 64)) / 2.0, 1e-4)
    critical = 0.245 * k**-1.665 + 2.81
    exposures = np.linspace(0, 40, 2001)[:, None]
    left = np.exp(-exposures / (2 * critical.ravel())).mean(0).reshape(64, 64)
    assert np.allclose(found, np.fft.fftn(before.image.numpy()) * left, atol=0.2)


def test_band_dropout_takes_one_shell_and_never_the_mean():
    before = random_sample((65, 65))
    for index in range(20):
        done = BandDropout((0.1, 0.1))(before, index=index).image.numpy()
        share = np.abs(np.fft.fftn(done)) / np.abs(np.fft.fftn(before.image.numpy()))
        gone = share < 0.01
        place = 2 * radius((65, 65))
        shell = place[gone]
        assert np.all(gone | (np.abs(share - 1) < 0.01)) and not gone[0, 0] and gone.sum() > 5
        assert np.ptp(shell) <= 0.1 and gone[(place > shell.min()) & (place < shell.max())].all()


@pytest.mark.parametrize(
    "step", [GaussianNoise(), PoissonNoise(), MissingWedge(), CtfVariation(), Dose(), BandDropout()]
)
def test_a_target_is_left_alone_and_a_twin_gets_noise_of_its_own(step):
    sample = random_sample((16, 16, 16), partner=True)
    numbers = {"seed": 0, "epoch": 0, "index": 0}
    target = Recipe((), (step,)).apply(sample, **numbers)
    assert torch.equal(target.partner, sample.partner) and not torch.equal(target.image, sample.image)
    twin = Recipe((), (step,), "twin").apply(sample, **numbers)
    assert torch.allclose(twin.image, target.image, atol=1e-5) and not torch.allclose(twin.partner, sample.partner)
    gained = (twin.image - sample.image).flatten(), (twin.partner - sample.partner).flatten()
    alike = float(torch.corrcoef(torch.stack(gained))[0, 1])
    assert abs(alike) < 0.1 if isinstance(step, GaussianNoise | PoissonNoise) else alike > 0.99


@pytest.mark.parametrize("device", DEVICES)
def test_steps_in_fourier_space_cost_one_transform_and_change_nothing(device, monkeypatch):
    steps = (GaussianNoise(), MissingWedge(), CtfVariation(), ZScore())
    sample = random_sample((16, 16, 16), device=device)
    counts = {"rfftn": 0, "irfftn": 0}
    for name in counts:
        whole = getattr(torch.fft, name)

        def counted(*given, _name=name, _whole=whole, **more):
            counts[_name] += 1
            return _whole(*given, **more)

        monkeypatch.setattr(torch.fft, name, counted)
    together = Recipe((), steps).apply(sample, seed=1, epoch=0, index=3).image
    assert counts == {"rfftn": 1, "irfftn": 1}
    assert float(together.std(correction=0)) == pytest.approx(1, abs=1e-4) and torch.isfinite(together).all()


@pytest.mark.parametrize("device", DEVICES)
def test_noise_is_the_same_on_every_device(device):
    steps = (Rotate(), GaussianNoise(), ColouredNoise((1.0, 0.5)), MissingWedge(), PoissonNoise(), ZScore())
    numbers = {"seed": 7, "epoch": 1, "index": 2}
    for step in (*steps[:5], Recipe((), steps[:4]).augment):
        here, there = (step(random_sample((16, 16, 16), device=one), **numbers).image.cpu() for one in ("cpu", device))
        # A count may fall on the other side of a rounding error.
        assert float((torch.isclose(here, there, atol=1e-3)).float().mean()) > 0.99


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: GaussianNoise((0.5, 0.1)),
        lambda: GaussianNoise((-1.0, 0.1)),
        lambda: PoissonNoise((0.0, 3.0)),
        lambda: PoissonNoise(contrast=0.0),
        lambda: ColouredNoise((1.0,)),
        lambda: ColouredNoise((0.0, 0.0)),
        lambda: ColouredNoise((1.0, math.nan)),
        lambda: MissingWedge((50.0, 100.0)),
        lambda: CtfVariation(voltage=3.0),
        lambda: Dose((0.0, 1.0)),
        lambda: BandDropout((0.1, 1.5)),
    ],
)
def test_parameters_that_cannot_be_are_refused(wrong):
    with pytest.raises(DatasetError, match=" is .*; give "):
        wrong()


def test_noise_goes_through_json():
    recipe = Recipe(
        (), (GaussianNoise(), ColouredNoise((1.0, 2.0)), PoissonNoise(), MissingWedge(), CtfVariation(), Dose())
    )
    assert Recipe.from_json(recipe.to_json()) == recipe
