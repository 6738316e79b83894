"""Working images: what shows no specimen is found, left out of every statistic, and harms nothing around it."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_caked.errors import DiameterError, MicrographError
from napari_caked.preprocess import PreprocessSettings, Rescaling, WorkingImage, flatten_background, normalize, prepare
from napari_caked.preprocess.store import WorkingStore
from napari_caked.preprocess.valid import fill_invalid, invalid_pixels, outlier_bounds, valid_on

SHAPE = (320, 380)


def noise(shape=SHAPE, seed=0, kind="f4"):
    return np.random.default_rng(seed).normal(100, 10, shape).astype(kind)


def found(micrograph):
    invalid = invalid_pixels(micrograph, outlier_bounds(micrograph))
    return np.zeros(micrograph.shape, bool) if invalid is None else invalid


# ---- nothing to find -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["u1", "i2", ">i2", "u2", "f2", "f4", ">f4", "f8"])
def test_clean_micrographs_have_no_invalid_pixel(kind):
    for seed in range(4):
        assert invalid_pixels(noise(seed=seed, kind=kind), (0, 200)) is None


@pytest.mark.parametrize("electrons", [0.03, 0.1, 0.5, 1, 2, 30])
def test_counted_electrons_are_no_blank_areas_however_few(electrons):
    for seed in range(3):
        counts = np.random.default_rng(seed).poisson(electrons, (700, 600)).astype("u1")
        assert invalid_pixels(counts, outlier_bounds(counts)) is None


@pytest.mark.parametrize("levels", [8, 64, 256])
def test_smooth_micrographs_of_few_grey_levels_are_whole(levels):
    """Given a strongly filtered micrograph written with 8 bits or fewer, then equal neighbours are no blank area."""
    smooth = torch.from_numpy(noise((500, 520), 3))
    smooth = (smooth - flatten_background(smooth, 2.0)).numpy()
    picture = np.rint((smooth - smooth.min()) / np.ptp(smooth) * (levels - 1)).astype("u1")
    assert found(picture).mean() <= (0.01 if levels == 8 else 0)


def test_particles_carbon_and_ice_are_specimen():
    image = noise((600, 640))
    rows, columns = np.mgrid[:600, :640]
    for y, x in np.random.default_rng(1).uniform(20, 580, (60, 2)):
        image -= 8 * (np.hypot(rows - y, columns - x) < 12)
    image[:, 400:] -= 60  # carbon, its edge along the columns
    image[columns + rows > 1100] *= 0.5  # a thick corner that dims the noise as well
    image += 0.1 * rows
    image[300, 200] = 1e6  # an X-ray
    assert invalid_pixels(image, outlier_bounds(image)) is None


# ---- what is found -------------------------------------------------------------------------------------------

widths = st.integers(3, 40)
frames = st.tuples(widths, widths, widths, widths)
kinds = st.sampled_from(["u1", "i2", "f4", "f8", ">f4"])


@given(frames, st.sampled_from(["edge", "zero", "mean"]), kinds, st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_frames_are_found_to_the_pixel(frame, fill, kind, seed):
    """Given padding of any width on four sides, then it and at most two lines beyond are invalid."""
    top, bottom, left, right = frame
    mode = {"edge": {"mode": "edge"}, "zero": {"constant_values": 0}, "mean": {"constant_values": 100}}[fill]
    padded = np.pad(noise((300, 310), seed, kind), [(top, bottom), (left, right)], **mode)
    invalid = found(padded)
    frame_pixels = np.pad(np.zeros((300, 310), bool), [(top, bottom), (left, right)], constant_values=True)
    assert invalid[frame_pixels].all()
    assert not invalid[top + 2 : -bottom - 2, left + 2 : -right - 2].any()


def test_a_frame_that_was_filtered_afterwards_is_found():
    """Given padding by edge lines, then a blur that wraps around, as some pipelines leave it, then it is masked."""
    from scipy.ndimage import gaussian_filter

    inner = gaussian_filter(noise((470, 460), 5), 1.0)
    padded = np.pad(inner, 20, mode="edge")
    padded = gaussian_filter(padded, 2.0, mode="wrap")
    invalid = found((padded * 10).astype("i2"))
    frame = np.pad(np.zeros((470, 460), bool), 18, constant_values=True)
    assert invalid[2:-2, 2:-2][frame].all()
    assert not invalid[28:-28, 28:-28].any()


@given(
    st.tuples(st.integers(0, 280), st.integers(0, 330), st.integers(14, 120), st.integers(14, 120)),
    st.sampled_from([0.0, 100.0, -30000.0, np.nan, np.inf]),
    st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_blanked_areas_are_found_to_the_pixel(box, value, seed):
    y, x, height, width = box
    image = noise(seed=seed)
    blank = np.zeros(SHAPE, bool)
    blank[y : y + height, x : x + width] = True
    image[blank] = value
    invalid = found(image)
    if min(np.ptp(np.nonzero(blank), axis=1)) >= 8:
        assert invalid[blank].all()
    assert not invalid[~blank].any()


def test_a_blanked_disc_is_found_but_for_its_rim():
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.hypot(rows - 150, columns - 200)
    image = noise()
    image[distance < 60] = 0
    invalid = found(image)
    assert invalid[distance < 57].all()
    assert not invalid[distance >= 60].any()


@pytest.mark.parametrize("columns", [(0, 1), (0, 2), (1, 2), (378, 379), (5, 6), (5, 6, 7), (0, 1, 2), (377, 378, 379)])
def test_loud_columns_side_by_side_are_found_at_the_edge_as_well(columns):
    """Given two or three loud columns that touch, when they are looked for, then they do not hide each other."""
    image = noise().astype("f8")
    for column in columns:
        image[:, column] = (image[:, column] - 100) * 5 + 100
    bad = np.zeros(SHAPE, bool)
    bad[:, list(columns)] = True
    np.testing.assert_array_equal(found(image.astype("f4")), bad)


@given(
    st.lists(st.integers(0, 379), min_size=1, max_size=3),
    st.lists(st.integers(0, 319), max_size=2),
    st.sampled_from(["dead", "stuck", "bright", "loud", "missing"]),
    kinds,
)
@settings(max_examples=60, deadline=None)
def test_bad_columns_and_rows_are_found_and_nothing_else(columns, rows, fault, kind):
    image = noise().astype("f8")
    value = {"dead": 0.0, "stuck": 104.0, "bright": 30.0, "loud": 5.0, "missing": 255.0}[fault]
    for line in [image[:, c] for c in columns] + [image[r] for r in rows]:
        if fault == "bright":
            line += value
        elif fault == "loud":
            line[:] = (line - 100) * value + 100
        else:
            line[:] = value
    image = image.clip(0, 255).astype(kind)
    bad = np.zeros(SHAPE, bool)
    bad[:, columns] = True
    bad[rows] = True
    invalid = found(image)
    assert invalid[bad].all()
    assert not invalid[~bad].any()


def test_half_a_dead_column_is_found():
    image = noise((2048, 200))
    image[:1024, 77] = 0
    invalid = found(image)
    assert invalid[:1024, 77].all()
    assert invalid.sum() <= 1024 + 512


# ---- what becomes of it --------------------------------------------------------------------------------------


@given(st.integers(5, 400), st.integers(5, 400), st.floats(0.5, 16), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_a_working_pixel_is_valid_if_half_of_its_area_is(height, width, factor, seed):
    plan = Rescaling.plan((height, width), factor)
    rows, columns = np.mgrid[:height, :width]
    y, x, r = np.random.default_rng(seed).uniform(0, 1, 3) * (height, width, max(height, width))
    invalid = np.hypot(rows - y, columns - x) < r
    result = valid_on(plan, invalid)
    assert result.shape == plan.shape
    ys, xs = np.arange(plan.shape[0])[:, None] * plan.factor[0], np.arange(plan.shape[1]) * plan.factor[1]
    distance = np.hypot(ys - y, xs - x)
    margin = 1.5 * max(factor, 1) + 1
    assert not result[distance < r - margin].any()
    assert result[distance > r + margin].all()


def test_filling_is_smooth_and_changes_nothing_else():
    rows = np.arange(SHAPE[0])[:, None] * np.ones(SHAPE[1])
    invalid = np.zeros(SHAPE, bool)
    invalid[100:180, 50:150] = True
    invalid[:, 300] = True
    image = np.where(invalid, np.nan, rows).astype("f4")
    filled = fill_invalid(image, invalid)
    np.testing.assert_allclose(filled[~invalid], image[~invalid], rtol=1e-6)
    assert np.isfinite(filled).all()
    np.testing.assert_allclose(filled[:, 300], rows[:, 300], atol=1)  # its neighbours' mean
    assert rows[invalid].min() - 30 < filled[invalid].min() and filled[invalid].max() < rows[invalid].max() + 30


def blanked(image):
    """A frame, a disc, a dead column and missing values: and where they are."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    bad = np.hypot(rows - 200, columns - 300) < 70
    bad[:20] = bad[-20:] = bad[:, :24] = True
    image = np.where(bad, 0, image)
    image[400:440, 100:160] = np.nan
    bad[400:440, 100:160] = True
    return image, bad


