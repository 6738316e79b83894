"""Picking before anybody has clicked: on simulated shells that the weights have never seen, dark or bright, or none."""

import shutil
from dataclasses import replace
from pathlib import PurePosixPath

import mrcfile
import numpy as np
import pytest
from typer.testing import CliRunner

from napari_caked import evaluate, pick, train
from napari_caked.calibration import Calibration
from napari_caked.checkpoint import load_model
from napari_caked.cli import app
from napari_caked.errors import LabelsError, MicrographError, SettingsError
from napari_caked.general import general_picker
from napari_caked.settings import PickSettings, TrainingSettings
from napari_caked.simulate import bank_of
from napari_caked.simulate.lazy import lazy_micrographs
from napari_caked.simulate.settings import (
    CameraSettings,
    OpticsSettings,
    SceneSettings,
    SimulationSettings,
    ViewSettings,
)
from napari_caked.simulate.specimens import hollow_shell
from napari_caked.simulated_training import simulated_picker, size_in_words
from napari_caked.training import Warned, training_events
from napari_caked.zero_clicks import _best, _doubted, _Seen, adapted, some_of, spread, sure_picks
from napari_empiarreader import read_particles
from napari_empiarreader.errors import UserError
from napari_empiarreader.micrographs import MicrographSeries, write_mrc

DIAMETER, PIXEL_SIZE, SIDE = 120.0, 6.0, 320
SETTINGS = SimulationSettings(
    pixel_size=PIXEL_SIZE,
    diameter=DIAMETER,
    seed=11,
    views=ViewSettings(views=30),
    scene=SceneSettings(shape=(SIDE, SIDE), particles=60, ice_thickness=300.0),
    optics=OpticsSettings(defocus=(1.5, 2.0)),
    camera=CameraSettings(dose=6.0, mtf=0.9),
)


def simulated(settings=SETTINGS, count=3):
    density = hollow_shell(DIAMETER, 22.0)
    bank = bank_of(density, settings.views, PIXEL_SIZE, seed=settings.seed, diameter=DIAMETER)
    lazy = lazy_micrographs(bank, settings, count)
    images = np.stack([lazy.series.read(i) for i in range(count)])
    return MicrographSeries.from_array(images, list(lazy.series.names), PIXEL_SIZE), lazy.particles


@pytest.fixture(scope="module")
def shells():
    """Series, and truth."""
    return simulated()


def negative(series):
    images = np.stack([-series.read(i) for i in range(len(series))])
    return MicrographSeries.from_array(images, list(series.names), PIXEL_SIZE)


def judged(series, truth, model, threshold=0.5):
    picks = pick(series, model, PickSettings(threshold=0.0, device="cpu"))
    return evaluate(picks, truth, radius=DIAMETER / PIXEL_SIZE / 3, border=10, shape=series.shape, threshold=threshold)


def test_the_adapted_picker_finds_what_it_was_never_shown(shells):
    series, truth = shells
    model = adapted(general_picker(DIAMETER), some_of(series), device="cpu")
    found = judged(series, truth, model)
    assert found.average_precision > 0.95
    assert found.f1 > 0.9  # at the default threshold: its scores mean something
    # It has seen what the particle looks like: the template is that of a shell, not of the disc it began with.
    old, new = (m.network.filter.kernel().flatten() for m in (general_picker(DIAMETER), model))
    assert float((old * new).sum() / (old.norm() * new.norm())) < 0.98


def test_what_it_makes_of_them_is_no_chance(shells):
    one, other = (adapted(general_picker(DIAMETER), some_of(shells[0]), device="cpu") for _ in range(2))
    assert one.calibration == other.calibration
    assert one.spacing == other.spacing


def test_bright_particles_are_found_as_well_as_dark_ones(shells):
    series, truth = shells
    bright = negative(series)
    model = adapted(general_picker(DIAMETER), some_of(bright), device="cpu")
    assert judged(bright, truth, model).average_precision > 0.95


