"""How well few labels prune picks: the tables of docs/explanation/pruning.md.

    CRYO_TEST_DATA=FOLDER python tests/benchmarks/pruning.py [labels] [trained] [calibration] [bound] [f1] [speed]

Places are picks of the adapted general picker at a low threshold: those within the match radius of a label are
particles, the others are false; and its picks on pictures of ``micrograph_quality`` that show no particle and were not
learned from (``junk``), as if they were further micrographs of the same specimen. 20 or 5 of each kind are drawn, and
everything else is told apart. Particles weigh as much as all the others together.

- ``labels``: heads that learn from the labels, and the opinion of the adapted picker, which knows none.
- ``trained``: a few draws of the whole procedure, with pickers trained on the labels and the whole network learning, as
  the command does, with its time.
- ``calibration``: how far probabilities after 20 labels are from the share of particles, the mean over ten bins of
  probability by weight (expected calibration error), and the Brier score; heads only, 20 draws.
- ``bound``: what a picker says that was trained on every label of the training micrographs, at the best threshold that
  there is, of the picks on the development micrographs: what these labels allow.
- ``f1``: best F1 of the picker's own picks at a low threshold on the development micrographs: by the picker's score, by
  the pruner without labels, and with 20 of each kind from the training micrographs.
- ``speed``: picks per second, with reading and preparing.

No specimen here, simulated or real, is among those that the shipped weights were trained on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from _specimens import Specimen, data_folder, load, picks_table, score

from napari_caked import pick, train
from napari_caked.checkpoint import PickerModel
from napari_caked.general import general_picker
from napari_caked.pruning.checkpoint import Pruner, general_pruner, load_pruner
from napari_caked.pruning.classify import advised, judged, learned
from napari_caked.pruning.learning import fine_tuned, log_odds, sobered, with_fitted_heads
from napari_caked.pruning.network import Features, folded, head_logits, pooled_features
from napari_caked.pruning.opinion import adapted_pickers, odds_of, opinion_of, taught_pickers, unprejudiced
from napari_caked.pruning.patches import Opinion, Patches, patches_of
from napari_caked.pruning.settings import PARTICLE, PruneSettings
from napari_caked.settings import PickSettings, TrainingSettings
from napari_caked.zero_clicks import adapted, some_of
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries

import torch  # isort: skip  (after napari_caked, which says how its threads shall wait)

sys.path.append(str(Path(__file__).parents[2] / "napari-caked" / "scripts"))
import pruner_weights  # noqa: E402  (for the pictures and specimens it keeps for tests)

REAL = ("apoferritin_hard", "apoferritin", "beta_galactosidase")
#: Seeds of simulated specimens, which pretraining does not use.
SIMULATED = (20_000_001, 20_000_002, 20_000_003, 20_000_004)
#: Least probability of a pick, most junk of a picture, and width of a particle in it, pixels.
LOW, JUNK, JUNK_WIDTH = 0.01, 60, 20.0
SETTINGS = PruneSettings(device="cpu")


@dataclass(frozen=True)
class Bench:
    """Places of one specimen: particles (0), false picks (1), junk (2).

    Attributes
    ----------
    series, picks
        All micrographs of the specimen, and particles and false picks on them.
    junk
        Pictures, each a series of its own, with picks on them.
    patches, kinds
        Of ``picks`` and then of the junk, with the opinion of the adapted picker.
    diameter
        Å.
    """

    name: str
    series: MicrographSeries
    picks: ParticleTable
    junk: list[tuple[MicrographSeries, ParticleTable]]
    patches: Patches
    kinds: np.ndarray
    diameter: float


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", default=["labels", "trained", "calibration", "bound", "f1", "speed"])
    parser.add_argument("--only", nargs="+", default=[*REAL, "barrels", "simulated"])
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--trained-draws", type=int, default=3)
    parser.add_argument("--f1-draws", type=int, default=3)
    parser.add_argument("--most", type=int, default=700, help="places of each kind, at random where there are more")
    parser.add_argument("--pruner", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pruner = load_pruner(arguments.pruner) if arguments.pruner else general_pruner()
    if {"labels", "trained"} & set(arguments.tables):
        print("| specimen | labels of each | against | accuracy | worst decile | F1 | worst decile | by |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        for bench in benches(arguments.only, arguments.most):
            if "labels" in arguments.tables:
                label_table(bench, pruner, arguments.draws)
            if "trained" in arguments.tables:
                trained_table(bench, pruner, arguments.trained_draws)
    if "calibration" in arguments.tables:
        calibration_table(benches(arguments.only, arguments.most), pruner)
    real = [name for name in arguments.only if name in REAL or name == "barrels"]
    if "bound" in arguments.tables:
        bound_table(real)
    if "f1" in arguments.tables:
        f1_table(real, pruner, arguments.f1_draws)
    if "speed" in arguments.tables:
        speed(pruner)


def benches(names: list[str], most: int) -> Iterator[Bench]:
    """Every specimen's particles, false picks and junk."""
    for name in names:
        if name == "simulated":
            for seed in SIMULATED:
                series, truth, diameter = _simulated(seed)
                width = diameter / series.require_pixel_size()
                picker = adapted(general_picker(diameter), some_of(series))
                # Of these the picker is sure; every candidate, however improbable, makes enough that are false.
                yield _bench(f"made-up {seed % 1000}", [(series, truth)], picker, 0.35 * width, 0.3 * width, 0.0, most)
        else:
            specimen = load(name)
            parts = [(specimen.train, specimen.train_labels), (specimen.dev, specimen.dev_labels)]
            picker = adapted(general_picker(specimen.particle_diameter), some_of(specimen.train))
            yield _bench(name, parts, picker, specimen.match_radius, specimen.border, LOW, most)


