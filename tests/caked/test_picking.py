"""Picking: a table with scores, diameters and provenance, in pixels of the micrograph."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from napari_caked.calibration import Calibration
from napari_caked.checkpoint import PickerModel
from napari_caked.errors import MicrographError, SettingsError
from napari_caked.models import MatchedFilter
from napari_caked.models.protocol import PickerNetwork
from napari_caked.picking import PickSettings, judge, pick, picks_by_micrograph
from napari_caked.preprocess import Rescaling, WorkingImage
from napari_caked.spacing import Spacing
from napari_empiarreader.errors import PixelSizeError
from napari_empiarreader.micrographs import MicrographSeries

#: The template of the rings in conftest.py, at 20 working pixels per particle.
PROFILE = torch.exp(-(((torch.arange(15.0) - 8) / 2.1) ** 2))


class FilterAlone(PickerNetwork):
    """The matched filter as a network: its answer is known without training."""

    name, stride, alignment, reach = "filter", 2, 4, len(PROFILE) - 1
    configuration: ClassVar[dict] = {}

    def __init__(self) -> None:
        super().__init__()
        self.filter = MatchedFilter(PROFILE)

    def forward(self, images):
        return 12 * self.filter(images)[:, 0, ::2, ::2] - 5


@pytest.fixture(scope="module")
def model() -> PickerModel:
    return PickerModel(FilterAlone().eval(), 120.0, provenance={"seed": 3})


def test_picks_lie_on_the_particles_in_pixels_of_the_micrograph(model, ring_data):
    series, truth = ring_data(2)
    picks = pick(series, model, PickSettings(threshold=0, device="cpu"))
    for i in range(2):
        best = picks.on(i)[np.argsort(-picks.features["score"][picks.micrograph_index == i])[:20]]
        distance = np.linalg.norm(best[:, None] - truth.on(i), axis=-1).min(axis=1)
        assert np.sqrt(np.mean(distance**2)) < 1
    assert picks.micrographs == series.names
    assert set(picks.features) >= {"score", "logit", "diameter"}
    assert (picks.features["diameter"] == 120).all()
    assert picks.metadata["provenance"]["model"] == {"seed": 3}
    picks.require_inside(series.shape)


def test_scores_are_calibrated_probabilities_of_the_logits(model, ring_data):
    settings = PickSettings(threshold=0, device="cpu")
    plain = pick(ring_data(1)[0], model, settings).features
    shifted = pick(ring_data(1)[0], replace(model, calibration=Calibration(offset=1.5)), settings).features
    np.testing.assert_allclose(shifted["logit"], plain["logit"] + 1.5, atol=1e-5)
    np.testing.assert_allclose(plain["score"], 1 / (1 + np.exp(-plain["logit"])), atol=1e-7)


def test_the_threshold_only_leaves_out(model, ring_data):
    everything = pick(ring_data(1)[0], model, PickSettings(threshold=0, device="cpu"))
    threshold = float(everything.features["score"].median())
    some = pick(ring_data(1)[0], model, PickSettings(threshold=threshold, device="cpu"))
    kept = everything.features["score"].to_numpy() >= threshold
    assert 0 < kept.sum() < len(everything)
    np.testing.assert_array_equal(some.coordinates, everything.coordinates[kept])


@pytest.mark.parametrize("distance", [0.5, 1.0, 2.0])
def test_no_two_picks_are_closer_than_the_smallest_distance(model, ring_data, distance):
    picks = pick(ring_data(1)[0], model, PickSettings(threshold=0, minimum_distance=distance, device="cpu")).on(0)
    gaps = np.linalg.norm(picks[:, None] - picks, axis=-1) + 1e9 * np.eye(len(picks))
    assert gaps.min() >= 0.99 * distance * 24


def test_a_wider_distance_takes_no_micrograph_for_an_empty_one(model, ring_data):
    """Fewer candidates, because they must lie farther apart, are no sign of fewer particles."""
    calibration = Calibration(share=0.6, particle_mean=3.0, particle_deviation=1.5, chance_mean=-2.0, decoy_mean=-2.0)
    with_decoys, series = replace(model, calibration=calibration), ring_data(1)[0]
    usual, wide = (
        pick(series, with_decoys, PickSettings(threshold=0, minimum_distance=distance, device="cpu")).features["logit"]
        for distance in (0.5, 1.5)
    )
    assert wide.max() == usual.max()
    assert set(wide) <= set(usual)


def test_a_candidate_beside_a_surer_one_is_less_likely(model, ring_data):
    series, _ = ring_data(1)
    settings = PickSettings(threshold=0, device="cpu")
    alone = pick(series, model, settings)
    crowded = pick(series, replace(model, spacing=Spacing((0.4, 1.2), (0.01,))), settings)
    before = dict(zip(map(tuple, alone.coordinates), alone.features["logit"], strict=True))
    after = dict(zip(map(tuple, crowded.coordinates), crowded.features["logit"], strict=True))
    assert before.keys() == after.keys()
    assert all(after[place] <= before[place] for place in before)
    assert after[tuple(alone.coordinates[0])] == before[tuple(alone.coordinates[0])]
    assert sum(after[place] < before[place] - 1 for place in before) > 5
    assert (np.diff(crowded.features["logit"]) <= 0).all()


def test_the_order_of_micrographs_does_not_change_their_picks(model, ring_data):
    series, _ = ring_data(2)
    turned = replace(series, names=series.names[::-1], reader=lambda i: series.read(1 - i))
    settings = PickSettings(threshold=0, device="cpu")
    there, back = pick(series, model, settings), pick(turned, model, settings)
    for i in range(2):
        np.testing.assert_array_equal(there.on(i), back.on(1 - i))


def test_picks_come_one_micrograph_at_a_time(model, ring_data):
    series, read = ring_data(3)[0], []
    watched = replace(series, reader=lambda i: read.append(i) or series.read(i))
    for index, _, _ in picks_by_micrograph(watched, model, PickSettings(device="cpu")):
        assert read == list(range(index + 1))


def test_a_missing_pixel_size_and_a_blank_micrograph_are_errors(model, ring_data):
    with pytest.raises(PixelSizeError):
        pick(replace(ring_data(1)[0], pixel_size=None), model)
    blank = MicrographSeries.from_array(np.zeros((1, 256, 256)), ["blank.mrc"], 5.0)
    with pytest.raises(MicrographError, match=r"blank\.mrc"):
        pick(blank, model)


def test_no_pick_is_nearer_to_an_edge_than_the_border(model, ring_data):
    series, _ = ring_data(1)
    everything = pick(series, model, PickSettings(threshold=0, device="cpu")).on(0)
    for border in (0.5, 2.0):
        inner = pick(series, model, PickSettings(threshold=0, border=border, device="cpu")).on(0)
        edge = border * 24
        kept = ((everything >= edge) & (everything <= 255 - edge)).all(axis=1)
        assert 0 < kept.sum() < len(everything)
        np.testing.assert_allclose(inner, everything[kept], atol=1e-9)


def test_nothing_is_picked_where_no_specimen_is_shown(model, ring_data):
    series, _ = ring_data(1)
    image = series.read(0).copy()
    image[:, :100] = image.min() - 1  # blanked
    blanked = replace(series, reader=lambda i: image)
    picks = pick(blanked, model, PickSettings(threshold=0, device="cpu")).on(0)
    assert len(picks) > 20
    assert picks[:, 1].min() > 95
    hidden = WorkingImage(torch.zeros(100, 100), Rescaling.plan((256, 256), 2.56), torch.zeros(100, 100, dtype=bool))
    nothing = judge(model, hidden, PickSettings(device="cpu"))
    assert len(nothing.yx) == len(nothing.logits) == 0


def test_the_number_of_threads_does_not_change_a_bit(model, ring_data):
    series, _ = ring_data(1)
    before, tables = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            tables.append(pick(series, model, PickSettings(threshold=0, device="cpu")))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(tables[0].coordinates, tables[1].coordinates)
    np.testing.assert_array_equal(tables[0].features["logit"], tables[1].features["logit"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", 1.5),
        ("minimum_distance", -1),
        ("border", float("nan")),
        ("precision", "double"),
        ("tile_memory", 0),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(name, value):
    with pytest.raises(SettingsError, match=name):
        PickSettings(**{name: value})
