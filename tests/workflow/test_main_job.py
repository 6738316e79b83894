"""The main job from end to end: archive, lazy micrographs, ten labels, training, picks, a file other programs read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import starfile

from napari_caked import TrainingSettings, cli, evaluate, load_model, pick, train
from napari_caked.settings import PickSettings
from napari_caked.walkthrough import Job, report, run
from napari_empiarreader import open_micrographs, read_particles, write_particles
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import EntryNotFoundError
from napari_empiarreader.samples import SAMPLE_ENTRY, SimulationSettings, make_sample_entry

SETTINGS = SimulationSettings(shape=(640, 640), particles=120, phase=0.08)


_IN_A_PROCESS = ("outside", "safetensors")
"""Mistakes of training and of picking that are found late, when everything is imported."""


@pytest.fixture(scope="module")
def archive_folder(tmp_path_factory):
    return make_sample_entry(tmp_path_factory.mktemp("archive"), count=4, settings=SETTINGS)


@pytest.fixture(scope="module")
def server(archive_folder):
    with LoopbackArchive(archive_folder) as server:
        yield server


def command(*arguments, server=None, **options):
    """Run a command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from napari_caked.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | addresses(server),
        timeout=240,
        **options,
    )


def addresses(server):
    """The settings by which a command line finds the archive."""
    if server is None:
        return {}
    return {"EMPIAR_API_URL": server.settings.api_url, "EMPIAR_ARCHIVE_URL": server.settings.archive_url}