def _bench(
    name: str,
    parts: list[tuple[MicrographSeries, ParticleTable]],
    picker: PickerModel,
    radius: float,
    border: float,
    threshold: float,
    most: int,
) -> Bench:
    images, rows, kinds = [], [], []
    for series, labels in parts:
        right, wrong = _right_and_wrong(series, labels, picker, radius, border, threshold)
        for table, kind in ((right, 0), (wrong, 1)):
            rows.append(table.coordinates + np.array([len(images), 0, 0]))
            kinds.append(np.full(len(table), kind))
        images += [series.read(index) for index in range(len(series))]
    names = [f"{name} {i}.mrc" for i in range(len(images))]
    joined = MicrographSeries.from_array(np.stack(images), names, parts[0][0].require_pixel_size())
    places, kind = np.concatenate(rows), np.concatenate(kinds)
    rng = np.random.default_rng(0)
    kept = np.sort(np.concatenate([rng.permutation(np.flatnonzero(kind == one))[:most] for one in (0, 1)]))
    picks, junk = ParticleTable(joined.names, places[kept]), list(_junk(picker))
    opinion = opinion_of(adapted_pickers(joined, picker.particle_diameter, "cpu"))
    found = [_patches(*one, picker.particle_diameter, opinion) for one in [(joined, picks), *junk]]
    whole = np.concatenate([kind[kept], np.full(sum(len(one) for _, one in junk), 2)])
    return Bench(name, joined, picks, junk, Patches.joined(found), whole, picker.particle_diameter)


def _right_and_wrong(
    series: MicrographSeries, labels: ParticleTable, picker: PickerModel, radius: float, border: float, threshold: float
) -> tuple[ParticleTable, ParticleTable]:
    """Picks at a label, and the others."""
    picks = _inside(pick(series, picker, PickSettings(threshold=threshold)), series.shape, border)
    far = _far(picks, labels, radius)
    return picks.where(~far), picks.where(far)


def _far(picks: ParticleTable, labels: ParticleTable, radius: float) -> np.ndarray:
    """``(n,)`` bool: picks that are farther than ``radius`` pixels from every label of their micrograph."""
    from scipy.spatial import cKDTree

    far = np.ones(len(picks), bool)
    for index in np.unique(picks.micrograph_index):
        here = np.flatnonzero(picks.micrograph_index == index)
        known = labels.on(int(index))
        if len(known):
            far[here] = cKDTree(known).query(picks.coordinates[here, 1:])[0] > radius
    return far


def _patches(series: MicrographSeries, picks: ParticleTable, diameter: float, opinion: Opinion | None) -> Patches:
    """In the order of the picks."""
    cut = list(patches_of(series, picks, diameter, opinion=opinion))
    back = np.argsort(np.concatenate([rows for rows, _ in cut]))
    return Patches.joined([patches for _, patches in cut])[back]


