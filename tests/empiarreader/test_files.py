"""Local bytes, and files that appear whole or not at all."""

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_empiarreader.errors import FileExistsAlreadyError, NothingFoundError, TruncatedFileError, UserError
from napari_empiarreader.files import ByteSource, LocalFile, replaced_when_complete

BYTES = bytes(range(200))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(BYTES)
    return LocalFile(path)


def test_a_local_file_is_a_byte_source(file):
    assert isinstance(file, ByteSource)
    assert file.name == "a.bin"
    assert file.uri == str(file.path)
    assert file.size() == 200


@given(st.integers(0, 200), st.integers(0, 200))
def test_any_range_within_the_file_is_read_as_asked(tmp_path_factory, first, second):
    path = tmp_path_factory.getbasetemp() / "ranges.bin"
    path.write_bytes(BYTES)
    start, stop = sorted((first, second))
    assert LocalFile(path).read(start, stop) == BYTES[start:stop]


def test_a_read_past_the_end_names_the_file_and_both_lengths(file):
    with pytest.raises(TruncatedFileError, match=r"a\.bin.*ends at byte 200.*promises 300"):
        file.read(150, 300)


def test_a_read_past_the_end_gives_what_there_is_when_that_will_do(file):
    assert file.read(150, 300, at_most=True) == BYTES[150:]
    assert file.read(500, 600, at_most=True) == b""


@pytest.mark.parametrize("start, stop", [(10, 5), (-1, 5), (-10, -5)])
def test_a_backward_or_negative_range_is_a_mistake_as_it_is_for_a_remote_file(file, start, stop):
    with pytest.raises(ValueError, match="no range"):
        file.read(start, stop)


@pytest.mark.parametrize("at_most", [False, True])
def test_a_range_beyond_all_memory_asks_for_no_memory(file, at_most):
    """Given a header that lies about sizes, when its pixels are read, then only what is on the disk is touched."""
    if at_most:
        assert file.read(0, 1 << 60, at_most=True) == BYTES
    else:
        with pytest.raises(TruncatedFileError):
            file.read(0, 1 << 60)


def test_a_missing_file_is_an_error_with_its_name(tmp_path):
    missing = LocalFile(tmp_path / "gone.mrc")
    for ask in (missing.size, lambda: missing.read(0, 1)):
        with pytest.raises(NothingFoundError, match=r"gone\.mrc"):
            ask()


def test_a_file_appears_whole_in_a_folder_that_is_made_for_it(tmp_path):
    target = tmp_path / "new" / "deeper" / "a.txt"
    with replaced_when_complete(target) as temporary:
        temporary.write_text("half")
        assert temporary.suffix == ".txt"
        assert not target.exists()
    assert target.read_text() == "half"
    assert list(target.parent.iterdir()) == [target]


def test_an_error_while_writing_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="disk full"), replaced_when_complete(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError("disk full")
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_replacing_keeps_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), replaced_when_complete(target, overwrite=True) as temporary:
        temporary.write_text("new")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_existing_file_is_refused_before_any_work(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    begun = False
    with (
        pytest.raises(FileExistsAlreadyError, match=r"a\.txt exists already") as caught,
        replaced_when_complete(target),
    ):
        begun = True
    assert not begun
    assert target.read_text() == "old"
    assert isinstance(caught.value, UserError)


def test_a_result_has_the_permissions_of_any_new_file(tmp_path):
    mask = os.umask(0o027)
    try:
        with replaced_when_complete(tmp_path / "a.txt") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640