@pytest.mark.parametrize("method", ["gmm", "affine"])
def test_invalid_regions_do_not_change_the_rest(method):
    """Given blank areas, when prepared, then the specimen is what it is without them, and 0 stands there."""
    rows, columns = np.mgrid[:600, :640]
    image = noise((600, 640)) - 20 * (np.hypot(rows - 300, columns - 100) < 25) + 0.02 * rows
    spoilt, bad = blanked(image)
    options = PreprocessSettings(normalization=method)
    expected = prepare(image, "a.mrc", 200.0, 5.0, options)
    result = prepare(spoilt, "a.mrc", 200.0, 5.0, options)
    valid = result.valid
    assert bool(expected.valid.all())
    assert float(valid.float().mean()) == pytest.approx(1 - bad.mean(), abs=0.02)
    assert not result.image[~valid].any()
    assert float(result.image[valid].std()) == pytest.approx(float(expected.image[valid].std()), rel=0.03)
    inner = torch.nn.functional.max_pool2d((~valid).float()[None], 7, 1, 3)[0] == 0
    pair = torch.stack([result.image[inner], expected.image[inner]])
    assert float(torch.corrcoef(pair)[0, 1]) > 0.99
    assert float((pair[0] - pair[1]).abs().mean()) < 0.1


def test_the_background_next_to_a_blank_area_is_flat():
    """Given a bright micrograph with a black half, then no bright or dark seam lies beside it."""
    image = noise((500, 500)) + 900
    image[:, 250:] = 0
    working = prepare(image, "a.mrc", 200.0, 5.0)
    edge = int(250 / working.rescaling.factor[1])
    assert abs(float(working.image[:, edge - 6 : edge - 1].mean())) < 0.15


