"""What a micrograph costs from array to working image: milliseconds of one core per step, and memory.

OMP_NUM_THREADS=1 python tests/benchmarks/preprocess.py [SIDE ...]

Compared with the plain way: whole float64 Fourier transforms by SciPy, a background by Gaussian filter, and expectation
maximisation over every tenth pixel by NumPy.
"""

from __future__ import annotations

import math
import sys
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

import napari_caked  # noqa: F401  before PyTorch
from napari_caked.preprocess import Rescaling, flatten_background, normalize, prepare, rescale
from napari_caked.preprocess.valid import fill_invalid, invalid_pixels, outlier_bounds, valid_on

DIAMETER = 120.0  # Å, at 1 Å per pixel


def main(sides: list[int]) -> None:
    import torch

    torch.set_num_threads(1)
    print(f"{'side':>5}{'type':>9}{'':>3}{'step':<34}{'CPU ms':>8}")
    for side in sides:
        counts = np.random.default_rng(0).normal(1000, 30, (side, side))
        for kind in ("float32", "int16"):
            _report(counts.astype(kind))


def _report(micrograph: np.ndarray) -> None:
    plan = Rescaling.plan(micrograph.shape, DIAMETER / 20)
    bounds = outlier_bounds(micrograph)
    small = rescale(micrograph, plan, bounds)
    flat = flatten_background(small, 30.0)
    padded = np.pad(micrograph[20:-20, 20:-20], 20, mode="edge")
    invalid = invalid_pixels(padded, bounds)
    assert invalid is not None
    steps: dict[str, Callable[[], object]] = {
        "outlier bounds": lambda: outlier_bounds(micrograph),
        "looking for invalid pixels": lambda: invalid_pixels(micrograph, bounds),
        "rescaling": lambda: rescale(micrograph, plan, bounds),
        "background": lambda: flatten_background(small, 30.0),
        "normalisation": lambda: normalize(flat),
        "filling, where there are invalid": lambda: fill_invalid(padded, invalid),
        "valid working pixels": lambda: valid_on(plan, invalid),
    }
    for name, step in steps.items():
        _row(micrograph, name, _milliseconds(step))
    whole = _milliseconds(lambda: prepare(micrograph, "m", DIAMETER, 1.0))
    framed = _milliseconds(lambda: prepare(padded, "m", DIAMETER, 1.0))
    plain = _milliseconds(lambda: plain_way(micrograph, plan), rounds=1)
    _row(micrograph, "all together", whole)
    _row(micrograph, "all together, with a frame", framed)
    _row(micrograph, f"the plain way (x {plain / whole:.1f})", plain)
    tracemalloc.start()  # NumPy's memory; PyTorch holds spectra of the cut size besides
    prepare(micrograph, "m", DIAMETER, 1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spectra = plan.padded_shape[0] * (plan.cropped_shape[1] // 2 + 1) * 8 * 2
    print(
        f"{'':>17}peak beside the micrograph: {(peak + spectra) / 1e6:.0f} MB of its {micrograph.nbytes / 1e6:.0f} MB"
    )


def plain_way(micrograph: np.ndarray, plan: Rescaling) -> np.ndarray:
    """Fourier crop, background and mixture as one would write them down."""
    from scipy.fft import irfft2, rfft2
    from scipy.ndimage import gaussian_filter

    (h, w), (ph, pw), (ch, cw) = plan.original_shape, plan.padded_shape, plan.cropped_shape
    spectrum = rfft2(np.pad(micrograph.astype(np.float64), [(0, ph - h), (0, pw - w)], mode="reflect"))
    cut = np.concatenate([spectrum[: (ch + 1) // 2], spectrum[-(ch // 2) :]])[:, : cw // 2 + 1]
    small = irfft2(cut, s=(ch, cw))[: plan.shape[0], : plan.shape[1]]
    small = small - gaussian_filter(small, 30.0)
    values = small.ravel()[::10]
    best = (-math.inf, 0.0, 1.0)
    for weight in (0.1, 0.3, 0.5, 0.7, 0.9, 0.98):
        best = max(best, _fitted(values, weight))
    return (small - best[1]) / best[2]


def _fitted(values: np.ndarray, weight: float) -> tuple[float, float, float]:
    cut = np.quantile(values, 1 - weight)
    bright, dark, deviation, previous = (
        values[values > cut].mean(),
        values[values <= cut].mean(),
        values.std(),
        -math.inf,
    )
    while True:
        p = weight * np.exp(-(((values - bright) / deviation) ** 2) / 2) / deviation
        q = (1 - weight) * np.exp(-(((values - dark) / deviation) ** 2) / 2) / deviation
        posterior = float(np.log(p + q + 1e-300).sum()) + 899 * math.log(weight)
        if posterior - previous < 1e-3:
            return posterior, float(bright), float(deviation)
        previous, r = posterior, p / (p + q + 1e-300)
        weight = min((899 + r.sum()) / (899 + len(values)), 1 - 1e-12)
        bright, dark = (r @ values) / r.sum(), ((1 - r) @ values) / (1 - r).sum()
        deviation = math.sqrt((r @ (values - bright) ** 2 + (1 - r) @ (values - dark) ** 2) / len(values))


def _milliseconds(step: Callable[[], object], rounds: int = 4) -> float:
    best = math.inf
    for _ in range(rounds):
        start = time.process_time()
        step()
        best = min(best, time.process_time() - start)
    return 1e3 * best


def _row(micrograph: np.ndarray, name: str, milliseconds: float) -> None:
    print(f"{len(micrograph):>5}{micrograph.dtype.name:>9}   {name:<34}{milliseconds:8.1f}")


if __name__ == "__main__":
    main([int(side) for side in sys.argv[1:]] or [1024, 2048, 4096])
