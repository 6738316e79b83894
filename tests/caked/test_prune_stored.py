"""Patches of picks in files: the same verdicts as from the micrographs, which are not read again."""

import numpy as np
import pytest
import torch

from napari_caked.errors import LabelsError
from napari_caked.pruning.checkpoint import Pruner
from napari_caked.pruning.classify import judged
from napari_caked.pruning.network import PrunerNetwork
from napari_caked.pruning.settings import PruneSettings
from napari_caked.pruning.stored import StoredPatches, judged_patches, learned_from_patches, store_patches

CPU = PruneSettings(device="cpu", batch=7, steps=0)


@pytest.fixture(scope="module")
def pruner() -> Pruner:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Pruner(PrunerNetwork(4).eval())


@pytest.fixture(scope="module")
def stored(ring_data, tmp_path_factory):
    series, truth = ring_data(2, size=164)
    return store_patches(series, truth, 120.0, tmp_path_factory.mktemp("patches"), device="cpu")


def test_the_verdicts_are_those_from_the_micrographs(ring_data, pruner, stored):
    series, truth = ring_data(2, size=164)
    told = []
    found = judged_patches(stored, pruner, CPU, progress=lambda done, total, message="": told.append((done, total)))
    np.testing.assert_allclose(found, judged(series, truth, 120.0, pruner, CPU), atol=5e-3)
    assert len(stored) == len(truth) and told[-1] == (len(truth), len(truth)) and len(told) == -(-len(truth) // 7)


def test_rows_stay_those_of_the_picks_whatever_their_order(ring_data, pruner, stored, tmp_path):
    series, truth = ring_data(2, size=164)
    order = np.random.default_rng(0).permutation(len(truth))
    other = store_patches(series, truth.where(order), 120.0, tmp_path, device="cpu")
    np.testing.assert_array_equal(other.near, np.asarray(stored.near)[order])
    np.testing.assert_array_equal(other.wide, np.asarray(stored.wide)[order])


def test_what_was_cut_is_found_again_and_a_stopped_cutting_is_none(ring_data, stored, tmp_path):
    series, truth = ring_data(2, size=164)
    assert StoredPatches.open(tmp_path) is None
    with pytest.raises(KeyboardInterrupt):
        store_patches(series, truth, 120.0, tmp_path, device="cpu", stop=lambda: True)
    assert StoredPatches.open(tmp_path) is None
    store_patches(series, truth, 120.0, tmp_path, device="cpu")
    again = StoredPatches.open(tmp_path)
    assert again is not None and np.array_equal(again.near, stored.near)
    assert isinstance(again.near, np.memmap) and not list(tmp_path.glob("*.part"))


def test_no_picks_get_no_verdicts(ring_data, pruner, tmp_path):
    series, truth = ring_data(2, size=164)
    nothing = store_patches(series, truth.where(np.zeros(len(truth), bool)), 120.0, tmp_path, device="cpu")
    assert judged_patches(nothing, pruner, CPU).shape == (0, 4)


def test_marks_are_learned_from_and_contradictions_refused(pruner, stored):
    good, bad = np.arange(4), np.arange(4, 8)
    learned = learned_from_patches(stored, good, bad, pruner, CPU)
    assert learned.provenance["labels"] == {"particles": 4, "others": 4}
    odds = judged_patches(stored, learned, CPU)
    assert not np.allclose(odds, judged_patches(stored, pruner, CPU))
    with pytest.raises(LabelsError, match="pick 3 is marked as good and as bad"):
        learned_from_patches(stored, good, np.arange(3, 6), pruner, CPU)
    with pytest.raises(KeyboardInterrupt):
        judged_patches(stored, pruner, CPU, stop=lambda: True)
