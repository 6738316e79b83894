"""Picks in other programs' hands: each file, read by its program's own rules alone, finds the same particles.

Nothing of our readers is used on the way back. Every program gets the micrograph as it draws it, the numbers as they
stand in its file, and the rule from its documentation; then it cuts the picture there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import starfile
from scipy.ndimage import map_coordinates

from napari_empiarreader import write_particles
from napari_empiarreader.coordinates import ParticleTable

SHAPE = (333, 470)
PIXEL_SIZE = 1.5
RADIUS, REACH = 12, 20
NAMES = ("mics/grid_a.mrc", "mics/grid_b.mrc")


@dataclass
class Run:
    """Two simulated micrographs, and picks on their particles: the truth itself, in a random order."""

    images: dict[str, np.ndarray]
    picks: ParticleTable


@pytest.fixture(scope="module")
def run() -> Run:
    """Dark discs with a bright spot on the upper left of each: neither flips nor a transposition hide."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    images, rows = {}, []
    for index, name in enumerate(NAMES):
        image = rng.normal(0, 1, SHAPE)
        # All but the lowest quarter: a picture turned over is no longer full of particles at the same places.
        for cell in np.ndindex(5, 9):
            centre = 30 + 50 * np.array(cell) + rng.uniform(-4, 4, 2)
            image -= 3.0 * (np.hypot(y - centre[0], x - centre[1]) < RADIUS)
            image += 6.0 * (np.hypot(y - centre[0] + 5, x - centre[1] + 3) < 4)
            rows.append((index, *centre))
        images[name] = image
    rows = rng.permutation(np.array(rows))
    scores = rng.uniform(0.5, 1, len(rows))
    features = pd.DataFrame({"score": scores, "logit": np.log(scores / (1.0001 - scores)), "diameter": 36.0})
    return Run(images, ParticleTable(NAMES, rows, features))


def cut(drawn: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """``(n, 41, 41)`` patches around places in a picture as it is drawn, interpolated linearly."""
    offsets = np.arange(-REACH, REACH + 1)
    y = np.asarray(rows, float)[:, None, None] + offsets[:, None]
    x = np.asarray(columns, float)[:, None, None] + offsets[None, :]
    return map_coordinates(drawn, np.broadcast_arrays(y, x), order=1, mode="nearest")


def true_patches(run: Run, name: str) -> np.ndarray:
    centres = run.picks.on(NAMES.index(name))
    return cut(run.images[name], centres[:, 0], centres[:, 1])


def in_relion(path, name, image):
    """RELION: columns and rows of the array, pixels, of the particle's centre; one table for all micrographs."""
    table = starfile.read(path, always_dict=True)
    rows = (table["particles"] if "particles" in table else next(iter(table.values()))).query(
        "rlnMicrographName == @name"
    )
    return cut(image, rows["rlnCoordinateY"], rows["rlnCoordinateX"])


def in_cryosparc(path, name, image):
    """cryoSPARC: fractions of width and height from the lower left corner; micrograph_shape is (y, x)."""
    picks = np.load(path, allow_pickle=False)
    picks = picks[picks["location/micrograph_path"] == name.encode()]
    assert (picks["location/micrograph_shape"] == image.shape).all()
    height, width = picks["location/micrograph_shape"][0]
    right = picks["location/center_x_frac"].astype(float) * width
    up = picks["location/center_y_frac"].astype(float) * height
    # Its picture has the lowest row first; a place `up` above the bottom is row height - up of the array, as RELION
    # counts, which is row up - 1 of the picture turned over.
    return cut(image[::-1], up - 1, right)[:, ::-1]


def in_eman_box(folder, name, image):
    """EMAN: corner with the smallest x and y, then width and height; the picture's first row is drawn lowest."""
    x, y, w, h = np.loadtxt(folder / f"{name.split('/')[1].removesuffix('.mrc')}.box", ndmin=2)[:, :4].T
    return cut(image, y + h / 2, x + w / 2)


def in_eman_json(folder, name, image):
    """EMAN2: centres in ``boxes``."""
    boxes = json.loads((folder / f"{name.split('/')[1].removesuffix('.mrc')}.json").read_text())["boxes"]
    return cut(image, [y for _, y, *_ in boxes], [x for x, *_ in boxes])


PROGRAMS = {
    "relion": ("picks.star", {}, in_relion),
    "cryosparc": ("picks.cs", {"shapes": SHAPE, "pixel_size": PIXEL_SIZE}, in_cryosparc),
    "eman box": ("boxes", {"format": "box", "box_size": 36}, in_eman_box),
    "eman box of odd size": ("boxes", {"format": "box", "box_size": 37}, in_eman_box),
    "eman2 json": ("json", {"format": "eman2"}, in_eman_json),
}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("name", NAMES)
def test_every_program_cuts_out_the_same_particles(run, tmp_path, program, name):
    target, options, rule = PROGRAMS[program]
    write_particles(tmp_path / target, run.picks, **options)
    patches, expected = rule(tmp_path / target, name, run.images[name]), true_patches(run, name)
    assert patches.shape == expected.shape
    # A hundredth of a pixel off would change single pixels of this noise by about 0.05.
    np.testing.assert_allclose(patches, expected, atol=0.05)
    mean = patches.mean(axis=0)
    darkness = np.clip(-mean - 1, 0, None)
    offsets = np.arange(-REACH, REACH + 1)
    spot = np.unravel_index(np.argmax(mean), mean.shape)
    assert darkness[REACH, REACH + RADIUS - 3] > 1 and darkness[0, 0] == 0
    assert (offsets[spot[0]], offsets[spot[1]]) == pytest.approx((-5, -3), abs=2)


@pytest.mark.parametrize(
    ("program", "wrong"),
    [
        ("relion", lambda rule: lambda path, name, image: rule(path, name, image[::-1])),
        ("cryosparc", lambda rule: lambda path, name, image: rule(path, name, image[::-1])),
        ("eman box", lambda rule: lambda path, name, image: np.roll(rule(path, name, image), 18, axis=(1, 2))),
    ],
    ids=["turned over", "not turned over", "corners for centres"],
)
def test_a_program_with_another_rule_would_be_noticed(run, tmp_path, program, wrong):
    target, options, rule = PROGRAMS[program]
    write_particles(tmp_path / target, run.picks, **options)
    patches = wrong(rule)(tmp_path / target, NAMES[0], run.images[NAMES[0]])
    assert np.abs(patches - true_patches(run, NAMES[0])).mean() > 0.5


def test_scores_are_where_each_program_looks_for_them(run, tmp_path):
    write_particles(tmp_path / "picks.star", run.picks)
    write_particles(tmp_path / "picks.cs", run.picks, shapes=SHAPE, pixel_size=PIXEL_SIZE)
    write_particles(tmp_path / "boxes", run.picks, format="box", box_size=36)
    scores = run.picks.features["score"].to_numpy()
    read = starfile.read(tmp_path / "picks.star", always_dict=True)
    read = read["particles"] if "particles" in read else next(iter(read.values()))
    np.testing.assert_allclose(read["rlnAutopickFigureOfMerit"], scores, atol=1e-5)
    picks = np.load(tmp_path / "picks.cs", allow_pickle=False)
    np.testing.assert_allclose(picks["pick_stats/ncc_score"], scores, atol=1e-6)
    assert len(set(picks["uid"].tolist())) == len(scores)
    first = scores[run.picks.micrograph_index == 0]
    np.testing.assert_allclose(np.loadtxt(tmp_path / "boxes/grid_a.box")[:, 4], first, atol=1e-5)
