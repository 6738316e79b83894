"""Pruning: patches show what they should, few labels tell picks apart, and nothing of the picks is lost."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from napari_caked.errors import LabelsError
from napari_caked.pruning.checkpoint import Pruner
from napari_caked.pruning.classify import prune
from napari_caked.pruning.learning import allowed_classes, fine_tuned, fitted_heads, temperature_of
from napari_caked.pruning.network import (
    Features,
    PrunerNetwork,
    flipped,
    folded,
    partial_loss,
    pooled_features,
    smoothed,
)
from napari_caked.pruning.patches import Patches, cut_patches, patches_of, prepare_for_patches
from napari_caked.pruning.settings import CLASSES, PatchSettings, PruneSettings
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.errors import CoordinatesError, PixelSizeError
from napari_empiarreader.micrographs import MicrographSeries

QUICK = PruneSettings(device="cpu", steps=10, folds=2, flips=4, learning_batch=8, picker="none")


@pytest.fixture(scope="module")
def unlearned() -> Pruner:
    """A pruner of random weights, narrow to be quick."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Pruner(PrunerNetwork(4).eval())


@pytest.fixture(scope="module")
def rings(ring_data):
    """Two micrographs, their 50 rings, and 50 places between four rings."""
    series, truth = ring_data(2, noise=0.5)
    empty = truth.coordinates.copy()
    empty[:, 1:] = np.clip(empty[:, 1:] + 22, 0, 250)
    return series, truth, ParticleTable(truth.micrographs, empty)


def patch_at(image, yx, diameter=72.0, pixel_size=2.0):
    working, step = prepare_for_patches(image, "m", diameter, pixel_size)
    return cut_patches(working, np.array([yx], float), step), step


def test_a_particle_is_as_wide_in_every_patch_whatever_the_pixel_size():
    """Given the same disc in pixels of three sizes, when patches are cut, then it covers the same pixels of them."""
    areas = []
    for pixel_size in (1.0, 2.0, 3.6):
        size = round(1200 / pixel_size)
        y, x = np.mgrid[:size, :size] * pixel_size
        away = np.hypot(y - 600, x - 600)
        image = np.random.default_rng(0).normal(size=(size, size)) + 200 * (away < 36)
        patch, step = patch_at(image, (600 / pixel_size, 600 / pixel_size), pixel_size=pixel_size)
        assert step == 1
        near = patch.near[0, 0] > 3
        areas.append(float(near.sum()))
        rows, columns = np.nonzero(near.numpy())
        assert abs(rows.mean() - 32) < 0.6 and abs(columns.mean() - 32) < 0.6
    np.testing.assert_allclose(areas, np.pi * 18**2, rtol=0.06)


def test_small_particles_are_enlarged_in_the_patch_where_the_micrograph_would_become_too_large():
    """Given particles of 5 pixels, when patches are cut, then they are 36 pixels wide all the same."""
    image = np.random.default_rng(0).normal(size=(1000, 1100))
    y, x = np.mgrid[:1000, :1100]
    image += 8 * (np.hypot(y - 400, x - 700) < 2.5)
    patch, step = patch_at(image, (400, 700), 10.0, 2.0)
    assert step < 1
    assert float((patch.near[0, 0] > 1.2).sum()) == pytest.approx(np.pi * 18**2, rel=0.25)
    assert patch.wide.shape == (1, 3, 32, 32)


def test_the_wide_patch_shows_what_is_around_and_where_the_micrograph_ends():
    """Given a dark half plane two diameters to the right, then the wide patch is dark there and empty outside."""
    image = np.random.default_rng(0).normal(size=(800, 800))
    image[:, 472:] -= 5
    patch, _ = patch_at(image, (60, 400))
    mean, deviation, share = patch.wide[0]
    # A pixel of it is 7 pixels of the micrograph here: the plane begins 72 / 7 = 10.3 of them to the right of 16.
    assert mean[:, 28:][10:].max() < mean[:, 8:25][10:].min() - 1
    assert share[:6].max() == 0 and share[9:].min() == 1
    assert float(deviation[20:, 8:18].mean()) == pytest.approx(float(deviation[20:, 28:].mean()), rel=0.1)


def test_each_micrograph_is_read_once_and_picks_keep_their_rows(rings):
    series, truth, _ = rings
    read = []

    def reader(index):
        read.append(index)
        return series.reader(index)

    watched = MicrographSeries(series.names, series.shape, series.dtype, series.pixel_size, reader)
    shuffled = truth.where(np.random.default_rng(0).permutation(len(truth)))
    seen = {}
    for rows, patches in patches_of(watched, shuffled, 120.0):
        seen.update(zip(rows.tolist(), patches.near, strict=True))
    assert sorted(read) == [0, 1] and sorted(seen) == list(range(50))
    working, step = prepare_for_patches(series.read(1), "m", 120.0, 5.0)
    row = int(np.flatnonzero(shuffled.micrograph_index == 1)[3])
    alone = cut_patches(working, shuffled.coordinates[[row], 1:], step)
    torch.testing.assert_close(alone.near[0], seen[row])


