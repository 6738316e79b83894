"""Compressed files: what was packed comes out, only as much as is asked for, and damage is an error."""

import bz2
import gzip
import io
import lzma
import pickle
import random
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import FormatError, NothingFoundError, TruncatedFileError, UserError
from napari_empiarreader.files import LocalFile
from napari_empiarreader.micrographs import compressed, open_image, write_mrc
from napari_empiarreader.micrographs.compressed import DecompressedFile, decompressed

PACK = {".gz": lambda data: gzip.compress(data, 1), ".bz2": bz2.compress, ".xz": lzma.compress}
ENDINGS = pytest.mark.parametrize("ending", PACK)


class Memory:
    """Bytes as a source that counts."""

    def __init__(self, data, name="a.mrc.gz"):
        self.data, self.name, self.reads = data, name, []

    @property
    def uri(self):
        return f"memory:{self.name}"

    def read(self, start, stop, *, at_most=False):
        assert at_most  # the end of a compressed file is not known beforehand
        self.reads.append((start, stop))
        return self.data[start:stop]

    def size(self):
        return len(self.data)


@ENDINGS
@given(
    members=st.lists(st.binary(max_size=3000) | st.integers(0, 200_000).map(bytes), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 220_000), min_size=2, max_size=8),
)
@settings(max_examples=60)
def test_any_piece_of_any_number_of_members_is_that_of_the_whole(ending, members, cuts):
    whole = b"".join(members)
    source = Memory(b"".join(map(PACK[ending], members)))
    file = decompressed(source, ending)
    for start, stop in zip(cuts, cuts[1:], strict=False):
        start, stop = sorted((start, stop))
        assert file.read(start, stop, at_most=True) == whole[start:stop]
        if stop <= len(whole) or start == stop:
            assert file.read(start, stop) == whole[start:stop]
        else:
            with pytest.raises(TruncatedFileError, match=f"ends at byte {len(whole):,}, its header promises"):
                file.read(start, stop)
    assert file.size() == len(whole)


@ENDINGS
def test_only_the_beginning_is_fetched_for_a_header_and_later_blocks_are_large(ending):
    whole = random.Random(1).randbytes(3_000_000)
    source = Memory(PACK[ending](whole))
    file = decompressed(source, ending)
    assert file.read(0, 1024) == whole[:1024]
    first = 1 if ending == ".gz" else 3  # bzip2 packs 900,000 bytes at a time
    assert len(source.reads) <= first
    assert file.read(2_900_000, 2_900_010) == whole[2_900_000:2_900_010]
    assert len(source.reads) <= 5
    before = len(source.reads)
    assert file.read(100, 2_000_000) == whole[100:2_000_000]
    assert len(source.reads) == before  # kept in the temporary file
    assert all(start == stop for (_, stop), (start, _) in zip(source.reads, source.reads[1:], strict=False))


@ENDINGS
def test_a_bomb_takes_no_more_memory_than_is_asked_for(ending):
    packed = PACK[ending](bytes(100_000_000))
    assert len(packed) < 1_000_000
    file = decompressed(Memory(packed), ending)
    tracemalloc.start()
    try:
        assert file.read(0, 1024) == bytes(1024)
        assert file.read(50_000_000, 50_000_010) == bytes(10)
        assert tracemalloc.get_traced_memory()[1] < 3e7
    finally:
        tracemalloc.stop()
    file.close()


@ENDINGS
@pytest.mark.parametrize("kept", [0, 1, 2, 5, 0.5, -1])
def test_a_file_that_breaks_off_is_an_error_each_time(ending, kept):
    whole = random.Random(2).randbytes(300_000)
    packed = PACK[ending](whole)
    packed = packed[: int(len(packed) * kept) if isinstance(kept, float) else kept]
    file = decompressed(Memory(packed), ending)
    for _ in range(2):
        with pytest.raises(TruncatedFileError, match=r"memory:a\.mrc\.gz: the compressed file breaks off at byte"):
            file.read(0, 300_000)
            file.size()  # a checksum may be all that is missing
    if kept == 0.5 and ending == ".gz":
        assert file.read(0, 1000) == whole[:1000]


@ENDINGS
@given(st.integers(0, 20_000), st.integers(1, 255))
@settings(max_examples=50)
def test_a_flipped_byte_gives_the_right_bytes_or_an_error(ending, place, flip):
    whole = random.Random(3).randbytes(9000) + bytes(9000)
    packed = bytearray(PACK[ending](whole))
    packed[place % len(packed)] ^= flip
    try:
        file = decompressed(Memory(bytes(packed)), ending)
        assert file.size() == len(whole)
        assert file.read(0, len(whole)) == whole
    except FormatError as error:
        assert "memory:a.mrc.gz" in str(error)


