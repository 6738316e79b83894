"""The frame of imported coordinates: every way in has a way back, and the pictures know which."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_empiarreader import open_micrographs, read_particles
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.coordinates._evidence import blank_margins
from napari_empiarreader.coordinates.frames import FRAME_NAMES, apply_frame, guess_frames, verdict
from napari_empiarreader.errors import CoordinatesError

SHAPE = (500, 700)

#: How a file may come to be wrong, and the frame that mends it; points are (y, x) arrays, sizes (y, x).
WRONGS = {
    "as is": lambda y, x, h, w: (y, x),
    "y flipped": lambda y, x, h, w: (h - 1 - y, x),
    "x flipped": lambda y, x, h, w: (y, w - 1 - x),
    "turned by 180°": lambda y, x, h, w: (h - 1 - y, w - 1 - x),
    "transposed": lambda y, x, h, w: (x, y),
    "transposed, y flipped": lambda y, x, h, w: (x, h - 1 - y),
    "transposed, x flipped": lambda y, x, h, w: (w - 1 - x, y),
    "scaled 2": lambda y, x, h, w: (y / 2, x / 2),
    "scaled 4": lambda y, x, h, w: (y / 4, x / 4),
    "scaled 8": lambda y, x, h, w: (y / 8, x / 8),
    "scaled 1/2": lambda y, x, h, w: (y * 2, x * 2),
    "scaled 4, y flipped": lambda y, x, h, w: ((h - 1 - y) / 4, x / 4),
    "corner to centre": lambda y, x, h, w: (y - 50, x - 50),
}


@dataclass
class Pictures:
    names: tuple[str, ...]
    shape: tuple[int, int]
    images: list

    def reader(self, index):
        return self.images[index]


def spoiled(table: ParticleTable, name: str, shape: tuple[int, int]) -> ParticleTable:
    y, x = WRONGS[name](table.coordinates[:, 1], table.coordinates[:, 2], *shape)
    return ParticleTable(table.micrographs, np.column_stack([table.coordinates[:, 0], y, x]), table.features)


@pytest.fixture(scope="module")
def simulated() -> tuple[Pictures, ParticleTable]:
    """Dark discs of 24 pixels in noise, on two micrographs with a padded border of 40 columns."""
    rng = np.random.default_rng(1)
    images, rows = [], []
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for micrograph in range(2):
        image = rng.normal(100, 10, SHAPE)
        for centre in rng.uniform((20, 20), (480, 640), (60, 2)):
            image[np.hypot(y - centre[0], x - centre[1]) < 12] -= 10
            rows.append((micrograph, *centre))
        image[:, 660:] = image[:, 659:660]
        images.append(image)
    return Pictures(("a.mrc", "b.mrc"), SHAPE, images), ParticleTable(("a.mrc", "b.mrc"), np.array(rows))


@pytest.mark.parametrize("name", WRONGS)
def test_the_way_back_undoes_the_way_in(name):
    table = ParticleTable(("a",), np.array([[0, 10.25, 600.5], [0, 499, 0], [0, 0, 699]]))
    back = apply_frame(spoiled(table, name, SHAPE), name, SHAPE, box_size=100)
    np.testing.assert_allclose(back.coordinates, table.coordinates, atol=1e-9)


@given(st.sampled_from(FRAME_NAMES))
def test_every_frame_can_be_applied_and_keeps_the_rest(name):
    table = ParticleTable(("a",), np.array([[0, 1.0, 2.0]]), pd.DataFrame({"score": [1.0]}), {"k": 1})
    framed = apply_frame(table, name, SHAPE, box_size=10)
    assert framed.features.equals(table.features) and framed.metadata == table.metadata


def test_a_frame_that_is_none_and_a_corner_without_a_box_are_errors():
    table = ParticleTable(("a",), np.zeros((1, 3)))
    with pytest.raises(CoordinatesError, match="no frame is called 'sideways'"):
        apply_frame(table, "sideways", SHAPE)
    with pytest.raises(CoordinatesError, match="needs the box size"):
        apply_frame(table, "corner to centre", SHAPE)
    boxed = ParticleTable(("a",), np.zeros((1, 3)), pd.DataFrame({"box_width": [30.0]}))
    np.testing.assert_array_equal(apply_frame(boxed, "corner to centre", SHAPE).coordinates, [[0, 15, 15]])


@pytest.mark.parametrize("diameter", [24, None])
@pytest.mark.parametrize("name", WRONGS)
def test_simulated_particles_find_the_way_back(simulated, name, diameter):
    pictures, truth = simulated
    guesses = guess_frames(spoiled(truth, name, SHAPE), pictures, diameter, box_size=100)
    assert guesses[0].name == name
    clear, sentence = verdict(guesses)
    assert clear and f"'{name}'" in sentence
    assert guesses[0].contrast < 0 and guesses[0].agreement > 0.9
    np.testing.assert_allclose(guesses[0].table.coordinates, truth.coordinates, atol=1e-6)


def test_bright_particles_do_as_well(simulated):
    pictures, truth = simulated
    bright = Pictures(pictures.names, SHAPE, [-image for image in pictures.images])
    best = guess_frames(spoiled(truth, "y flipped", SHAPE), bright, 24)[0]
    assert best.name == "y flipped" and best.contrast > 0


def test_random_places_are_not_clear(simulated):
    """Given points that know nothing of the picture, when judged, then no frame stands out."""
    pictures, truth = simulated
    rng = np.random.default_rng(2)
    for _ in range(5):
        points = np.column_stack([truth.coordinates[:, 0], rng.uniform((0, 0), (500, 660), (len(truth), 2))])
        guesses = guess_frames(ParticleTable(truth.micrographs, points), pictures, 24)
        assert not verdict(guesses)[0]


def test_shares_outside_and_on_blank_borders_are_counted(simulated):
    pictures, truth = simulated
    points = np.array([[0, 10, 10], [0, 10, 680], [0, 10, 900], [1, -5, 10], [1, 499.4, 10]])
    guesses = guess_frames(ParticleTable(truth.micrographs, points), pictures, 24)
    as_is = next(guess for guess in guesses if guess.name == "as is")
    assert (as_is.outside_share, as_is.border_share) == (0.4, 0.2)


def test_blank_margins_are_constant_or_repeated_rows():
    image = np.random.default_rng(0).normal(size=(100, 120))
    assert blank_margins(image) == (0, 0, 0, 0)
    image[:5], image[-3:], image[:, :7], image[:, -1:] = 0, image[-4], 4, 4
    assert blank_margins(image) == (5, 3, 7, 1)
    assert blank_margins(np.zeros((50, 50))) == (0, 0, 0, 0)
    assert blank_margins(np.zeros((1, 1))) == (0, 0, 0, 0)


@pytest.mark.parametrize("image", [np.zeros(SHAPE), np.full(SHAPE, np.nan), np.zeros((1, 1)), np.eye(3)], ids=range(4))
def test_pictures_that_show_nothing_leave_the_frame_as_it_is(image):
    table = ParticleTable(("a",), np.array([[0, 1.0, 1.0]] * 5))
    guesses = guess_frames(table, Pictures(("a",), image.shape, [image]), 20)
    assert not verdict(guesses)[0]
    if image.shape == SHAPE:
        assert guesses[0].name == "as is"


def test_particles_of_other_micrographs_and_odd_sizes_are_errors(simulated):
    pictures, truth = simulated
    with pytest.raises(CoordinatesError, match="none of 1 particles is on the 2 opened"):
        guess_frames(ParticleTable(("z",), np.zeros((1, 3))), pictures, 24)
    with pytest.raises(CoordinatesError, match="diameter of -1 pixels is impossible"):
        guess_frames(truth, pictures, -1)


REAL = [("apoferritin/train", 80), ("apoferritin_hard/dev", 80), ("beta_galactosidase", 27)]


@pytest.mark.parametrize("folder, diameter", REAL)
def test_real_particles_find_the_way_back(cryo_test_data, folder, diameter):
    """Given deposited labels turned over in any way, when judged by the micrographs, then the way back is clear."""
    series = open_micrographs(str(cryo_test_data / folder / "micrographs"))
    truth = read_particles(cryo_test_data / folder / "particles.star")
    for name in ("as is", "y flipped", "transposed, x flipped", "scaled 4, y flipped", "scaled 8", "corner to centre"):
        guesses = guess_frames(spoiled(truth, name, series.shape), series, diameter, box_size=100, most=2)
        assert guesses[0].name == name
        assert verdict(guesses)[0]
        assert abs(guesses[0].deviations) > 4 * abs(guesses[1].deviations)
        if name == "as is":
            assert guesses[0].outside_share == 0