def test_patches_are_the_same_whatever_gain_and_offset_the_micrograph_has():
    image = np.random.default_rng(0).normal(size=(600, 600))
    one, _ = patch_at(image, (300, 300))
    other, _ = patch_at(1000 - 7 * -image, (300, 300))
    torch.testing.assert_close(one.near, other.near, atol=1e-3, rtol=0)
    torch.testing.assert_close(one.wide, other.wide, atol=1e-2, rtol=0)
    assert float(one.near.median()) == pytest.approx(0, abs=1e-6)


def test_the_eight_views_are_all_different_and_the_first_is_the_patch_itself():
    patches = Patches(torch.arange(16.0).reshape(1, 1, 4, 4), torch.rand(1, 3, 4, 4), torch.zeros(1))
    views = [flipped(patches, view).near for view in range(8)]
    torch.testing.assert_close(views[0], patches.near)
    assert len({tuple(view.flatten().tolist()) for view in views}) == 8


def test_the_second_plane_is_a_gaussian_blur_on_a_scale_of_its_own():
    """Given patches, then the second plane is what scipy makes of them, with mean 0 and deviation 1."""
    from scipy.ndimage import gaussian_filter

    near = torch.randn((3, 1, 64, 64), generator=torch.Generator().manual_seed(0))
    for patch, found in zip(near.numpy(), smoothed(5 * near + 1).numpy(), strict=True):
        expected = gaussian_filter(patch[0].astype(float), 2.0, truncate=3.0, mode="nearest")
        expected = (expected - expected.mean()) / expected.std()
        np.testing.assert_allclose(found[0], expected.clip(-6, 6), atol=0.01)


