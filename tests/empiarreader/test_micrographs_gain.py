"""Gain references: laid over frames as other programs lay them, dead pixels, sizes, and the orientation found again."""

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from napari_empiarreader.errors import FormatError
from napari_empiarreader.files import LocalFile
from napari_empiarreader.micrographs import write_mrc
from napari_empiarreader.micrographs.gain import GainReference, guess_orientation, open_gain, orientation_in_relion

sys.path.insert(0, str(Path(__file__).parent))
from detector_files import dm_bytes, dm_image, dm_tree  # noqa: E402

#: Seen with row 0 on top.
MARKED = np.array([[1, 2, 3], [4, 5, 6]], np.float32)


@pytest.mark.parametrize(
    "rotate, flip, expected",
    [
        (0, "none", [[1, 2, 3], [4, 5, 6]]),
        (90, "none", [[4, 1], [5, 2], [6, 3]]),
        (180, "none", [[6, 5, 4], [3, 2, 1]]),
        (270, "none", [[3, 6], [2, 5], [1, 4]]),
        (0, "upside-down", [[4, 5, 6], [1, 2, 3]]),
        (0, "left-right", [[3, 2, 1], [6, 5, 4]]),
        (90, "upside-down", [[6, 3], [5, 2], [4, 1]]),  # first rotated, then flipped
        (90, "left-right", [[1, 4], [2, 5], [3, 6]]),
    ],
)
def test_a_marked_array_is_rotated_clockwise_and_then_flipped(rotate, flip, expected):
    np.testing.assert_array_equal(GainReference(MARKED, flip, rotate).oriented, expected)


@pytest.mark.parametrize("times", [0, 1, 2, 3])
def test_the_rotation_is_that_of_motioncor(times):
    """MotionCor's index arithmetic, pixel by pixel: old = (x cos + y sin, -x sin + y cos) about the middle."""
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][times]
    height, width = MARKED.shape if times % 2 == 0 else MARKED.shape[::-1]
    expected = np.empty((height, width), np.float32)
    for row, column in itertools.product(range(height), range(width)):
        x, y = column - (width - 1) / 2, row - (height - 1) / 2
        old_x, old_y = x * cosine + y * sine, -x * sine + y * cosine
        old_row, old_column = round(old_y + (MARKED.shape[0] - 1) / 2), round(old_x + (MARKED.shape[1] - 1) / 2)
        expected[row, column] = MARKED[old_row, old_column]
    np.testing.assert_array_equal(GainReference(MARKED, "none", 90 * times).oriented, expected)


@pytest.mark.parametrize("movie", ["m.tif", "m.mrc", "m.eer"])
@pytest.mark.parametrize("gain", ["g.mrc", "g.tiff", "g.gain", "g.dm4"])
@pytest.mark.parametrize("rot", range(4))
@pytest.mark.parametrize("flip", range(3))
def test_numbers_of_relion_are_translated(movie, gain, rot, flip):
    """What RELION does in its own memory, where TIFF images are upside down, against ours on arrays as stored."""
    in_memory = MARKED[::-1] if gain.endswith((".tiff", ".gain")) and movie != "m.eer" else MARKED
    laid = np.rot90(in_memory, -rot)
    laid = [laid, laid[::-1], laid[:, ::-1]][flip]
    as_stored = laid[::-1] if movie == "m.tif" else laid
    ours = orientation_in_relion(rot, flip, gain=gain, movie=movie)
    np.testing.assert_array_equal(GainReference(MARKED, *ours).oriented, as_stored)


def test_impossible_orientations_are_refused():
    for settings in ({"flip": "sideways"}, {"rotate": 45}):
        with pytest.raises(ValueError):
            GainReference(MARKED, **settings)
    for numbers in ((4, 0), (0, 3), (-1, 0)):
        with pytest.raises(ValueError):
            orientation_in_relion(*numbers, gain="g.mrc", movie="m.mrc")


def test_frames_are_multiplied_or_divided():
    frame = np.array([[2, 0, 4], [6, 8, 10]], np.uint8)
    seen = GainReference(MARKED).apply(frame)
    assert seen.dtype == np.float32
    np.testing.assert_array_equal(seen, frame * MARKED)
    np.testing.assert_allclose(GainReference(MARKED, multiply=False).apply(frame), frame / MARKED, rtol=1e-6)
    assert frame.dtype == np.uint8 and frame[0, 2] == 4


@pytest.mark.parametrize("dead", [0, -1, np.nan, np.inf])
@pytest.mark.parametrize("multiply", [True, False])
def test_a_dead_pixel_gets_the_mean_of_its_good_neighbours(dead, multiply):
    gain = np.ones((9, 9), np.float32)
    gain[4, 4:6] = dead
    frame = np.arange(81, dtype=np.float32).reshape(9, 9)
    frame[4, 4] = 1e6  # whatever it counted
    reference = GainReference(gain, multiply=multiply)
    seen = reference.apply(frame)
    window = frame[2:7, 2:7].copy()
    assert seen[4, 4] == pytest.approx(np.delete(window.ravel(), [12, 13]).mean())
    assert np.isfinite(seen).all() and reference.for_shape((9, 9))[4, 4] == 0
    np.testing.assert_array_equal(np.delete(seen.ravel(), [40, 41]), np.delete(frame.ravel(), [40, 41]))


def test_a_dead_area_without_good_neighbours_gets_the_median():
    gain = np.ones((20, 20), np.float32)
    gain[5:15, 5:15] = 0
    seen = GainReference(gain).apply(np.full((20, 20), 7, np.uint16))
    assert (seen == 7).all()