def test_a_dead_column_narrower_than_a_working_pixel_costs_none():
    image = noise()
    image[:, 100] = 0
    working = prepare(image, "a.mrc", 60.0, 1.0)
    assert bool(working.valid.all())
    expected = prepare(noise(), "a.mrc", 60.0, 1.0)
    # A third of the pixels under these working pixels became the mean of their neighbours.
    assert float((working.image - expected.image).abs().max()) < 3.5
    assert float((working.image - expected.image)[:, :28].abs().max()) < 0.3


def test_a_micrograph_that_shows_hardly_any_specimen_is_an_error():
    image = noise()
    image[30:] = 0
    with pytest.raises(MicrographError, match=r"a\.mrc: only 9% of it shows specimen"):
        prepare(image, "a.mrc", 60.0, 3.0)


def test_statistics_come_from_valid_pixels_alone():
    image, valid = torch.from_numpy(noise()), torch.ones(SHAPE, dtype=torch.bool)
    image[:100], valid[:100] = 5000, False
    for method in ("gmm", "affine"):
        values = normalize(image, method, valid)[valid]
        assert float(values.mean()) == pytest.approx(0, abs=0.02)
        assert float(values.std()) == pytest.approx(1, abs=0.02)


def test_a_background_is_the_mean_of_valid_neighbours():
    """Given a normalised convolution worked out by brute force at one place, then it is the same."""
    image, valid = torch.from_numpy(noise((60, 70), kind="f8")), torch.rand(60, 70, generator=torch.Generator()) > 0.3
    flat = flatten_background(image, 4.0, valid)
    rows, columns = np.mgrid[:60, :70]
    weight = np.exp(-((rows - 20) ** 2 + (columns - 33) ** 2) / 32.0) * valid.numpy()
    weight[(np.abs(rows - 20) > 12) | (np.abs(columns - 33) > 12)] = 0
    expected = image[20, 33] - (weight * image.numpy()).sum() / weight.sum()
    assert float(flat[20, 33]) == pytest.approx(float(expected), abs=1e-9)


