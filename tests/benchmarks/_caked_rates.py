"""What CAKED 0.1.7 takes for an item, to be run by an interpreter that has it; see augmentation.py.

python _caked_rates.py FOLDER OUTPUT

Times reading and transforming each MRC file of a folder on one thread, writes the first volume as `rescale` leaves it
to OUTPUT, and prints milliseconds of CPU as JSON. CAKED needs torchvision for one blur and one normalisation that it
is not asked for here; where torchvision is not installed, empty modules take its place.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
import types
from pathlib import Path

import numpy as np
import torch

if importlib.util.find_spec("torchvision") is None:
    stand_in = types.ModuleType("torchvision")
    stand_in.transforms = types.ModuleType("torchvision.transforms")  # type: ignore[attr-defined]
    sys.modules["torchvision"], sys.modules["torchvision.transforms"] = stand_in, stand_in.transforms

from caked.dataloader import DiskDataset  # noqa: E402

CASES = {"plain": {}, "min-max": {"shiftmin": True}, "rescale 32": {"rescale": 32}, "rescale 96": {"rescale": 96}}


def main() -> None:
    folder, output = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    paths = sorted(folder.glob("*.mrc"))
    taken = {}
    for name, options in CASES.items():
        data = DiskDataset(paths, datatype="mrc", **options)
        data[0]
        times = []
        for index in range(12 if "rescale" in name else len(paths)):
            began = time.process_time()
            volume, _ = data[index % len(paths)]
            times.append(1e3 * (time.process_time() - began))
            if index == 0 and "rescale" in name:
                np.save(output / f"{name}.npy", np.asarray(volume)[0])
        taken[name] = [min(times), float(np.median(times))]
    print(json.dumps(taken))


main()
