"""How good picks are before anybody has clicked: the table of docs/explanation/zero_clicks.md.

    CRYO_TEST_DATA=FOLDER python tests/benchmarks/zero_clicks.py [--only apoferritin_hard ...]

Four ways, of rising cost. Nothing but the pixels of the training micrographs is used, no label of theirs and nothing of
the micrographs that are scored:

- ``general weights``: the shipped network as it is, told the diameter;
- ``adapted``: with a template and a calibration of its own from those micrographs, as ``pick`` without ``--model``;
- ``self-taught``: a training from its own surest picks, as ``train`` without ``--labels``;
- ``simulated first``: the same after learning from micrographs simulated in their likeness, as ``train --simulate``, of
  a hollow shell of 120 Å, 22 Å thick (for apoferritin), or of four ellipsoids around a centre (for
  beta-galactosidase), neither of which is a real structure.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import torch
from _specimens import SPECIMENS, Specimen, load, particle_free, score

from napari_caked import TrainingSettings, pick, train
from napari_caked.checkpoint import PickerModel
from napari_caked.general import general_picker
from napari_caked.settings import PickSettings
from napari_caked.simulate.project import Density
from napari_caked.simulate.specimens import hollow_shell, lobes
from napari_caked.simulated_training import simulated_picker
from napari_caked.zero_clicks import adapted, some_of, sure_picks

#: Stand-ins for the structures of the specimens.
DENSITIES: dict[str, Callable[[], Density]] = {
    "apoferritin_hard": lambda: hollow_shell(120.0, 22.0),
    "apoferritin": lambda: hollow_shell(120.0, 22.0),
    "beta_galactosidase": lambda: lobes(180.0, 60.0, 35.0),
}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(SPECIMENS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--ways", nargs="+", help="only those whose names begin so")
    parser.add_argument("--particle-free", action="store_true", help="count picks on pictures without particles, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| specimen | way | seed | AP | best F1 | F1 at 0.5 | CPU s |\n|---|---|---|---|---|---|---|", flush=True)
    for name in arguments.only:
        for seed in arguments.seeds:
            specimen = load(name, seed)
            for way, make in _ways(specimen, seed):
                if arguments.ways and not way.startswith(tuple(arguments.ways)):
                    continue
                began = time.process_time()
                model = make()
                spent = time.process_time() - began
                found = score(specimen, pick(specimen.dev, model, PickSettings(threshold=0.0)))
                figures = f"{found.average_precision:.3f} | {found.best_f1:.3f} | {found.f1:.3f} | {spent:.1f}"
                print(f"| {name} | {way} | {seed} | {figures} |", flush=True)
    if arguments.particle_free:
        counts = [len(pick(picture, adapted(_general(picture), some_of(picture)))) for picture in particle_free()]
        print(f"\npicks on pictures without particles, each adapted to alone: {counts}, mean {np.mean(counts):.2f}")


def _general(_: object) -> PickerModel:
    # The pictures do not say their pixel size; 150 Å are 20 pixels of what is taken for it.
    return general_picker(150.0)


def _ways(specimen: Specimen, seed: int) -> Iterator[tuple[str, Callable[[], PickerModel]]]:
    settings = TrainingSettings(specimen.particle_diameter, seed=seed)
    yield "general weights", lambda: general_picker(specimen.particle_diameter)
    yield "adapted", lambda: adapted(general_picker(specimen.particle_diameter), some_of(specimen.train))
    yield "self-taught", lambda: _taught(specimen, settings, general_picker(specimen.particle_diameter))
    if specimen.name in DENSITIES:
        density = DENSITIES[specimen.name]()
        simulated = cache(lambda: simulated_picker(density, specimen.train, settings))
        yield "simulated", simulated
        yield "simulated first, then self-taught", lambda: _taught(specimen, settings, simulated(), prior=True)


def _taught(specimen: Specimen, settings: TrainingSettings, picker: PickerModel, prior: bool = False) -> PickerModel:
    """A training from the surest picks of a picker, as the command makes it."""
    images = list(some_of(specimen.train))
    own = adapted(picker, images)
    labels = sure_picks(own, specimen.train, images)
    return train(specimen.train, labels, settings, prior=picker if prior else None)


if __name__ == "__main__":
    main()