# ---- small particles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [3, 5, 8, 14])
def test_small_particles_are_enlarged(width):
    working = prepare(noise((240, 250)), "a.mrc", float(width), 1.0)
    assert np.mean(working.rescaling.factor) == pytest.approx(width / 20, rel=0.02)
    assert working.image.numel() == pytest.approx(240 * 250 * (20 / width) ** 2, rel=0.05)


@pytest.mark.parametrize("width", [3, 8])
def test_enlarging_a_large_micrograph_is_refused_before_it_takes_memory(width):
    image = np.broadcast_to(np.arange(4096, dtype="f4"), (4096, 4096))
    with pytest.raises(DiameterError, match=r"a\.mrc: .* only \d\.0 pixels wide .* would take \d+ megapixels; check"):
        prepare(image, "a.mrc", float(width), 1.0)


# ---- half precision and the store ----------------------------------------------------------------------------


def working_image(seed=0, spoilt=False):
    image = noise((300, 320), seed)
    if spoilt:
        image[:40] = 0
    return prepare(image, f"m{seed}.mrc", 60.0, 3.0)


def test_half_precision_is_enough():
    working = working_image()
    half = working.half()
    assert half.image.dtype == torch.float16
    assert float((half.image.float() - working.image).abs().max()) <= 2e-3
    assert half.rescaling is working.rescaling and half.valid is working.valid


@pytest.mark.parametrize("limit", [0, 100_000, 1 << 30])
def test_a_store_gives_back_what_was_put_in(limit, tmp_path):
    """Given room for none, some or all images in memory, then those are themselves and the others as good as alike."""
    images = [working_image(i, spoilt=i == 1) for i in range(4)]
    workings = {}
    with WorkingStore(limit, folder=tmp_path) as store:
        for i, image in enumerate(images):
            workings[10 * i] = image
            store.put_away(workings)
        assert store.in_memory <= limit
        kept = [workings[10 * i] is image for i, image in enumerate(images)]
        assert kept == sorted(kept, reverse=True)
        assert sum(kept) == min(limit // (5 * images[0].image.numel()), 4)
        assert len(list(tmp_path.rglob("*.image"))) == 4 - sum(kept)
        for i, image in enumerate(images):
            stored = workings[10 * i]
            assert stored.rescaling == image.rescaling
            assert torch.equal(stored.image.half(), image.image.half())
            assert torch.equal(stored.valid, image.valid)
    assert not list(tmp_path.iterdir())


def test_a_store_that_is_forgotten_leaves_no_files(tmp_path):
    store = WorkingStore(0, folder=tmp_path)
    store.put_away({0: working_image()})
    assert list(tmp_path.iterdir())
    del store
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells memory of one's own from mapped files")
def test_images_beyond_the_limit_take_no_memory(tmp_path):
    """Given 40 images of 5 MB and room for two of them, then the process grows by that and not by 200 MB."""

    def own_memory():
        (line,) = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("RssAnon")]
        return int(line.split()[1]) * 1024

    plan, workings = Rescaling.plan((3000, 3000), 3.0), {}
    with WorkingStore(12_000_000, folder=tmp_path) as store:
        before = own_memory()
        for i in range(40):
            workings[i] = WorkingImage(torch.full(plan.shape, float(i)), plan, torch.ones(plan.shape, dtype=torch.bool))
            store.put_away(workings)
        assert sum(float(working.image.float().mean()) for working in workings.values()) == sum(range(40))
        assert own_memory() - before < 60_000_000
