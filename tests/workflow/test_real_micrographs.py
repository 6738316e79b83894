"""What ten labels are worth on real micrographs: a file of its own, because it takes long."""

from __future__ import annotations

import numpy as np
import pytest

from napari_caked import TrainingSettings, evaluate, pick, train
from napari_caked.settings import PickSettings
from napari_empiarreader import open_micrographs, read_particles
from napari_empiarreader.archive.server import LoopbackArchive


@pytest.mark.slow
def test_ten_labels_on_real_micrographs_opened_by_entry_number(cryo_test_data):
    """Apoferritin, served as an entry; match radius 20 px, a border of 32 px excluded.

    100 steps instead of 360, because each takes 65 ms: measured 0.999 and 0.987 after 150.
    """
    data = cryo_test_data / "apoferritin"
    with LoopbackArchive() as server:
        server.add_entry(10146, data)
        training = open_micrographs("empiar://10146/data/train/micrographs", archive=server.archive)
        labels = read_particles(data / "train/particles.star")
        chosen = labels.where(np.sort(np.random.default_rng(0).choice(len(labels), 10, replace=False)))
        model = train(training, chosen, TrainingSettings(120.0, steps=100, seed=0))
        dev = open_micrographs("empiar://10146/data/dev/micrographs", archive=server.archive)
        picks = pick(dev, model, PickSettings(threshold=0))
    result = evaluate(picks, read_particles(data / "dev/particles.star"), radius=20, border=32, shape=dev.shape)
    assert result.average_precision >= 0.93
    assert result.f1 >= 0.90
