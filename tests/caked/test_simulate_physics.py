"""The optics and the noise against theory, computed here by other means."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_caked.simulate import (
    CameraSettings,
    Density,
    OpticsSettings,
    SceneSettings,
    SimulationSettings,
    ViewSettings,
    bank_of,
    simulate_micrograph,
)
from napari_caked.simulate.micrograph import expected_image
from napari_caked.simulate.noise import coloured_noise, count_electrons, modulation_transfer, solvent_power
from napari_caked.simulate.optics import (
    Focus,
    contrast_transfer,
    electron_wavelength,
    frequencies,
    gaussian_envelope,
    interaction_constant,
    lasting_signal,
)

sys.path.insert(0, str(Path(__file__).parent))
from simulated import ball, small_bank  # noqa: E402

#: CODATA: h, c, e, electron mass.
H, C, E, M = 6.62607015e-34, 299792458.0, 1.602176634e-19, 9.1093837015e-31
FLAT = SceneSettings(shape=(512, 512), particles=0, thickness_variation=0.0, gradient=0.0, ice_thickness=500.0)


def wavelength(kilovolts: float) -> float:
    energy = kilovolts * 1e3 * E
    return 1e10 * H / np.sqrt(2 * M * energy * (1 + energy / (2 * M * C**2)))


def phase(k: np.ndarray, defocus: float, kilovolts: float = 300.0, cs: float = 2.7, amplitude: float = 0.07):
    """Argument of the CTF: chi and the amplitude contrast, defocus in µm of under-focus."""
    lam = wavelength(kilovolts)
    chi = np.pi * lam * defocus * 1e4 * k**2 - np.pi / 2 * cs * 1e7 * lam**3 * k**4
    return chi + np.arcsin(amplitude)


@pytest.mark.parametrize("kilovolts", [100.0, 200.0, 300.0])
def test_wavelength_and_interaction_constant(kilovolts: float) -> None:
    lam, energy = wavelength(kilovolts), kilovolts * 1e3 * E
    mass = M + energy / C**2
    sigma = 2 * np.pi * mass * E * lam * 1e-10 / H**2 * 1e-10  # rad / (V Å)
    assert electron_wavelength(kilovolts) == pytest.approx(lam, rel=1e-6)
    assert interaction_constant(kilovolts) == pytest.approx(sigma, rel=1e-6)
    assert interaction_constant(300.0) == pytest.approx(6.526e-4, rel=1e-3)


def test_the_ctf_is_the_formula_with_a_minus() -> None:
    optics = OpticsSettings()
    ctf = contrast_transfer(Focus(1.3), np.array([0.0, 400.0]), optics, (256, 256), 1.5).numpy()
    k = np.fft.rfftfreq(256, 1.5)
    for depth, defocus in enumerate((1.3, 1.34)):
        assert np.abs(ctf[depth, 0] + np.sin(phase(k, defocus))).max() < 2e-3
    assert ctf[0, 0, 0] == pytest.approx(-0.07, abs=1e-4)


def test_a_phase_plate_shifts_the_phase() -> None:
    optics = OpticsSettings(phase_plate=90.0)
    ctf = contrast_transfer(Focus(0.5), np.zeros(1), optics, (128, 128), 2.0).numpy()[0, 0]
    assert np.abs(ctf + np.sin(phase(np.fft.rfftfreq(128, 2.0), 0.5) + np.pi / 2)).max() < 2e-3


@pytest.mark.parametrize("angle", [0.0, 25.0, 90.0, 140.0])
def test_the_largest_defocus_lies_at_the_angle_from_x_towards_y(angle: float) -> None:
    optics, shape, pixel_size = OpticsSettings(), (256, 256), 2.0
    ctf = contrast_transfer(Focus(1.5, 0.6, angle), np.zeros(1), optics, shape, pixel_size).numpy()[0]
    y, x = np.fft.fftfreq(256, pixel_size)[:, None], np.fft.rfftfreq(256, pixel_size)[None, :]
    towards = np.arctan2(y, x) - np.radians(angle)
    defocus = 1.8 * np.cos(towards) ** 2 + 1.2 * np.sin(towards) ** 2
    # With an even side the Nyquist row stands for both of its signs.
    rows = np.r_[:128, 129:256]
    assert np.abs(ctf + np.sin(phase(np.hypot(y, x), defocus)))[rows].max() < 5e-3


def test_an_underfocused_particle_is_dark_and_an_overfocused_one_bright() -> None:
    bank = bank_of(ball(100.0, 2.5, 4.0), ViewSettings(views=1), 4.0)
    scene = replace(FLAT, shape=(128, 128), particles=1, at_edges=False)
    for defocus, sign in ((1.5, -1), (-1.5, 1)):
        settings = SimulationSettings(
            4.0, scene=scene, optics=OpticsSettings(defocus=(defocus, defocus), amplitude_contrast=0.0),
            camera=CameraSettings(solvent=0.0),
        )  # fmt: skip
        image, specimen, _ = expected_image(bank, settings)
        y, x = np.rint(specimen.centres[0]).astype(int)
        assert sign * (image[y - 3 : y + 4, x - 3 : x + 4].mean() / np.median(image) - 1) > 0.005


def test_thon_rings_lie_where_theory_has_them() -> None:
    """Minima of the power spectrum of nothing but ice, against the zeros of the CTF."""
    defocus, pixel_size = 2.0, 2.0
    settings = SimulationSettings(
        pixel_size,
        scene=FLAT,
        optics=OpticsSettings(defocus=(defocus, defocus), astigmatism=0.0, b_factor=0.0),
        camera=CameraSettings(mtf=1.0),
    )
    bank = small_bank(views=1, pixel_size=pixel_size)
    power = 0.0
    for index in range(4):
        image = expected_image(bank, settings, index)[0]
        window = np.hanning(512)[:, None] * np.hanning(512)
        power = power + np.abs(np.fft.rfft2((image - image.mean()) * window)) ** 2
    k = np.hypot(np.fft.fftfreq(512, pixel_size)[:, None], np.fft.rfftfreq(512, pixel_size)[None, :])
    fine = np.linspace(0, 0.25, 200_001)
    turns = phase(fine, defocus) / np.pi
    zeros = fine[1:][np.diff(np.floor(turns)) > 0][1:9]
    assert len(zeros) == 8
    step = 1 / (512 * pixel_size)
    edges = np.arange(0.0, 0.2, step)
    profile = np.array([np.median(power[(k >= low) & (k < low + step)]) for low in edges])
    for zero in zeros:
        near = np.flatnonzero(np.abs(edges + step / 2 - zero) < 5 * step)
        lowest = edges[near[np.argmin(profile[near])]] + step / 2
        assert lowest == pytest.approx(zero, abs=1.5 * step)


def test_the_power_of_the_ice_is_that_of_the_model() -> None:
    """Variance of the noise in rings of the spectrum, after optics and all, against the product of the factors."""
    pixel_size, shape = 2.0, (512, 512)
    optics = OpticsSettings(defocus=(1.5, 1.5), astigmatism=0.0)
    settings = SimulationSettings(pixel_size, scene=FLAT, optics=optics)
    bank = small_bank(views=1, pixel_size=pixel_size)
    k = np.hypot(np.fft.fftfreq(512, pixel_size)[:, None], np.fft.rfftfreq(512, pixel_size)[None, :])
    measured = 0.0
    for index in range(4):
        image = expected_image(bank, settings, index)[0]
        image = image / np.exp(-500 / 3950) - 1
        measured = measured + np.abs(np.fft.rfft2(image)) ** 2 / 4
    frequency = frequencies(shape, pixel_size)
    ice = solvent_power(frequency, 500.0, 40.0).numpy() * 1.0
    mtf = modulation_transfer(frequency, pixel_size, 0.5).numpy()
    envelope = np.exp(-60 / 4 * k**2)
    # All depths of the ice between the faces: the CTF varies hardly over 500 Å at these frequencies.
    signal = 2 * interaction_constant(300.0) * np.sin(phase(k, 1.5)) * envelope * mtf
    predicted = ice * signal**2 * 512 * 512 / pixel_size**2
    for low, high in ((0.02, 0.05), (0.05, 0.1), (0.1, 0.15)):
        ring = (k > low) & (k < high)
        assert measured[ring].mean() == pytest.approx(predicted[ring].mean(), rel=0.1)


def test_moving_molecules_fade_as_diffusion_says() -> None:
    k, dose = 0.1, 40.0
    rest = float(solvent_power(torch.tensor([k]), 300.0, 1e-9))
    moved = float(solvent_power(torch.tensor([k]), 300.0, dose))
    times = (np.arange(1000) + 0.5) / 1000
    apart = np.abs(times[:, None] - times[None, :]) * dose / 3  # mean square displacement along one axis, Å²
    assert moved / rest == pytest.approx(np.exp(-2 * np.pi**2 * k**2 * apart).mean(), rel=1e-3)


def test_damage_is_the_mean_over_the_exposure() -> None:
    passed = np.linspace(0, 40, 4001)
    critical = 0.245 * 0.2**-1.665 + 2.81
    mean = np.trapezoid(np.exp(-passed / (2 * critical)), passed) / 40
    assert float(lasting_signal(torch.tensor([0.2]), 40.0, 300.0)) == pytest.approx(mean, rel=1e-4)
    assert float(lasting_signal(torch.tensor([0.0]), 40.0, 300.0)) == pytest.approx(1.0, abs=1e-3)


def test_envelope_and_mtf_at_one_frequency() -> None:
    assert float(gaussian_envelope(torch.tensor([0.25]), 80.0)) == pytest.approx(np.exp(-80 / 4 / 16))
    assert float(modulation_transfer(torch.tensor([0.25]), 2.0, 0.4)) == pytest.approx(0.4)


def test_white_noise_times_a_curve_has_the_square_of_the_curve_as_power() -> None:
    noise = coloured_noise(np.random.default_rng(0), (256, 256), torch.full((256, 129), 3.0))
    assert float(torch.fft.irfft2(noise, s=(256, 256)).std()) == pytest.approx(3.0, rel=0.02)


def test_electrons_are_counted_as_poisson_says() -> None:
    counts = count_electrons(np.random.default_rng(0), np.full((400, 400), 7.5))
    assert counts.mean() == pytest.approx(7.5, rel=0.01)
    assert counts.var() == pytest.approx(7.5, rel=0.02)
    assert np.array_equal(counts, np.rint(counts))


def test_mean_and_noise_of_an_empty_micrograph_are_those_of_its_dose() -> None:
    settings = SimulationSettings(2.0, scene=FLAT, camera=CameraSettings(dose=30.0, solvent=0.0))
    image = simulate_micrograph(small_bank(views=1, pixel_size=2.0), settings).image
    expected = 30.0 * 4 * np.exp(-500 / 3950)
    assert image.mean() == pytest.approx(expected, rel=0.005)
    assert image.var() == pytest.approx(expected, rel=0.02)


def ribosome(pixel_size: float) -> Density:
    """3.2 MDa of protein in clumps of some 20 Å that fill half a ball of 250 Å."""
    from scipy.ndimage import gaussian_filter

    side = 2 * int(np.ceil(0.6 * 250 / pixel_size))
    axes = np.ogrid[tuple(slice(-(side // 2), side // 2) for _ in range(3))]
    inside = sum(axis.astype(float) ** 2 for axis in axes) * pixel_size**2 < 125**2
    clumps = gaussian_filter(np.random.default_rng(0).standard_normal((side,) * 3), 8.0 / pixel_size)
    wanted = 3.2e6 * 1.23 / pixel_size**3
    threshold = np.quantile(clumps[inside], 1 - wanted / inside.sum())
    solid = gaussian_filter(((clumps > threshold) & inside).astype(np.float32), 2.0 / pixel_size)
    return Density((2.5 * solid).astype(np.float32), pixel_size, "ribosome-like")


def test_the_contrast_of_a_ribosome_is_in_range() -> None:
    """300 kV, 40 e/Å², 1.5 µm, 3 Å per pixel: against the same sum done with numpy, and against published SNR.

    Single images of ribosomes are said to have a ratio of signal to noise power of about 0.05 to 0.3 at such a dose
    and pixel: a deviation of the signal of 1.2 to 3 %. Without the displaced ice it would be 3.5 times as much.
    """
    pixel_size, side = 3.0, 384
    density = ribosome(pixel_size)
    bank = bank_of(density, ViewSettings(views=1), pixel_size, diameter=250.0)
    scene = replace(FLAT, shape=(side, side), particles=1, at_edges=False, ice_thickness=250.0)
    optics = OpticsSettings(defocus=(1.5, 1.5), astigmatism=0.0)
    settings = SimulationSettings(pixel_size, scene=scene, optics=optics, camera=CameraSettings(solvent=0.0))
    image, specimen, _ = expected_image(bank, settings)
    away = np.hypot(*(np.ogrid[:side, :side][i] - specimen.centres[0][i] for i in (0, 1))) * pixel_size
    inside, outside = image[away < 125], image[away > 200]
    deviation, mean = inside.std() / outside.mean(), 1 - inside.mean() / outside.mean()

    wide = 640  # apart from the frame
    chord = np.zeros((wide, wide))
    box = bank.box
    chord[wide // 2 - box // 2 :][:box, wide // 2 - box // 2 : wide // 2 - box // 2 + box] = bank.images[0]
    k = np.hypot(np.fft.fftfreq(wide, pixel_size)[:, None], np.fft.rfftfreq(wide, pixel_size)[None, :])
    factor = np.exp(-15 * k**2) * np.exp(np.log(0.5) * (2 * pixel_size * k) ** 2)
    critical = 0.245 * np.maximum(k, 1e-4) ** -1.665 + 2.81
    factor = factor * (1 - np.exp(-20 / critical)) / (20 / critical)
    predicted = 1 + 2 * np.fft.irfft2(np.fft.rfft2(chord * 6.526e-4) * -np.sin(phase(k, 1.5)) * factor, s=(wide, wide))
    reach = np.hypot(*np.ogrid[-wide // 2 : wide // 2, -wide // 2 : wide // 2]) * pixel_size
    assert deviation == pytest.approx(predicted[reach < 125].std(), rel=0.03)
    assert mean == pytest.approx(1 - predicted[reach < 125].mean(), rel=0.05)
    assert 0.012 < deviation < 0.05
    assert 0.01 < mean < 0.06