def _inside(table: ParticleTable, shape: tuple[int, int], border: float) -> ParticleTable:
    yx = table.coordinates[:, 1:]
    return table.where(((yx >= border) & (yx <= np.array(shape) - 1 - border)).all(axis=1))


def _junk(picker: PickerModel) -> Iterator[tuple[MicrographSeries, ParticleTable]]:
    """Of each picture that was kept for tests, the places that the specimen's picker likes best."""
    for name, image, _ in pruner_weights.pictures(data_folder(), learned=False):
        series = MicrographSeries.from_array(image, [name], picker.particle_diameter / JUNK_WIDTH)
        picks = pick(series, picker, PickSettings(threshold=0.0))
        if len(picks):
            yield series, picks.where(np.arange(min(len(picks), JUNK)))


def _simulated(seed: int) -> tuple[MicrographSeries, ParticleTable, float]:
    """Three micrographs of a made-up specimen with its places, and its diameter in Å."""
    images, truth, diameter, pixel_size = pruner_weights.made_up(seed)
    names = [f"m{i}.mrc" for i in range(len(images))]
    series = MicrographSeries.from_array(np.stack(images), names, pixel_size)
    return series, picks_table(names, truth, [np.ones(len(yx)) for yx in truth]), diameter


def label_table(bench: Bench, pruner: Pruner, draws: int) -> None:
    """Rows of the table: 20 and 5 labels of each kind, against false picks and junk, or false picks only."""
    features = _features(pruner, bench.patches)
    asked = bool(features.odds.any())
    zero = log_odds(head_logits(sobered(pruner) if asked else pruner.network, features)).detach().numpy()
    for kinds in ((0, 1, 2), (0, 1)):
        among = np.flatnonzero(np.isin(bench.kinds, kinds))
        counts = [int((bench.kinds == kind).sum()) for kind in kinds]
        against = f"{counts[1]} false picks" + (f", {counts[2]} junk" if len(kinds) > 2 else "")
        accuracy, f1 = _told_apart(zero[among], bench.kinds[among])
        print(f"| {bench.name} ({counts[0]}) | 0 | {against} | {accuracy:.3f} | - | {f1:.3f} | - | shipped |")
        for count in (20, 5):
            if min(counts) < 2 * count:
                print(f"| {bench.name} | {count} | {against} | too few to draw from | | | | |", flush=True)
                continue
            results = []
            for draw in range(draws):
                drawn, rest = _drawn(bench.kinds, kinds, count, draw)
                results.append(_by_heads(pruner, features, bench.kinds, drawn, rest))
            _row(bench.name, count, against, results, "heads, adapted picker")


def trained_table(bench: Bench, pruner: Pruner, draws: int) -> None:
    """The whole procedure for a few draws of 20 labels, against false picks and junk, or false picks only."""
    usable = [kinds for kinds in ((0, 1, 2), (0, 1)) if min((bench.kinds == kind).sum() for kind in kinds) >= 40]
    results: dict[tuple[int, ...], list[_Whole]] = {kinds: [] for kinds in usable}
    for draw in range(draws if usable else 0):
        # The same particles and false picks are drawn whether there is junk or not.
        began = time.process_time()
        patches = _advised_by_taught(bench, _drawn(bench.kinds, (0, 1), 20, draw)[0])
        taught = time.process_time() - began
        for kinds in usable:
            drawn, rest = _drawn(bench.kinds, kinds, 20, draw)
            rest = np.random.default_rng(draw).permutation(rest)[:600]
            results[kinds].append(_whole(pruner, patches, bench.kinds, drawn, rest, taught))
    for kinds, found in results.items():
        against = "false picks and junk" if 2 in kinds else "false picks"
        _row(bench.name, 20, against, [one.heads for one in found], f"heads, trained pickers, {draws} draws")
        steps = ", ".join(str(one.steps) for one in found)
        spent = " + ".join(f"{one:.0f}" for one in np.mean([one.seconds for one in found], axis=0))
        everything = f"everything; {steps} steps; {spent} s of CPU for pickers and network"
        _row(bench.name, 20, against, [one.everything for one in found], everything)


@dataclass(frozen=True)
class _Whole:
    """Accuracy and F1 of heads alone and of everything, batches that the network learned, seconds of both parts."""

    heads: tuple[float, float]
    everything: tuple[float, float]
    steps: int
    seconds: tuple[float, float]


