"""Labels are looked at first: what cannot work is an error with its place, what looks odd a warning with a remedy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_caked.datasets.checks import CheckedLabels, LabelledBy, check_labels
from napari_caked.datasets.label_size import looks_like, profiles
from napari_caked.errors import LabelsError
from napari_caked.preprocess import Rescaling, WorkingImage, prepare
from napari_empiarreader.coordinates import read_particles
from napari_empiarreader.micrographs import open_micrographs

NAMES = ("a.mrc", "b.mrc")


def blank(shape=(200, 220), factor=3.0):
    """A working image of noise, and the plan that leads to it."""
    plan = Rescaling.plan((int(shape[0] * factor), int(shape[1] * factor)), factor)
    generator = torch.Generator().manual_seed(0)
    return WorkingImage(torch.randn(plan.shape, generator=generator), plan, torch.ones(plan.shape, dtype=torch.bool))


def checked(*centres, negatives=None, workings=None, **how) -> CheckedLabels:
    centres = [np.array(points, float).reshape(-1, 2) for points in centres]
    if negatives is not None:
        negatives = [np.array(points, float).reshape(-1, 2) for points in negatives]
    workings = workings or [blank() for _ in centres]
    return check_labels(workings, centres, NAMES[: len(centres)], 120.0, 2.0, negatives=negatives, **how)


def texts(result):
    return [str(warning) for warning in result.warnings]


GRID = [(y, x) for y in (40, 80, 120) for x in (40, 90)]


def test_good_labels_pass_as_they_are():
    result = checked(GRID[:3], GRID[3:])
    assert not result.warnings
    np.testing.assert_array_equal(np.concatenate(result.centres), GRID)
    assert all(points.shape == (0, 2) for points in result.negatives)


def test_no_label_is_an_error():
    with pytest.raises(LabelsError, match="no labels on specimen; mark some particles first"):
        checked([], [])


def test_a_single_label_is_a_warning_with_its_micrograph():
    assert any("only one label (on b.mrc)" in text for text in texts(checked([], GRID[:1])))


def test_labels_all_on_one_micrograph_are_a_warning_with_its_name():
    result = checked([], GRID[:5])
    assert any("all 5 labels are on one micrograph (b.mrc)" in text for text in texts(result))
    assert not any("on one micrograph" in text for text in texts(checked(GRID[:1], GRID[1:])))


def test_duplicates_are_merged_and_counted():
    """Given two clicks on one particle and three on another, then two labels are left, at the clicks' means."""
    result = checked([(40, 40), (42, 43), (100, 100)], [(90, 90), (92, 91), (89, 92), (140, 60)])
    np.testing.assert_allclose(result.centres[0], [(41, 41.5), (100, 100)])
    np.testing.assert_allclose(result.centres[1], [(271 / 3, 91), (140, 60)])
    assert any(text.startswith("3 labels are on a particle that has another label") for text in texts(result))
    assert any(text.startswith("1 label is on a particle") for text in texts(checked([(40, 40), (41, 41)], GRID)))