def test_where_there_is_no_particle_nothing_is_picked():
    empty, _ = simulated(replace(SETTINGS, seed=5, scene=replace(SETTINGS.scene, particles=0)))
    model = adapted(general_picker(DIAMETER), some_of(empty), device="cpu")
    assert len(pick(empty, model, PickSettings(device="cpu"))) <= 1
    with pytest.raises(LabelsError, match=r"nothing on these 3 micrographs is surely a particle of 120 Å"):
        sure_picks(model, empty, some_of(empty), device="cpu")


def test_where_less_than_ten_places_are_surely_particles_the_scores_add_up_to_no_more():
    """Given candidates of which many are a little better than their decoys, and hardly one is much better."""
    dice = np.random.default_rng(3)
    decoys = dice.normal(-2.0, 1.0, 300)
    logits = np.sort(np.concatenate([dice.normal(-2.0, 1.0, 220), dice.normal(-0.6, 0.7, 80)]))[::-1]
    one = _Seen("a", None, np.zeros((300, 2)), logits, decoys)
    sure = int(sum(map(len, _best([one], 0.1, 100))))
    loose = Calibration(slope=1.5, offset=1.0)
    model = replace(general_picker(DIAMETER), calibration=loose)
    assert sure < 10 < loose.scores(logits).sum()
    doubted = _doubted(model, [one], sure).calibration
    assert doubted.scores(logits).sum() == pytest.approx(max(sure, 0.25), abs=1e-6)
    assert doubted.slope == loose.slope  # the order stays, and how far apart they are
    # Who promises no more than is there is left alone.
    assert _doubted(replace(model, calibration=doubted), [one], sure).calibration == doubted


def test_pictures_without_particles_get_few_picks(cryo_test_data):
    """An empty hole, and crystalline ice, where many candidates are a little better than their decoys."""
    names = (
        "3Empty_no_ice/19apr30a_grid1_00056gr_00011sq_00003hl_00003en-a.png",
        "4Crystalline_ice/19aug17a_grid5_00055gr_00037sq_00007hl_00002en-a.png",
    )
    image = pytest.importorskip("PIL.Image")
    for name in names:
        picture = np.asarray(image.open(cryo_test_data / "micrograph_quality" / name).convert("L"), np.float32)
        series = MicrographSeries.from_array(picture, [name], 7.5)
        general = general_picker(150.0)
        model = adapted(general, some_of(series), device="cpu")
        assert model.network is general.network
        assert len(pick(series, model, PickSettings(device="cpu"))) <= 2


def test_sure_picks_are_nearly_all_right_and_lie_on_the_series(shells):
    series, truth = shells
    model = adapted(general_picker(DIAMETER), some_of(series), device="cpu")
    labels = sure_picks(model, series, some_of(series), device="cpu")
    assert 50 < len(labels) <= 100
    assert labels.micrographs == series.names
    right = evaluate(labels, truth, radius=DIAMETER / PIXEL_SIZE / 3)
    assert right.precision > 0.9


def test_a_density_of_another_size_than_the_particle_is_told():
    shell = hollow_shell(DIAMETER, 22.0)
    assert size_in_words(shell, DIAMETER) is None
    for said in (DIAMETER / 2, DIAMETER * 2):
        text = size_in_words(shell, said)
        assert f"but the diameter says {said:g} Å" in text and "voxel size" in text


def test_nobody_is_warned_about_labels_that_nobody_made(shells):
    series, _ = shells
    (name, image, pixel_size), *_ = some_of(series)
    alone = MicrographSeries.from_array(image[None], [name], pixel_size)
    settings = TrainingSettings(DIAMETER, steps=2, reviews=0, batch_size=2, crop_size=65, device="cpu")
    own = sure_picks(adapted(general_picker(DIAMETER), some_of(alone), device="cpu"), alone, some_of(alone))

    def warned(labels):
        return [event.message for event in training_events(alone, labels, settings) if isinstance(event, Warned)]

    assert warned(own) == []
    assert any("all" in text and "on one micrograph" in text for text in warned(replace(own, metadata={})))