def _whole(
    pruner: Pruner, patches: Patches, kinds: np.ndarray, drawn: np.ndarray, rest: np.ndarray, taught: float
) -> _Whole:
    used = np.concatenate([drawn, rest])
    features, here = _features(pruner, patches[used]), np.arange(len(drawn))
    heads = _by_heads(pruner, features, kinds[used], here, np.arange(len(drawn), len(used)))
    began = time.process_time()
    tuned = fine_tuned(pruner, patches[drawn], np.where(kinds[drawn] == 0, PARTICLE, -1), SETTINGS)
    seconds = time.process_time() - began
    seen = pooled_features(folded(tuned.network), patches[rest], SETTINGS.flips)
    odds = log_odds(head_logits(tuned.network, seen)).detach().numpy()
    steps = tuned.provenance["steps of the whole network"]
    return _Whole(heads, _told_apart(odds, kinds[rest]), steps, (taught, seconds))


def _advised_by_taught(bench: Bench, drawn: np.ndarray) -> Patches:
    """The patches with the opinion of pickers that were trained on what was drawn of the specimen's own places."""
    count = len(bench.picks)
    own = drawn[drawn < count]
    labels, right = bench.picks.where(own), bench.kinds[own] == 0
    taught = taught_pickers(bench.series, labels, right, bench.diameter, SETTINGS)
    assert taught is not None  # twenty are enough
    opinion = opinion_of(taught.pickers)
    assert opinion is not None
    said = [odds_of(opinion, *one) for one in [(bench.series, bench.picks), *bench.junk]]
    odds = torch.from_numpy(np.concatenate(said))
    odds[torch.from_numpy(own)] = torch.from_numpy(odds_of(unprejudiced(taught), bench.series, labels))
    return replace(bench.patches, odds=odds)


def _by_heads(
    pruner: Pruner, features: Features, kinds: np.ndarray, drawn: np.ndarray, rest: np.ndarray
) -> tuple[float, float]:
    tuned = with_fitted_heads(pruner, features[drawn], np.where(kinds[drawn] == 0, PARTICLE, -1), SETTINGS)
    odds = log_odds(head_logits(tuned.network, features[rest])).detach().numpy()
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


def _features(pruner: Pruner, patches: Patches) -> Features:
    return pooled_features(folded(pruner.network), patches, SETTINGS.flips)


def calibration_table(found: Iterator[Bench], pruner: Pruner, draws: int = 20) -> None:
    """Of probabilities after 20 labels of each kind, particles weighing as much as all the others."""
    print("\n| specimen | calibration error | Brier score | of p = 0.5 for all |")
    print("|---|---|---|---|", flush=True)
    for bench in found:
        features, results = _features(pruner, bench.patches), []
        kinds = tuple(kind for kind in (0, 1, 2) if (bench.kinds == kind).sum() >= 40)
        for draw in range(draws):
            drawn, rest = _drawn(bench.kinds, kinds, 20, draw)
            classes = np.where(bench.kinds[drawn] == 0, PARTICLE, -1)
            tuned = with_fitted_heads(pruner, features[drawn], classes, SETTINGS)
            odds = log_odds(head_logits(tuned.network, features[rest])).detach().double() / tuned.temperature
            results.append(_calibration(torch.sigmoid(odds).numpy(), bench.kinds[rest]))
        error, brier = np.mean(results, axis=0)
        print(f"| {bench.name} | {error:.3f} | {brier:.3f} | 0.250 |", flush=True)


def _calibration(probability: np.ndarray, kinds: np.ndarray) -> tuple[float, float]:
    """Expected calibration error in ten bins, and the Brier score."""
    present = np.unique(kinds[kinds > 0])
    share = {0: 0.5, **{kind: 0.5 / len(present) for kind in present}}
    weight = np.array([share[kind] / (kinds == kind).sum() for kind in kinds])
    right = kinds == 0
    cell = np.minimum((10 * probability).astype(int), 9)
    off = np.bincount(cell, weight * (probability - right), minlength=10)
    return float(np.abs(off).sum()), float((weight * (probability - right) ** 2).sum())


