"""Tests of what tables say of the contrast transfer of particles, from the table to the flipped phases, and of .cs."""

from __future__ import annotations

import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from napari_caked.datasets.building import build
from napari_caked.datasets.classes import ByCsv
from napari_caked.datasets.ctf import CTF_WORDS
from napari_caked.datasets.export import export_folder, export_stack
from napari_caked.datasets.filtering import PhaseFlip
from napari_caked.datasets.recipe import Recipe
from napari_caked.datasets.sample import Sample
from napari_caked.datasets.sources import (
    folder_source,
    joined,
    particle_source,
    particles_of_files,
    simulated_source,
    stack_source,
    united_tables,
)
from napari_caked.errors import DatasetError
from napari_empiarreader.coordinates import read_particles
from napari_empiarreader.micrographs import open_micrographs, write_mrc

sys.path.insert(0, str(Path(__file__).parent))
from simulated import small_bank  # noqa: E402

NOISE = np.random.default_rng(0).normal(size=(4, 32, 32)).astype(np.float32)
MICROGRAPHS = np.random.default_rng(1).normal(size=(2, 60, 80)).astype(np.float32)
PIXEL = 1.5

#: kV, mm, amplitude contrast of each particle's optics group; its defoci (Å), angle and phase shift (degrees).
OPTICS = {1: (300.0, 2.7, 0.1), 2: (200.0, 1.4, 0.07)}
PARTICLES = [(1, 16000.0, 14000.0, 35.0, 0.0), (2, 9000.0, 9000.0, 0.0, 90.0), (1, 25000.0, 24000.0, 120.0, 0.0)]

STAR = """
data_optics

loop_
_rlnOpticsGroup
_rlnImagePixelSize
_rlnVoltage
_rlnSphericalAberration
_rlnAmplitudeContrast
2 1.5 200 1.4 0.07
1 1.5 300 2.7 0.1

data_particles

loop_
_rlnImageName
_rlnMicrographName
_rlnCoordinateX
_rlnCoordinateY
_rlnOpticsGroup
_rlnDefocusU
_rlnDefocusV
_rlnDefocusAngle
_rlnPhaseShift
_rlnClassNumber
1@s.mrcs m0.mrc 30 20 1 16000 14000 35 0 3
2@s.mrcs m0.mrc 40 30 2 9000 9000 0 90 4
3@s.mrcs m1.mrc 50 40 1 25000 24000 120 0 3
"""


@pytest.fixture
def project(tmp_path):
    """A stack of four images, two micrographs, and the STAR file of three particles."""
    with mrcfile.new(tmp_path / "s.mrcs") as mrc:
        mrc.set_data(NOISE)
        mrc.set_image_stack()
    for i, image in enumerate(MICROGRAPHS):
        write_mrc(tmp_path / f"m{i}.mrc", image, PIXEL)
    (tmp_path / "p.star").write_text(STAR)
    return tmp_path


def flipped(image: np.ndarray, particle: tuple[float, ...]) -> np.ndarray:
    """The image with its phases flipped, on the whole grid and in double precision."""
    (voltage, cs, amplitude), (u, v, angle, shift) = OPTICS[int(particle[0])], particle[1:]
    wavelength = 12.2643 / np.sqrt(1e3 * voltage * (1 + 0.978466e-6 * 1e3 * voltage))
    ky, kx = np.meshgrid(*[np.fft.fftfreq(n, PIXEL) for n in image.shape], indexing="ij")
    k2 = kx**2 + ky**2
    defocus = 0.5 * (u + v + (u - v) * np.cos(2 * (np.arctan2(ky, kx) - np.radians(angle))))
    phase = np.pi * wavelength * defocus * k2 - np.pi / 2 * cs * 1e7 * wavelength**3 * k2**2
    phase += np.arcsin(amplitude) + np.radians(shift)
    return np.fft.ifft2(np.fft.fft2(image) * np.sign(np.sin(phase))).real


def close(one: np.ndarray, two: np.ndarray) -> bool:
    """Alike at all frequencies but Nyquist, which has no direction, and zeros of the transfer, where rounding decides.

    A sign that differs at every hundredth frequency is allowed; those of other particles differ at every tenth.
    """
    below = np.delete(np.arange(32), 16)
    first, second = (np.fft.fft2(image)[np.ix_(below, below)] for image in (one, two))
    return bool((np.abs(first - second) < 1e-3 * np.abs(second)).mean() > 0.99)


def test_particles_of_a_star_file_are_flipped_by_their_own_contrast_transfer(project):
    """Given three particles with their own defocus, microscope and phase shift, then each is flipped by its own."""
    source = stack_source(project / "p.star", classes="rlnClassNumber")
    store = build(source, project / "flipped.dataset.zarr", Recipe((PhaseFlip(voltage=100.0),)))
    for index, item in store.items(range(3)):
        row = item.record.origin["row"]
        assert close(item.image, flipped(NOISE[row], PARTICLES[row])), index
        others = [flipped(NOISE[row], particle) for i, particle in enumerate(PARTICLES) if i != row]
        assert not any(close(item.image, other) for other in others)


