"""Names that may become files on this disk, and files that arrived whole and are damaged all the same."""

import random
from pathlib import Path, PureWindowsPath

import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from napari_empiarreader.archive._suspicion import suspicion
from napari_empiarreader.archive._targets import existing_parent, refuse_clashes, target_of
from napari_empiarreader.archive.download import download, plan
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import UnsafeNameError

NOISE = np.random.default_rng(3).normal(size=(512, 512)).astype(np.float32)


# ---- names ---------------------------------------------------------------------------------------------------


HOSTILE = ["..", "../x", "a/../b", "/etc/passwd", "a//b", "", ".", "a/./b", "a\\..\\b", "a\0b", "a\nb", "\udc80", "a/"]


@pytest.mark.parametrize("path", HOSTILE)
def test_a_path_that_leaves_its_folder_is_refused(path):
    with pytest.raises(UnsafeNameError):
        target_of(Path("/data"), 10017, path)


@given(st.text(st.characters(), max_size=40) | st.from_regex(r"[a./\\:~]{1,12}", fullmatch=True))
def test_whatever_the_name_the_file_stays_below_the_folder(path: str):
    folder = Path("/data/out")
    try:
        target = target_of(folder, 10017, path)
    except UnsafeNameError:
        return
    assert target.parts[: len(folder.parts) + 1] == (*folder.parts, "10017")
    assert ".." not in target.parts and len(target.parts) == len(folder.parts) + 1 + len(path.split("/"))


@pytest.mark.parametrize(
    "name", ["con", "NUL.mrc", "Com1.tar.gz", "lpt9", "a:b", "a?", "a ", "a.", "COM¹.x", 'a"b', "aux .x"]
)
def test_names_that_windows_cannot_store_are_refused_there_only(name):
    with pytest.raises(UnsafeNameError, match="Windows"):
        target_of(Path("/data"), 10017, f"data/{name}/x.mrc", windows=True)
    assert target_of(Path("/data"), 10017, f"data/{name}/x.mrc", windows=False)


@pytest.mark.parametrize("name", ["console.mrc", "nulls", "com10", "a.b.c", "é", "x con"])
def test_ordinary_names_are_fine_on_windows(name):
    target = target_of(Path("/data"), 10017, name, windows=True)
    assert PureWindowsPath(target).name == name


@pytest.mark.parametrize("names", [["A.mrc", "a.mrc"], ["stra\u00dfe", "STRASSE"], ["e\u0301", "\u00e9"]])
def test_names_that_differ_in_case_only_clash_where_case_is_ignored(tmp_path, names):
    targets = [tmp_path / name for name in names]
    refuse_clashes(targets, tmp_path, ignores_case=False)
    with pytest.raises(UnsafeNameError, match="would be one file"):
        refuse_clashes(targets, tmp_path, ignores_case=True)


def test_whether_the_disk_ignores_case_is_looked_up(tmp_path):
    upper, lower = tmp_path / "case" / "A", tmp_path / "case" / "a"
    upper.mkdir(parents=True)
    ignores_case = lower.exists()
    try:
        refuse_clashes([upper, lower], tmp_path / "case" / "new" / "folder")
    except UnsafeNameError:
        assert ignores_case
    else:
        assert not ignores_case
    assert existing_parent(tmp_path / "case" / "new" / "folder") == tmp_path / "case"


# ---- damaged files -------------------------------------------------------------------------------------------


def mrc(path: Path, image: np.ndarray = NOISE) -> Path:
    with mrcfile.new(path) as file:
        file.set_data(image)
    return path


def tiff(path: Path, **options: object) -> Path:
    tifffile.imwrite(path, np.stack([NOISE, NOISE]), **options)  # type: ignore[arg-type]
    return path


def cut(path: Path, length: int) -> Path:
    path.write_bytes(path.read_bytes()[:length])
    return path


def end_in_zeros(path: Path, count: int) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[:-count] + bytes(count))
    return path


def test_what_is_well_is_not_suspected(tmp_path):
    for path in (
        mrc(tmp_path / "a.mrc"),
        mrc(tmp_path / "b.mrcs", np.stack([NOISE] * 3)),
        tiff(tmp_path / "c.tif"),
        tiff(tmp_path / "d.tiff", compression="deflate"),
        tiff(tmp_path / "e.tif", tile=(128, 128), bigtiff=True),
    ):
        assert suspicion(path) == ""
    (tmp_path / "notes.txt").write_text("x")
    assert suspicion(tmp_path / "notes.txt") == ""


@pytest.mark.parametrize("name", ["a.mrc", "a.star", "a.tif", "a.eer", "a.gz"])
def test_nothing_but_zeros_is_suspected(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(2_500_000))
    assert suspicion(tmp_path / name) == "all 2,500,000 bytes are zeros"


def test_zeros_at_the_end_are_suspected_where_they_are_many(tmp_path):
    assert "the last" in suspicion(end_in_zeros(mrc(tmp_path / "a.mrc"), NOISE.nbytes // 2 + 1000))
    assert suspicion(end_in_zeros(mrc(tmp_path / "b.mrc"), 10_000)) == ""
    large = mrc(tmp_path / "c.mrc", np.tile(NOISE, (8, 4)))
    assert "the last 4.2 MB of 33.6 MB are zeros" in suspicion(end_in_zeros(large, 4_200_000))


def test_an_mrc_header_that_contradicts_the_length_is_suspected(tmp_path):
    assert "cut off" in suspicion(cut(mrc(tmp_path / "a.mrc"), 500_000))
    longer = mrc(tmp_path / "b.mrc")
    longer.write_bytes(longer.read_bytes() + random.Random(1).randbytes(5000))
    assert "longer" in suspicion(longer)
    page = tmp_path / "c.mrc"
    page.write_text("<!DOCTYPE html><html><body>Down for maintenance</body></html>" * 30)
    assert "web page" in suspicion(page)


def test_a_tiff_that_was_cut_off_is_suspected(tmp_path):
    whole = tiff(tmp_path / "a.tif").read_bytes()
    for length in (4, 100, 500_000, len(whole) - 1000):
        (tmp_path / "b.tif").write_bytes(whole[:length])
        assert suspicion(tmp_path / "b.tif"), length
    (tmp_path / "c.tif").write_bytes(random.Random(2).randbytes(100_000))
    assert suspicion(tmp_path / "c.tif")


def test_a_reader_that_fails_in_its_own_way_does_not_undo_a_download(tmp_path, monkeypatch, caplog):
    def broken(*_: object) -> None:
        raise IndexError("a defect")

    monkeypatch.setattr("napari_empiarreader.micrographs.mrc_header.parse_mrc_header", broken)
    assert suspicion(mrc(tmp_path / "a.mrc")) == ""
    assert "could not be looked at" in caplog.text


def test_suspicious_files_are_kept_and_named_in_the_report(tmp_path):
    data = tmp_path / "archive" / "10017" / "data"
    data.mkdir(parents=True)
    mrc(data / "good.mrc")
    cut(mrc(data / "cut.mrc"), 500_000)
    (data / "zeros.mrc").write_bytes(bytes(1_000_000))
    with LoopbackArchive(tmp_path / "archive") as server:
        report = download(plan(server.archive, ["empiar://10017/data"], tmp_path / "out"))
    place = tmp_path / "out" / "10017" / "data"
    assert report.is_complete and len(report.done) == 3
    assert set(report.suspicious) == {place / "cut.mrc", place / "zeros.mrc"}
    assert (place / "cut.mrc").read_bytes() == (data / "cut.mrc").read_bytes()
    assert "2 suspicious" in str(report)
