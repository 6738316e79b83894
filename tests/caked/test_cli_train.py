"""The command ``train`` as a user meets it: every option arrives, mistakes are one line, Ctrl-C keeps the state."""

import os
import signal

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_caked import training
from napari_caked._cli_train import train as command
from napari_caked.checkpoint import PickerModel, load_model, save_model
from napari_caked.cli import app
from napari_caked.models.registry import NETWORKS, build_network
from napari_caked.objectives import OBJECTIVES
from napari_caked.settings import TrainingSettings
from napari_caked.training import Finished, Step, Validated, Warned
from napari_empiarreader.coordinates import ParticleTable, write_particles
from napari_empiarreader.errors import UserError
from napari_empiarreader.micrographs import write_mrc

QUICK = ["--steps", "2", "--reviews", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, ring_data):
    """Three micrographs as files, with labels on two of them, and negatives."""
    folder = tmp_path_factory.mktemp("rings")
    series, truth = ring_data(3, size=140)
    for i, name in enumerate(series.names):
        write_mrc(folder / name, series.read(i), 5.0)
    write_particles(folder / "labels.star", truth.where(truth.micrograph_index < 2).where(np.arange(18) % 2 == 0))
    write_particles(folder / "third.star", truth.where(truth.micrograph_index == 2))
    others = ParticleTable(series.names, np.array([[0, 50, 50], [1, 94, 50]], float))
    write_particles(folder / "negatives.star", others)
    return folder


def call(folder, output, *options):
    arguments = ["train", str(folder), "--labels", str(folder / "labels.star"), "--diameter", "120", "-o", str(output)]
    return CliRunner().invoke(app, [*arguments, *map(str, options)])


@pytest.fixture
def called(monkeypatch, folder):
    """What reaches the training, which is left out: (labels, settings, everything else)."""
    calls = []

    def stand_in(series, labels, settings, **others):
        calls.append((labels, settings, others))
        yield Warned("something is odd")
        yield Finished(None, 0.0)

    monkeypatch.setattr(training, "training_events", stand_in)
    return calls


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """What the command said, and the file of the model that it made."""
    output = tmp_path_factory.mktemp("trained") / "m.safetensors"
    return call(folder, output, *QUICK, "--negatives", folder / "negatives.star", "--seed", 3), output


@pytest.fixture
def ends(monkeypatch, trained):
    """Give what a training says before it ends; it ends at once, with the model that was trained before."""
    said = []

    def stand_in(*_, **__):
        yield from said
        yield Finished(load_model(trained[1]), 9.0)

    monkeypatch.setattr(training, "training_events", stand_in)
    return said


def test_a_model_is_trained_and_the_summary_says_how(trained):
    result, output = trained
    assert result.exit_code == 0, result.output
    assert "trained on CPU from 9 labels and 2 negatives" in result.stdout
    assert "particles expected per micrograph, in " in result.stdout
    record = load_model(output).provenance
    assert (record["labels"], record["negatives"], record["steps"], record["settings"]["seed"]) == (9, 2, 2, 3)


def test_the_defaults_are_those_of_the_settings(folder, tmp_path, called):
    call(folder, tmp_path / "m.safetensors")
    (labels, settings, others) = called[0]
    assert settings == TrainingSettings(120.0)
    assert len(labels) == 9
    assert {name: others[name] for name in ("negatives", "validation", "start", "state")} == dict.fromkeys(
        ("negatives", "validation", "start", "state")
    )


def test_every_option_reaches_the_training(folder, tmp_path, called):
    call(
        folder,
        tmp_path / "m.safetensors",
        *("--expected", 12, "--network", "conv31", "--objective", "ge-kl", "--slack", 5, "--autoencoder", 0.5),
        *("--steps", 7, "--reviews", 1, "--time-budget", 30, "--device", "cpu", "--precision", "float32", "--seed", 4),
        *("--hold-out", 1, "--patience", 3, "--validation", folder / "third.star", "--state", tmp_path / "s"),
        *("--negatives", folder / "negatives.star"),
    )
    (_, settings, others) = called[0]
    assert settings == TrainingSettings(
        120.0,
        expected_particles=12,
        network="conv31",
        objective="ge-kl",
        slack=5,
        autoencoder=0.5,
        steps=7,
        reviews=1,
        improving_steps=7,
        time_budget=30,
        device="cpu",
        precision="float32",
        seed=4,
        hold_out=1,
        patience=3,
    )
    assert others["state"] == tmp_path / "s"
    assert (len(others["validation"]), len(others["negatives"])) == (9, 2)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (["m2.mrc"], ["m2.mrc"]),
        (["m2"], ["m2.mrc"]),
        (["elsewhere/m2.mrc"], ["m2.mrc"]),
        (["m[2-9].mrc"], ["m2.mrc"]),
        (["elsewhere/*2*"], ["m2.mrc"]),
        (["m2.mrc", "m?.mrc"], ["m0.mrc", "m1.mrc", "m2.mrc"]),
    ],
)
@pytest.mark.parametrize("with_negatives", [False, True])
def test_empty_micrographs_are_named_or_meant_by_patterns(folder, tmp_path, called, said, meant, with_negatives):
    options = [word for name in said for word in ("--empty", name)]
    options += ["--negatives", folder / "negatives.star"] if with_negatives else []
    call(folder, tmp_path / "m.safetensors", *options)
    negatives = called[0][2]["negatives"]
    assert negatives.metadata["empty_micrographs"] == meant
    assert len(negatives) == (2 if with_negatives else 0)