def bound_table(names: list[str]) -> None:
    """What a picker with every label tells of picks on other micrographs, at the best threshold."""
    print("\n| specimen | labels | particles, false picks | accuracy at the best threshold | at log-odds 0 |")
    print("|---|---|---|---|---|", flush=True)
    for name in names:
        specimen = load(name)
        picker = adapted(general_picker(specimen.particle_diameter), some_of(specimen.train))
        tables = _right_and_wrong(
            specimen.dev, specimen.dev_labels, picker, specimen.match_radius, specimen.border, LOW
        )
        settings = TrainingSettings(particle_diameter=specimen.particle_diameter, device="cpu")
        opinion = opinion_of((train(specimen.train, specimen.train_labels, settings),))
        assert opinion is not None
        odds = [odds_of(opinion, specimen.dev, table) for table in tables]
        kinds = np.repeat([0, 1], [len(one) for one in odds])
        every = np.concatenate(odds)
        thresholds = np.quantile(every, np.linspace(0, 1, 300))
        best = max(_told_apart(every - one, kinds)[0] for one in thresholds)
        print(
            f"| {name} | {len(specimen.train_labels)} | {len(odds[0])}, {len(odds[1])} | {best:.3f} | "
            f"{_told_apart(every, kinds)[0]:.3f} |",
            flush=True,
        )


def f1_table(names: list[str], pruner: Pruner, draws: int) -> None:
    """Best F1 of our own picks on ``dev``, before and after pruning with labels from ``train``."""
    print("\n| specimen | draw | picks | picker, F1 | AP | no labels, F1 | AP | 20 of each, F1 | AP | learning |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in names:
        for draw in range(draws):
            specimen = load(name, draw)
            diameter = specimen.particle_diameter
            picker = adapted(general_picker(diameter), some_of(specimen.train))
            picks = pick(specimen.dev, picker, PickSettings(threshold=LOW))
            good, bad = _marked(specimen, picker, draw)
            began = time.process_time()
            tuned = learned(specimen.train, diameter, good=good, bad=bad, pruner=pruner, settings=SETTINGS)
            seconds = time.process_time() - began
            bare = advised(pruner, specimen.dev, diameter, SETTINGS)
            results = [score(specimen, picks)]
            for one in (bare, tuned):
                odds = log_odds(torch.from_numpy(judged(specimen.dev, picks, diameter, one, SETTINGS)))
                results.append(_scored(specimen, picks, odds.double().numpy() / one.temperature))
            steps = tuned.provenance["steps of the whole network"]
            cells = " | ".join(f"{one.best_f1:.3f} | {one.average_precision:.3f}" for one in results)
            learning = f"{steps} steps, trust {float(tuned.network.trust):.2f}, {seconds:.0f} s of CPU"
            print(f"| {name} | {draw} | {len(picks)} | {cells} | {learning} |", flush=True)


def _marked(specimen: Specimen, picker: PickerModel, draw: int) -> tuple[ParticleTable, ParticleTable]:
    """20 picks of the training micrographs that are at a label, and 20 that are not: as somebody marks picks."""
    rng = np.random.default_rng(draw)
    tables = _right_and_wrong(
        specimen.train, specimen.train_labels, picker, specimen.match_radius, specimen.border, LOW
    )
    good, bad = (table.where(np.sort(rng.choice(len(table), min(20, len(table)), replace=False))) for table in tables)
    return good, bad


def _scored(specimen: Specimen, picks: ParticleTable, odds: np.ndarray):  # noqa: ANN202  (an Evaluation)
    from scipy.special import expit

    return score(specimen, replace(picks, features=picks.features.assign(score=expit(odds))))


def speed(pruner: Pruner) -> None:
    """Picks per second, of apoferritin's micrographs with 400 picks each, with one picker that is asked."""
    specimen = load("apoferritin_hard")
    rng = np.random.default_rng(0)
    count = 400
    yx = [rng.uniform(40, np.array(specimen.train.shape) - 40, (count, 2)) for _ in range(len(specimen.train))]
    picks = picks_table(specimen.train.names, yx, [np.ones(count)] * len(specimen.train))
    asked = advised(pruner, specimen.train, specimen.particle_diameter, SETTINGS)
    print(f"\n{len(picks)} picks on {len(specimen.train)} micrographs of {specimen.train.shape}")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for flips in (4, 8, 1):
            settings = PruneSettings(device="cpu", flips=flips)
            wall, cpu = time.perf_counter(), time.process_time()
            judged(specimen.train, picks, specimen.particle_diameter, asked, settings)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            rates = f"{len(picks) / wall:.0f} picks a second by the clock, {len(picks) / cpu:.0f} of processor time"
            print(f"{threads} threads, {flips} views: {rates}", flush=True)
    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