@pytest.fixture
def command_here(monkeypatch, capsys):
    """Run a command line in this process, which need not start and import everything first."""

    def run_here(*arguments, server, cwd):
        for name, value in addresses(server).items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["napari-caked", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return subprocess.CompletedProcess(sys.argv, ended.value.code, *capsys.readouterr())

    return run_here


def test_from_an_entry_number_to_a_star_file(server, tmp_path):
    result = run(Job(SAMPLE_ENTRY, SETTINGS.particle_diameter, limit=4, steps=48), server.archive)
    files = report(result, tmp_path / "out")
    assert len(result.labels) == 10
    assert set(result.held_out).isdisjoint(result.labels.micrographs[i] for i in result.labels.micrograph_index)
    assert result.evaluation.average_precision >= 0.9
    assert result.files_read == 4
    size = 640 * 640 * 4 + 1024
    assert 4 * size <= result.bytes_read <= 4 * size + 1024
    picks = starfile.read(files["picks"])
    assert set(picks["rlnMicrographName"]) <= {f"simulated_{i:03d}.mrc" for i in range(1, 5)}
    assert (picks["rlnAutopickFigureOfMerit"] >= 0.5).all()
    for what in ("picture", "training curve"):
        assert files[what].read_bytes().startswith(b"\x89PNG")
    assert "avg. precision" in result.table()


def test_script_and_command_line_give_the_same_picks(server, archive_folder, tmp_path, command_here):
    truth = read_particles(archive_folder / str(SAMPLE_ENTRY) / "data/particles.star")
    on_two = truth.where(truth.micrograph_index < 2)
    write_particles(tmp_path / "labels.star", on_two.where(np.arange(0, len(on_two), len(on_two) // 10)[:10]))
    address = f"empiar://{SAMPLE_ENTRY}/data/micrographs"

    trained = command(
        *("train", f"{address}/simulated_00[12].mrc", "--labels", tmp_path / "labels.star"),
        *("--diameter", SETTINGS.particle_diameter, "--seed", 5, "--steps", 32),
        *("-o", tmp_path / "m.safetensors"),
        server=server,
    )
    assert trained.returncode == 0, trained.stderr
    picked = command_here(
        *("pick", address, "--model", tmp_path / "m.safetensors", "--threshold", 0, "-o", tmp_path / "p.star"),
        server=server,
        cwd=tmp_path,
    )
    assert picked.returncode == 0, picked.stderr

    labels = read_particles(tmp_path / "labels.star")
    series = open_micrographs(f"{address}/simulated_00[12].mrc", archive=server.archive)
    model = train(series, labels, TrainingSettings(SETTINGS.particle_diameter, steps=32, seed=5))
    table = pick(open_micrographs(address, archive=server.archive), model, PickSettings(threshold=0))
    again = read_particles(tmp_path / "p.star").renamed_to(table.micrographs)
    assert len(again) == len(table)
    np.testing.assert_allclose(again.coordinates, table.coordinates, atol=0.02)
    np.testing.assert_allclose(again.features["score"], table.features["score"], atol=2e-3)
    loaded = pick(series, load_model(tmp_path / "m.safetensors"))
    assert len(loaded) and (loaded.features["score"] >= 0.5).all()

    scored = command_here(
        *("score", tmp_path / "p.star", archive_folder / str(SAMPLE_ENTRY) / "data/particles.star"),
        *("--diameter", SETTINGS.particle_diameter, "--border", 16, "--json"),
        server=server,
        cwd=tmp_path,
    )
    assert scored.returncode == 0, scored.stderr
    numbers = json.loads(scored.stdout)
    here = evaluate(again, truth, radius=SETTINGS.particle_diameter / 4, border=16, shape=series.shape)
    assert numbers["average_precision"] == pytest.approx(here.average_precision, abs=1e-6)
    assert numbers["match_radius_px"] == pytest.approx(SETTINGS.particle_diameter / 4)


# What would appear on standard error behind the one line.
@pytest.mark.filterwarnings("error::UserWarning", "error::RuntimeWarning", "error::FutureWarning")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "empiar://99999/data", "--labels", "{labels}", "--diameter", 130, "-o", "{new}"), "99999"),
        (("train", "{empty}", "--labels", "{labels}", "--diameter", 130, "-o", "{new}"), "no image of a known format"),
        (("train", "{micrographs}", "--labels", "{nothing}", "--diameter", 130, "-o", "{new}"), "no such file"),
        (("train", "{micrographs}", "--labels", "{none}", "--diameter", 130, "-o", "{new}"), "no labels"),
        (("train", "{micrographs}", "--labels", "{outside}", "--diameter", 130, "-o", "{new}"), "outside"),
        (("train", "{micrographs}", "--labels", "{labels}", "--diameter", 9e4, "-o", "{new}"), "half the micrograph"),
        (
            ("train", "{micrographs}", "--labels", "{labels}", "--diameter", 130, "--pixel-size", 0, "-o", "{new}"),
            "pixel",
        ),
        (("train", "{unsized}", "--labels", "{labels}", "--diameter", 130, "-o", "{new}"), "--pixel-size"),
        (("train", "{mixed}", "--labels", "{labels}", "--diameter", 130, "-o", "{new}"), "one size at a time"),
        (("train", "{corrupt}", "--labels", "{labels}", "--diameter", 130, "-o", "{new}"), "no MRC file"),
        (("train", "{micrographs}", "--labels", "{labels}", "--diameter", 130, "-o", "{old}"), "exists already"),
        (("pick", "{micrographs}", "--model", "{labels}", "-o", "{new}.star"), "safetensors"),
        (("score", "{none}", "{none}", "--diameter", 130, "--radius", 20), "no labels"),
        (("demo", "--entry", "99001", "--folder", "data/nowhere", "--diameter", "130"), "nowhere"),
        (("demo", "--entry", "99001"), "--diameter"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_file(server, archive_folder, tmp_path, command_here, arguments, message):
    from napari_empiarreader.micrographs import write_mrc

    real = archive_folder / str(SAMPLE_ENTRY) / "data"
    truth = read_particles(real / "particles.star")
    write_particles(tmp_path / "labels.star", truth.where(np.arange(5)))
    write_particles(tmp_path / "none.star", truth.where(np.zeros(len(truth), bool)))
    far = truth.where(np.arange(5))
    write_particles(tmp_path / "outside.star", replace(far, coordinates=far.coordinates + [0, 5000, 0]))
    image = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    for name, shape, size in (("unsized", (64, 64), None), ("mixed", (64, 64), 2.0), ("mixed", (48, 64), 2.0)):
        (tmp_path / name).mkdir(exist_ok=True)
        write_mrc(tmp_path / name / f"simulated_00{shape[0] % 7}.mrc", image[: shape[0]], size)
    (tmp_path / "empty").mkdir()
    (tmp_path / "corrupt").mkdir()
    (tmp_path / "corrupt/a.mrc").write_bytes(b"x" * 2000)
    if "{unsized}" in arguments:
        labels = replace(far.where([0]), micrographs=("simulated_001.mrc",), coordinates=np.array([[0, 9, 9]]))
        write_particles(tmp_path / "labels.star", labels, overwrite=True)
    places = {name: tmp_path / name for name in ("empty", "mixed", "unsized", "corrupt")}
    places |= {name: tmp_path / f"{name}.star" for name in ("labels", "none", "outside", "nothing")}
    places |= {
        "micrographs": real / "micrographs",
        "new": tmp_path / "new.safetensors",
        "old": tmp_path / "old.safetensors",
    }
    places["old"].write_text("mine")
    kept = (tmp_path / "labels.star").read_bytes()

    # Two of them in processes of their own, where imports too could write on standard error.
    start = command if message in _IN_A_PROCESS else command_here
    result = start(*(str(a).format(**places) for a in arguments), server=server, cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not places["new"].exists()
    assert places["old"].read_text() == "mine"
    assert (tmp_path / "labels.star").read_bytes() == kept


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a screen")
def test_a_window_without_a_screen_is_refused_before_the_work(monkeypatch, tmp_path):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    result = command("demo", "--gui", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("error: --gui needs a screen")
    assert list(tmp_path.iterdir()) == []


def test_labels_on_other_micrographs_are_left_out_aloud(archive_folder, tmp_path, command_here):
    data = archive_folder / str(SAMPLE_ENTRY) / "data"
    result = command_here(
        *("train", data / "micrographs/simulated_001.mrc", "--labels", data / "particles.star"),
        *("--diameter", SETTINGS.particle_diameter, "--steps", 4, "-o", tmp_path / "m.safetensors"),
        server=None,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    truth = read_particles(data / "particles.star")
    others = int((truth.micrograph_index > 0).sum())
    assert f"{others} of {len(truth)} labels lie on other micrographs" in result.stderr
    assert load_model(tmp_path / "m.safetensors").provenance["labels"] == len(truth) - others


def test_an_unknown_entry_is_an_error_in_a_script_too(server):
    with pytest.raises(EntryNotFoundError, match="99002"):
        run(Job(99002, 100.0), server.archive)
