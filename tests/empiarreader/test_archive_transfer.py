"""The commands of Globus and Aspera: what a shell and the two programs make of them."""

import os
import shlex
import shutil
import stat
import subprocess
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_empiarreader.archive import ArchiveSettings, RemoteFile
from napari_empiarreader.archive.transfer import (
    TransferSettings,
    _globus_path,
    aspera_command,
    aspera_list,
    globus_batch,
    globus_command,
    transfer_text,
    write_transfer,
)
from napari_empiarreader.errors import ArchiveError, FileExistsAlreadyError, UnsafeNameError

SETTINGS = ArchiveSettings()
ODD = [
    "a b.mrc",
    "it's.mrc",
    'q"uote.mrc',
    "$HOME.mrc",
    "`id`.mrc",
    "a;rm -rf x",
    "-rf.mrc",
    "# no.mrc",
    "é中.mrc",
    "a\\b",
]
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/", exclude_categories=("Cc", "Zl", "Zp")), min_size=1)


def files(*names: str) -> list[RemoteFile]:
    return [RemoteFile(SETTINGS, 10017, f"data/{name}") for name in names]


def batch_lines(text: str) -> list[list[str]]:
    """Lines as globus-cli reads them: each split like a command line, comments allowed."""
    return [shlex.split(line, comments=True) for line in text.splitlines()]


def test_each_file_goes_from_its_place_in_the_archive_to_the_same_place_below_the_folder():
    assert batch_lines(globus_batch(files("x/a.mrc"))) == [["10017/data/x/a.mrc", "10017/data/x/a.mrc"]]
    assert aspera_list(files("x/a.mrc")) == "/10017/data/x/a.mrc\n10017/data/x/a.mrc\n"


@given(st.lists(NAMES, min_size=1, max_size=5))
def test_any_name_comes_out_of_the_lists_as_it_went_in(names):
    paths = [f"10017/data/{name}" for name in names]
    assert batch_lines(globus_batch(files(*names))) == [[path, path] for path in paths]
    assert aspera_list(files(*names)).split("\n") == [line for path in paths for line in (f"/{path}", path)] + [""]


def test_a_whole_folder_is_one_recursive_line():
    chosen = ["empiar://10017/data/movies/", "empiar://10018"]
    assert batch_lines(globus_batch(chosen)) == [
        ["--recursive", "10017/data/movies", "10017/data/movies"],
        ["--recursive", "10018", "10018"],
    ]
    assert aspera_list(chosen) == "/10017/data/movies\n10017/data\n/10018\n.\n"


@pytest.mark.parametrize("name", ["a\nb.mrc", "a\u2028b.mrc", "a\x85b.mrc"])
def test_a_name_with_a_line_break_is_refused(name):
    for make in (globus_batch, aspera_list):
        with pytest.raises(UnsafeNameError, match="line break"):
            make(files(name))


def test_an_address_that_is_none_is_refused():
    with pytest.raises(ArchiveError, match="no archive address"):
        globus_batch(["10017/data/a.mrc"])


def test_the_collections_and_the_server_are_settings(tmp_path):
    settings = TransferSettings(
        globus_collection="1234", globus_root="/pub/", globus_local="56 78", aspera_host="h.example", aspera_user="me"
    )
    words = shlex.split(globus_command(files("a.mrc"), tmp_path, "b.txt", settings))
    assert words[:4] == ["globus", "transfer", "1234:/pub/", f"56 78:{tmp_path}/"]
    assert words[4:] == ["--batch", "b.txt", "--sync-level", "checksum", "--label", "EMPIAR 10017"]
    words = shlex.split(aspera_command(tmp_path, "p.txt", settings))
    assert {"--user=me", "--host=h.example", "--mode=recv", "--file-pair-list=p.txt"} <= set(words)
    assert (words[0], words[-1]) == ("ascp", str(tmp_path))


def test_a_folder_on_windows_is_written_as_globus_connect_personal_wants_it():
    assert _globus_path(PureWindowsPath("C:\\Users\\me\\data")) == "/C/Users/me/data"


# ---- a real shell, with programs that write down what they are told -------------------------------------------


@pytest.fixture
def shell(tmp_path):
    """Run a text in sh with a globus and an ascp that only note their arguments; returns the calls and the folder."""
    if os.name == "nt" or not (sh := shutil.which("sh")):
        pytest.skip("no POSIX shell here")
    programs, log, work = tmp_path / "bin", tmp_path / "calls", tmp_path / "work folder"
    programs.mkdir()
    work.mkdir()
    for name in ("globus", "ascp"):
        program = programs / name
        program.write_text(
            "#!/bin/sh\n"
            '[ "$1 $2" = "endpoint local-id" ] && echo my-own-id && exit\n'
            f'for word in {name} "$@"; do printf "%s\\0" "$word"; done >> "{log}"\nprintf "\\n" >> "{log}"\n'
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def run(text: str) -> tuple[list[list[str]], Path]:
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        subprocess.run([sh, "-eu"], input=text, text=True, cwd=work, env=os.environ | {"PATH": path}, check=True)
        return [line.split("\0")[:-1] for line in log.read_text().split("\n")[:-1]], work

    return run


def test_a_shell_runs_the_text_as_it_is_meant_and_nothing_else(shell, tmp_path):
    folder = tmp_path / "it's $HOME; touch oops"
    calls, work = shell(transfer_text(files(*ODD), folder))
    globus, ascp = calls
    assert globus[:4] == [
        "globus",
        "transfer",
        f"{TransferSettings.globus_collection}:/empiar/world_availability/",
        f"my-own-id:{folder}/",
    ]
    assert (ascp[0], ascp[-1]) == ("ascp", str(folder))
    batch = (work / globus[globus.index("--batch") + 1]).read_text()
    assert batch_lines(batch) == [[f"10017/data/{name}"] * 2 for name in ODD]
    assert (work / "aspera-pairs.txt").read_text() == aspera_list(files(*ODD))
    assert sorted(path.name for path in work.iterdir()) == ["aspera-pairs.txt", "globus-batch.txt"]


def test_a_long_list_goes_into_files_with_a_script_for_each_program(shell, tmp_path):
    many = files(*(f"{i} x.mrc" for i in range(50)))
    assert "49 x.mrc" not in transfer_text(many, tmp_path / "o")
    written = write_transfer(many, tmp_path / "o", tmp_path / "lists")
    assert [path.name for path in written] == ["globus-batch.txt", "aspera-pairs.txt", "globus.sh", "aspera.sh"]
    (globus, ascp), _ = shell("".join(f"sh {shlex.quote(str(path))}\n" for path in written[2:]))
    assert Path(globus[globus.index("--batch") + 1]).read_text() == globus_batch(many)
    assert f"--file-pair-list={written[1]}" in ascp
    with pytest.raises(FileExistsAlreadyError):
        write_transfer(many, tmp_path / "o", tmp_path / "lists")
    assert len(write_transfer(many, tmp_path / "o", tmp_path / "lists", overwrite=True)) == 4


def test_the_text_says_what_has_to_be_checked():
    text = transfer_text(files("a.mrc"), "out")
    assert text.startswith("# Check first") and "https://www.ebi.ac.uk/empiar/faq" in text