def test_what_follows_the_last_member_does_no_harm():
    packed = gzip.compress(b"one") + bytes(1000) + gzip.compress(b"two") + bytes(200_000) + b"a signature"
    assert decompressed(Memory(packed), ".gz").read(0, 10, at_most=True) == b"onetwo"


def test_something_else_by_the_name_of_a_compressed_file_is_damaged():
    with pytest.raises(FormatError, match=r"memory:a\.mrc\.gz: the compressed file is damaged"):
        decompressed(Memory(b"<html>not today</html>"), ".gz").read(0, 10)


def test_an_xz_file_that_wants_gigabytes_of_memory_is_refused():
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 28}]
    packed = lzma.compress(b"x", filters=filters)
    with pytest.raises(FormatError, match="Memory usage limit"):
        decompressed(Memory(packed), ".xz").read(0, 1)


def test_an_error_of_the_source_is_not_the_files_and_not_kept():
    source = Memory(gzip.compress(b"there"))
    file = decompressed(source, ".gz")
    data, source.data = source.data, None
    source.read = lambda *args, **kwargs: (_ for _ in ()).throw(NothingFoundError("gone for a while"))
    with pytest.raises(NothingFoundError, match="gone for a while"):
        file.read(0, 5)
    del source.read
    source.data = data
    assert file.read(0, 5) == b"there"


def test_a_full_disk_is_an_error_that_says_where(monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(compressed.tempfile, "SpooledTemporaryFile", lambda **_: Full())
    file = decompressed(Memory(gzip.compress(bytes(100))), ".gz")
    for _ in range(2):
        with pytest.raises(UserError, match="no room to unpack it in .*No space left"):
            file.read(0, 10)


def test_many_threads_unpack_once():
    whole = random.Random(4).randbytes(2_000_000)
    source = Memory(gzip.compress(whole, 1))
    file = decompressed(source, ".gz")
    places = random.Random(5).sample(range(1_900_000), 60)
    with ThreadPoolExecutor(12) as pool:
        pieces = list(pool.map(lambda place: file.read(place, place + 1000), places))
    assert pieces == [whole[place : place + 1000] for place in places]
    assert len(source.reads) == len(set(source.reads))


def test_it_is_equal_to_itself_and_travels_to_another_process(tmp_path):
    (tmp_path / "a.mrc.gz").write_bytes(gzip.compress(b"abc"))
    one, two = (decompressed(LocalFile(tmp_path / "a.mrc.gz"), ".gz") for _ in range(2))
    assert one == two and hash(one) == hash(two) and one.name == "a.mrc"
    assert one != decompressed(LocalFile(tmp_path / "b.mrc.gz"), ".gz")
    assert one.read(0, 2) == b"ab"
    assert pickle.loads(pickle.dumps(one)).read(1, 3) == b"bc"


def test_closing_and_forgetting_free_the_temporary_file():
    file = decompressed(Memory(gzip.compress(bytes(6_000_000))), ".gz")
    file.size()
    kept = file._unpacked
    file.close()
    assert kept.closed
    assert file.read(0, 3) == bytes(3)
    kept = file._unpacked
    del file
    assert kept.closed


@ENDINGS
def test_compressed_micrographs_of_the_archive_are_images(tmp_path, ending):
    image = np.random.default_rng(6).normal(size=(40, 50)).astype(np.float32)
    write_mrc(tmp_path / "plain" / "a.mrc", image, 1.5)
    (tmp_path / "entry").mkdir()
    (tmp_path / "entry" / f"a.mrc{ending}").write_bytes(PACK[ending]((tmp_path / "plain" / "a.mrc").read_bytes()))
    with LoopbackArchive() as server:
        server.add_entry(99001, tmp_path / "entry")
        source = server.archive.file(99001, f"data/a.mrc{ending}")
        opened = open_image(source)
        assert isinstance(opened.source, DecompressedFile)
        assert opened.info.pixel_size == 1.5
        np.testing.assert_array_equal(opened.frame(0), image)
        # One request for the file, and one more that finds its end.
        assert len([request for request in server.requests if request.path.endswith(ending)]) <= 2


def test_zlib_itself_agrees_about_members():
    """Our steps and the standard library's reader give the same for what both accept."""
    members = [random.Random(i).randbytes(i * 1000) for i in range(6)]
    packed = b"".join(gzip.compress(member) for member in members)
    file = decompressed(Memory(packed), ".gz")
    with gzip.open(io.BytesIO(packed)) as theirs:
        assert file.read(0, 10**6, at_most=True) == theirs.read() == b"".join(members)
    assert zlib.crc32(file.read(0, file.size())) == zlib.crc32(b"".join(members))
