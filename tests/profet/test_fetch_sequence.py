"""Given sequences, when they are written as FASTA and read again, then they are the same; what is no FASTA is named."""

from __future__ import annotations

import gzip
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_profet import SequenceRecord, read_fasta, write_fasta
from napari_profet.errors import FileExistsAlreadyError, FormatError
from napari_profet.sequence import format_fasta, parse_fasta

words = st.text(string.ascii_letters + string.digits + "|_-.:;>", min_size=1).filter(lambda word: word[0] != ">")
lines = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp"))).map(str.strip)
letters = st.text(string.ascii_uppercase + "*-", min_size=1)
records = st.builds(SequenceRecord, words, letters, lines)


@given(st.lists(records, min_size=1), st.integers(1, 200))
def test_fasta_both_ways(written: list[SequenceRecord], width: int) -> None:
    assert parse_fasta(format_fasta(written, width=width).encode(), "memory") == written


def test_as_others_write_it(tmp_path: Path) -> None:
    path = tmp_path / "a.fasta"
    path.write_bytes(b"\r\n>sp|P1|X_Y  Some protein\r\nMK v\r\nLL\r\n\r\n; remark\r\n>two\r\nAC*\r\n")
    first, second = read_fasta(path)
    assert first == SequenceRecord("sp|P1|X_Y", "MKVLL", "Some protein")
    assert second == SequenceRecord("two", "AC*")


def test_written_compressed_and_never_over_another(tmp_path: Path) -> None:
    record = SequenceRecord("a", "M" * 130, "long")
    path = write_fasta(tmp_path / "a.fasta.gz", [record])
    assert [len(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()] == [7, 60, 60, 10]
    assert read_fasta(path) == [record]
    with pytest.raises(FileExistsAlreadyError):
        write_fasta(path, [record])
    assert write_fasta(path, [record], overwrite=True) == path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no sequence in it"),
        (b"MKV\n", "line 1 comes before any header"),
        (b">a\n>b\nMK\n", "begins in line 1 is empty"),
        (b">a\nMK\n>b\nM1K\n", "begins in line 3.*'1'"),
        (b">\nMK\n", "cannot name a sequence"),
        (b"\x1f\x8b\x08broken", "damaged"),
        (b">a\n\xff\xfe", "not a text file"),
    ],
)
def test_what_is_no_fasta(content: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=f"x.fasta.*{words}"):
        parse_fasta(content, "x.fasta")


@pytest.mark.parametrize(("name", "count"), [("a.txt", 1), ("a.fasta", 0)])
def test_what_cannot_be_written(name: str, count: int, tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        write_fasta(tmp_path / name, [SequenceRecord("a", "MK")] * count)
    with pytest.raises(FormatError, match="nothing to write of b"):
        write_fasta(tmp_path / "b.fasta", [SequenceRecord("b", "")])
    assert not list(tmp_path.iterdir())
