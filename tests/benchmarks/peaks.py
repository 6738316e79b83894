"""Peaks and suppression: milliseconds for maps of 1024 x 1024, beside the plain greedy walk.

    python tests/benchmarks/peaks.py [--repeats N]

Processor time of one thread, the least of N runs. The maps: smooth as score maps are (noise blurred by two pixels),
white noise (ten times as many maxima), and both on a slope. The plain walk is over the same candidates and compares
each with all that stay; its picks must be the same.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_caked import peaks


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=9, help="runs of which the fastest counts")
    repeats = parser.parse_args().repeats
    white = np.random.default_rng(0).normal(size=(1024, 1024)).astype(np.float32)
    smooth = gaussian_filter(white, 2)
    slope = np.linspace(0, 3 * float(smooth.std()), 1024, dtype=np.float32)
    maps = {"smooth": smooth, "smooth, sloping": smooth + slope, "white": white, "white, sloping": white + slope}
    print(f"{'map':<18}{'radius':>7}{'peaks':>8}{'ours':>10}{'plain walk':>13}   same picks")
    for name, values in maps.items():
        for radius in (7.5, 20.0):
            taken, (yx, _) = _least(lambda v=values, r=radius: peaks.find_peaks(v, r), repeats)
            plain, expected = _least(lambda v=values, r=radius: _plain(v, r), 1)
            same = np.array_equal(yx, expected)
            print(f"{name:<18}{radius:>7}{len(yx):>8}{1e3 * taken:>7.1f} ms{1e3 * plain:>10.0f} ms   {same}")


def _plain(values: np.ndarray, radius: float) -> np.ndarray:
    """Centres by the walk as one would write it down."""
    everything, _ = peaks.find_peaks(values, 0.0)
    kept = np.empty_like(everything)
    count = 0
    for place in everything:
        if not count or ((kept[:count] - place) ** 2).sum(axis=1).min() >= radius * radius:
            kept[count] = place
            count += 1
    return kept[:count]


def _least(run: Callable[[], object], repeats: int) -> tuple[float, object]:
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        result = run()
        taken.append(time.process_time() - began)
    return min(taken), result


if __name__ == "__main__":
    main()
