"""Damaged files of every image format: read, or refused with a reason. The benchmark does the same, much longer."""

import sys
import tracemalloc
import warnings
from pathlib import Path

import pytest

from napari_empiarreader.errors import FormatError
from napari_empiarreader.micrographs import open_image

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import header_mutations  # noqa: E402

NAMES = (
    "float.mrc",
    "tilts.st",
    "packed.mrc",
    "plain.tif",
    "lzw.tif",
    "deflate.tif",
    "big_zstd.tif",
    "movie.eer",
    "movie.dm3",
    "movie.dm4",
    "mrc.mrc.gz",
    "mrc.mrc.bz2",
    "mrc.mrc.xz",
    "tiff.tif.gz",
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return header_mutations.formats(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def _traced():
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    tracemalloc.stop()


@pytest.mark.usefixtures("_traced")
@pytest.mark.parametrize("name", NAMES)
def test_damage_is_refused_or_does_no_harm(sound, name):
    tally = header_mutations.examine(name, *sound[name], count=300, seed=1)
    assert tally.violations == []
    assert tally.refused > 30  # the damage was real


def test_every_image_format_is_examined(sound):
    from napari_empiarreader.micrographs.formats import image_format

    examined = {image_format(name) for name in NAMES}
    assert examined == {"mrc", "tiff", "eer", "dm"}
    assert set(NAMES) <= set(sound)


@pytest.mark.usefixtures("_traced")
def test_a_reader_that_does_harm_is_found_out():
    """Given readers with the three faults, then each is called a violation."""
    healthy = iter([True])

    def raises(data):
        if not next(healthy, False):
            raise KeyError("a slip")

    def greedy(data):
        return None if next(healthy, False) else bytearray(header_mutations.BYTES + 1)

    tally = header_mutations.examine("slip", b"x" * 100, raises, count=3, seed=0)
    assert len(tally.violations) == 3 and "number 0: KeyError" in tally.violations[0]
    healthy = iter([True])
    tally = header_mutations.examine("greed", b"x" * 100, greedy, count=2, seed=0)
    assert len(tally.violations) == 2 and "MB of memory" in tally.violations[0]


def test_a_reader_that_hangs_is_stopped(monkeypatch):
    monkeypatch.setattr(header_mutations, "SECONDS", 0.05)
    if not hasattr(header_mutations.signal, "setitimer"):
        pytest.skip("no timer of this process on this system")
    with pytest.raises(header_mutations.Hang), header_mutations._watched():
        while True:
            pass


def test_a_damaged_file_is_not_one_that_is_cut_short_in_memory():
    with pytest.raises(FormatError, match=r"damaged:a\.mrc"):
        open_image(header_mutations.Damaged(b"", "a.mrc"))
