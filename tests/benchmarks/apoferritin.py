"""Ten labels on real micrographs: average precision and F1 on others, and the seconds it took.

CRYO_TEST_DATA=FOLDER python tests/benchmarks/apoferritin.py

The folder holds ``apoferritin`` and ``apoferritin_hard``, each with ``train`` and ``dev``. Everything is served by the
loopback archive and opened by entry number. Match radius 20 px, a border of 32 px excluded; three draws of labels.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

from napari_caked import TrainingSettings, evaluate, pick, train
from napari_caked.settings import PickSettings
from napari_empiarreader import open_micrographs, read_particles
from napari_empiarreader.archive.server import LoopbackArchive

ENTRIES = {10146: "apoferritin", 10147: "apoferritin_hard"}


def main(clicks: int = 10, draws: int = 3) -> None:
    data = Path(os.environ.get("CRYO_TEST_DATA") or sys.exit("set CRYO_TEST_DATA to the folder of the micrographs"))
    print(f"{'specimen':<18}{'seed':>5}{'AP':>7}{'best F1':>9}{'F1':>7}{'P':>7}{'R':>7}{'train s':>9}{'pick s':>8}")
    with LoopbackArchive() as server:
        for number, specimen in ENTRIES.items():
            server.add_entry(number, data / specimen)
            series = open_micrographs(f"empiar://{number}/data/train/micrographs", archive=server.archive)
            others = open_micrographs(f"empiar://{number}/data/dev/micrographs", archive=server.archive)
            labels = read_particles(data / specimen / "train/particles.star")
            truth = read_particles(data / specimen / "dev/particles.star")
            rows = []
            for seed in range(draws):
                chosen = np.sort(np.random.default_rng(seed).choice(len(labels), clicks, replace=False))
                clock = [time.perf_counter()]
                model = train(series, labels.where(chosen), TrainingSettings(120.0, seed=seed))
                clock.append(time.perf_counter())
                picks = pick(others, model, PickSettings(threshold=0))
                clock.append(time.perf_counter())
                result = evaluate(picks, truth, radius=20, border=32, shape=others.shape)
                row = (result.average_precision, result.best_f1, result.f1, result.precision, result.recall)
                rows.append((*row, *np.diff(clock)))
                _print(specimen, str(seed), rows[-1])
            _print(specimen, "mean", np.mean(rows, axis=0))


def _print(specimen, seed, row):
    ap, best, f1, precision, recall, trained, picked = row
    print(
        f"{specimen:<18}{seed:>5}{ap:7.3f}{best:9.3f}{f1:7.3f}{precision:7.3f}{recall:7.3f}{trained:9.1f}{picked:8.2f}"
    )


if __name__ == "__main__":
    main()
