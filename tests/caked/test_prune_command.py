"""The command ``prune``: picks of other programs in, a STAR file with probabilities out, nothing dropped unasked."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from typer.testing import CliRunner

from napari_caked.cli import app
from napari_caked.errors import CheckpointError
from napari_caked.pruning.checkpoint import PRUNER_WEIGHTS, Pruner, general_pruner, load_pruner, save_pruner
from napari_caked.pruning.classify import advised, judged
from napari_caked.pruning.network import PrunerNetwork
from napari_caked.pruning.settings import CLASSES, PruneSettings
from napari_empiarreader.coordinates import ParticleTable, read_particles, write_particles
from napari_empiarreader.errors import FileExistsAlreadyError, UserError
from napari_empiarreader.micrographs import write_mrc


@pytest.fixture(scope="module")
def pruner() -> Pruner:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Pruner(PrunerNetwork(4).eval(), temperature=1.5, provenance={"made by": "chance"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory, ring_data, pruner):
    """Two micrographs as files, picks on them as EMAN boxes and as STAR, labels, and a pruner."""
    folder = tmp_path_factory.mktemp("rings")
    series, truth = ring_data(2, size=164)
    for i, name in enumerate(series.names):
        write_mrc(folder / name, series.read(i), 5.0)
        size = 24
        rows = [f"{x - size / 2:.0f}\t{y - size / 2:.0f}\t{size}\t{size}" for y, x in truth.on(i)]
        (folder / name.replace(".mrc", ".box")).write_text("\n".join(rows) + "\n")
    between = ParticleTable(truth.micrographs, np.clip(truth.coordinates + [0, 22, 22], 0, 160))
    write_particles(folder / "picks.star", truth)
    write_particles(folder / "good.star", truth.where(np.arange(6)))
    write_particles(folder / "bad.star", between.where(np.arange(6)))
    save_pruner(folder / "pruner.safetensors", pruner)
    return folder


def call(folder, output, *options, picks="picks.star"):
    micrographs = sorted(map(str, folder.glob("*.mrc")))
    arguments = ["prune", str(folder / picks), "--micrographs", *micrographs, "--diameter", "120", "-o", str(output)]
    if "--model" not in options:
        options = (*options, "--model", folder / "pruner.safetensors")
    return CliRunner().invoke(app, [*arguments, "--device", "cpu", *map(str, options)])


def test_every_pick_is_written_with_the_probability_that_the_function_gives(folder, tmp_path, ring_data, pruner):
    result = call(folder, tmp_path / "out.star")
    assert result.exit_code == 0, result.output
    series, truth = ring_data(2, size=164)
    settings = PruneSettings(device="cpu")
    logits = judged(series, truth, 120.0, advised(pruner, series, 120.0, settings), settings)
    exponents = np.exp(logits.astype(float))
    odds = np.log(exponents[:, 0] / exponents[:, 1:].sum(axis=1)) / 1.5
    written = read_particles(tmp_path / "out.star")
    assert len(written) == len(truth)
    np.testing.assert_allclose(written.features["probability"].astype(float), 1 / (1 + np.exp(-odds)), atol=1e-4)
    assert set(written.features["kind"]) <= set(CLASSES)
    assert f"all {len(truth)} picks are kept" in result.stdout
    assert "judged without labels" in result.output


def test_picks_of_another_program_are_read(folder, tmp_path):
    result = call(folder, tmp_path / "out.star", picks="m1.box")
    assert result.exit_code == 0, result.output
    assert len(read_particles(tmp_path / "out.star")) == 9


def test_a_threshold_leaves_out_what_is_less_probable_and_nothing_else(folder, tmp_path):
    call(folder, tmp_path / "all.star")
    everything = read_particles(tmp_path / "all.star").features["probability"].astype(float)
    middle = float(np.median(everything))
    result = call(folder, tmp_path / "some.star", "--threshold", middle)
    kept = read_particles(tmp_path / "some.star").features["probability"].astype(float)
    np.testing.assert_allclose(sorted(kept), sorted(everything[everything >= middle]), atol=1e-6)
    assert f"{len(kept)} of {len(everything)} picks are kept" in result.stdout


def test_labels_are_learned_from_and_the_pruner_can_be_kept(folder, tmp_path):
    labels = ("--good", folder / "good.star", "--bad", folder / "bad.star")
    result = call(folder, tmp_path / "out.star", *labels, "--save", tmp_path / "mine.safetensors", "--flips", 1)
    assert result.exit_code == 0, result.output
    kept = load_pruner(tmp_path / "mine.safetensors")
    assert kept.provenance["labels"] == {"particles": 6, "others": 6} and kept.provenance["made by"] == "chance"
    again = call(folder, tmp_path / "again.star", "--model", tmp_path / "mine.safetensors", "--flips", 1)
    assert again.exit_code == 0, again.output
    assert "judged without labels" not in again.output + result.output
    first, second = (read_particles(tmp_path / name).features["probability"] for name in ("out.star", "again.star"))
    np.testing.assert_allclose(first.astype(float), second.astype(float), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--good", "good.star"), "both --good and --bad"),
        (("--save", "x.safetensors"), "nothing is learned"),
        (("--model", "good.star"), "no readable safetensors"),
        (("--flips", "3"), "flips: 3"),
        (("--device", "abacus"), "no device called"),
    ],
)
def test_what_cannot_work_is_said_and_nothing_is_written(folder, tmp_path, options, says):
    options = [folder / one if one == "good.star" else one for one in options]
    result = call(folder, tmp_path / "out.star", *options)
    assert isinstance(result.exception, UserError) and says in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_stays_and_another_ending_is_refused(folder, tmp_path):
    (tmp_path / "out.star").write_text("mine")
    assert isinstance(call(folder, tmp_path / "out.star").exception, FileExistsAlreadyError)
    assert (tmp_path / "out.star").read_text() == "mine"
    assert "STAR" in str(call(folder, tmp_path / "out.csv").exception)


def rewrite(path, change=None, tensors=None, metadata=None):
    with safe_open(path, framework="pt") as file:
        kept = dict(file.metadata())
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if change:
        description = json.loads(kept["pruner"])
        change(description)
        kept["pruner"] = json.dumps(description)
    if tensors:
        tensors(held)
    save_file(held, path, kept if metadata is None else metadata)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ({"metadata": {"format": "pt"}}, "no pruner of napari-caked"),
        ({"change": lambda d: d.update(version=99)}, "newer napari-caked"),
        ({"change": lambda d: d.update(classes=["cat", "dog"])}, "classes cat, dog"),
        ({"change": lambda d: d.update(width=1000)}, "1000 channels"),
        ({"change": lambda d: d.pop("temperature")}, "temperature"),
        ({"change": lambda d: d.update(temperature=0)}, "temperature of 0"),
        ({"change": lambda d: d["patches"].update(side=-1)}, "side: -1"),
        ({"tensors": lambda t: t.pop("head.weight")}, "missing or too many: head.weight"),
        ({"tensors": lambda t: t["head.bias"].fill_(float("nan"))}, "not finite"),
    ],
)
def test_damaged_and_foreign_files_are_refused_in_words(pruner, tmp_path, damage, says):
    path = tmp_path / "p.safetensors"
    save_pruner(path, pruner)
    rewrite(path, **damage)
    with pytest.raises(CheckpointError, match=says) as refused:
        load_pruner(path)
    assert str(path) in str(refused.value)


def test_missing_and_cut_files_are_refused_and_existing_ones_kept(pruner, tmp_path):
    path = tmp_path / "p.safetensors"
    with pytest.raises(CheckpointError, match="no such model file"):
        load_pruner(path)
    save_pruner(path, pruner)
    with pytest.raises(FileExistsAlreadyError):
        save_pruner(path, pruner)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match="no readable safetensors"):
        load_pruner(path)


def test_a_pruner_read_again_is_the_same(pruner, tmp_path):
    save_pruner(tmp_path / "p.safetensors", pruner)
    again = load_pruner(tmp_path / "p.safetensors")
    assert (again.temperature, again.patches, again.provenance) == (1.5, pruner.patches, {"made by": "chance"})
    for name, tensor in pruner.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], tensor, atol=0, rtol=0)


def test_the_shipped_weights_are_small_and_tell_what_they_were_made_of():
    assert PRUNER_WEIGHTS.stat().st_size < 5e6
    assert "made-up specimens" in general_pruner().provenance["trained on"]
    assert PRUNER_WEIGHTS.with_suffix(".md").is_file()
