"""The best picker so far stays on disk, whoever is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from napari_caked import load_model
from napari_caked.settings import PickSettings, TrainingSettings
from napari_caked.widgets import _keeping
from napari_caked.widgets._keeping import Keeper, new_kept_file
from napari_caked.widgets._messages import Job, Kept, Look, Read, Warned
from napari_caked.widgets._wire import receive, send


@pytest.fixture
def clock(monkeypatch):
    """Seconds, as the keeper sees them; pickers are their own names."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(_keeping.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr("napari_caked.checkpoint.save_model", lambda path, model, overwrite: path.write_text(model))
    return clock


def test_a_picker_is_kept_now_and_then_and_at_the_end(clock, tmp_path):
    file = tmp_path / "picker.safetensors"
    keeper = Keeper(str(file))
    assert list(keeper.offer("first", 10)) == [Kept(str(file), 10)]
    clock.now += 29
    assert list(keeper.offer("second", 20)) == [] and file.read_text() == "first"
    clock.now += 1
    assert list(keeper.offer("third", 30)) == [Kept(str(file), 30)] and file.read_text() == "third"
    assert list(keeper.write("last")) == [Kept(str(file), None)] and file.read_text() == "last"
    assert list(Keeper(None).write("nowhere")) == []


def test_where_micrographs_are_held_out_a_worse_picker_does_not_replace_a_better_one(clock, tmp_path):
    file = tmp_path / "picker.safetensors"
    keeper = Keeper(str(file))
    keeper.validated(True)
    list(keeper.offer("good", 10))
    keeper.validated(False)
    clock.now += 60
    assert list(keeper.offer("worse", 20)) == [] and file.read_text() == "good"
    keeper.validated(True)
    assert list(keeper.offer("better", 30)) and file.read_text() == "better"


def test_the_ten_newest_files_stay(clock, tmp_path):
    for age in range(15):
        old = tmp_path / f"{age}.safetensors"
        old.touch()
        os.utime(old, (1e9 - age, 1e9 - age))
    (tmp_path / "notes.txt").touch()
    keeper = Keeper(str(tmp_path / "new.safetensors"))
    list(keeper.offer("first", 10))
    kept = {file.stem for file in tmp_path.glob("*.safetensors")}
    assert kept == {"new", *map(str, range(9))} and (tmp_path / "notes.txt").exists()


def test_a_folder_that_cannot_be_written_to_is_a_warning(clock, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_caked.checkpoint.save_model", full)
    (said,) = Keeper(str(tmp_path / "picker.safetensors")).offer("first", 10)
    assert isinstance(said, Warned) and "No space left on device" in said.message and "CAKED_STATE" in said.message


def test_each_session_has_a_file_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("CAKED_STATE", str(tmp_path))
    assert new_kept_file() != new_kept_file() and new_kept_file().parent == tmp_path / "pickers"
    assert list(tmp_path.iterdir()) == []


def test_a_helper_whose_window_is_killed_keeps_what_it_has_learned(ring_data, tmp_path):
    series, labels = ring_data(2)
    file = tmp_path / "pickers" / "picker.safetensors"
    about = series.names, series.shape, series.dtype, series.pixel_size, ""
    settings = TrainingSettings(120.0, steps=100_000, device="cpu")
    job = Job(*about, labels, settings, PickSettings(device="cpu"), 0.02, look=Look(0), keep=str(file))
    command = [sys.executable, "-P", "-m", "napari_caked.widgets._helper"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as helper:
        send(helper.stdin, job)
        while not isinstance(message := receive(helper.stdout), Kept):
            if isinstance(message, Read):
                send(helper.stdin, series.read(message.index))
        assert message.path == str(file) and "steps" not in load_model(file).provenance
        helper.stdin.close()
        helper.stdout.close()
        helper.wait(120)
    model = load_model(file)
    assert model.particle_diameter == 120 and 0 < model.provenance["steps"] < 100_000
    assert [each.name for each in file.parent.iterdir()] == [file.name]
