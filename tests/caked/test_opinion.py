"""A second opinion: what pickers say of picks, without prejudice, and what it counts."""

import numpy as np
import pytest
import torch

from napari_caked.errors import CheckpointError, SettingsError
from napari_caked.general import general_picker
from napari_caked.picking import judge, prepare_alone
from napari_caked.pruning.checkpoint import Pruner, load_pruner, save_pruner
from napari_caked.pruning.classify import advised, judged, learned, prune
from napari_caked.pruning.learning import allowed_classes, fitted_heads
from napari_caked.pruning.network import Features, PrunerNetwork, head_logits
from napari_caked.pruning.opinion import (
    adapted_pickers,
    odds_at,
    odds_of,
    opinion_of,
    taught_pickers,
    unprejudiced,
)
from napari_caked.pruning.settings import PARTICLE, PruneSettings
from napari_caked.pruning.stored import StoredPatches, store_patches
from napari_caked.settings import PickSettings
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries

QUICK = PruneSettings(device="cpu", steps=0, folds=2, flips=1, picker_steps=4)


@pytest.fixture(scope="module")
def rings(ring_data):
    """Two micrographs, their 50 rings, and 50 places between four rings."""
    series, truth = ring_data(2, noise=0.5)
    empty = truth.coordinates.copy()
    empty[:, 1:] = np.clip(empty[:, 1:] + 22, 0, 250)
    return series, truth, ParticleTable(truth.micrographs, empty)


@pytest.fixture(scope="module")
def blank() -> Pruner:
    """A pruner that says nothing itself: its heads give 0 to everything."""
    network = PrunerNetwork(4).eval()
    for head in (network.head, network.halved_head):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    return Pruner(network)


@pytest.fixture(scope="module")
def labels(rings):
    """Twelve rings and twelve places that are none."""
    series, truth, empty = rings
    some = np.arange(0, 48, 4)
    places = np.concatenate([truth.coordinates[some], empty.coordinates[some]])
    return ParticleTable(series.names, places), np.repeat([True, False], len(some))


@pytest.fixture(scope="module")
def taught(rings, labels):
    return taught_pickers(rings[0], *labels, 120.0, QUICK)


def test_a_candidate_gets_its_own_odds_and_any_other_place_what_the_map_says_there(rings):
    series = rings[0]
    picker = general_picker(120.0)
    working = prepare_alone(series.read(0), "m0.mrc", 5.0, picker)
    expected = judge(picker, working, PickSettings(threshold=0.0))
    said = odds_at((picker,), series.read(0), "m0.mrc", 5.0, expected.yx)
    assert said.shape == (1, len(expected.yx)) and said.dtype == np.float32
    np.testing.assert_allclose(said[0], expected.logits.clip(-10, 10), rtol=1e-5)
    away = np.array([[150.0, 131.0]])
    assert np.hypot(*(expected.yx - away).T).min() > 0.25 * 24
    at = np.rint(working.rescaling.to_rescaled(away)[0] / picker.network.stride).astype(int)
    raw = picker.calibration.log_odds(expected.scores[tuple(at)]) + expected.shift
    assert odds_at((picker,), series.read(0), "m0.mrc", 5.0, away)[0, 0] == pytest.approx(raw.clip(-10, 10), rel=1e-5)


def test_an_adapted_picker_knows_rings_it_was_never_told_of(rings, blank):
    """Given no label at all, when picks are judged, then nearly all rings are kept and nearly all others not."""
    series, truth, empty = rings
    picks = ParticleTable(series.names, np.concatenate([truth.coordinates, empty.coordinates]))
    settings = PruneSettings(device="cpu", flips=1, picker="adapted")
    probability = prune(series, picks, 120.0, pruner=blank, settings=settings).features["probability"].to_numpy()
    assert (probability[:50] >= 0.5).mean() > 0.9 and (probability[50:] < 0.5).mean() > 0.9


def test_a_picker_that_sees_no_particles_is_not_asked(blank):
    """Given noise, then no picker stands in the pruner, and its opinion of every pick is its own."""
    noise = np.random.default_rng(5).normal(size=(1, 256, 256)).astype(np.float32)
    series = MicrographSeries.from_array(noise, ["noise.mrc"], 5.0)
    assert adapted_pickers(series, 120.0, "cpu") == ()
    assert advised(blank, series, 120.0, QUICK).pickers == ()


def test_nobody_is_asked_where_nobody_shall_be(rings, blank, taught):
    from dataclasses import replace

    with_pickers = replace(blank, pickers=taught.pickers)
    assert advised(with_pickers, rings[0], 120.0, PruneSettings(picker="none")).pickers == ()
    assert advised(with_pickers, rings[0], 120.0, PruneSettings(picker="adapted")).pickers == taught.pickers
    with pytest.raises(SettingsError, match="picker: 'somebody' is not trained, adapted, none"):
        PruneSettings(picker="somebody")


def test_each_label_is_judged_by_the_picker_that_has_not_seen_it(rings, labels, taught):
    series, (places, right) = rings[0], labels
    for side in (right, ~right):
        assert sorted(np.bincount(taught.half[side])) == [6, 6]
    told = odds_of(unprejudiced(taught), series, places)
    for index in (0, 1):
        rows = np.flatnonzero(places.micrograph_index == index)
        both = odds_at(taught.pickers, series.read(index), series.names[index], 5.0, places.coordinates[rows, 1:])
        for column, row in enumerate(rows):
            assert told[row] == both[1 - taught.half[row], column]
    assert not np.allclose(*both)


