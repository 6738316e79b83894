"""The paper's comparison of objectives, on real micrographs: PN, NNPU, GE-KL and GE-binomial, with and without decoder.

CRYO_TEST_DATA=FOLDER python tests/benchmarks/objectives.py --labels 10 100 --seeds 3 --steps 600

For each number of labels and each seed (a draw of labels, and all randomness of the training) the paper's network
conv31 learns from the training micrographs of a specimen, and is scored on others: match radius 20 px, a border of
32 px excluded. Bepler et al., Nature Methods 16, 1153 (2019), figure 5, is the same on other data. Prints markdown.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from _specimens import Specimen, draw_labels, load, picks_table, score

import napari_caked  # noqa: F401  (before torch: it says how threads wait)

# isort: split
import torch

from napari_caked.datasets.patches import PatchSource
from napari_caked.models.paper import PatchNetwork
from napari_caked.models.registry import build_network
from napari_caked.objectives import OBJECTIVES
from napari_caked.patch_learning import PatchLearner
from napari_caked.patch_settings import PatchSettings
from napari_caked.peaks import find_peaks
from napari_caked.preprocess import WorkingImage, prepare
from napari_caked.settings import PickSettings, PreprocessSettings
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries

#: Working pixels across a particle, and the radius of a label's disc: conv31 sees one and a half particles.
WIDTH, RADIUS = 20.0, 3.0


@dataclass(frozen=True)
class Trial:
    """One training: an objective, with or without decoder, from so many labels drawn by a seed."""

    objective: str
    labels: int
    decoder: bool
    seed: int


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    specimen = load(options.specimen)
    train, dev = (_prepared(series, specimen) for series in (specimen.train, specimen.dev))
    _speed(specimen, train, options)
    results: dict[tuple[str, int, bool], list[tuple[float, float]]] = defaultdict(list)
    started = time.monotonic()
    for trial in _trials(options):
        if time.monotonic() - started > 60 * options.minutes:
            print(f"stopped after {options.minutes} minutes", file=sys.stderr)
            break
        before = time.process_time()
        network = _trained(specimen, train, trial, options)
        result = score(specimen, _picks(specimen, dev, network))
        results[trial.objective, trial.labels, trial.decoder].append((result.average_precision, result.best_f1))
        print(
            f"{trial}: AP {result.average_precision:.3f}, F1 {result.best_f1:.3f}, "
            f"{time.process_time() - before:.0f} CPU s",
            file=sys.stderr,
            flush=True,
        )
    _print_table(results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--specimen", default="apoferritin_hard")
    parser.add_argument("--labels", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--decoder-up-to", type=int, default=100, help="with decoder, too, up to so many labels")
    parser.add_argument("--objectives", nargs="+", default=list(OBJECTIVES), choices=OBJECTIVES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--learning-rate", type=float, default=PatchSettings().learning_rate)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=600.0, help="start no training after so long")
    parser.add_argument("--quick", action="store_true", help="60 steps, one seed, 10 labels: does it run at all?")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.seeds, options.labels = 60, 1, [10]
    return options


def _trials(options: argparse.Namespace) -> list[Trial]:
    """Seed by seed, so that a run that is stopped has compared all on the same labels."""
    return [
        Trial(objective, labels, decoder, seed)
        for seed in range(options.first_seed, options.first_seed + options.seeds)
        for labels in options.labels
        for decoder in (False, True)[: 2 if labels <= options.decoder_up_to else 1]
        for objective in options.objectives
    ]


def _prepared(series: MicrographSeries, specimen: Specimen) -> list[WorkingImage]:
    settings = PreprocessSettings(particle_width=WIDTH)
    return [
        prepare(series.read(i), name, specimen.particle_diameter, series.require_pixel_size(), settings)
        for i, name in enumerate(series.names)
    ]


def _learner(specimen: Specimen, train: list[WorkingImage], trial: Trial, options: argparse.Namespace) -> PatchLearner:
    labels = draw_labels(specimen, trial.labels, trial.seed)
    settings = PatchSettings(
        objective=trial.objective,
        # As the paper has it.
        autoencoder=10 / trial.labels if trial.decoder else 0.0,
        learning_rate=options.learning_rate,
        precision=options.precision,
        seed=trial.seed,
    )
    torch.manual_seed(trial.seed)
    network = build_network("conv31")
    assert isinstance(network, PatchNetwork)
    source = PatchSource(
        [working.image for working in train],
        [working.valid for working in train],
        [working.rescaling.to_rescaled(labels.on(i)) for i, working in enumerate(train)],
        width=network.width,
        radius=RADIUS,
        expected_particles=len(specimen.train_labels) / len(train),
        seed=trial.seed,
    )
    return PatchLearner(network, source, settings)


def _trained(specimen: Specimen, train: list[WorkingImage], trial: Trial, options: argparse.Namespace) -> PatchNetwork:
    learner = _learner(specimen, train, trial, options)
    for _ in range(options.steps):
        learner.step()
    return learner.network.eval()


@torch.inference_mode()
def _picks(specimen: Specimen, dev: list[WorkingImage], network: PatchNetwork) -> ParticleTable:
    yx, scores = [], []
    reach = network.reach
    for working in dev:
        rimmed = torch.nn.functional.pad(working.image[None, None], (reach,) * 4, mode="reflect")
        logits = network(rimmed)[0, reach:-reach, reach:-reach]
        places, heights = find_peaks(logits.numpy(), PickSettings().minimum_distance * WIDTH)
        yx.append(working.rescaling.to_original(places))
        scores.append(1 / (1 + np.exp(-heights.astype(np.float64))))
    return picks_table(specimen.dev.names, yx, scores)


def _speed(specimen: Specimen, train: list[WorkingImage], options: argparse.Namespace) -> None:
    """CPU seconds per batch of 256 patches: drawing alone, and the whole of a step."""
    for decoder in (False, True):
        learner = _learner(specimen, train, Trial("ge-binomial", 100, decoder, 0), options)
        draw = _cpu_seconds(lambda: learner._source.draw(16, 240), 100)  # noqa: B023
        step = _cpu_seconds(learner.step, 10)
        print(
            f"{'with' if decoder else 'without'} decoder, {options.threads} thread(s), {options.precision}: drawing "
            f"{1e3 * draw:.2f} ms of CPU per 256 patches ({1e3 * draw / 256:.4f} ms each, {256 / draw:,.0f} per CPU "
            f"second), a step {1e3 * step:.0f} ms\n"
        )


def _cpu_seconds(task, times: int) -> float:
    task()
    before = time.process_time()
    for _ in range(times):
        task()
    return (time.process_time() - before) / times


def _print_table(results: dict[tuple[str, int, bool], list[tuple[float, float]]]) -> None:
    print("| objective | labels | decoder | seeds | average precision | best F1 |\n|---|---|---|---|---|---|")
    for (objective, labels, decoder), values in sorted(results.items(), key=lambda item: (item[0][1:], item[0][0])):
        cells = [
            f"{np.mean(column):.3f} ± {np.std(column, ddof=1) if len(column) > 1 else np.nan:.3f}"
            for column in zip(*values, strict=True)
        ]
        print(f"| {objective} | {labels} | {'yes' if decoder else 'no'} | {len(values)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