def test_folding_normalisation_into_convolutions_changes_nothing(unlearned):
    network = PrunerNetwork(4)
    patches = Patches(torch.randn(8, 1, 64, 64), torch.randn(8, 3, 32, 32), torch.zeros(8))
    network.train()(patches)  # statistics of its own
    network.eval()
    one, other = pooled_features(network, patches), pooled_features(folded(network), patches)
    torch.testing.assert_close(one.whole, other.whole, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(one.halved, other.halved, atol=1e-4, rtol=1e-3)


def test_the_loss_of_a_label_that_leaves_classes_open_is_that_of_their_sum():
    """Given logits, then the loss is minus the logarithm of the probability of what is allowed, computed by hand."""
    logits = torch.tensor([[1.0, 2.0, 0.5, -1.0], [0.0, 0.0, 3.0, 0.0]])
    weight = torch.tensor([0.25, 0.75])
    allowed = allowed_classes(np.array([-1, 2]))
    p = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(axis=1, keepdims=True)
    expected = -0.25 * np.log(p[0, 1:].sum()) - 0.75 * np.log(p[1, 2])
    assert float(partial_loss(logits, allowed, weight)) == pytest.approx(expected, rel=1e-5)


def test_heads_that_are_held_fast_stay_and_heads_that_are_free_fit(unlearned):
    """Given labels, when the penalty is huge, then nothing changes; when it is small, every label is learned."""
    generator = torch.Generator().manual_seed(0)
    sizes = (unlearned.network.head.in_features, unlearned.network.halved_head.in_features)
    features = Features(*(torch.randn((20, size), generator=generator) for size in sizes), torch.zeros(20))
    classes = np.repeat([0, -1], 10)
    held, _ = fitted_heads(unlearned.network, features, allowed_classes(classes), 1e6)
    torch.testing.assert_close(held.weight, unlearned.network.head.weight, atol=1e-4, rtol=0)
    free, _ = fitted_heads(unlearned.network, features, allowed_classes(classes), 1e-4)
    said = (features.whole @ free.weight.T + free.bias).argmax(dim=1).numpy()
    np.testing.assert_array_equal(said == 0, classes == 0)


def test_the_temperature_is_found_again():
    """Given log-odds that are three times too sure, then the temperature is about 3."""
    generator = torch.Generator().manual_seed(0)
    odds = 1.5 * torch.randn(4000, generator=generator)
    right = torch.rand(4000, generator=generator) < torch.sigmoid(odds)
    assert temperature_of(3 * odds, right)[0] == pytest.approx(3, rel=0.15)


def test_few_labels_tell_rings_from_nothing_even_for_an_unlearned_network(rings, unlearned):
    """Given 12 labels of either side, when the others are judged, then nearly all are judged rightly."""
    series, rings_, empty = rings
    some, rest = np.arange(0, 48, 4), np.setdiff1d(np.arange(50), np.arange(0, 48, 4))
    picks = ParticleTable(
        series.names,
        np.concatenate([rings_.coordinates[rest], empty.coordinates[rest]]),
        pd.DataFrame({"old": range(76)}),
    )
    table = prune(
        series, picks, 120.0, good=rings_.where(some), bad=empty.where(some), pruner=unlearned, settings=QUICK
    )
    right = np.repeat([True, False], len(rest))
    assert np.mean((table.features["probability"] >= 0.5) == right) > 0.9
    assert list(table.features["old"]) == list(range(76))
    np.testing.assert_array_equal(table.coordinates, picks.coordinates)
    np.testing.assert_array_equal(table.features["kind"] == "particle", table.features["probability"] >= 0.5)
    np.testing.assert_array_equal(table.features["kind"], [CLASSES[i - 1] for i in table.features["class"]])


def test_the_same_seed_gives_the_same_pruner_and_another_one_does_not(rings, unlearned):
    series, rings_, empty = rings
    parts = [
        patches for table in (rings_, empty) for _, patches in patches_of(series, table.where(np.arange(8)), 120.0)
    ]
    patches, classes = Patches.joined(parts), np.repeat([0, -1], 8)
    settings = PruneSettings(device="cpu", steps=10, folds=2, flips=1, step_size=1e-2, learning_batch=8)
    first, again, other = (fine_tuned(unlearned, patches, classes, replace(settings, seed=seed)) for seed in (0, 0, 5))
    for name, tensor in first.network.state_dict().items():
        torch.testing.assert_close(tensor, again.network.state_dict()[name], atol=0, rtol=0)
    said = [(one.network.head.weight.sum().item(), one.temperature) for one in (first, other)]
    assert said[0] != said[1]
    assert first.provenance["labels"] == {"particles": 8, "others": 8}


def test_classes_of_labels_are_learned_where_they_are_given(rings, unlearned):
    """Given labels named particle and carbon, then what is no particle is said to be carbon, nothing else."""
    series, rings_, empty = rings
    labels = ParticleTable(
        series.names,
        np.concatenate([rings_.coordinates, empty.coordinates]),
        pd.DataFrame({"kind": ["particle"] * 50 + ["carbon"] * 50}),
    )
    table = prune(series, empty, 120.0, labels=labels, pruner=unlearned, settings=QUICK)
    assert np.mean(table.features["kind"] == "carbon") > 0.9


def test_a_class_that_picks_had_before_is_kept(rings, unlearned):
    series, rings_, _ = rings
    picks = ParticleTable(rings_.micrographs, rings_.coordinates, pd.DataFrame({"class": np.arange(50)}))
    table = prune(series, picks, 120.0, pruner=unlearned, settings=QUICK)
    assert list(table.features["class_before"]) == list(range(50))


def test_no_picks_give_an_empty_table_with_all_columns(rings, unlearned):
    series, rings_, _ = rings
    table = prune(series, rings_.where(np.zeros(50, bool)), 120.0, pruner=unlearned, settings=QUICK)
    assert len(table) == 0 and {"probability", "class", "kind"} <= set(table.features.columns)


def test_progress_and_stopping(rings, unlearned):
    series, rings_, _ = rings
    told = []
    prune(series, rings_, 120.0, pruner=unlearned, settings=QUICK, progress=lambda *said: told.append(said))
    assert told == [(1, 2, "judged m0.mrc"), (2, 2, "judged m1.mrc")]
    with pytest.raises(KeyboardInterrupt):
        prune(series, rings_, 120.0, pruner=unlearned, settings=QUICK, stop=lambda: True)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"bad": None}, LabelsError, "no bad labels"),
        ({"good": None}, LabelsError, "no good labels"),
        ({"few": 1}, LabelsError, "1 labels are particles"),
        ({"pixel_size": None}, PixelSizeError, "pixel size"),
        ({"outside": True}, CoordinatesError, "outside"),
    ],
)
def test_what_cannot_be_pruned_is_named(rings, unlearned, change, error, says):
    series, rings_, empty = rings
    few = change.get("few", 4)
    labels = {"good": rings_.where(np.arange(few)), "bad": empty.where(np.arange(few))}
    labels.update({name: value for name, value in change.items() if name in labels})
    if "pixel_size" in change:
        series = MicrographSeries(series.names, series.shape, series.dtype, None, series.reader)
    picks = rings_
    if "outside" in change:
        picks = ParticleTable(rings_.micrographs, [[0, 10.0, 9000.0]])
    with pytest.raises(error, match=says):
        prune(series, picks, 120.0, **labels, pruner=unlearned, settings=QUICK)


def test_unknown_classes_of_labels_are_named(rings, unlearned):
    series, rings_, _ = rings
    for features, says in (
        ({"kind": ["particle"] * 49 + ["dirt"]}, "class dirt: not among 1 particle"),
        ({"class": [1] * 49 + [7]}, "class 7: not among"),
        ({"other": [1] * 50}, "'class' or 'kind'"),
    ):
        labels = ParticleTable(rings_.micrographs, rings_.coordinates, pd.DataFrame(features))
        with pytest.raises(LabelsError, match=says):
            prune(series, rings_, 120.0, labels=labels, pruner=unlearned, settings=QUICK)


def test_patch_settings_that_make_no_patch_are_refused():
    from napari_caked.errors import SettingsError

    with pytest.raises(SettingsError, match="side: 0"):
        PatchSettings(side=0)
    with pytest.raises(SettingsError, match="flips: 3"):
        PruneSettings(flips=3)
