"""Ten labels on real micrographs of apoferritin are enough."""

import numpy as np
import pytest

from napari_caked.evaluation import evaluate
from napari_caked.picking import PickSettings, pick
from napari_caked.training import TrainingSettings, train
from napari_empiarreader.coordinates import read_particles
from napari_empiarreader.micrographs import open_micrographs

LABEL_SEED, TRAINING_SEED = 0, 0


@pytest.mark.slow
def test_apoferritin_from_ten_labels(cryo_test_data):
    """Given 10 random labels of three micrographs, when another one is picked, then nearly all are right."""
    folder = cryo_test_data / "apoferritin"
    series = open_micrographs(folder / "train" / "micrographs", pixel_size=1.5)
    labels = read_particles(folder / "train" / "particles.star")
    chosen = np.random.default_rng(LABEL_SEED).choice(len(labels), 10, replace=False)
    settings = TrainingSettings(particle_diameter=120.0, seed=TRAINING_SEED, device="cpu")

    model = train(series, labels.where(np.sort(chosen)), settings)
    dev = open_micrographs(folder / "dev" / "micrographs", pixel_size=1.5)
    picks = pick(dev, model, PickSettings(threshold=0, device="cpu"))

    truth = read_particles(folder / "dev" / "particles.star")
    result = evaluate(picks, truth, radius=20, border=32, shape=dev.shape)
    print(f"F1 {result.f1:.3f} at {result.threshold}, best {result.best_f1:.3f}, AP {result.average_precision:.3f}")
    assert result.f1 >= 0.90
    assert result.average_precision >= 0.93
