"""Where things lie in a simulated micrograph, what is said about them, and that a seed says it all."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import shift as shifted
from scipy.spatial.distance import pdist
from typer.testing import CliRunner

from napari_caked.cli import app
from napari_caked.errors import SettingsError
from napari_caked.simulate import (
    CameraSettings,
    DecoySettings,
    OpticsSettings,
    SceneSettings,
    SimulationSettings,
    simulate_micrograph,
)
from napari_caked.simulate.decoys import CLASSES
from napari_caked.simulate.micrograph import expected_image
from napari_caked.simulate.placement import place
from napari_caked.simulate.run import simulate_folder
from napari_empiarreader import open_micrographs, read_particles
from napari_empiarreader.errors import FileExistsAlreadyError

sys.path.insert(0, str(Path(__file__).parent))
from simulated import blobs, small_bank  # noqa: E402

SMALL = SimulationSettings(2.5, scene=SceneSettings(shape=(192, 256), particles=12, ice_thickness=300.0))
EVERYTHING = DecoySettings(broken=2, aggregates=1, ice_crystals=1, ice_lumps=1, gold=2, carbon="edge")


@pytest.fixture(scope="module")
def bank():
    return small_bank(broken=4)


# ---- places --------------------------------------------------------------------------------------------------


def test_particles_keep_their_distance_and_fill_the_field() -> None:
    rng = np.random.default_rng(0)
    settings = SceneSettings(shape=(600, 800), particles=3000, spacing=1.0)
    places = place(rng, settings, 40.0)
    assert pdist(places).min() >= 40.0
    # Discs thrown at random jam when they cover 0.547 of the plane (Feder 1980); here far from the edges.
    inner = ((places > 60) & (places < (540, 740))).all(axis=1).sum()
    assert 0.48 < inner * np.pi * 20**2 / (480 * 680) < 0.56


def test_as_many_as_asked_for_lie_inside_and_others_beyond_the_edge() -> None:
    settings = SceneSettings(shape=(400, 400), particles=30)
    places = place(np.random.default_rng(1), settings, 30.0)
    inside = ((places >= 0) & (places <= 399)).all(axis=1)
    assert inside.sum() == 30
    assert (~inside).any()
    kept = place(np.random.default_rng(1), replace(settings, at_edges=False), 30.0)
    assert kept.min() >= 15 and kept.max() <= 399 - 15


def test_clumped_particles_touch_and_overlap_is_had_for_the_asking() -> None:
    rng = np.random.default_rng(2)
    places = place(rng, SceneSettings(shape=(800, 800), particles=60, clumped=0.4), 40.0)
    nearest = np.sort(np.linalg.norm(places[:, None] - places, axis=-1), axis=1)[:, 1]
    assert nearest.min() >= 0.6 * 40
    assert 0.3 < (nearest < 0.95 * 40).mean() < 0.9
    dense = place(rng, SceneSettings(shape=(800, 800), particles=600, spacing=0.4), 40.0)
    assert pdist(dense).min() < 0.6 * 40


def test_nothing_fits_a_field_smaller_than_a_particle() -> None:
    settings = SceneSettings(shape=(64, 64), particles=5, at_edges=False)
    assert len(place(np.random.default_rng(0), settings, 100.0)) == 0


# ---- coordinates and masks -----------------------------------------------------------------------------------


def test_coordinates_are_exact_to_a_tenth_of_a_pixel(bank) -> None:
    """Cross-correlation of each particle, seen without noise and CTF, with its projection moved by the fraction."""
    optics = OpticsSettings(defocus=(0.0, 0.0), astigmatism=0.0, spherical_aberration=0.0, amplitude_contrast=0.9)
    settings = replace(SMALL, optics=optics, camera=CameraSettings(solvent=0.0, mtf=1.0, damage=False))
    settings = replace(settings, scene=replace(SMALL.scene, thickness_variation=0.0, gradient=0.0, at_edges=False))
    image, scene, _ = expected_image(bank, settings)
    half = bank.box // 2
    padded = np.pad(1 - image / np.median(image), half)
    errors = []
    for centre, view in zip(scene.centres, scene.views, strict=True):
        y, x = np.rint(centre).astype(int)
        seen = padded[y : y + 2 * half, x : x + 2 * half]
        tries = [(dy, dx) for dy in np.arange(-0.6, 0.61, 0.05) for dx in np.arange(-0.6, 0.61, 0.05)]
        likeness = [np.corrcoef(shifted(bank.images[view], t, order=3).ravel(), seen.ravel())[0, 1] for t in tries]
        errors.append(np.array([y, x]) + tries[int(np.argmax(likeness))] - centre)
        if len(errors) == 4:
            break
    assert max(likeness) > 0.99
    assert np.abs(errors).max() < 0.1


def test_masks_say_where_each_particle_is(bank) -> None:
    micrograph = simulate_micrograph(bank, SMALL)
    scene = micrograph.scene
    assert scene.instances.shape == scene.classes.shape == micrograph.image.shape == (192, 256)
    assert scene.instances.max() <= len(scene.centres)
    for number, centre in enumerate(scene.centres, 1):
        rows, columns = np.nonzero(scene.instances == number)
        if min(centre.min(), 191 - centre[0], 255 - centre[1]) > 20:
            assert np.hypot(rows.mean() - centre[0], columns.mean() - centre[1]) < 8
            assert 60 < len(rows) < 2000
    assert set(np.unique(scene.classes)) == {0, 1}


def test_every_kind_of_decoy_is_there_and_no_particle_lies_under_it(bank) -> None:
    settings = replace(SMALL, decoys=EVERYTHING, scene=replace(SMALL.scene, shape=(512, 512), particles=40))
    scene = simulate_micrograph(bank, settings, 3).scene
    kinds = [CLASSES[decoy.kind] for decoy in scene.decoys]
    assert sorted(set(kinds)) == ["aggregate", "broken", "gold", "ice crystal", "ice lump"]
    assert kinds.count("broken") == 2 and kinds.count("gold") == 2
    assert {CLASSES[kind] for kind in np.unique(scene.classes)} >= {"particle", "carbon", "gold"}
    for decoy in scene.decoys:
        away = np.hypot(*(scene.centres - decoy.centre).T)
        assert away.min() >= decoy.radius
    at = np.rint(scene.centres).astype(int)
    assert (scene.classes[at[:, 0], at[:, 1]] != CLASSES.index("carbon")).all()


def test_carbon_gold_and_crystals_are_darker_than_ice(bank) -> None:
    settings = replace(SMALL, decoys=EVERYTHING, scene=replace(SMALL.scene, shape=(512, 512), particles=10))
    image, scene, _ = expected_image(bank, settings, 3)
    background = image[scene.classes == 0].mean()
    for kind, least in (("carbon", 0.03), ("gold", 0.15), ("ice crystal", 0.02)):
        assert 1 - image[scene.classes == CLASSES.index(kind)].mean() / background > least, kind


def test_a_film_lies_under_everything_and_an_empty_micrograph_is_empty(bank) -> None:
    film = replace(SMALL, decoys=DecoySettings(carbon="film"))
    quiet, rough = (expected_image(bank, replace(s, scene=replace(s.scene, particles=0)))[0] for s in (SMALL, film))
    assert rough.std() / rough.mean() > 1.2 * quiet.std() / quiet.mean()
    empty = simulate_micrograph(bank, replace(SMALL, scene=replace(SMALL.scene, particles=0)))
    assert len(empty.scene.centres) == 0
    assert not empty.scene.instances.any() and not empty.scene.classes.any()


# ---- the seed ------------------------------------------------------------------------------------------------


def test_a_seed_reproduces_everything_and_every_micrograph_by_itself(bank) -> None:
    settings = replace(SMALL, decoys=EVERYTHING)
    first, again = (simulate_micrograph(bank, settings, 5) for _ in range(2))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.scene.centres, again.scene.centres)
    assert np.array_equal(first.eulers, again.eulers)
    assert first.focus == again.focus
    for other in (simulate_micrograph(bank, settings, 6), simulate_micrograph(bank, replace(settings, seed=2), 5)):
        assert not np.array_equal(first.image, other.image)


def test_the_dose_moves_no_particle_and_changes_no_defocus(bank) -> None:
    first = simulate_micrograph(bank, SMALL)
    second = simulate_micrograph(bank, replace(SMALL, camera=CameraSettings(dose=10.0)))
    assert np.array_equal(first.scene.centres, second.scene.centres)
    assert first.focus == second.focus
    assert second.image.mean() == pytest.approx(first.image.mean() / 4, rel=0.02)


def test_a_particle_higher_in_the_ice_is_more_under_focus(bank) -> None:
    settings = replace(
        SMALL,
        scene=replace(SMALL.scene, ice_thickness=2000.0),
        optics=OpticsSettings(defocus=(1.0, 1.0), astigmatism=0.2),
    )
    micrograph = simulate_micrograph(bank, settings)
    u, v, angle = micrograph.defoci
    assert (u + v) / 2 == pytest.approx(1e4 + micrograph.scene.heights)
    assert np.ptp(u) > 500
    assert u - v == pytest.approx(np.full(len(u), micrograph.focus.astigmatism * 1e4))
    assert (angle == micrograph.focus.angle).all()
    # Each height has its own CTF, to half a slab.
    nearest = np.abs(micrograph.scene.heights[:, None] - micrograph.scene.depths).min(axis=1)
    assert nearest.max() <= 50.0


# ---- files ---------------------------------------------------------------------------------------------------


def test_a_folder_holds_micrographs_and_all_that_is_true_of_them(bank, tmp_path: Path) -> None:
    settings = replace(SMALL, decoys=replace(EVERYTHING, carbon="none"))
    files = simulate_folder(bank, settings, tmp_path, 2)
    series = open_micrographs([tmp_path / "micrographs"])
    assert series.pixel_size == pytest.approx(2.5)
    micrographs = [simulate_micrograph(bank, settings, i) for i in range(2)]
    for i, micrograph in enumerate(micrographs):
        assert np.array_equal(series.read(i), micrograph.image)
    table = read_particles(files["particles"])
    assert [name.rpartition("/")[2] for name in table.micrographs] == list(series.names)
    for i, micrograph in enumerate(micrographs):
        rows = table.micrograph_index == i
        assert table.coordinates[rows, 1:] == pytest.approx(micrograph.scene.centres, abs=1e-3)
        angles = table.features.loc[rows, ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy()
        assert angles == pytest.approx(micrograph.eulers, abs=1e-3)
        for column, values in zip(("rlnDefocusU", "rlnDefocusV"), micrograph.defoci, strict=False):
            assert table.features.loc[rows, column].to_numpy() == pytest.approx(values, abs=0.1)
    optics = table.metadata["star_blocks"]["optics"]
    assert float(optics["rlnVoltage"].iloc[0]) == 300.0
    decoys = read_particles(files["decoys"])
    assert len(decoys) == 2 * len(micrographs[0].scene.decoys)
    record = json.loads(files["settings"].read_text())
    assert record["settings"]["seed"] == settings.seed
    assert record["settings"]["optics"]["defocus"] == list(settings.optics.defocus)


def test_the_stack_holds_the_particles_that_its_table_names(bank, tmp_path: Path) -> None:
    import mrcfile

    files = simulate_folder(bank, SMALL, tmp_path, 2, box=40)
    table = read_particles(files["stack table"])
    with mrcfile.open(files["stack"]) as file:
        stack = file.data.copy()
    assert stack.shape == (len(table), 40, 40)
    series = open_micrographs([tmp_path / "micrographs"])
    for row, (box, where) in enumerate(zip(stack, table.coordinates, strict=True)):
        y, x = np.rint(where[1:]).astype(int) - 20
        assert np.array_equal(box, series.read(int(where[0]))[y : y + 40, x : x + 40])
        assert table.features["rlnImageName"].iloc[row] == f"{row + 1:06d}@particles.mrcs"


def test_masks_are_written_and_nothing_is_replaced_unasked(bank, tmp_path: Path) -> None:
    import mrcfile

    simulate_folder(bank, SMALL, tmp_path, 1)
    scene = simulate_micrograph(bank, SMALL).scene
    for what, expected in (("classes", scene.classes), ("particles", scene.instances)):
        with mrcfile.open(tmp_path / "masks" / f"simulated_0001_{what}.mrc") as file:
            assert np.array_equal(file.data, expected)
    with pytest.raises(FileExistsAlreadyError):
        simulate_folder(bank, SMALL, tmp_path, 1)
    simulate_folder(bank, SMALL, tmp_path, 1, overwrite=True)


def test_workers_change_nothing(bank, tmp_path: Path) -> None:
    alone = simulate_folder(bank, SMALL, tmp_path / "a", 2, workers=1)
    together = simulate_folder(bank, SMALL, tmp_path / "b", 2, workers=2)
    assert alone["particles"].read_bytes() == together["particles"].read_bytes()
    for name in ("simulated_0001.mrc", "simulated_0002.mrc"):
        one, two = (open_micrographs([tmp_path / part / "micrographs" / name]).read(0) for part in "ab")
        assert np.array_equal(one, two)


def test_the_command_line_simulates_a_map(tmp_path: Path) -> None:
    from napari_empiarreader.micrographs.mrc import write_mrc

    write_mrc(tmp_path / "map.mrc", blobs().volume, 2.5)
    arguments = [
        "simulate",
        str(tmp_path / "map.mrc"),
        "-o",
        str(tmp_path / "out"),
        "--pixel-size",
        "3",
        "--views",
        "8",
    ]
    arguments += ["--size", "320", "352", "--particles", "6", "--defocus", "1", "2", "--dose", "20", "--decoys"]
    result = CliRunner().invoke(app, [*arguments, "--seed", "4"], catch_exceptions=False)
    assert result.exit_code == 0
    table = read_particles(tmp_path / "out" / "particles.star")
    assert 0 < len(table) <= 6
    assert table.features["rlnDefocusU"].between(9_000, 21_000).all()
    series = open_micrographs([tmp_path / "out" / "micrographs"])
    assert series.shape == (320, 352)
    assert series.read(0).mean() == pytest.approx(20 * 9 * np.exp(-500 / 3950), rel=0.25)
    with pytest.raises(FileExistsAlreadyError):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_a_map_that_is_not_in_volts_is_refused_with_the_remedy(tmp_path: Path) -> None:
    from napari_empiarreader.micrographs.mrc import write_mrc

    write_mrc(tmp_path / "map.mrc", blobs().volume * 0.001, 2.5)
    arguments = ["simulate", str(tmp_path / "map.mrc"), "-o", str(tmp_path / "out")]
    with pytest.raises(SettingsError, match="--mass"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SimulationSettings(0.0), "pixel_size: 0.0"),
        (lambda: OpticsSettings(defocus=(2.0, 1.0)), "rising range"),
        (lambda: SceneSettings(shape=(8, 8)), "at least 32"),
        (lambda: DecoySettings(carbon="some"), "none, edge or film"),
        (lambda: CameraSettings(dose=0.0), "dose: 0.0"),
    ],
)
def test_impossible_settings_say_what_is_possible(make, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make()


def test_a_bank_of_another_pixel_size_is_refused(bank) -> None:
    with pytest.raises(SettingsError, match="make the bank with that pixel size"):
        simulate_micrograph(bank, replace(SMALL, pixel_size=3.0))