def test_boxes_on_micrographs_know_it_as_images_of_a_stack_do(project):
    """Given the same rows as picks, alone, in one table with others, and joined, then all tell the same."""
    stack = stack_source(project / "p.star")
    picks = particles_of_files(sorted(project.glob("m*.mrc")), project / "p.star", 16)
    series, table = open_micrographs(sorted(project.glob("m*.mrc"))), read_particles(project / "p.star")
    united = united_tables({"a": table.where(table.micrograph_index == 0), "b": table}, series.names)
    both = joined([particle_source(series, united, 16, classes="class_name"), picks])
    expected = [{word: r.origin[word] for word in CTF_WORDS} for r in stack.records]
    assert expected[1] == dict(zip(CTF_WORDS, (9000, 9000, 0, 200, 1.4, 0.07, 90), strict=True))
    told = [{word: r.origin[word] for word in CTF_WORDS} for r in (*picks.records, *both.records)]
    assert told == expected + expected[:2] + expected + expected


def test_a_store_and_what_is_exported_from_it_keep_it(project):
    store = build(stack_source(project / "p.star"), project / "p.dataset.zarr")
    again = {
        "stack": stack_source(export_stack(store, project / "out.mrcs")[1]),
        "folder": folder_source(export_folder(store, project / "out")[0].parent, ByCsv(project / "out" / "items.csv")),
    }
    for name, source in {"store": store, **again}.items():
        for row, record in enumerate(source.records):
            group, *focus, shift = PARTICLES[row]
            expected = (*focus, *OPTICS[group], shift)
            assert tuple(record.origin[word] for word in CTF_WORDS) == pytest.approx(expected), name
        for index, item in source.items(range(3)):
            done = PhaseFlip()(Sample.of(item)).image.numpy()
            if name != "folder":  # in which the pixel size is the same, and the names are
                assert close(done, flipped(NOISE[index], PARTICLES[index]))


def test_files_without_optics_groups_say_it_in_each_row(project):
    text = "\ndata_\n\nloop_\n_rlnImageName\n_rlnVoltage\n_rlnDefocusU\n1@s.mrcs 200 12000\n2@s.mrcs 200 nan\n"
    (project / "old.star").write_text(text)
    first, second = stack_source(project / "old.star", pixel_size=PIXEL)
    assert {word: first.record.origin.get(word) for word in CTF_WORDS[:4]} == {
        "defocus_u": 12000.0,
        "defocus_v": None,
        "defocus_angle": None,
        "voltage": 200.0,
    }
    PhaseFlip()(Sample.of(first))
    with pytest.raises(DatasetError, match=r"2@s\.mrcs: its defocus is not known .*give defocus to PhaseFlip"):
        PhaseFlip()(Sample.of(second))
    store = build(stack_source(project / "old.star", pixel_size=PIXEL), project / "old.dataset.zarr")
    again = stack_source(export_stack(store, project / "old.mrcs", overwrite=True)[1])
    assert again.records[0].origin["defocus_u"] == 12000 and "defocus_u" not in again.records[1].origin


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("40 30 2 ", "40 30 7 ", r"p\.star: row 2 is of the optics group 7, and data_optics has 2, 1"),
        ("\n1 1.5 300", "\n2 1.5 300", r"p\.star: row 1 is of the optics group 1, and data_optics has 2, 2"),
    ],
)
def test_groups_that_are_not_there_are_told(project, old, new, said):
    (project / "p.star").write_text(STAR.replace(old, new))
    with pytest.raises(DatasetError, match=said):
        stack_source(project / "p.star")


def test_a_microscope_that_cannot_be_is_told_of_its_item(project):
    (project / "p.star").write_text(STAR.replace("1.5 200 1.4", "1.5 0 1.4"))
    with pytest.raises(DatasetError, match=r"2@s\.mrcs: its voltage is 0\.0; give 20 to 1000 kV in the table"):
        PhaseFlip()(Sample.of(stack_source(project / "p.star")[1]))


def test_simulated_items_know_the_lens_they_were_seen_through():
    from napari_caked.simulate import DecoySettings, OpticsSettings, SceneSettings, SimulationSettings, lazy_micrographs

    settings = SimulationSettings(
        2.5,
        seed=4,
        scene=SceneSettings(shape=(160, 200), particles=12),
        optics=OpticsSettings(voltage=200.0, amplitude_contrast=0.08, phase_plate=30.0, astigmatism=0.2),
        decoys=DecoySettings(aggregates=2, ice_lumps=2, gold=0, broken=0),
    )
    source = simulated_source(lazy_micrographs(small_bank(), settings, 2), 32)
    means = {}
    for record in source.records:
        origin = record.origin
        assert (origin["voltage"], origin["amplitude_contrast"], origin["phase_plate"]) == (200.0, 0.08, 30.0)
        spread = (origin["defocus_u"] - origin["defocus_v"], origin["defocus_angle"])
        kind = source.classes[record.label]
        means.setdefault(record.group, {}).setdefault(kind, []).append((*spread, origin["defocus_u"]))
    assert any(len(kinds) > 1 for kinds in means.values())
    for kinds in means.values():
        rows = np.concatenate(list(kinds.values()))
        assert np.ptp(rows[:, :2], axis=0) == pytest.approx(0, abs=0.01)
        assert np.ptp(rows[:, 2]) < 2000  # Å: the depth of the ice
    PhaseFlip()(Sample.of(source[len(source) - 1]))


