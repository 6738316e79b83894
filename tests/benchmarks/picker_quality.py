"""How good picks are, from few labels, beside a template and beside Topaz: the table of docs/reference.

    CRYO_TEST_DATA=FOLDER python tests/benchmarks/picker_quality.py [--topaz TOPAZ/bin ...] [--only barrels] ...

Each row of the table is a specimen and a number of labels; each is measured for several draws of labels (mean and
standard deviation over the draws). Labels come from training micrographs only and everything is scored on others, the
same for all pickers: match radius 20 px and a border of 32 px left out; for beta-galactosidase 13 px and its frame of
20 px. Every measurement is kept in a file of its own under ``--results``, and read from there unless ``--again`` is
given; the table is made of all of them. ``_topaz.py`` says how Topaz is installed.

``ours-from-nothing`` starts from random weights instead of the general ones.

F1 is given at the best threshold, and at the default one: our 0.5, Topaz's logit of 0 (the same probability). A
template has none.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from _specimens import Specimen, draw_labels, load, particle_free, score
from _template import template_picks
from _topaz import Topaz

from napari_caked import TrainingSettings, pick, train
from napari_caked.settings import PickSettings
from napari_empiarreader.coordinates import ParticleTable

#: Specimen and number of labels; None means all there are.
ROWS: tuple[tuple[str, int | None], ...] = (
    ("apoferritin_hard", 10),
    ("apoferritin_hard", 100),
    ("apoferritin_hard", None),
    ("apoferritin", 10),
    ("beta_galactosidase", 20),
    ("beta_galactosidase", None),
    ("barrels", 10),
    ("barrels", 100),
)


@dataclass(frozen=True)
class Measured:
    """One picker on one row with one draw of labels; seconds of CPU count all threads."""

    average_precision: float
    best_f1: float
    f1: float | None
    precision: float | None
    recall: float | None
    training_seconds: float
    training_cpu: float
    picking_seconds: float
    picking_cpu: float
    threads: int


Picker = Callable[[Specimen, ParticleTable, int], Measured]


def main() -> None:
    """Measure what is asked for and not there yet, and print the table of everything that is there."""
    arguments = _arguments()
    pickers = _pickers(arguments)
    for name, count in ROWS:
        if not arguments.only or {name, _row(name, count)} & set(arguments.only):
            for draw in arguments.draws:
                specimen = load(name, draw)
                labels = draw_labels(specimen, count, draw)
                for picker, run in pickers.items():
                    file = arguments.results / f"{name}-{count or 'all'}-{draw}-{picker}.json"
                    if arguments.again or not file.exists():
                        _keep(file, run(specimen, labels, draw))
                        print(file.stem, file.read_text(), flush=True)
    _tell("quality", table(arguments.results), arguments.page)
    if arguments.particle_free:
        _tell("particle-free", picks_without_particles(arguments.draws), arguments.page)


def _tell(name: str, lines: Iterable[str], page: Path | None) -> None:
    """Print a table, and put it between the marks of its name on a page."""
    text = "\n".join(lines)
    print(f"\n{text}", flush=True)
    if page:
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, rest = page.read_text(encoding="utf-8").split(begin)
        page.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], help="specimens or rows: barrels, apoferritin_hard/100, ...")
    parser.add_argument("--pickers", nargs="+", default=["ours", "template", "template-2"], help="which to measure")
    parser.add_argument("--topaz", nargs="+", type=Path, default=[], help="folders of Topaz's programs; adds them")
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2], help="seeds of the draws of labels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=Path("build/picker_results"), help="folder of the measurements")
    parser.add_argument("--again", action="store_true", help="measure even what is there")
    parser.add_argument("--page", type=Path, help="page to put the tables on: docs/reference/picker_benchmarks.md")
    parser.add_argument("--particle-free", action="store_true", help="count picks where there are no particles, too")
    return parser.parse_args()


def _pickers(arguments: argparse.Namespace) -> dict[str, Picker]:
    import torch

    torch.set_num_threads(arguments.threads)
    known: dict[str, Picker] = {
        "ours": lambda specimen, labels, seed: _ours(specimen, labels, seed, arguments.threads),
        "ours-from-nothing": lambda specimen, labels, seed: _ours(specimen, labels, seed, arguments.threads, False),
        "template": lambda specimen, labels, seed: _template(specimen, labels, 1),
        "template-2": lambda specimen, labels, seed: _template(specimen, labels, 2),
    }
    chosen = {name: known[name] for name in arguments.pickers if name != "none"}
    for programs in arguments.topaz:
        topaz = Topaz(programs.absolute(), arguments.threads)
        chosen[f"topaz-{topaz.version}"] = partial(_topaz, topaz)
    return chosen


def _ours(specimen: Specimen, labels: ParticleTable, seed: int, threads: int, general: bool = True) -> Measured:
    settings = TrainingSettings(specimen.particle_diameter, seed=seed, general=general)
    clock = [(time.perf_counter(), time.process_time())]
    model = train(specimen.train, labels, settings)
    clock.append((time.perf_counter(), time.process_time()))
    picks = pick(specimen.dev, model, PickSettings(threshold=0))
    clock.append((time.perf_counter(), time.process_time()))
    return _measured(specimen, picks, np.diff(clock, axis=0).ravel(), threads, PickSettings().threshold)


def _template(specimen: Specimen, labels: ParticleTable, rounds: int) -> Measured:
    picks = template_picks(specimen, labels, rounds)
    found = _measured(specimen, picks, np.zeros(4), 1, 0.5)
    return replace(found, f1=None, precision=None, recall=None)


def _topaz(topaz: Topaz, specimen: Specimen, labels: ParticleTable, seed: int) -> Measured:
    # It takes no seed.
    with tempfile.TemporaryDirectory() as folder:
        run = topaz.picked(specimen, labels, Path(folder))
    seconds = np.array([run.training.wall, run.training.cpu, run.picking.wall, run.picking.cpu])
    return _measured(specimen, run.picks, seconds, topaz.threads, 0.5)


def _measured(specimen: Specimen, picks: ParticleTable, seconds: np.ndarray, threads: int, at: float) -> Measured:
    result = score(specimen, picks, at)
    training, training_cpu, picking, picking_cpu = (round(float(value), 2) for value in seconds)
    return Measured(
        average_precision=round(result.average_precision, 4),
        best_f1=round(result.best_f1, 4),
        f1=round(result.f1, 4),
        precision=round(result.precision, 4),
        recall=round(result.recall, 4),
        training_seconds=training,
        training_cpu=training_cpu,
        picking_seconds=picking,
        picking_cpu=picking_cpu,
        threads=threads,
    )


def _keep(file: Path, measured: Measured) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(measured)))


def table(results: Path) -> Iterable[str]:
    """Lines of a Markdown table of all measurements in a folder."""
    yield "| specimen/labels | picker | draws | AP | best F1 | F1 at default threshold | training, CPU s | threads |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, count in ROWS:
        prefix = f"{name}-{count or 'all'}-"
        files = sorted(results.glob(f"{prefix}*.json"))
        for picker in sorted({file.stem.removeprefix(prefix).split("-", 1)[1] for file in files}):
            rows = [Measured(**json.loads(f.read_text())) for f in files if f.stem.endswith(f"-{picker}")]
            yield f"| {_row(name, count)} | {picker} | {len(rows)} | " + " | ".join(_cells(rows)) + " |"


def _cells(rows: list[Measured]) -> Iterable[str]:
    yield _spread([row.average_precision for row in rows])
    yield _spread([row.best_f1 for row in rows])
    defaults = [row.f1 for row in rows if row.f1 is not None]
    yield _spread(defaults) if defaults else "–"
    learned = rows[0].training_seconds > 0
    # Not the clock: it counts what else the machine did, and rows are measured at different times.
    yield f"{np.mean([row.training_cpu for row in rows]):.0f}" if learned else "–"
    yield str(rows[0].threads)


def _row(name: str, count: int | None) -> str:
    return f"{name}/{count or 'all'}"


def _spread(values: list[float]) -> str:
    """Mean and standard deviation over the draws."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def picks_without_particles(draws: Iterable[int]) -> Iterable[str]:
    """Lines of a table: picks per particle-free picture at the default threshold, by models trained elsewhere."""
    yield "| trained on | draw | picks per picture | most on one |"
    yield "|---|---|---|---|"
    for name, count in ROWS[:2] + ROWS[3:5]:
        for draw in draws:
            specimen = load(name, draw)
            settings = TrainingSettings(specimen.particle_diameter, seed=draw)
            model = train(specimen.train, draw_labels(specimen, count, draw), settings)
            counts = [len(pick(series, model)) for series in particle_free()]
            yield f"| {_row(name, count)} | {draw} | {np.mean(counts):.2f} | {max(counts)} |"


if __name__ == "__main__":
    main()
