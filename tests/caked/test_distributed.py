"""Many micrographs: the same bytes whoever picks them, in whatever order, and whatever happens under way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from typer.testing import CliRunner

from napari_caked import many, parallel
from napari_caked.calibration import Calibration
from napari_caked.checkpoint import PickerModel, save_model
from napari_caked.cli import app
from napari_caked.errors import MicrographError, PickingError, SettingsError
from napari_caked.jobs import Micrograph, Outcome, Setup
from napari_caked.journal import Journal
from napari_caked.many import find_micrographs, join_tables, pick_many, shard_of
from napari_caked.models import MatchedFilterNetwork
from napari_caked.settings import PickSettings
from napari_empiarreader import read_particles, write_particles
from napari_empiarreader.errors import FileExistsAlreadyError, MissingLibraryError, TargetBusyError
from napari_empiarreader.micrographs import write_mrc

PROFILE = torch.exp(-(((torch.arange(15.0) - 8) / 2.1) ** 2))
SETTINGS = PickSettings(threshold=0.3, device="cpu")
COUNT = 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory, ring_data) -> Path:
    """Give a folder with a model and micrographs m0.mrc to m8.mrc."""
    folder = tmp_path_factory.mktemp("many")
    torch.manual_seed(0)
    # Untrained: its logits lie close around -3, from which this calibration makes probabilities of all kinds.
    network = MatchedFilterNetwork(PROFILE, channels=4).eval()
    calibration = Calibration(slope=200.0, offset=600.0)
    save_model(folder / "model.safetensors", PickerModel(network, 120.0, calibration=calibration))
    series, _ = ring_data(COUNT)
    for i in range(COUNT):
        write_mrc(folder / f"m{i}.mrc", series.read(i), 5.0)
    return folder


@pytest.fixture(scope="module")
def micrographs(folder) -> tuple[Micrograph, ...]:
    return find_micrographs(folder)


@pytest.fixture(scope="module")
def reference(folder, micrographs, tmp_path_factory) -> bytes:
    """Give the bytes of the STAR file that one process makes."""
    run = pick_many(micrographs, folder / "model.safetensors", SETTINGS, workers=1)
    assert not run.failed
    assert len(run.table) > COUNT
    return star(run, tmp_path_factory.mktemp("reference"))


def star(run: many.PickRun, folder: Path) -> bytes:
    write_particles(folder / "picks.star", run.table, overwrite=True)
    return (folder / "picks.star").read_bytes()


def shuffled(micrographs):
    return [micrographs[i] for i in np.random.default_rng(3).permutation(len(micrographs))]


def test_neither_the_order_of_files_nor_parts_change_a_byte(folder, micrographs, reference, tmp_path):
    settings = PickSettings(threshold=0.3, device="cpu", tile_memory=1e-3)
    run = pick_many(shuffled(micrographs), folder / "model.safetensors", settings, workers=1)
    assert star(run, tmp_path) == reference


def test_four_workers_of_which_two_die_give_the_same_bytes(folder, micrographs, reference, tmp_path, monkeypatch):
    children: list[subprocess.Popen] = []
    real = subprocess.Popen

    def recording(*arguments, **options):
        children.append(real(*arguments, **options))
        return children[-1]

    monkeypatch.setattr(parallel.subprocess, "Popen", recording)
    seen: list[str] = []

    def kill_two(done, total, message=""):
        seen.append(message.split(":")[0])
        if done == 2:
            children[0].kill()
            children[1].kill()

    run = pick_many(shuffled(micrographs), folder / "model.safetensors", SETTINGS, workers=4, progress=kill_two)
    assert sorted(seen) == [f"m{i}.mrc" for i in range(COUNT)]
    assert star(run, tmp_path) == reference
    assert len(children) >= 4
    assert all(child.wait(10) is not None for child in children)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="Windows stops no processes")
def test_a_worker_killed_while_it_loads_is_replaced(folder, micrographs, reference, tmp_path, monkeypatch):
    children: list[subprocess.Popen] = []
    real = subprocess.Popen

    def starting(*arguments, **options):
        children.append(real(*arguments, **options))
        if len(children) == 2:
            children[1].send_signal(signal.SIGSTOP)  # so it is not ready when the other is
        return children[-1]

    monkeypatch.setattr(parallel.subprocess, "Popen", starting)

    def kill_the_second(done, total, message=""):
        if done == 1:
            children[1].kill()

    run = pick_many(micrographs, folder / "model.safetensors", SETTINGS, workers=2, progress=kill_the_second)
    assert star(run, tmp_path) == reference
    assert len(children) == 3


def test_a_cluster_gives_the_same_bytes_although_a_worker_is_killed(folder, micrographs, reference, tmp_path):
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        pids = [worker.pid for worker in cluster.workers.values()]

        def kill_one(done, total, message=""):
            if done == 1:
                os.kill(pids[0], signal.SIGKILL)

        run = pick_many(
            shuffled(micrographs),
            folder / "model.safetensors",
            SETTINGS,
            scheduler=cluster.scheduler_address,
            progress=kill_one if hasattr(signal, "SIGKILL") else lambda *_: None,
        )
    assert star(run, tmp_path) == reference


def test_a_missing_library_or_scheduler_is_named(folder, micrographs, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "distributed", None)
        with pytest.raises(MissingLibraryError, match=r"napari-caked\[distributed\]"):
            pick_many(micrographs, folder / "model.safetensors", scheduler="tcp://localhost:1")
    pytest.importorskip("distributed")
    from napari_caked import distributed as ours

    monkeypatch.setattr(ours, "_PATIENCE", 1)
    with pytest.raises(PickingError, match="no dask scheduler answers"):
        pick_many(micrographs, folder / "model.safetensors", scheduler="tcp://127.0.0.1:9")


def test_what_cannot_be_picked_is_named_and_the_rest_is_picked(folder, micrographs, reference, tmp_path):
    write_mrc(tmp_path / "blank.mrc", np.zeros((256, 256), np.float32), 5.0)
    write_mrc(tmp_path / "nan.mrc", np.full((256, 256), np.nan, np.float32), 5.0)
    (tmp_path / "cut.mrc").write_bytes((folder / "m0.mrc").read_bytes()[:5000])
    (tmp_path / "text.mrc").write_text("not a picture")
    write_mrc(tmp_path / "small.mrc", np.random.default_rng(0).normal(size=(200, 180)).astype(np.float32), 5.0)
    everything = find_micrographs([folder, tmp_path])
    run = pick_many(everything, folder / "model.safetensors", SETTINGS, workers=1)
    assert set(run.failed) == {"blank.mrc", "nan.mrc", "cut.mrc", "text.mrc"}
    for name, reason in run.failed.items():
        assert name in reason
    ours = run.table.where(np.char.startswith(np.array(run.table.micrographs)[run.table.micrograph_index], "m"))
    assert star(many.PickRun(ours, {}, (), {}, 0), tmp_path) == reference
    with pytest.raises(MicrographError, match=r"blank\.mrc"):
        pick_many(everything, folder / "model.safetensors", SETTINGS, workers=1, strict=True)
    with pytest.raises(MicrographError, match="none of 2"):
        pick_many(find_micrographs([tmp_path / "blank.mrc", tmp_path / "nan.mrc"]), folder / "model.safetensors")


def test_an_interrupted_run_is_continued_and_nothing_is_done_twice(folder, micrographs, reference, tmp_path):
    journal = tmp_path / "picks.star.journal"
    model = folder / "model.safetensors"

    def interrupt(done, total, message=""):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pick_many(micrographs, model, SETTINGS, workers=1, journal=journal, progress=interrupt)
    with journal.open("ab") as file:
        file.write(b'{"file": ["half a li')  # what a crash leaves
    with pytest.raises(FileExistsAlreadyError, match="--resume"):
        pick_many(micrographs, model, SETTINGS, workers=1, journal=journal)
    with pytest.raises(PickingError, match=r"border was 0\.0"):
        pick_many(micrographs, model, PickSettings(threshold=0.3, border=1), journal=journal, resume=True)
    counted: list[int] = []
    run = pick_many(
        micrographs,
        model,
        SETTINGS,
        workers=1,
        journal=journal,
        resume=True,
        progress=lambda done, total, message="": counted.append(done),
    )
    assert (run.resumed, counted) == (4, [5, 6, 7, 8, 9])
    assert star(run, tmp_path) == reference
    again = pick_many(micrographs, model, SETTINGS, journal=journal, resume=True)
    assert again.resumed == COUNT
    assert star(again, tmp_path) == reference


def test_a_changed_file_and_a_failure_are_done_again(tmp_path):
    about = {"model": "abc"}
    (tmp_path / "a.mrc").write_text("a")
    (tmp_path / "b.mrc").write_text("b")
    a, b = Micrograph("a.mrc", str(tmp_path / "a.mrc")), Micrograph("b.mrc", str(tmp_path / "b.mrc"))
    with Journal(tmp_path / "j", about) as journal:
        journal.add(a, Outcome("a.mrc", np.array([[1.5, 2, 3]])))
        journal.add(b, Outcome("b.mrc", error="broken"))
        with pytest.raises(TargetBusyError, match="another run"):
            Journal(tmp_path / "j", about, resume=True)
    with Journal(tmp_path / "j", about, resume=True) as journal:
        assert list(journal.finished([a, b])) == ["a.mrc"]
    (tmp_path / "a.mrc").write_text("another")
    with Journal(tmp_path / "j", about, resume=True) as journal:
        assert not journal.finished([a, b])


@given(hnp.arrays(np.float64, st.tuples(st.integers(0, 5), st.just(3))), st.text(), st.text())
def test_outcomes_keep_every_bit(picks, name, error):
    back = Outcome.from_json(Outcome(name, picks, error, pixel_size=1.25).as_json())
    assert (back.name, back.error, back.pixel_size) == (name, error, 1.25)
    assert back.picks.tobytes() == picks.tobytes()


@pytest.mark.parametrize("parts", [1, 2, 4, 20])
def test_shards_share_all_micrographs_out_by_name(parts):
    everything = [Micrograph(f"m{i:02d}.mrc", f"/m{i}") for i in (3, 1, 7, 0, 2, 6, 5, 4)]
    shards = [shard_of(everything, (i, parts)) for i in range(1, parts + 1)]
    assert sorted(one.name for shard in shards for one in shard) == sorted(one.name for one in everything)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert shard_of(everything[::-1], (1, parts)) == shards[0]
    with pytest.raises(SettingsError, match="counted from 1"):
        shard_of(everything, (parts + 1, parts))


def test_the_command_picks_in_shards_and_joins_them(folder, reference, tmp_path):
    model, output = str(folder / "model.safetensors"), tmp_path / "all.star"
    options = [str(folder), "--model", model, "--threshold", "0.3", "--device", "cpu", "--workers", "1"]
    for i in (1, 2):
        result = CliRunner().invoke(app, ["pick", *options, "-o", str(output), "--shard", f"{i}/2"])
        assert result.exit_code == 0, result.output
    shards = [str(tmp_path / f"all_{i}-of-2.star") for i in (2, 1)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all_1-of-2.star", "all_2-of-2.star"]
    result = CliRunner().invoke(app, ["join", shards[0], "-o", str(output)])
    assert isinstance(result.exception, PickingError)
    assert "missing: 1-of-2" in str(result.exception)
    assert CliRunner().invoke(app, ["join", *shards, "-o", str(output)]).exit_code == 0
    assert output.read_bytes() == reference
    with pytest.raises(PickingError, match="in two of the tables"):
        join_tables([read_particles(shards[0]), read_particles(shards[0])])


def test_the_command_names_what_failed_and_keeps_the_rest(folder, tmp_path):
    write_mrc(tmp_path / "blank.mrc", np.zeros((256, 256), np.float32), 5.0)
    output = tmp_path / "picks.star"
    options = [str(folder / "m0.mrc"), str(tmp_path / "blank.mrc"), "--model", str(folder / "model.safetensors")]
    arguments = ["pick", *options, "-o", str(output), "--device", "cpu"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 3, result.output
    assert "not picked: blank.mrc: all pixels have the value 0" in result.output
    assert "picks on 1 micrographs (1 could not be)" in result.output
    assert set(read_particles(output).micrographs) <= {"m0.mrc"}
    mended = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    write_mrc(tmp_path / "blank.mrc", mended, 5.0, overwrite=True)
    result = CliRunner().invoke(app, [*arguments, "--resume", "--overwrite"])
    assert result.exit_code == 0, result.output
    assert "1 of them by an earlier run" in result.output
    assert not output.with_name("picks.star.journal").exists()


def test_a_run_without_a_single_pick_is_a_file_that_reads_back(folder, tmp_path):
    output = tmp_path / "none.star"
    options = ["--model", str(folder / "model.safetensors"), "--threshold", "1", "--border", "5", "--device", "cpu"]
    result = CliRunner().invoke(app, ["pick", str(folder / "m0.mrc"), "-o", str(output), *options])
    assert result.exit_code == 0, result.output
    assert "0 picks on 1 micrographs, 0.0 each" in result.output
    assert len(read_particles(output)) == 0


def test_sections_of_a_stack_are_micrographs(folder, ring_data, tmp_path):
    series, _ = ring_data(2)
    write_mrc(tmp_path / "two.mrcs", np.stack([series.read(0), series.read(1)]), 5.0)
    found = find_micrographs(tmp_path / "two.mrcs")
    assert [one.name for one in found] == ["1@two.mrcs", "2@two.mrcs"]
    run = pick_many(found, folder / "model.safetensors", SETTINGS, workers=1)
    apart = pick_many(find_micrographs(folder)[:2], folder / "model.safetensors", SETTINGS, workers=1)
    np.testing.assert_array_equal(run.table.coordinates, apart.table.coordinates)


FAKE = textwrap.dedent(
    """
    import json, os, sys
    setup = json.loads(sys.stdin.readline())
    if {start!r} == "die":
        sys.exit("no room")
    if {start!r} == "refuse":
        print(json.dumps({{"refused": "that model is no model"}}), flush=True)
        sys.exit()
    print(json.dumps({{"ready": "a fake"}}), flush=True)
    for line in sys.stdin:
        name = json.loads(line)["name"]
        if name.startswith("killer"):
            print('{{"name": "half', end="", flush=True)
            os._exit(9)
        print(json.dumps({{"name": name, "picks": "", "error": "", "device": "", "pixel_size": None}}), flush=True)
    """
)


def fake_workers(monkeypatch, start=""):
    monkeypatch.setattr(parallel, "_PROGRAM", [sys.executable, "-S", "-c", FAKE.format(start=start)])


SETUP = Setup("model", "", PickSettings(), None, "", "")


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("killers", [(), (0,), (5, 6), (19,)], ids=str)
def test_a_micrograph_that_kills_its_workers_is_given_up_and_all_others_are_picked(monkeypatch, workers, killers):
    fake_workers(monkeypatch)
    given = [Micrograph(f"killer{i}" if i in killers else f"m{i}", f"/{i}") for i in range(20)]
    outcomes = list(parallel.pick_on_processes(given, SETUP, workers))
    assert sorted(one.name for one in outcomes) == sorted(one.name for one in given)
    assert {one.name for one in outcomes if one.error} == {f"killer{i}" for i in killers}
    assert all("fewer workers" in one.error for one in outcomes if one.error)


@pytest.mark.parametrize(("start", "message"), [("die", "before it was ready.*no room"), ("refuse", "no model")])
def test_workers_that_do_not_start_are_an_error_and_no_endless_loop(monkeypatch, start, message):
    fake_workers(monkeypatch, start)
    with pytest.raises(PickingError, match=message):
        list(parallel.pick_on_processes([Micrograph("m", "/m")] * 3, SETUP, 2))


def test_a_model_that_is_replaced_under_way_is_noticed(folder, micrographs, monkeypatch):
    setup = many._setup(folder / "model.safetensors", SETTINGS, None, None)
    other = Setup(**{**{name: getattr(setup, name) for name in setup.__dataclass_fields__}, "checksum": "0" * 64})
    with pytest.raises(PickingError, match="was replaced"):
        list(many._outcomes(micrographs[:1], other, 1, None))
    assert Setup.from_json(setup.as_json()) == setup
    assert json.loads(setup.as_json())["settings"]["threshold"] == 0.3