@given(st.lists(st.tuples(st.floats(0, 190), st.floats(0, 190)), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_a_merged_label_is_never_far_from_its_clicks(points):
    result = checked(points, GRID)
    kept = result.centres[0]
    assert 1 <= len(kept) <= len(points)
    apart = np.linalg.norm(np.array(points)[:, None] - kept, axis=2)
    assert (apart.min(axis=1) <= 6.0).all()  # 0.3 particle widths


def test_a_row_of_touching_particles_is_not_merged_into_one():
    row = [(100, x) for x in range(20, 200, 5)]  # 5 pixels apart, each within 6 of the next
    kept = checked(row, GRID).centres[0]
    assert len(kept) >= len(row) / 2


def test_contradictory_negatives_are_an_error_that_names_both():
    with pytest.raises(LabelsError, match=r"1 place is marked both .* on b\.mrc, the label at x 270, y 120 and"):
        checked([], GRID, negatives=[[], [(41, 92)]])
    with pytest.raises(LabelsError, match=r"2 places are marked both .* on a\.mrc, .* are the first; remove one"):
        checked(GRID, GRID, negatives=[[GRID[0]], [(41, 92)]])


def test_negatives_elsewhere_are_kept():
    result = checked(GRID[:3], GRID[3:], negatives=[[(150, 150)], [(20, 180), (60, 65)]])
    assert not result.warnings
    assert [len(points) for points in result.negatives] == [1, 2]


def test_labels_on_padding_are_left_out_with_a_warning():
    working = blank()
    working.valid[:50] = False
    result = checked(GRID, GRID, workings=[working, blank()], negatives=[[(10, 10)], []])
    assert len(result.centres[0]) == 4 and len(result.centres[1]) == 6
    assert len(result.negatives[0]) == 0
    assert any(text.startswith("2 labels lie where") and "a.mrc" in text for text in texts(result))
    assert any(text.startswith("1 negative lies where") for text in texts(result))
    working.valid[:] = False
    with pytest.raises(LabelsError, match="no labels on specimen"):
        checked(GRID, workings=[working])


def test_labels_at_the_very_edge_are_no_failure():
    shape = blank().image.shape
    result = checked([(0, 0), (shape[0] - 0.6, shape[1] - 0.6), (-0.4, 60)], GRID * 2)
    assert len(result.centres[0]) == 3


# ---- size ----------------------------------------------------------------------------------------------------


def test_profiles_are_means_over_rings_of_independent_halves():
    image = torch.zeros(81, 81)
    rows, columns = np.mgrid[:81, :81] - 40
    image[:] = torch.from_numpy(np.hypot(rows, columns).round().astype("f4"))
    values = profiles([image], [np.array([[40.0, 40.0]])], 20)
    assert values.shape == (1, 2, 21)
    np.testing.assert_allclose(values[0], [np.arange(21)] * 2, atol=1e-6)
    one = torch.zeros(81, 81)
    one[40 - 5, 40 + 3] = 1
    halves = profiles([one], [np.array([[40.0, 40.0]])], 20)[0]
    assert (halves.max(axis=1) > 0).sum() == 1


@pytest.mark.parametrize("kind", ["disc", "blob", "ball"])
@pytest.mark.parametrize("size", [0.4, 1.0, 2.0])
def test_sizes_of_plain_shapes(kind, size):
    """Given a noisy shape of so many stated diameters, then its size is told to within the limits of the warning."""
    dice = np.random.default_rng(0)
    r, radius = np.arange(45.0), 10 * size
    disc, blob, ball = r < radius, np.exp(-((1.6 * r / radius) ** 2)), np.sqrt(np.maximum(1 - (r / radius) ** 2, 0))
    shape = {"disc": disc, "blob": blob, "ball": ball}[kind]
    ratio = looks_like(shape + dice.normal(scale=0.05, size=(20, 45)), 20.0)
    assert ratio is not None
    assert size / 1.5 < ratio < size * 1.5


@pytest.mark.parametrize("wall", [0.3, 0.5, 0.6])
@pytest.mark.parametrize("size", [0.6, 1.0, 1.4])
def test_sizes_of_rings(size, wall):
    """Given a ring, its wall a share of its radius, then its size is its own, not that of its hole or surroundings."""
    dice = np.random.default_rng(0)
    r, radius = np.arange(45.0), 10 * size
    ring = ((r < radius) & (r >= (1 - wall) * radius)).astype(float)
    ratio = looks_like(ring + dice.normal(scale=0.05, size=(20, 45)), 20.0)
    assert ratio is not None
    assert size / 1.5 < ratio < size * 1.5


def ring_warnings(ring_data, seed, scale=1.0, labels=75, **how):
    """What is said of rings of 120 Å, of ``labels`` of them, with a pixel size that is wrong by ``scale``."""
    series, truth = ring_data(count=3, seed=seed)
    workings = [prepare(series.read(i), series.names[i], 120.0, 5.0 * scale) for i in range(3)]
    centres = drawn([w.rescaling.to_rescaled(truth.on(i)) for i, w in enumerate(workings)], labels, seed)
    result = check_labels(workings, centres, series.names, 120.0, 5.0 * scale, **how)
    return [text for text in texts(result) if "look" in text]


@pytest.mark.parametrize("labels", [10, 20, 75])
def test_a_grid_of_rings_of_the_right_size_raises_no_warning(ring_data, labels):
    assert not [text for seed in range(4) for text in ring_warnings(ring_data, seed, labels=labels)]


def test_a_grid_of_rings_of_half_the_size_is_told(ring_data):
    for seed in range(3):
        (text,) = ring_warnings(ring_data, seed, scale=0.5)
        assert "diameter says 120 Å at 2.5 Å per pixel" in text


def test_a_pickers_own_picks_are_called_so_and_simulated_particles_need_no_warning(ring_data):
    (text,) = ring_warnings(ring_data, 0, scale=0.5, labelled_by=LabelledBy.PICKER)
    assert text.startswith("the surest picks look like particles of about ") and "label" in text.split("check both")[1]
    assert not ring_warnings(ring_data, 0, scale=0.5, labelled_by=LabelledBy.SIMULATION)
    # Nobody who has not labelled is told to label on a second micrograph, or what became of two labels on one particle.
    twice = [*GRID[:4], (GRID[0][0] + 1, GRID[0][1])]
    assert len(texts(checked([], twice))) == 2
    for nobody in (LabelledBy.PICKER, LabelledBy.SIMULATION):
        result = checked([], twice, labelled_by=nobody)
        assert texts(result) == [] and len(result.centres[1]) == 4


def test_noise_has_no_size_to_warn_of():
    dice = np.random.default_rng(0)
    warned = 0
    for _ in range(40):
        ratio = looks_like(dice.normal(size=(20, 45)) / np.sqrt(np.maximum(6 * np.arange(45), 1)), 20.0)
        warned += ratio is not None and not 1 / 1.5 < ratio < 1.5
    assert warned <= 8


@pytest.mark.parametrize("small, told", [(10.0, False), (4.5, True)])
def test_particles_of_two_sizes_are_told_apart(small, told):
    """Given labels on balls, half of them of 0.45 times the size or all alike, then only the former is told."""
    dice, (rows, columns) = np.random.default_rng(0), np.mgrid[:331, :331]
    grid = np.array([(y, x) for y in range(40, 331, 62) for x in range(40, 331, 62)], float)
    image = dice.normal(scale=0.4, size=rows.shape)
    for i, (y, x) in enumerate(grid):
        radius = small if i % 2 else 10.0
        image += np.sqrt(np.maximum(1 - ((rows - y) ** 2 + (columns - x) ** 2) / radius**2, 0)) * 2
    plan = Rescaling.plan((993, 993), 3.0)
    working = WorkingImage(torch.from_numpy(image).float(), plan, torch.ones(331, 331, dtype=torch.bool))
    said = [text for text in texts(checked(grid, workings=[working])) if "others of about" in text]
    assert len(said) == told
    if told:
        assert "check that all micrographs have the same pixel size" in said[0]


def specimen(folder, name, pixel_size, diameter, scale=1.0):
    """Working images and labels, with a pixel size that is wrong by ``scale``."""
    root = folder / name / "train" if (folder / name / "train").exists() else folder / name
    series = open_micrographs(root / "micrographs", pixel_size=pixel_size)
    table = read_particles(root / "particles.star").renamed_to(series.names)
    workings = [prepare(series.read(i), n, diameter, pixel_size * scale) for i, n in enumerate(series.names)]
    return workings, [w.rescaling.to_rescaled(table.on(i)) for i, w in enumerate(workings)], series.names


def drawn(centres, count, seed):
    chosen = np.zeros(sum(map(len, centres)), bool)
    chosen[np.random.default_rng(seed).choice(len(chosen), count, replace=False)] = True
    parts = np.split(chosen, np.cumsum([len(points) for points in centres])[:-1])
    return [points[part] for points, part in zip(centres, parts, strict=True)]


SPECIMENS = [("apoferritin", 1.5, 120.0), ("apoferritin_hard", 1.5, 120.0), ("beta_galactosidase", 7.08, 190.0)]


@pytest.mark.parametrize("name, pixel_size, diameter", SPECIMENS)
def test_real_labels_of_the_right_size_raise_no_warning(cryo_test_data, name, pixel_size, diameter):
    workings, centres, names = specimen(cryo_test_data, name, pixel_size, diameter)
    for count in (10, 20, 100):
        for seed in range(3):
            result = check_labels(workings, drawn(centres, count, seed), names, diameter, pixel_size)
            assert not [text for text in texts(result) if "look like" in text]


@pytest.mark.parametrize(
    "name, pixel_size, diameter, scale, count",
    [(*SPECIMENS[0], 2.0, 100), (*SPECIMENS[1], 2.0, 600), (*SPECIMENS[2], 0.5, 10)],
)
def test_a_pixel_size_wrong_by_a_factor_of_two_is_told(cryo_test_data, name, pixel_size, diameter, scale, count):
    workings, centres, names = specimen(cryo_test_data, name, pixel_size, diameter, scale)
    told = 0
    for seed in range(4):
        result = check_labels(workings, drawn(centres, count, seed), names, diameter, pixel_size * scale)
        told += any(f"diameter says {diameter:g} Å at {pixel_size * scale:g} Å per pixel" in t for t in texts(result))
    assert told == 4