def test_picks_get_the_mean_of_both(rings, taught):
    series, truth, _ = rings
    seen = []
    odds = odds_of(opinion_of(taught.pickers), series, truth, progress=lambda *said: seen.append(said[:2]))
    for index in (0, 1):
        rows = truth.micrograph_index == index
        both = odds_at(taught.pickers, series.read(index), series.names[index], 5.0, truth.coordinates[rows, 1:])
        np.testing.assert_allclose(odds[rows], both.mean(axis=0), rtol=1e-6)
    assert seen == [(1, 2), (2, 2)] and opinion_of(()) is None
    with pytest.raises(KeyboardInterrupt):
        odds_of(opinion_of(taught.pickers), series, truth, stop=lambda: True)


def test_too_few_particles_train_no_picker(rings, labels):
    places, right = labels
    some = np.r_[np.arange(9), np.arange(12, 24)]
    assert taught_pickers(rings[0], places.where(some), right[some], 120.0, QUICK) is None


def test_training_pickers_can_be_stopped_and_says_how_far_it_is(rings, labels):
    told = []
    with pytest.raises(KeyboardInterrupt):
        taught_pickers(
            *(rings[0], *labels, 120.0, QUICK), progress=lambda *said: told.append(said), stop=lambda: len(told) > 4
        )
    assert [said[:2] for said in told[:5]] == [(1, 8), (2, 8), (3, 8), (4, 8), (5, 8)]


def test_a_bad_label_beside_a_good_one_is_no_contradiction(rings, labels, blank):
    """Given a pick that is marked as bad because it is the second on one particle, then learning goes on."""
    series, (places, right) = rings[0], labels
    twice = places.coordinates[:12] + np.array([0.0, 3.0, 3.0])
    good, bad = places.where(right), ParticleTable(series.names, np.concatenate([twice, places.coordinates[12:]]))
    pruner = learned(series, 120.0, good=good, bad=bad, pruner=blank, settings=QUICK)
    assert len(pruner.pickers) == 2


def test_the_opinion_raises_the_particle_and_nothing_else():
    network = PrunerNetwork(4).eval()
    sizes = network.head.in_features, network.halved_head.in_features
    features = [torch.randn(5, size) for size in sizes]
    odds = torch.linspace(-4, 4, 5)
    plain = head_logits(network, Features(*features, torch.zeros(5)))
    network.trust.fill_(0.5)
    added = head_logits(network, Features(*features, odds)) - plain
    torch.testing.assert_close(added[:, PARTICLE], 0.5 * odds, atol=1e-5, rtol=1e-5)
    assert torch.cat([added[:, :PARTICLE], added[:, PARTICLE + 1 :]], dim=1).abs().max() == 0


@pytest.mark.parametrize(("sign", "least", "most"), [(1, 0.8, 5.0), (-1, 0.0, 0.2)])
def test_a_picker_is_trusted_as_far_as_labels_bear_it_out(blank, sign, least, most):
    """Given labels that a picker tells right, or wrong, then what it says counts, or does not; never the contrary."""
    generator = torch.Generator().manual_seed(0)
    right = torch.arange(40) < 20
    sizes = blank.network.head.in_features, blank.network.halved_head.in_features
    noise = [torch.randn((40, size), generator=generator) for size in sizes]
    odds = sign * (4.0 * right - 2.0) + torch.randn(40, generator=generator)
    classes = np.where(right.numpy(), 0, -1)
    heads = fitted_heads(blank.network, Features(*noise, odds), allowed_classes(classes), 1.0)
    assert all(least <= head.trust <= most for head in heads)


def test_a_pruner_keeps_its_pickers_in_its_file(rings, labels, blank, taught, tmp_path):
    from dataclasses import replace

    pruner = replace(blank, pickers=taught.pickers)
    save_pruner(tmp_path / "p.safetensors", pruner)
    again = load_pruner(tmp_path / "p.safetensors")
    series, places = rings[0], labels[0]
    np.testing.assert_array_equal(
        judged(series, places, 120.0, again, QUICK), judged(series, places, 120.0, pruner, QUICK)
    )
    assert again.pickers[1].particle_diameter == 120.0


def test_a_file_whose_picker_is_damaged_is_refused(blank, taught, tmp_path):
    from dataclasses import replace

    from safetensors import safe_open
    from safetensors.torch import save_file

    path = tmp_path / "p.safetensors"
    save_pruner(path, replace(blank, pickers=taught.pickers))
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors.pop("picker1.head.weight")
    save_file(tensors, path, metadata)
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        load_pruner(path)


def test_patches_in_files_keep_what_was_said_of_them(rings, taught, tmp_path):
    series, truth, _ = rings
    opinion = opinion_of(taught.pickers)
    stored = store_patches(series, truth, 120.0, tmp_path, opinion=opinion, device="cpu")
    np.testing.assert_array_equal(stored.odds, odds_of(opinion, series, truth))
    again = StoredPatches.open(tmp_path)
    assert again is not None
    np.testing.assert_array_equal(again.patches(np.array([3, 1])).odds, stored.odds[[3, 1]])


def test_beside_a_picker_a_pruner_without_labels_is_less_sure_of_itself(rings, blank, taught):
    """Given heads that say something, then they count a quarter beside a picker, and whole once they saw labels."""
    network = PrunerNetwork(4).eval()
    series, truth, _ = rings
    odds = torch.from_numpy(odds_of(opinion_of(taught.pickers), series, truth))
    alone = torch.from_numpy(judged(series, truth, 120.0, Pruner(network), QUICK))
    for provenance, share in (({}, 0.25), ({"labels": {}}, 1.0)):
        pruner = Pruner(network, provenance=provenance, pickers=taught.pickers)
        both = torch.from_numpy(judged(series, truth, 120.0, pruner, QUICK))
        expected = share * alone
        expected[:, PARTICLE] += odds
        torch.testing.assert_close(both, expected, atol=1e-4, rtol=1e-3)
