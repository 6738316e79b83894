"""Maps of junk: where they say so, how they lie on the micrograph, and which picks they flag."""

import mrcfile
import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator
from typer.testing import CliRunner

from napari_caked.cli import app
from napari_caked.errors import DiameterError
from napari_caked.pruning.checkpoint import Pruner, save_pruner
from napari_caked.pruning.junk import JunkMap, flagged, junk_map, junk_maps
from napari_caked.pruning.network import PrunerNetwork
from napari_caked.pruning.settings import CLASSES, PruneSettings
from napari_empiarreader.coordinates import ParticleTable, read_particles, write_particles
from napari_empiarreader.micrographs import MicrographSeries, write_mrc

CPU = PruneSettings(flips=1, device="cpu", batch=64)
DIAMETER, PIXEL_SIZE = 60.0, 3.0
WIDTH = DIAMETER / PIXEL_SIZE


class Loud(torch.nn.Module):
    """Calls carbon what is louder than the rest of the micrograph, in the middle of the wide patch."""

    width = 1

    def __init__(self) -> None:
        super().__init__()
        self.head, self.halved_head = (torch.nn.Linear(1, len(CLASSES)) for _ in range(2))
        for head in (self.head, self.halved_head):
            torch.nn.init.zeros_(head.weight)
            torch.nn.init.zeros_(head.bias)
            head.weight.data[CLASSES.index("carbon")] = 40.0
            head.bias.data[CLASSES.index("background")] = 10.0

    def features(self, patches):
        side = patches.wide.shape[-1]
        middle = slice(side // 2 - 2, side // 2 + 3)
        loud = patches.wide[:, 1, middle, middle].mean(dim=(1, 2))[:, None] - 1.2
        return loud, loud

    def advised(self, logits, odds):
        assert not odds.any()  # places of a grid are no picks
        return logits


@pytest.fixture(scope="module")
def image():
    """Noise that is three times as strong right of column 400."""
    noise = np.random.default_rng(3).normal(size=(400, 600)).astype(np.float32)
    noise[:, 400:] *= 3
    return noise


@pytest.fixture(scope="module")
def found(image):
    return junk_map(image, "half.mrc", DIAMETER, PIXEL_SIZE, Pruner(Loud().eval()), CPU)


def test_junk_is_found_where_it_is(found, image):
    full = found.full()
    assert full.shape == image.shape and full.dtype == np.float32 and 0 <= full.min() <= full.max() <= 1
    rim = int(1.5 * WIDTH)
    inner = full[rim:-rim, rim:-rim]  # this network takes what lies outside for quiet
    assert inner[:, : 400 - 2 * rim].max() < 0.2 and inner[:, 400:].min() > 0.8
    edge = rim + np.argmax(inner >= 0.5, axis=1)
    assert np.abs(edge - 400).max() < 1.5 * WIDTH


def test_between_the_places_of_the_grid_it_is_linear():
    """Checked against SciPy's interpolation on a grid."""
    rng = np.random.default_rng(0)
    found = JunkMap(rng.random((5, 7)).astype(np.float32), 9.0, 4.5, (45, 63))
    grid = tuple(4.5 + 9.0 * np.arange(count) for count in (5, 7))
    places = np.column_stack([rng.uniform(4.5, 40.5, 50), rng.uniform(4.5, 58.5, 50)])
    expected = RegularGridInterpolator(grid, found.probability)(places)
    np.testing.assert_allclose(found.at(places), expected, atol=1e-5)
    pixels = np.rint(places)
    full = found.full()
    np.testing.assert_allclose(full[tuple(pixels.astype(int).T)], found.at(pixels), atol=1e-5)
    assert full[0, 0] == found.probability[0, 0] and full[44, 62] == found.probability[4, 6]


def test_padding_is_junk(image):
    padded = image.copy()
    padded[:120] = padded[200, 200]
    found = junk_map(padded[:, :400], "padded.mrc", DIAMETER, PIXEL_SIZE, Pruner(Loud().eval()), CPU)
    full = found.full()
    assert full[: int(120 - WIDTH)].min() == 1 and full[int(120 + 3 * WIDTH) :].max() < 0.5


def test_picks_on_junk_are_flagged_and_all_are_kept(found):
    picks = ParticleTable(("half.mrc", "other.mrc"), np.array([[0, 50.0, 50.0], [0, 200.0, 550.0], [1, 5.0, 5.0]]))
    out = flagged(picks, {0: found})
    assert len(out) == 3 and out.features["junk"][0] < 0.2 and out.features["junk"][1] > 0.8
    assert np.isnan(out.features["junk"][2])


def test_micrographs_come_one_after_the_other_and_can_be_stopped(image):
    read = []

    def give(index):
        read.append(index)
        return image

    series = MicrographSeries(("a", "b", "c"), image.shape, np.dtype(np.float32), PIXEL_SIZE, give, "made")
    pruner = Pruner(Loud().eval())
    maps = junk_maps(series, DIAMETER, pruner, CPU, stop=lambda: len(read) == 2)
    assert [next(maps)[0], next(maps)[0]] == [0, 1]
    with pytest.raises(KeyboardInterrupt):
        next(maps)
    assert read == [0, 1] and [i for i, _ in junk_maps(series, DIAMETER, pruner, CPU, indices=[2])] == [2]


def test_a_particle_larger_than_the_micrograph_is_refused(image):
    pruner = Pruner(PrunerNetwork(4).eval())
    with pytest.raises(DiameterError, match="small.mrc"):
        junk_map(image, "small.mrc", 5000.0, PIXEL_SIZE, pruner, CPU)


def test_the_command_masks_and_flags_and_leaves_nothing_out(tmp_path, image):
    save_pruner(tmp_path / "pruner.safetensors", Pruner(PrunerNetwork(4).eval()))
    for name in ("a", "b"):
        write_mrc(tmp_path / f"{name}.mrc", image, PIXEL_SIZE)
    picks = ParticleTable(("a.mrc", "b.mrc"), np.array([[0, 50.0, 50.0], [1, 200.0, 550.0]]))
    write_particles(tmp_path / "in.star", picks)
    command = ["mask", str(tmp_path / "a.mrc"), str(tmp_path / "b.mrc"), "--diameter", "60", "--device", "cpu"]
    command += ["--model", str(tmp_path / "pruner.safetensors"), "--picks", str(tmp_path / "in.star")]
    result = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "masks")])
    assert result.exit_code == 0, result.output
    assert "2 micrographs" in result.output and "of 2 picks lie on some" in result.output
    for name in ("a", "b"):
        with mrcfile.open(tmp_path / "masks" / f"{name}_junk.mrc") as file:
            assert file.data.shape == image.shape and 0 <= file.data.min() <= file.data.max() <= 1
            assert float(file.voxel_size.x) == pytest.approx(PIXEL_SIZE)
    flags = read_particles(tmp_path / "masks" / "picks.star")
    assert len(flags) == 2 and flags.features["junk"].astype(float).between(0, 1).all()
    again = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "masks")])
    assert again.exit_code == 1 and "exists already" in str(again.exception)