# ---- cryoSPARC ------------------------------------------------------------------------------------------------


def cryosparc(path: Path, fields: dict[str, tuple[str, list]]) -> Path:
    """A file of cryoSPARC as numpy alone makes it."""
    records = np.zeros(3, [(name, kind) for name, (kind, _) in fields.items()])
    for name, (_, values) in fields.items():
        records[name] = values
    with path.open("wb") as file:
        np.save(file, records)
    return path


UID = {"uid": ("<u8", [11, 12, 13])}
CTF = {
    "ctf/df1_A": ("<f4", [16000, 9000, 25000]),
    "ctf/df2_A": ("<f4", [14000, 9000, 24000]),
    "ctf/df_angle_rad": ("<f4", np.radians([35, 0, 120])),
    "ctf/phase_shift_rad": ("<f4", np.radians([0, 90, 0])),
    "ctf/accel_kv": ("<f4", [300, 200, 300]),
    "ctf/cs_mm": ("<f4", [2.7, 1.4, 2.7]),
    "ctf/amp_contrast": ("<f4", [0.1, 0.07, 0.1]),
    "alignments2D/class": ("<u4", [7, 2, 7]),
}
PLACES = {
    "location/micrograph_path": ("S30", [b">J1/m0.mrc", b">J1/m0.mrc", b">J1/m1.mrc"]),
    "location/micrograph_shape": (("<u4", (2,)), [[60, 80]] * 3),
    "location/center_x_frac": ("<f4", [30 / 80, 40 / 80, 50 / 80]),
    "location/center_y_frac": ("<f4", [1 - 20 / 60, 1 - 30 / 60, 1 - 40 / 60]),
}
BLOBS = {
    "blob/path": ("S30", [b">J2/extract/s.mrc", b">J2/extract/s.mrc", b">J2/extract/s.mrc"]),
    "blob/idx": ("<u4", [2, 0, 1]),
    "blob/psize_A": ("<f4", [PIXEL] * 3),
}


def test_picks_of_cryosparc_make_a_data_set_with_classes_from_a_column(project):
    path = cryosparc(project / "picks.cs", UID | PLACES | CTF)
    source = particles_of_files(sorted(project.glob("m*.mrc")), path, 16, classes="alignments2D/class")
    assert source.classes == ("2", "7") and [r.label for r in source.records] == [1, 0, 1]
    assert [r.group for r in source.records] == ["m0.mrc", "m0.mrc", "m1.mrc"]
    store = build(source, project / "picks.dataset.zarr")
    centres = [(0, 20, 30), (0, 30, 40), (1, 40, 50)]
    for (micrograph, y, x), (index, item) in zip(centres, store.items(range(3)), strict=True):
        np.testing.assert_array_equal(item.image, MICROGRAPHS[micrograph, y - 8 : y + 8, x - 8 : x + 8])
        assert store.classes[store.labels[index]] == "727"[index]


def test_extracted_particles_of_cryosparc_are_a_stack(project):
    """Given paths from the project's folder that begin with >, sections from 0 and angles in radians."""
    folder = project / "J2" / "extract"
    folder.mkdir(parents=True)
    (project / "s.mrcs").rename(folder / "s.mrc")
    path = cryosparc(project / "J2" / "extracted.cs", UID | BLOBS | CTF | PLACES)
    source = stack_source(path, classes="alignments2D/class")
    assert source.classes == ("2", "7") and [r.group for r in source.records] == ["J1/m0.mrc"] * 2 + ["J1/m1.mrc"]
    assert {r.voxel_size for r in source.records} == {(PIXEL, PIXEL)} and not source.warnings
    store = build(source, project / "cs.dataset.zarr", Recipe((PhaseFlip(),)))
    for _, item in store.items(range(3)):
        row = item.record.origin["row"]
        assert item.record.origin["section"] == [3, 1, 2][row]
        assert close(item.image, flipped(NOISE[[2, 0, 1][row]], PARTICLES[row]))


def test_a_cryosparc_file_without_images_says_what_it_has(project):
    with pytest.raises(DatasetError, match=r"picks\.cs: no images of particles \(blob/path\).*holds alignments2D, ctf"):
        stack_source(cryosparc(project / "picks.cs", UID | PLACES | CTF))