def test_a_training_takes_them_for_labels(shells):
    series, _ = shells
    settings = TrainingSettings(DIAMETER, steps=4, reviews=0, batch_size=2, crop_size=65, device="cpu")
    model = adapted(general_picker(DIAMETER), some_of(series), device="cpu")
    learned = train(series, sure_picks(model, series, some_of(series), device="cpu"), settings, prior=model)
    assert learned.provenance["labels"] > 50


def test_micrographs_that_cannot_be_prepared_are_left_out(shells):
    series, _ = shells
    flat = ("flat.mrc", np.ones((SIDE, SIDE), np.float32), PIXEL_SIZE)
    images = list(some_of(series))
    whole, rest = (adapted(general_picker(DIAMETER), some, device="cpu") for some in ([flat, *images], images))
    assert whole.calibration == rest.calibration
    with pytest.raises(MicrographError, match=r"flat\.mrc: all pixels have the value 1"):
        adapted(general_picker(DIAMETER), [flat], device="cpu")
    with pytest.raises(MicrographError, match="there is no micrograph to look at"):
        adapted(general_picker(DIAMETER), [], device="cpu")


def test_micrographs_are_looked_at_evenly():
    assert spread(range(5), 8) == [0, 1, 2, 3, 4]
    assert spread(range(100), 3) == [0, 50, 99]
    assert spread([], 8) == []


def test_a_picker_learns_from_simulated_micrographs_in_the_likeness_of_real_ones(shells):
    series, truth = shells
    settings = TrainingSettings(DIAMETER, steps=12, batch_size=2, crop_size=65, device="cpu")
    said = []
    model = simulated_picker(
        hollow_shell(DIAMETER, 22.0), series, settings, dose=6.0, count=2, progress=lambda *one: said.append(one)
    )
    assert judged(series, truth, model).average_precision > 0.9
    assert len(said) > 3
    assert model.provenance["labels"] >= 40


def test_only_the_default_network_learns_from_simulated_micrographs(shells):
    settings = TrainingSettings(DIAMETER, network="conv31", device="cpu")
    with pytest.raises(SettingsError, match="conv31 cannot learn from simulated micrographs"):
        simulated_picker(hollow_shell(DIAMETER, 22.0), shells[0], settings)


def test_a_picker_of_another_kind_is_no_start(shells):
    series, truth = shells
    settings = TrainingSettings(DIAMETER, network="conv31", device="cpu")
    with pytest.raises(SettingsError, match="is a network of the kind matched, not conv31"):
        train(series, truth, settings, prior=general_picker(DIAMETER))


