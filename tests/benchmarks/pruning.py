"""How well few labels prune picks: the tables of docs/explanation/pruning.md.

    CRYO_TEST_DATA=FOLDER python tests/benchmarks/pruning.py [labels] [f1] [speed] [tuned] [--draws 100] [--pruner FILE]

- ``labels``: of each specimen, labels are particles; picks of the adapted general picker at a low threshold, farther
  from every label than the match radius, are false; so are its picks on pictures of ``micrograph_quality`` that show no
  particle and were not learned from (``junk``). 20 or 5 of each kind are drawn, everything else is told apart.
  Particles weigh as much as all the others together. Only the heads learn (features are computed once).
- ``tuned``: the same for a few draws with the whole network learning, as the command does, with its time.
- ``f1``: best F1 of the picker's own picks at a low threshold on the development micrographs: by the picker's score, by
  the pruner's probability, and by the sum of their log-odds.
- ``speed``: picks per second of processor time, with reading and preparing.

No specimen here, simulated or real, is among those that the shipped weights were trained on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _specimens import Specimen, data_folder, load, picks_table, score

from napari_caked import pick
from napari_caked.checkpoint import PickerModel
from napari_caked.general import general_picker
from napari_caked.pruning.checkpoint import Pruner, general_pruner, load_pruner
from napari_caked.pruning.classify import judged, learned
from napari_caked.pruning.learning import PARTICLE, fine_tuned, log_odds, with_fitted_heads
from napari_caked.pruning.network import folded, head_logits, pooled_features
from napari_caked.pruning.patches import Patches, patches_of
from napari_caked.pruning.settings import PruneSettings
from napari_caked.settings import PickSettings
from napari_caked.zero_clicks import adapted, some_of
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries

import torch  # isort: skip  (after napari_caked, which says how its threads shall wait)

sys.path.append(str(Path(__file__).parents[2] / "napari-caked" / "scripts"))
import pruner_weights  # noqa: E402  (for the pictures and specimens it keeps for tests)

REAL = ("apoferritin_hard", "apoferritin", "beta_galactosidase")
#: Seeds of simulated specimens, which pretraining does not use.
SIMULATED = (20_000_001, 20_000_002, 20_000_003, 20_000_004)
#: Least probability of a pick, most junk of a picture, and most false picks of a specimen, the best first.
LOW, JUNK, MOST_FALSE = 0.01, 60, 4000
SETTINGS = PruneSettings(device="cpu")
Features = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Bench:
    """Patches of one specimen, or their features, and which are particles (0), false picks (1), junk (2)."""

    name: str
    patches: Patches
    kinds: np.ndarray


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", default=["labels", "f1", "speed", "tuned"])
    parser.add_argument("--only", nargs="+", default=[*REAL, "simulated"])
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--f1-draws", type=int, default=3)
    parser.add_argument("--most", type=int, help="take so many places of each kind at most, at random; all by default")
    parser.add_argument("--pruner", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pruner = load_pruner(arguments.pruner) if arguments.pruner else general_pruner()
    if {"labels", "tuned"} & set(arguments.tables):
        print("| specimen | labels of each | against | accuracy | worst decile | F1 | worst decile | by |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        for every in benches(arguments.only):
            bench = every if arguments.most is None else _some(every, arguments.most)
            if "labels" in arguments.tables:
                label_table(bench, pruner, arguments.draws)
            if "tuned" in arguments.tables:
                tuned_table(bench, pruner)
    if "f1" in arguments.tables:
        f1_table([name for name in arguments.only if name in REAL], pruner, arguments.f1_draws)
    if "speed" in arguments.tables:
        speed(pruner)


def _some(bench: Bench, most: int) -> Bench:
    """At most so many places of each kind, drawn with the seed 0."""
    rng = np.random.default_rng(0)
    kept = [rng.permutation(np.flatnonzero(bench.kinds == kind))[:most] for kind in np.unique(bench.kinds)]
    rows = np.sort(np.concatenate(kept))
    return Bench(bench.name, bench.patches[rows], bench.kinds[rows])


def benches(names: list[str]) -> Iterator[Bench]:
    """Every specimen's labels, false picks and the junk."""
    junk = Patches.joined(list(_junk()))
    for name in names:
        if name in REAL:
            specimen = load(name)
            parts = [(specimen.train, specimen.train_labels), (specimen.dev, specimen.dev_labels)]
            picker = adapted(general_picker(specimen.particle_diameter), some_of(specimen.train))
            yield _bench(name, parts, picker, specimen.match_radius, specimen.border, junk, LOW)
        elif name == "simulated":
            for seed in SIMULATED:
                series, truth, diameter = _simulated(seed)
                picker = adapted(general_picker(diameter), some_of(series))
                width = diameter / series.require_pixel_size()
                # Of these the picker is sure; every candidate, however improbable, makes enough that are false.
                yield _bench(f"made-up {seed % 1000}", [(series, truth)], picker, 0.35 * width, 0.3 * width, junk, 0.0)


