"""Tests of the commands ``dataset``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_caked.cli import main
from napari_caked.datasets.normalising import ZScore
from napari_caked.datasets.recipe import Recipe
from napari_caked.datasets.sources import folder_source
from napari_caked.datasets.store import open_store
from napari_empiarreader.coordinates import ParticleTable, write_star
from napari_empiarreader.micrographs.mrc import write_mrc


def run(monkeypatch, capsys, *words: str | Path) -> tuple[int, str, str]:
    """Exit code and both outputs of a command."""
    monkeypatch.setattr(sys, "argv", ["napari-caked", "dataset", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten volumes of each of two classes, two of them in a group."""
    there = tmp_path / "maps"
    there.mkdir()
    dice = np.random.default_rng(0)
    for name in ("alpha", "beta"):
        for i in range(10):
            np.save(there / f"{name}_g{i // 2}_{i}.npy", dice.normal(3, 2, (6, 5, 4)).astype(np.float32))
    return there


@pytest.fixture
def store(folder, monkeypatch, capsys) -> Path:
    path = folder.parent / "maps.dataset.zarr"
    assert run(monkeypatch, capsys, "build", folder, "-o", path, "--groups", r"(?P<group>g\d)")[0] == 0
    return path


def test_build_stores_prepared_items_and_their_card(folder, tmp_path, monkeypatch, capsys):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(Recipe((ZScore(),)).to_json())
    out = tmp_path / "maps.dataset.zarr"
    words = ("build", folder, "-o", out, "--recipe", recipe, "--pixel-size", "1.5", "--half", "--json")
    code, said, _ = run(monkeypatch, capsys, *words)
    assert code == 0
    told = json.loads(said)
    assert told["items"] == 20 and told["shape"] == [6, 5, 4] and told["voxel_size"] == [1.5] * 3
    assert told["classes"] == {"alpha": 10, "beta": 10}
    store = open_store(out)
    assert store.about["dtype"] == "float16" and store.about["made"]["command"][1:3] == ["dataset", "build"]
    np.testing.assert_allclose(store.images(range(20)).mean(axis=(1, 2, 3)), 0, atol=1e-2)
    assert {"card.json", "card.md", "card.png"} <= {file.name for file in out.iterdir()}


#: The program, which takes its time with every item, so that it is surely under way when it is interrupted; and which
#: hears of that also where the tests run in the background of a shell, whose children begin with interrupts ignored.
SLOWLY = """
import signal
import time
from napari_caked.datasets.sources.folder import FolderSource

read = FolderSource.items

def slowly(self, indices):
    for found in read(self, indices):
        time.sleep(0.02)
        yield found

FolderSource.items = slowly
signal.signal(signal.SIGINT, signal.default_int_handler)
"""


def test_a_build_that_was_cancelled_goes_on_with_the_same_command(tmp_path):
    there = tmp_path / "many"
    there.mkdir()
    for i in range(300):
        np.save(there / f"a_{i}.npy", np.full((64, 64, 64), i, np.float16))
    out = tmp_path / "many.dataset.zarr"
    program, words = "from napari_caked.cli import main; main()", ["dataset", "build", str(there), "-o", str(out)]
    slow, command = [sys.executable, "-c", SLOWLY + program, *words], [sys.executable, "-c", program, *words]
    with subprocess.Popen(slow, stderr=subprocess.PIPE, text=True) as process:
        while not (out / "parts" / "000000.json").is_file():
            assert process.poll() is None, process.stderr.read()
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "cancelled; what is finished" in said and "Traceback" not in said
    finished = len(list((out / "parts").glob("*.json")))
    before = (out / "image" / "c" / "0" / "0" / "0" / "0").stat().st_mtime_ns
    assert 0 < finished < 19
    subprocess.run(command, check=True, capture_output=True)
    assert (out / "image" / "c" / "0" / "0" / "0" / "0").stat().st_mtime_ns == before
    store = open_store(out)
    values = {int(name[2:-4]): i for i, name in enumerate(store.names)}
    assert store.images([values[7], values[299]])[:, 0, 0, 0].tolist() == [7, 299]


def test_particles_are_cut_from_micrographs(tmp_path, monkeypatch, capsys):
    image = np.random.default_rng(0).normal(size=(128, 128)).astype(np.float32)
    write_mrc(tmp_path / "m.mrc", image, 2.0)
    table = ParticleTable(("m.mrc",), np.array([[0, 40.0, 50.0], [0, 60.0, 70.0]]))
    write_star(tmp_path / "p.star", table)
    out = tmp_path / "p.dataset.zarr"
    words = ("build", tmp_path / "m.mrc", "--particles", tmp_path / "p.star", "--box", "32", "-o", out)
    code, said, _ = run(monkeypatch, capsys, *words)
    assert code == 0 and "2 items of 16 x 16: particle 2" in said
    np.testing.assert_array_equal(open_store(out).images([0])[0], image[32:48, 42:58])


