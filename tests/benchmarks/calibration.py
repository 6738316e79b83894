"""Do scores come true? Reliability, estimated and true precision and counts, on micrographs nobody trained on.

CRYO_TEST_DATA=FOLDER python tests/benchmarks/calibration.py [-o FOLDER] [--counts]

``--counts`` counts particles in the correlation maps of a template alone, which takes a minute and trains nothing.

Three draws of labels on each real specimen, matched as the other benchmarks of the picker do. Prints Markdown tables
and draws ``calibration.svg`` and ``calibration.png``: curves alone, no micrograph is shown. Labels made by hand miss
particles, so a score of 0.9 on a particle that nobody labelled counts as wrong here; the column "unlabelled" says how
much there is of that: the share of the surest tenth of all candidates that has no label.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _specimens import draw_labels, load, particle_free, score
from _template import DISTANCE, _correlation, _rotational_average, _working_images

from napari_caked import TrainingSettings, pick, train
from napari_caked.calibration import expected_count, expected_precision, reliability
from napari_caked.evaluation import Evaluation
from napari_caked.expectation import count_particles
from napari_caked.figures import draw_reliability
from napari_caked.settings import PickSettings

THRESHOLDS = (0.3, 0.5, 0.7, 0.9)
#: Specimens and numbers of labels.
CASES = (("apoferritin", 10), ("apoferritin_hard", 10), ("apoferritin_hard", 100), ("beta_galactosidase", 20))
#: Numbers of labels from which particles are counted.
LABELS = (10, 20, 100)


@dataclass(frozen=True)
class Result:
    """One training, judged on ``dev``: its evaluation, and picks at the default threshold where nothing is."""

    case: tuple[str, int]
    seed: int
    evaluation: Evaluation
    particle_free_picks: tuple[int, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("calibration-output"))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--counts", action="store_true", help="only count particles in correlation maps")
    options = parser.parse_args()
    if options.counts:
        print(counts(options.draws))
        return
    results = []
    for case in CASES:
        for seed in range(options.draws):
            began = time.monotonic()
            results.append(run(case, seed))
            print(f"{case[0]}, {case[1]} labels, draw {seed}: {time.monotonic() - began:.0f} s", flush=True)
    print(report(results))
    options.output.mkdir(parents=True, exist_ok=True)
    draw(results, options.output)


def run(case: tuple[str, int], seed: int) -> Result:
    """Train once and pick the micrographs that were kept apart, and those without particles."""
    name, labels = case
    specimen = load(name, seed)
    settings = TrainingSettings(specimen.particle_diameter, seed=seed, device="cpu")
    model = train(specimen.train, draw_labels(specimen, labels, seed), settings)
    picks = pick(specimen.dev, model, PickSettings(threshold=0, device="cpu"))
    free = [len(pick(series, model, PickSettings(device="cpu"))) for series in particle_free()]
    return Result(case, seed, score(specimen, picks), tuple(free))


def counts(draws: int) -> str:
    """Markdown: particles estimated from the correlation maps of a template, as a share of the true number."""
    lines = ["| specimen, micrographs | particles on each | decoys alone | " + " | ".join(
        f"{labels} labels" for labels in LABELS) + " |", "|---" * (3 + len(LABELS)) + "|"]  # fmt: skip
    for name in ("apoferritin", "apoferritin_hard", "beta_galactosidase"):
        specimen = load(name)
        for part, series, labels in (
            ("train", specimen.train, specimen.train_labels),
            ("dev", specimen.dev, specimen.dev_labels),
        ):
            images, factors = _working_images(series, specimen.particle_diameter, np.arange(len(series)))
            places = [labels.on(i) / factor for i, factor in enumerate(factors)]
            cells = [[_estimates(images, places, count, seed) for seed in range(draws)] for count in LABELS]
            true = len(labels) / len(series)
            row = [f"{name}, {part} ({len(series)})", f"{true:.0f}"]
            row.append(f"{np.mean([alone for cell in cells for _, alone in cell]) / true:.2f}")
            row += [", ".join(f"{found / true:.2f}" for found, _ in cell) for cell in cells]
            lines.append("| " + " | ".join(row) + " |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


def _estimates(images: list[np.ndarray], places: list[np.ndarray], labels: int, seed: int) -> tuple[float, float]:
    """Particles per micrograph from so many random labels, and without telling which they are."""
    rows = [(i, j) for i, points in enumerate(places) for j in range(len(points))]
    chosen = np.random.default_rng(seed).choice(len(rows), min(labels, len(rows)), replace=False)
    known = [points[[rows[k][1] for k in chosen if rows[k][0] == i]] for i, points in enumerate(places)]
    maps = [_correlation(image, _rotational_average(images, known)) for image in images]
    sure = count_particles(maps, DISTANCE, known)
    members = [yx[share > 0.9] for yx, share in zip(sure.peaks, sure.probabilities, strict=True)]
    if sum(len(one) for one in members) > labels:
        maps = [_correlation(image, _rotational_average(images, members)) for image in images]
    found = count_particles(maps, DISTANCE, known)
    return found.per_micrograph, count_particles(maps, DISTANCE).per_micrograph


def report(results: Iterable[Result]) -> str:
    """Markdown: precision as promised and as found, count likewise, and F1 at a half beside the best; mean of draws."""
    head = ["specimen, labels", *(f"precision at {t}" for t in THRESHOLDS)]
    head += ["count / true", "F1 at 0.5", "best F1", "calibration error", "unlabelled", "particle-free, most picks"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for case, group in _by_case(results).items():
        cells = [f"{case[0]}, {case[1]}"]
        evaluations = _evaluations(group)
        promised = np.mean([expected_precision(e.scores, THRESHOLDS) for e in evaluations], axis=0)
        found = np.mean([[_precision(e, t) for t in THRESHOLDS] for e in evaluations], axis=0)
        cells += [f"{p:.2f} / {f:.2f}" for p, f in zip(promised, found, strict=True)]
        cells.append(f"{np.mean([expected_count(e.scores)[0] / e.right.sum() for e in evaluations]):.2f}")
        cells.append(f"{np.mean([e.f1 for e in evaluations]):.3f}")
        cells.append(f"{np.mean([e.best_f1 for e in evaluations]):.3f}")
        cells.append(f"{np.mean([reliability(e.scores, e.right).error for e in evaluations]):.3f}")
        cells.append(f"{np.mean([_unlabelled(e) for e in evaluations]):.2f}")
        cells.append(str(max((max(one.particle_free_picks, default=0) for one in group), default=0)))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(results: Iterable[Result], folder: Path) -> None:
    """The reliability of all draws of each case together."""
    diagrams = {}
    for case, group in _by_case(results).items():
        evaluations = _evaluations(group)
        scores = np.concatenate([one.scores for one in evaluations])
        right = np.concatenate([one.right for one in evaluations])
        diagrams[f"{case[0]}, {case[1]} labels"] = reliability(scores, right)
    for name in ("calibration.svg", "calibration.png"):
        draw_reliability(folder / name, diagrams)
        print(folder / name)


def _evaluations(group: Iterable[Result]) -> list[Evaluation]:
    return [one.evaluation for one in group]


def _by_case(results: Iterable[Result]) -> dict[tuple[str, int], list[Result]]:
    groups: dict[tuple[str, int], list[Result]] = {}
    for one in results:
        groups.setdefault(one.case, []).append(one)
    return groups


def _precision(evaluation: Evaluation, threshold: float) -> float:
    above = evaluation.scores >= threshold
    return float(evaluation.right[above].mean()) if above.any() else float("nan")


def _unlabelled(evaluation: Evaluation) -> float:
    """Share of the surest tenth of the candidates that has no label; they come with the highest score first."""
    surest = evaluation.right[: max(len(evaluation.right) // 10, 1)]
    return float(1 - surest.mean())


if __name__ == "__main__":
    main()