@pytest.fixture(scope="module")
def folder(shells, tmp_path_factory):
    """The shells as files, a damaged one among them, and a density."""
    folder = tmp_path_factory.mktemp("shells")
    series, truth = shells
    for i, name in enumerate(series.names):
        write_mrc(folder / PurePosixPath(name).name, series.read(i), PIXEL_SIZE)
    density = hollow_shell(DIAMETER, 22.0)
    (folder / "maps").mkdir()
    with mrcfile.new(folder / "maps" / "shell.mrc") as file:
        file.set_data(density.volume)
        file.voxel_size = density.voxel_size
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_the_command_picks_with_a_diameter_alone(folder, shells, tmp_path):
    output = tmp_path / "picks.star"
    result = run("pick", folder, "--diameter", DIAMETER, "-o", output, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "the general picker adapted to these micrographs" in result.output
    picks = read_particles(output)
    found = evaluate(picks, shells[1].renamed_to(picks.micrographs), radius=DIAMETER / PIXEL_SIZE / 3)
    assert found.recall > 0.8 and found.precision > 0.8
    # The picker is kept, and picks the same.
    again = tmp_path / "again.star"
    kept = tmp_path / "picks_picker.safetensors"
    assert run("pick", folder, "--model", kept, "-o", again, "--device", "cpu").exit_code == 0
    np.testing.assert_array_equal(read_particles(again).coordinates, picks.coordinates)


def test_the_command_says_where_there_seem_to_be_no_particles(tmp_path):
    rng = np.random.default_rng(0)
    write_mrc(tmp_path / "empty.mrc", rng.normal(size=(SIDE, SIDE)).astype(np.float32), PIXEL_SIZE)
    result = run("pick", tmp_path / "empty.mrc", "--diameter", DIAMETER, "-o", tmp_path / "p.star", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "warning: there seem to be hardly any particles of 120 Å" in result.output
    assert len(read_particles(tmp_path / "p.star")) <= 1


def test_shards_of_a_run_pick_alike(folder, tmp_path):
    for part in (1, 2):
        made = run("pick", folder, "--diameter", DIAMETER, "-o", tmp_path / "p.star", "--shard", f"{part}/2")
        assert made.exit_code == 0, made.output
    one, two = (load_model(tmp_path / f"p_{part}-of-2_picker.safetensors") for part in (1, 2))
    assert one.calibration == two.calibration


def test_a_file_that_cannot_be_read_is_named_once_and_the_others_are_picked(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "some", ignore=shutil.ignore_patterns("maps"))
    (tmp_path / "some" / "broken.mrc").write_bytes(b"no picture" * 200)
    result = run("pick", tmp_path / "some", "--diameter", DIAMETER, "-o", tmp_path / "p.star", "--device", "cpu")
    assert result.exit_code == 3
    assert result.output.count("not picked: ") == 1
    assert len(read_particles(tmp_path / "p.star")) > 100


@pytest.mark.parametrize("options", [[], ["--model", "m.safetensors", "--diameter", "120"]])
def test_a_model_or_a_diameter_it_must_be(folder, tmp_path, options):
    result = run("pick", folder, "-o", tmp_path / "p.star", *options)
    assert isinstance(result.exception, UserError)
    assert "give either --model FILE, or --diameter" in str(result.exception)


QUICK = ["--steps", "4", "--reviews", "0", "--device", "cpu"]


def test_the_command_trains_without_labels(folder, tmp_path):
    output = tmp_path / "model.safetensors"
    result = run("train", folder, "--diameter", DIAMETER, "-o", output, *QUICK)
    assert result.exit_code == 0, result.output
    assert "no labels: learning from the" in result.output
    assert "picks of its own" in result.output
    assert load_model(output).provenance["labels"] > 50


def test_the_command_trains_on_simulated_micrographs_first(folder, tmp_path):
    output = tmp_path / "model.safetensors"
    density = folder / "maps" / "shell.mrc"
    files = sorted(folder.glob("*.mrc"))
    options = ["--simulate", density, "--like", files[0], *files[1:], "--dose", 6, "--diameter", DIAMETER]
    result = run("train", *options, "-o", output, *QUICK)
    assert result.exit_code == 0, result.output
    assert "learning from micrographs of shell.mrc, simulated in the likeness of these" in result.output
    assert "surest picks of the picker trained on simulated micrographs on 3 micrographs" in result.output
    assert load_model(output).particle_diameter == DIAMETER


@pytest.mark.parametrize(
    "options, message",
    [
        (["--dose", "3"], "belong to --simulate"),
        (["--hold-out", "1"], "need --labels"),
        (["--simulate", "MAP", "--start", "m.safetensors", "--labels", "l.star"], "choose one of the two"),
        (["--simulate", "NOISE", "--dose", "6"], "no potential in volts"),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_is_written(folder, tmp_path, options, message):
    with mrcfile.new(tmp_path / "noise.mrc") as file:
        file.set_data(np.random.default_rng(0).normal(50, 1, (20, 20, 20)).astype(np.float32))
        file.voxel_size = 3.0
    places = {"MAP": folder / "maps" / "shell.mrc", "NOISE": tmp_path / "noise.mrc"}
    output = tmp_path / "model.safetensors"
    result = run("train", folder, "--diameter", DIAMETER, "-o", output, *(places.get(one, one) for one in options))
    assert isinstance(result.exception, UserError), result.output
    assert message in str(result.exception)
    assert not output.exists()