def test_folders_in_a_pattern_tell_micrographs_of_one_name_apart(folder, tmp_path, called):
    for place, name in (("a/m0.mrc", "m0.mrc"), ("b/m0.mrc", "m0.mrc"), ("c/m1.mrc", "m1.mrc")):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).write_bytes((folder / name).read_bytes())
    write_particles(tmp_path / "labels.star", ParticleTable(("m1.mrc",), np.array([[0, 50.0, 50.0]])))
    arguments = ["--labels", str(tmp_path / "labels.star"), "--diameter", "120", "-o", str(tmp_path / "m.safetensors")]
    CliRunner().invoke(app, ["train", *(str(tmp_path / part) for part in "abc"), *arguments, "--empty", "b/*"])
    assert called[0][2]["negatives"].metadata["empty_micrographs"] == ["b/m0.mrc"]


def test_an_empty_micrograph_is_learned_from(folder, tmp_path):
    result = call(folder, tmp_path / "m.safetensors", *QUICK, "--empty", "m2.mrc")
    assert result.exit_code == 0, result.output
    assert "from 9 labels and 1 empty micrograph, " in result.stdout
    assert load_model(tmp_path / "m.safetensors").provenance["empty_micrographs"] == 1


def test_warnings_go_to_standard_error(folder, tmp_path, called):
    result = call(folder, tmp_path / "m.safetensors")
    assert "warning: something is odd" in result.stderr
    assert "odd" not in result.stdout


def test_labels_on_other_micrographs_are_left_out_aloud(folder, tmp_path):
    arguments = ["train", str(folder / "m0.mrc"), "--labels", str(folder / "labels.star"), "--diameter", "120"]
    negatives = ["--negatives", str(folder / "negatives.star")]
    result = CliRunner().invoke(
        app, [*arguments, *negatives, "-o", str(tmp_path / "m.safetensors"), *QUICK, "--network", "conv31"]
    )
    assert result.exit_code == 0, result.output
    assert "4 of 9 labels lie on other micrographs: not used" in result.stderr
    assert "1 of 2 negatives lie on other micrographs: not used" in result.stderr
    assert "all 5 labels are on one micrograph" in result.stderr
    assert load_model(tmp_path / "m.safetensors").network.name == "conv31"


def test_a_model_is_improved_with_its_own_network(folder, tmp_path):
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    save_model(first, PickerModel(build_network("conv31", units=4).eval(), 120.0))
    result = call(folder, second, *QUICK, "--start", first)
    assert result.exit_code == 0, result.output
    assert load_model(second).network.name == "conv31"
    result = call(folder, tmp_path / "3.safetensors", *QUICK, "--start", first, "--network", "matched")
    assert isinstance(result.exception, UserError) and "of the kind conv31, not matched" in str(result.exception)


def test_held_out_micrographs_and_the_picture(folder, tmp_path):
    result = call(folder, tmp_path / "m.safetensors", *QUICK, "--hold-out", 1, "--plot", tmp_path / "training.svg")
    assert result.exit_code == 0, result.output
    assert "average precision 0." in result.stdout and "on 1 held out" in result.stdout
    picture = (tmp_path / "training.svg").read_text()
    assert "<!-- Held-out micrographs -->" in picture and "<!-- loss -->" in picture