def test_super_resolution_is_binned_and_physical_pixels_are_repeated():
    fine = np.random.default_rng(0).uniform(0.5, 2, (8, 12)).astype(np.float32)
    by_hand = (fine[::2, ::2] + fine[1::2, ::2] + fine[::2, 1::2] + fine[1::2, 1::2]) / 4
    np.testing.assert_allclose(GainReference(fine).for_shape((4, 6)), by_hand, rtol=1e-6)
    np.testing.assert_array_equal(GainReference(MARKED).for_shape((4, 6)), np.kron(MARKED, np.ones((2, 2))))
    fine[0, :2] = 0
    assert GainReference(fine).for_shape((4, 6))[0, 0] == 0


def test_a_reference_that_does_not_fit_says_whether_a_rotation_would():
    with pytest.raises(FormatError, match="rotated by 90 or 270 degrees it would fit"):
        GainReference(MARKED, source="g.mrc").apply(np.zeros((3, 2)))
    with pytest.raises(FormatError, match="g.mrc: 3 x 2 pixels as it lies, frames have 6 x 5; choose"):
        GainReference(MARKED, source="g.mrc").apply(np.zeros((5, 6)))


def test_threads_with_frames_of_different_sizes_share_a_reference():
    reference = GainReference(np.full((64, 64), 2, np.float32))
    frames = [np.ones((side, side), np.uint8) for side in (32, 64, 128)] * 40
    with ThreadPoolExecutor(8) as pool:
        for frame, seen in zip(frames, pool.map(reference.apply, frames), strict=True):
            np.testing.assert_array_equal(seen, 2 * frame)


def test_references_come_from_every_format(tmp_path):
    gain = np.random.default_rng(0).uniform(0.5, 2, (20, 30)).astype(np.float32)
    write_mrc(tmp_path / "g.mrc", gain)
    for name in ("g.tif", "g.gain"):
        tifffile.imwrite(tmp_path / name, gain)
    (tmp_path / "g.dm4").write_bytes(dm_bytes(dm_tree(dm_image(gain))))
    for name in ("g.mrc", "g.tif", "g.gain", "g.dm4"):
        reference = open_gain(LocalFile(tmp_path / name), flip="upside-down", rotate=180)
        np.testing.assert_array_equal(reference.image, gain)
        np.testing.assert_array_equal(reference.oriented, np.rot90(gain, 2)[::-1])
        assert reference.multiply
        assert open_gain(LocalFile(tmp_path / name), movie="a.eer").multiply is (name == "g.gain")
        assert open_gain(LocalFile(tmp_path / name), movie="a.tiff").multiply
        assert not open_gain(LocalFile(tmp_path / name), multiply=False).multiply


def test_an_image_without_a_positive_pixel_is_no_reference(tmp_path):
    write_mrc(tmp_path / "g.mrc", np.zeros((5, 6), np.float32))
    with pytest.raises(FormatError, match="no pixel is positive"):
        open_gain(LocalFile(tmp_path / "g.mrc"))


def simulated(gain, *, electrons, seed=1):
    """Sum of uncorrected frames of a camera with this gain: a beam that fades to one side, blobs, counting noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: gain.shape[0], : gain.shape[1]] / 100
    light = 1 + 0.2 * np.sin(x) + 0.1 * y + 0.1 * np.sin(9 * x) * np.sin(7 * y)
    with np.errstate(divide="ignore"):
        return rng.poisson(electrons * light * np.where(gain > 0, 1 / gain, 0)).astype(np.uint16)


@pytest.mark.parametrize("flip", ["none", "upside-down"])
@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_the_orientation_is_found_by_the_pattern_of_the_camera(flip, rotate):
    rng = np.random.default_rng(3)
    stored = (1 + 0.06 * rng.normal(size=(200, 200))).astype(np.float32)
    stored[:, 60] = 0  # a dead column
    laid = GainReference(stored, flip, rotate).oriented
    guesses = guess_orientation(simulated(laid, electrons=40), GainReference(stored))
    assert len(guesses) == 8
    assert (guesses[0].flip, guesses[0].rotate) == (flip, rotate)
    assert guesses[0].score > 3 * abs(guesses[1].score)


def test_only_orientations_that_fit_are_guessed():
    rng = np.random.default_rng(3)
    stored = (1 + 0.06 * rng.normal(size=(120, 160))).astype(np.float32)
    guesses = guess_orientation(simulated(np.rot90(stored), electrons=40), GainReference(stored, multiply=True))
    assert {guess.rotate for guess in guesses} == {90, 270} and guesses[0].rotate == 270
    with pytest.raises(FormatError):
        guess_orientation(np.zeros((50, 60)), GainReference(stored))
    sensitivity = GainReference(1 / stored, multiply=False)
    assert guess_orientation(simulated(stored, electrons=40), sensitivity)[0].rotate == 0


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([0, 90, 180, 270]), st.integers(0, 99))
def test_correcting_undoes_the_camera(height, width, rotate, seed):
    rng = np.random.default_rng(seed)
    gain = GainReference(rng.uniform(0.5, 2, (height, width)).astype(np.float32), "left-right", rotate)
    truth = rng.uniform(1, 9, gain.oriented.shape).astype(np.float32)
    np.testing.assert_allclose(gain.apply(truth / gain.oriented), truth, rtol=1e-5)