def _bench(
    name: str,
    parts: list[tuple[MicrographSeries, ParticleTable]],
    picker: PickerModel,
    radius: float,
    border: float,
    junk: Patches,
    threshold: float,
) -> Bench:
    found, kinds = [], []
    for series, labels in parts:
        wrong = false_picks(pick(series, picker, PickSettings(threshold=threshold)), labels, radius)
        wrong = wrong.where(np.sort(np.argsort(-wrong.features["logit"].to_numpy())[: MOST_FALSE // len(parts)]))
        for table, kind in ((labels, 0), (wrong, 1)):
            inside = _inside(table, series.shape, border)
            for rows, patches in patches_of(series, inside, picker.particle_diameter):
                found.append(patches)
                kinds.append(np.full(len(rows), kind))
    found.append(junk)
    kinds.append(np.full(len(junk), 2))
    return Bench(name, Patches.joined(found), np.concatenate(kinds))


def false_picks(picks: ParticleTable, labels: ParticleTable, radius: float) -> ParticleTable:
    """Picks that are farther than ``radius`` pixels from every label of their micrograph."""
    from scipy.spatial import cKDTree

    far = np.ones(len(picks), bool)
    for index in np.unique(picks.micrograph_index):
        here = np.flatnonzero(picks.micrograph_index == index)
        known = labels.on(int(index))
        if len(known):
            far[here] = cKDTree(known).query(picks.coordinates[here, 1:])[0] > radius
    return picks.where(far)


def _inside(table: ParticleTable, shape: tuple[int, int], border: float) -> ParticleTable:
    yx = table.coordinates[:, 1:]
    return table.where(((yx >= border) & (yx <= np.array(shape) - 1 - border)).all(axis=1))


def _junk() -> Iterator[Patches]:
    """Of each picture that was kept for tests, the places that the general picker likes best."""
    for name, image, _ in pruner_weights.pictures(data_folder(), learned=False):
        series = MicrographSeries.from_array(image, [name], 7.5)
        picks = pick(series, adapted(general_picker(150.0), some_of(series)), PickSettings(threshold=0.0))
        for _, patches in patches_of(series, picks.where(np.arange(min(len(picks), JUNK))), 150.0):
            yield patches


def _simulated(seed: int) -> tuple[MicrographSeries, ParticleTable, float]:
    """Three micrographs of a made-up specimen with its places, and its diameter in Å."""
    images, truth, diameter, pixel_size = pruner_weights.made_up(seed)
    names = [f"m{i}.mrc" for i in range(len(images))]
    series = MicrographSeries.from_array(np.stack(images), names, pixel_size)
    return series, picks_table(names, truth, [np.ones(len(yx)) for yx in truth]), diameter


def label_table(bench: Bench, pruner: Pruner, draws: int) -> None:
    """Rows of the table: 20 and 5 labels of each kind, against false picks and junk, or false picks only."""
    features = _features(pruner, bench.patches)
    zero = log_odds(head_logits(pruner.network, features)).detach().numpy()
    for kinds in ((0, 1, 2), (0, 1)):
        among = np.flatnonzero(np.isin(bench.kinds, kinds))
        counts = [int((bench.kinds == kind).sum()) for kind in kinds]
        against = f"{counts[1]} false picks" + (f", {counts[2]} junk" if len(kinds) > 2 else "")
        accuracy, f1 = _told_apart(zero[among], bench.kinds[among])
        print(
            f"| {bench.name} ({counts[0]}) | 0 | {against} | {accuracy:.3f} | - | {f1:.3f} | - | shipped |", flush=True
        )
        for count in (20, 5):
            if min(counts) < 2 * count:
                print(f"| {bench.name} | {count} | {against} | too few to draw from | | | | |", flush=True)
                continue
            results = [_one_draw(pruner, features, bench.kinds, kinds, count, draw) for draw in range(draws)]
            _row(bench.name, count, against, results, "heads")


def _one_draw(
    pruner: Pruner, features: Features, kinds: np.ndarray, used: tuple[int, ...], count: int, seed: int
) -> tuple[float, float]:
    drawn, rest = _drawn(kinds, used, count, seed)
    classes = np.where(kinds[drawn] == 0, PARTICLE, -1)
    tuned = with_fitted_heads(pruner, (features[0][drawn], features[1][drawn]), classes, SETTINGS)
    odds = log_odds(head_logits(tuned.network, (features[0][rest], features[1][rest]))).detach().numpy()
    return _told_apart(odds, kinds[rest])


def _drawn(kinds: np.ndarray, used: tuple[int, ...], count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng((seed, count))
    drawn = np.concatenate([rng.choice(np.flatnonzero(kinds == kind), count, replace=False) for kind in used])
    return drawn, np.setdiff1d(np.flatnonzero(np.isin(kinds, used)), drawn)


def _told_apart(odds: np.ndarray, kinds: np.ndarray) -> tuple[float, float]:
    """Accuracy and F1 where particles weigh as much as the others together, and the others as much as each other."""
    said = odds >= 0
    found = float(said[kinds == 0].mean())
    wrong = float(np.mean([said[kinds == kind].mean() for kind in np.unique(kinds[kinds > 0])]))
    return (found + 1 - wrong) / 2, 2 * found / (1 + found + wrong)


def _row(name: str, count: int, against: str, results: list[tuple[float, float]], by: str) -> None:
    accuracy, f1 = np.array(results).T
    cells = " | ".join(f"{np.mean(one):.3f} | {np.quantile(one, 0.1):.3f}" for one in (accuracy, f1))
    print(f"| {name} | {count} | {against} | {cells} | {by} |", flush=True)


def tuned_table(bench: Bench, pruner: Pruner, draws: int = 3) -> None:
    """The whole procedure for a few draws of 20 labels, beside the heads alone of the same draws."""
    kinds = (0, 1, 2)
    if min((bench.kinds == kind).sum() for kind in kinds) < 40:
        return
    features = _features(pruner, bench.patches)
    heads, whole, seconds, steps = [], [], [], []
    for draw in range(draws):
        drawn, rest = _drawn(bench.kinds, kinds, 20, draw)
        rest = np.random.default_rng(draw).permutation(rest)[:600]
        heads.append(_one_draw_on(pruner, features, bench.kinds, drawn, rest))
        began = time.process_time()
        tuned = fine_tuned(pruner, bench.patches[drawn], np.where(bench.kinds[drawn] == 0, PARTICLE, -1), SETTINGS)
        seconds.append(time.process_time() - began)
        steps.append(tuned.provenance["steps of the whole network"])
        seen = pooled_features(folded(tuned.network), bench.patches[rest], SETTINGS.flips)
        whole.append(_told_apart(log_odds(head_logits(tuned.network, seen)).detach().numpy(), bench.kinds[rest]))
    _row(bench.name, 20, "600 of them", heads, f"heads, {draws} draws")
    _row(bench.name, 20, "the same", whole, f"everything, steps {steps}, {np.mean(seconds):.0f} s of CPU")


def _one_draw_on(
    pruner: Pruner, features: Features, kinds: np.ndarray, drawn: np.ndarray, rest: np.ndarray
) -> tuple[float, float]:
    classes = np.where(kinds[drawn] == 0, PARTICLE, -1)
    tuned = with_fitted_heads(pruner, (features[0][drawn], features[1][drawn]), classes, SETTINGS)
    odds = log_odds(head_logits(tuned.network, (features[0][rest], features[1][rest]))).detach().numpy()
    return _told_apart(odds, kinds[rest])


def _features(pruner: Pruner, patches: Patches) -> Features:
    whole, halved = pooled_features(folded(pruner.network), patches, SETTINGS.flips)
    return whole.clone(), halved.clone()


def f1_table(names: list[str], pruner: Pruner, draws: int) -> None:
    """Best F1 of our own picks on ``dev``, before and after pruning with labels from ``train``."""
    print("\n| specimen | draw | picks | picker | shipped | 20 labels each | picker and pruner | AP | learning |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in names:
        for draw in range(draws):
            specimen = load(name, draw)
            picker = adapted(general_picker(specimen.particle_diameter), some_of(specimen.train))
            picks = pick(specimen.dev, picker, PickSettings(threshold=LOW))
            good, bad = _told(specimen, picker, draw)
            tuned = learned(
                specimen.train, specimen.particle_diameter, good=good, bad=bad, pruner=pruner, settings=SETTINGS
            )
            own = picks.features["logit"].to_numpy()
            shipped, taught = (
                log_odds(torch.from_numpy(judged(specimen.dev, picks, specimen.particle_diameter, one, SETTINGS)))
                .double()
                .numpy()
                / one.temperature
                for one in (pruner, tuned)
            )
            results = [_scored(specimen, picks, odds) for odds in (own, shipped, taught, own + taught)]
            steps, temperature = tuned.provenance["steps of the whole network"], tuned.temperature
            cells = " | ".join(f"{one.best_f1:.3f}" for one in results)
            precision = f"{results[0].average_precision:.3f} to {results[-1].average_precision:.3f}"
            learning = f"{steps} steps, temperature {temperature:.2f}"
            print(f"| {name} | {draw} | {len(picks)} | {cells} | {precision} | {learning} |", flush=True)


def _told(specimen: Specimen, picker: PickerModel, draw: int) -> tuple[ParticleTable, ParticleTable]:
    """20 picks of the training micrographs that are at a label, and 20 that are not: as somebody marks picks."""
    rng = np.random.default_rng(draw)
    picks = _inside(pick(specimen.train, picker, PickSettings(threshold=LOW)), specimen.train.shape, specimen.border)
    wrong = false_picks(picks, specimen.train_labels, specimen.match_radius)
    right = false_picks(picks, wrong, 0.5)
    chosen = [table.where(np.sort(rng.choice(len(table), 20, replace=False))) for table in (right, wrong)]
    return chosen[0], chosen[1]


def _scored(specimen: Specimen, picks: ParticleTable, odds: np.ndarray):  # noqa: ANN202  (an Evaluation)
    from dataclasses import replace

    from scipy.special import expit

    return score(specimen, replace(picks, features=picks.features.assign(score=expit(odds))))


def speed(pruner: Pruner) -> None:
    """Picks per second, of apoferritin's micrographs with 400 picks each."""
    specimen = load("apoferritin_hard")
    rng = np.random.default_rng(0)
    count = 400
    yx = [rng.uniform(40, np.array(specimen.train.shape) - 40, (count, 2)) for _ in range(len(specimen.train))]
    picks = picks_table(specimen.train.names, yx, [np.ones(count)] * len(specimen.train))
    for flips in (4, 8, 1):
        settings = PruneSettings(device="cpu", flips=flips)
        wall, cpu = time.perf_counter(), time.process_time()
        judged(specimen.train, picks, 120.0, pruner, settings)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        rate = len(picks) / cpu
        print(f"{flips} views: {rate:.0f} picks a second of one core, {2 * rate:.0f} of two")
        print(f"by the clock {len(picks) / wall:.0f}", flush=True)


if __name__ == "__main__":
    main()