def test_folds_are_reported_before_the_training_on_all(folder, tmp_path):
    result = call(folder, tmp_path / "m.safetensors", *QUICK, "--folds", 2)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["fold", "1", "2", "mean", "s.d."]
    assert "lower bounds" in lines[5]
    assert lines[6].startswith("trained on CPU from 9 labels")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--folds", "3"], "3 folds need as many labelled micrographs, and there are 2"),
        (["--network", "unet"], "there is no network called 'unet'"),
        (["--network", "conv31", "--objective", "bce"], "there is no objective called 'bce'"),
        (["--objective", "ge-kl"], "objective is ge-kl"),
        (["--autoencoder", "1"], "autoencoder is 1"),
        (["--precision", "int8"], "precision is 'int8'"),
        (["--hold-out", "2"], "2 micrographs cannot be held out of 2"),
        (["--patience", "2"], "patience needs micrographs to look at"),
        (["--time-budget", "0"], "time_budget is 0"),
        (["--plot", "training.txt"], "training.txt: a picture can be written as .svg, .png, .pdf"),
        (["--start", "none.safetensors"], "none.safetensors: no such model file"),
        (["--negatives", "none.star"], "none.star"),
        (["--empty", "ice_*.mrc"], "--empty ice_*.mrc: none of the 3 micrographs is called so (the first: m0.mrc)"),
        (["--empty", "m0.mrc"], "m0.mrc is marked as empty and has labels"),
        (["--folds", "2", "--start", "some.safetensors"], "--folds judges pickers that begin anew"),
        (["--diameter", "-120"], "--diameter -120: a particle diameter is positive"),
        (["--diameter", "nan"], "--diameter nan: a particle diameter is positive"),
        (["--time-budget", "1e-9"], "the time budget of 1e-09 s ended before the first step"),
        (["--expected", "1e5"], "100000 particles of 120 Å are expected"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_mistake_is_an_error_that_names_it_and_leaves_no_file(folder, tmp_path, options, message):
    result = call(folder, tmp_path / "m.safetensors", *QUICK, *options)
    assert isinstance(result.exception, UserError), result.output
    assert message in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_model_and_state_are_files_of_their_own(folder, tmp_path):
    result = call(folder, tmp_path / "labels.star", *QUICK, "--overwrite")
    assert isinstance(result.exception, UserError) and "name a file that ends in .safetensors" in str(result.exception)
    result = call(folder, tmp_path / "m.safetensors", *QUICK, "--state", tmp_path / "m.safetensors")
    assert isinstance(result.exception, UserError) and "name another file" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_kept_unless_told(folder, tmp_path, ends):
    (tmp_path / "m.safetensors").write_text("mine")
    result = call(folder, tmp_path / "m.safetensors", *QUICK)
    assert isinstance(result.exception, UserError) and "exists already" in str(result.exception)
    assert (tmp_path / "m.safetensors").read_text() == "mine"
    assert call(folder, tmp_path / "m.safetensors", *QUICK, "--overwrite").exit_code == 0
    assert load_model(tmp_path / "m.safetensors")


@pytest.mark.skipif(os.name == "nt", reason="signals are sent in another way")
@pytest.mark.parametrize("with_state", [True, False])
def test_ctrl_c_keeps_the_state_and_says_how_to_go_on(folder, tmp_path, monkeypatch, with_state):
    """Given a training of 6 steps, when Ctrl-C comes in the third, then the same command does the others."""
    honest, pressed, steps = training.training_events, [], []

    def watched(*arguments, **options):
        for event in honest(*arguments, **options):
            if isinstance(event, Step):
                steps.append(event.step)
                if event.step == 3 and not pressed:
                    pressed.append(True)
                    os.kill(os.getpid(), signal.SIGINT)
            yield event

    monkeypatch.setattr(training, "training_events", watched)
    before = signal.getsignal(signal.SIGINT)
    options = ["--steps", 6, "--reviews", 0, "--device", "cpu"] + (
        ["--state", tmp_path / "state"] if with_state else []
    )
    result = call(folder, tmp_path / "m.safetensors", *options)
    assert result.exit_code == 130
    assert not (tmp_path / "m.safetensors").exists()
    assert signal.getsignal(signal.SIGINT) is before
    if not with_state:
        assert "nothing was kept; with --state FILE" in result.stderr
        return
    assert f"kept in {tmp_path / 'state'}: the same command goes on from there" in result.stderr
    assert call(folder, tmp_path / "m.safetensors", *options).exit_code == 0
    assert steps == [1, 2, 3, 4, 5, 6]
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]


def test_the_help_names_all_networks_and_objectives():
    """They cannot be looked up, because that would load PyTorch."""
    options = command.__annotations__
    assert all(name in str(options["network"]) for name in NETWORKS if name != "matched")
    assert all(name in str(options["objective"]) for name in OBJECTIVES)


def test_the_best_of_what_was_validated_is_reported(folder, tmp_path, ends):
    ends.extend([Validated(3, 0.25, True), Validated(4, 0.125, False)])
    assert "average precision 0.250 on 0 held out" in call(folder, tmp_path / "m.safetensors", *QUICK).stdout
