"""What the window's helper makes of marks: pickers are trained on them where there are enough, and asked."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_caked.pruning import opinion, stored
from napari_caked.pruning.checkpoint import Pruner, load_pruner, save_pruner
from napari_caked.pruning.network import PrunerNetwork
from napari_caked.widgets._prune_answers import answers
from napari_caked.widgets._prune_messages import ASKING, CUTTING, JUDGING, LEARNING, LOOKING, TRAINING, PruneJob
from napari_empiarreader.coordinates import ParticleTable


class Window:
    """Gives micrographs, and keeps what it is told."""

    def __init__(self, series):
        self.read, self.heard = series.read, []

    def say(self, message):
        self.heard.append(message.what)

    @property
    def phases(self):
        return list(dict.fromkeys(self.heard))


@pytest.fixture(scope="module")
def job(ring_data, tmp_path_factory):
    """Fifty rings, and as many places that are none; a narrow pruner, to be quick."""
    series, truth = ring_data(2, noise=0.5)
    empty = truth.coordinates + np.array([0, 22, 22])
    empty[:, 1:] = empty[:, 1:].clip(0, 250)
    picks = ParticleTable(series.names, np.concatenate([truth.coordinates, empty]))
    root = tmp_path_factory.mktemp("pruner")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_pruner(root / "narrow.safetensors", Pruner(PrunerNetwork(4).eval()))
    described = series.names, series.shape, series.dtype, series.pixel_size, ""
    more = {"folder": str(root / "one"), "device": "cpu", "pruner": (root / "narrow.safetensors").read_bytes()}
    return series, PruneJob(*described, picks=picks, particle_diameter=120.0, **more)


@pytest.fixture
def hasty(monkeypatch):
    """Pickers learn from four batches, and the network by its heads only; a list of what was taught."""
    taught, tuned, seen = opinion.taught_pickers, stored.fine_tuned, []

    def quickly(series, labels, right, diameter, settings, **more):
        found = taught(series, labels, right, diameter, replace(settings, picker_steps=4), **more)
        seen.append(found)
        return found

    def by_heads(pruner, patches, classes, settings, **more):
        return tuned(pruner, patches, classes, replace(settings, steps=0), **more)

    monkeypatch.setattr(opinion, "taught_pickers", quickly)
    monkeypatch.setattr(stored, "fine_tuned", by_heads)
    return seen


def answered(job, window, tmp_path):
    (verdicts,) = answers(job, window)
    (tmp_path / "p.safetensors").write_bytes(verdicts.pruner)
    return verdicts.table.features, load_pruner(tmp_path / "p.safetensors")


def test_marks_train_pickers_that_are_asked_about_all_picks(job, hasty, tmp_path):
    series, first = job
    window = Window(series)
    plain, _ = answered(first, window, tmp_path)
    assert window.phases == [LOOKING, CUTTING, JUDGING] and len(plain) == 100
    marks = {"good": np.arange(0, 48, 4), "bad": 50 + np.arange(0, 48, 4)}
    window = Window(series)
    taught, pruner = answered(replace(first, **marks), window, tmp_path)
    assert window.phases == [TRAINING, ASKING, LEARNING, JUDGING]
    assert len(hasty) == 1 and len(pruner.pickers) == 2 and pruner.provenance["labels"]["particles"] == 12
    assert not np.allclose(taught["log_odds"], plain["log_odds"])
    assert (taught["probability"][:50] >= 0.5).mean() > 0.9 and (taught["probability"][50:] < 0.5).mean() > 0.9


@pytest.mark.parametrize(("count", "train"), [(6, True), (12, False)])
def test_few_marks_or_an_unwilling_user_train_none(job, hasty, tmp_path, count, train):
    series, first = job
    list(answers(first, Window(series)))  # cuts, where nobody has yet
    marks = {"good": np.arange(count), "bad": 50 + np.arange(count)}
    window = Window(series)
    _, pruner = answered(replace(first, **marks, train_picker=train), window, tmp_path)
    assert pruner.pickers == () and ASKING not in window.phases and (TRAINING in window.phases) == train
