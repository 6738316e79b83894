"""What each part of the default picker is worth: average precision and best F1 with that part left out or changed.

CRYO_TEST_DATA=FOLDER python tests/benchmarks/picker_ablation.py [--rows apoferritin_hard/10 barrels/10] [--draws 0 1 2]

All but the default start from random weights: the general ones fit one network only, and what they know already hides
what a part is worth. Labels, micrographs and scores are those of ``picker_quality.py``. Prints a markdown table of the
means over the draws.
"""

from __future__ import annotations

import argparse
import time
from contextlib import nullcontext
from unittest import mock

import numpy as np
from _specimens import draw_labels, load, score

from napari_caked import TrainingSettings, pick, train
from napari_caked.settings import PickSettings
from napari_caked.spacing import Spacing

VARIANTS: dict[str, dict[str, object]] = {
    "default": {"general": True},
    "from nothing": {},
    "no reviews": {"reviews": 0},
    "one review": {"reviews": 1},
    "a third of the steps": {"steps": 200},
    "one template radius (0.7)": {"template_radius": 0.7},
    "wider template (1.2)": {"template_radius": 1.2},
    "narrower network (12)": {"channels": 12},
    "wider network (40)": {"channels": 40},
    "wider spots (0.15)": {"spot_width": 0.15},
    "spots count no more than background": {"spot_weight": 1.0},
    "float32": {"precision": "float32"},
}


#: Variants that are no setting: a name in a module, and what takes its place.
CHANGES: dict[str, tuple[str, object]] = {
    "every candidate judged alone": ("napari_caked.lessons.estimate_spacing", lambda *_: Spacing()),
}


def main() -> None:
    """Train and score each variant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", default=["apoferritin_hard/10", "barrels/10"])
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", default=[*VARIANTS, *CHANGES], choices=[*VARIANTS, *CHANGES])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    print("| row | variant | AP | best F1 | F1 at 0.5 | training, CPU s |\n|---|---|---|---|---|---|")
    for row in arguments.rows:
        name, count = row.split("/")
        for variant in arguments.variants:
            measured = [
                _measured(name, None if count == "all" else int(count), draw, variant) for draw in arguments.draws
            ]
            means = " | ".join(f"{value:.3f}" for value in np.mean([m[:3] for m in measured], axis=0))
            print(f"| {row} | {variant} | {means} | {np.mean([m[3] for m in measured]):.0f} |", flush=True)


def _measured(name: str, count: int | None, draw: int, variant: str) -> tuple[float, float, float, float]:
    specimen = load(name, draw)
    changed = {"general": False} | VARIANTS.get(variant, {})
    settings = TrainingSettings(specimen.particle_diameter, seed=draw, **changed)
    began = time.process_time()
    with mock.patch(*CHANGES[variant]) if variant in CHANGES else nullcontext():
        model = train(specimen.train, draw_labels(specimen, count, draw), settings)
    spent = time.process_time() - began
    result = score(specimen, pick(specimen.dev, model, PickSettings(threshold=0)))
    return result.average_precision, result.best_f1, result.f1, spent


if __name__ == "__main__":
    main()