def test_info_prints_the_card_and_verifies(store, tmp_path, monkeypatch, capsys):
    code, said, told = run(monkeypatch, capsys, "info", store, "--verify", "-o", tmp_path / "card")
    assert code == 0 and "| alpha | 10 | 5 |" in said and "20 items are as they were stored" in told
    assert (tmp_path / "card" / "card.png").is_file()
    code, said, _ = run(monkeypatch, capsys, "info", store, "--json")
    assert json.loads(said)["groups"] == {f"g{i}": 4 for i in range(5)}
    file = next((store / "image" / "c").rglob("0"))
    while file.is_dir():
        file = file / "0"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(bytes(content))
    code, _, told = run(monkeypatch, capsys, "info", store, "--verify")
    assert code == 1 and "has changed" in told


def test_split_writes_parts_that_share_no_group(store, tmp_path, monkeypatch, capsys):
    out = tmp_path / "split.json"
    code, said, _ = run(monkeypatch, capsys, "split", store, "-o", out, "--part", "train", "--part", "val=0.2")
    assert code == 0 and "train 16, val 4" in said
    parts = json.loads(out.read_text())
    groups = {part: {name.split("_")[1] for name in names} for part, names in parts.items()}
    assert not groups["train"] & groups["val"] and len(groups["val"]) == 1
    code, said, _ = run(monkeypatch, capsys, "split", store, "-o", tmp_path / "fold.json", "--folds", "5", "--json")
    assert code == 0 and [counts["val"] for counts in json.loads(said).values()] == [4] * 5
    assert (tmp_path / "fold_5.json").is_file()


def test_export_writes_a_part_as_files_that_are_read_again(store, tmp_path, monkeypatch, capsys):
    split = tmp_path / "split.json"
    run(monkeypatch, capsys, "split", store, "-o", split, "--part", "train", "--part", "val=0.2")
    out = tmp_path / "val"
    code, said, _ = run(monkeypatch, capsys, "export", store, "-o", out, "--split", split, "--part", "val")
    assert code == 0 and "4 items and items.csv" in said
    again = folder_source(out)
    assert again.classes == ("alpha", "beta") and len(again) == 4


@pytest.mark.parametrize(
    "words, said",
    [
        (("build", "{folder}", "-o", "x.zarr"), "ends with .dataset.zarr"),
        (("build", "{folder}", "-o", "{store}"), "built from another source"),
        (("build", "{folder}", "-o", "x.dataset.zarr", "--box", "5"), "--particles and --box"),
        (("build", "a.mrc", "b.mrc", "-o", "x.dataset.zarr"), "need --particles"),
        (("build", "{folder}", "-o", "x.dataset.zarr", "--classes", "colour"), "--classes colour"),
        (("build", "{folder}", "-o", "x.dataset.zarr", "--only", "gamma"), "no class 'gamma'"),
        (("build", "none", "-o", "x.dataset.zarr"), "no such folder"),
        (
            ("build", "{folder}", "-o", "x.dataset.zarr", "--recipe", "none.json"),
            "none.json: the recipe cannot be read",
        ),
        (("build", "s.mrcs", "-o", "x.dataset.zarr", "--masks", "{stem}"), "--masks and --partner are for folders"),
        (("info", "{folder}"), "zarr.json: no such file"),
        (("split", "{store}", "-o", "s.json", "--part", "val=lots"), "'lots' is no share"),
        (("split", "{store}", "-o", "s.json", "--part", "val", "--folds", "3"), "two ways"),
        (("export", "{store}", "-o", "x.txt"), "written as .h5"),
        (("export", "{store}", "-o", "x.mrcs"), "these are volumes"),
        (("export", "{store}", "-o", "x", "--part", "val"), "belong together"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(words, said, folder, store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    given = [word.replace("{folder}", str(folder)).replace("{store}", str(store)) for word in words]
    code, out, told = run(monkeypatch, capsys, *given)
    assert code == 1 and not out
    (line,) = [line for line in told.splitlines() if line]
    assert line.startswith("error: ") and said in line
    assert sorted(tmp_path.iterdir()) == before


def test_a_cryosparc_file_of_extracted_particles_is_a_source(tmp_path, monkeypatch, capsys):
    images = np.random.default_rng(0).normal(size=(3, 8, 8)).astype(np.float32)
    write_mrc(tmp_path / "s.mrc", images, 1.5)
    fields = [("blob/path", "S8"), ("blob/idx", "<u4"), ("blob/psize_A", "<f4"), ("alignments2D/class", "<u4")]
    rows = [(b">s.mrc", i, 1.5, kind) for i, kind in enumerate((4, 4, 9))]
    with (tmp_path / "p.cs").open("wb") as file:
        np.save(file, np.array(rows, fields))
    out = tmp_path / "p.dataset.zarr"
    words = ("build", tmp_path / "p.cs", "--classes", "alignments2D/class", "-o", out, "--json")
    code, said, _ = run(monkeypatch, capsys, *words)
    assert code == 0 and json.loads(said)["classes"] == {"4": 2, "9": 1}
    np.testing.assert_array_equal(open_store(out).images([0, 1, 2]), images)
