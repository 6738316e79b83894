"""Training with more working images than memory is to hold: they are read from files, and nothing else changes."""

import tempfile
from dataclasses import replace

import pytest
import torch

from napari_caked import training
from napari_caked.settings import TrainingSettings
from napari_caked.training import Finished, Prepared, TrainingControl, train, training_events

QUICK = TrainingSettings(120.0, steps=4, batch_size=2, crop_size=65, channels=8, device="cpu", reviews=1)
CONV31 = TrainingSettings(120.0, steps=2, network="conv31", device="cpu", hold_out=1, validate_every=2)


@pytest.fixture(autouse=True)
def _one_thread():
    """Sums that are divided among threads differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def on_disk(monkeypatch, tmp_path):
    """No room for any image in memory; the folder in which they are kept then."""
    monkeypatch.setattr(training, "_IMAGE_MEMORY", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def kept(folder):
    """What training keeps there; PyTorch has a folder of its own."""
    return list(folder.glob("napari-caked-*"))


def apart(one, other):
    """The largest difference of two models' weights."""
    pairs = zip(one.network.state_dict().values(), other.network.state_dict().values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


@pytest.mark.parametrize(("settings", "count", "most"), [(QUICK, 3, 0.03), (CONV31, 2, 0.0)], ids=["matched", "conv31"])
def test_a_training_from_disk_is_nearly_the_same(ring_data, on_disk, monkeypatch, settings, count, most):
    """Given images in half precision, then weights differ by rounding (measured 0.009; another seed's by 0.5).

    The networks that learn from patches see half precision in any case: theirs do not differ.
    """
    (series, labels), seen, honest = ring_data(count, size=164), [], training.begin

    def begin(said, material, *others):
        seen.append({working.image.dtype for working in material.workings.values()})
        return honest(said, material, *others)

    monkeypatch.setattr(training, "begin", begin)
    model = train(series, labels, settings)
    assert kept(on_disk) == []
    monkeypatch.setattr(training, "_IMAGE_MEMORY", 1 << 30)
    in_memory = train(series, labels, settings)
    assert seen == [{torch.float16}, {torch.float32}]
    assert apart(model, in_memory) <= most
    assert apart(train(series, labels, replace(settings, seed=1)), in_memory) > 0.1


def test_the_files_go_with_a_training_that_is_cancelled_or_left(ring_data, on_disk):
    series, labels = ring_data(3, size=164)
    control = TrainingControl()
    for event in training_events(series, labels, QUICK, control=control):
        if isinstance(event, Prepared):
            assert len(kept(on_disk)) == 1
            control.cancel()
    assert isinstance(event, Finished) and kept(on_disk) == []
    events = training_events(series, labels, QUICK)
    next(events)
    assert len(kept(on_disk)) == 1
    events.close()
    assert kept(on_disk) == []
