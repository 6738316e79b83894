"""The command ``suggest``: places to label next, from a model, with nothing that is known already among them."""

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_caked.checkpoint import load_model, save_model
from napari_caked.cli import app
from napari_caked.picking import PickSettings, pick
from napari_caked.settings import TrainingSettings
from napari_caked.suggest import suggest_places
from napari_caked.training import train
from napari_empiarreader.coordinates import ParticleTable, read_particles, write_particles
from napari_empiarreader.errors import UserError
from napari_empiarreader.micrographs import write_mrc

WIDTH = 24.0  # pixels per particle


@pytest.fixture(scope="module")
def folder(tmp_path_factory, ring_data):
    """Three micrographs as files, labels on two of them, and a model that has learned little."""
    folder = tmp_path_factory.mktemp("rings")
    series, truth = ring_data(3, size=164)
    for i, name in enumerate(series.names):
        write_mrc(folder / name, series.read(i), 5.0)
    labels = truth.where(truth.micrograph_index < 2).where(np.arange(18) % 2 == 0)
    write_particles(folder / "labels.star", labels)
    settings = TrainingSettings(120.0, steps=4, reviews=0, device="cpu")
    save_model(folder / "model.safetensors", train(series, labels, settings))
    return folder


def call(folder, output, *options, micrographs=None):
    arguments = ["suggest", str(micrographs or folder), "--model", str(folder / "model.safetensors"), "-o", str(output)]
    return CliRunner().invoke(app, [*arguments, "--device", "cpu", *map(str, options)])


def near(places, name, yx):
    """Distances, in particle widths, of the places on a micrograph from another place."""
    here = [i for i, one in enumerate(places.micrographs) if one == name]
    return np.linalg.norm(places.where(np.isin(places.micrograph_index, here)).coordinates[:, 1:] - yx, axis=1) / WIDTH


def test_the_suggestions_are_those_of_the_function_in_its_order(folder, tmp_path, ring_data):
    """Given labels, when five places are asked for, then file and table hold what the function chooses, best first."""
    result = call(folder, tmp_path / "s.star", "--labels", folder / "labels.star", "-n", 5)
    assert result.exit_code == 0, result.output
    series, _ = ring_data(3, size=164)
    candidates = pick(series, load_model(folder / "model.safetensors"), PickSettings(threshold=0.0, device="cpu"))
    labels = read_particles(folder / "labels.star")
    expected = suggest_places(series, candidates, labels, particle_diameter=120.0, count=5)
    written = read_particles(tmp_path / "s.star").renamed_to(series.names)
    np.testing.assert_allclose(written.coordinates, expected.coordinates, atol=0.01)
    head, *rows, last = result.stdout.splitlines()
    assert head.split() == ["micrograph", "x", "y", "score"]
    y, x = expected.coordinates[0, 1:]
    name, score = series.names[expected.micrograph_index[0]], expected.features["score"][0]
    assert rows[0].split() == [name, f"{x:.1f}", f"{y:.1f}", f"{score:.2f}"]
    assert len(rows) == 5 and last == f"5 places to label next, the most useful first: {tmp_path / 's.star'}"


def test_nothing_that_is_known_is_suggested(folder, tmp_path):
    """Given the first suggestions as labels and negatives, then the next ones lie elsewhere, and none on empty ice."""
    assert call(folder, tmp_path / "1.star", "-n", 6).exit_code == 0
    first = read_particles(tmp_path / "1.star")
    write_particles(tmp_path / "yes.star", first.where(np.arange(6) < 3))
    write_particles(tmp_path / "no.star", first.where(np.arange(6) >= 3))
    known = ("--labels", tmp_path / "yes.star", "--negatives", tmp_path / "no.star", "--empty", "m2*")
    result = call(folder, tmp_path / "2.star", *known, "-n", 6)
    assert result.exit_code == 0, result.output
    second = read_particles(tmp_path / "2.star")
    assert len(second) == 6
    for number, *yx in first.coordinates:
        assert (near(second, first.micrographs[int(number)], np.array(yx)) >= 0.5).all()
    assert "m2.mrc" not in {second.micrographs[i] for i in second.micrograph_index}


def test_labels_of_other_micrographs_do_not_matter(folder, tmp_path):
    """Given suggestions wanted on new micrographs only, then labels of the old ones are left out aloud."""
    result = call(
        folder, tmp_path / "s.star", "--labels", folder / "labels.star", "-n", 2, micrographs=folder / "m2.mrc"
    )
    assert result.exit_code == 0, result.output
    assert "9 of 9 labels lie on other micrographs: not used" in result.stderr
    assert len(read_particles(tmp_path / "s.star")) == 2


def test_fewer_places_than_asked_for_are_said(folder, tmp_path):
    result = call(folder, tmp_path / "s.star", "-n", 100_000)
    assert result.exit_code == 0, result.output
    found = len(read_particles(tmp_path / "s.star"))
    assert 0 < found < 100_000
    assert f"only {found} places could be suggested" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", "none.star"], "none.star"),
        (["--empty", "x*"], "--empty x*: none of the 3 micrographs"),
        (["--empty", "m*"], "nothing left to ask"),
        (["--model", "none.safetensors"], "none.safetensors: no such model file"),
        (["--pixel-size", "0.001"], "check diameter and pixel size"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_an_error_that_names_it_and_leaves_no_file(folder, tmp_path, options, message):
    result = call(folder, tmp_path / "s.star", *options)
    assert isinstance(result.exception, UserError), result.output
    assert message in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_kept_and_only_star_is_written(folder, tmp_path):
    (tmp_path / "s.star").write_text("mine")
    result = call(folder, tmp_path / "s.star")
    assert isinstance(result.exception, UserError) and "exists already" in str(result.exception)
    assert (tmp_path / "s.star").read_text() == "mine"
    assert call(folder, tmp_path / "s.star", "--overwrite").exit_code == 0
    result = call(folder, tmp_path / "s.box")
    assert isinstance(result.exception, UserError) and "name a file that ends in .star" in str(result.exception)


def test_labels_with_no_places_are_no_mistake(folder, tmp_path):
    write_particles(tmp_path / "labels.star", ParticleTable(("m0.mrc",), np.empty((0, 3))))
    result = call(folder, tmp_path / "s.star", "--labels", tmp_path / "labels.star", "-n", 1)
    assert result.exit_code == 0, result.output
