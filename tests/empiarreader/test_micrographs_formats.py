"""Which reader a file gets: by its name, and by its first bytes where the name lies."""

import bz2
import gzip
import lzma
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_empiarreader.errors import FormatError, NothingFoundError
from napari_empiarreader.files import LocalFile
from napari_empiarreader.micrographs import open_image, write_mrc
from napari_empiarreader.micrographs.formats import IMAGE_SUFFIXES, image_format

sys.path.insert(0, str(Path(__file__).parent))
from detector_files import dm_bytes, dm_image, dm_tree, eer_bytes, eer_events  # noqa: E402

IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)


def sound(kind):
    """Bytes of a small file of each kind."""
    if kind == "eer":
        return eer_bytes([eer_events([(3, 5)], 256)], (16, 16))
    if kind.startswith("dm"):
        return dm_bytes(dm_tree(dm_image(IMAGE)), version=int(kind[2]))
    from io import BytesIO

    file = BytesIO()
    tifffile.imwrite(file, IMAGE, bigtiff=kind == "big tiff", byteorder=">" if kind == "big-endian tiff" else "<")
    return file.getvalue()


@pytest.fixture
def file(tmp_path):
    def make(name, data=None):
        if data is None:
            write_mrc(tmp_path / "sound.mrc", IMAGE, 1.5, overwrite=True)
            data = (tmp_path / "sound.mrc").read_bytes()
        (tmp_path / name).write_bytes(data)
        return LocalFile(tmp_path / name)

    return make


@pytest.mark.parametrize("suffix", [".mrc", ".mrcs", ".map", ".st", ".rec", ".ali", ".MRC", ".Mrcs"])
def test_every_name_of_an_mrc_file_leads_to_it(file, suffix):
    image = open_image(file(f"a{suffix}"))
    np.testing.assert_array_equal(image.frame(0), IMAGE)
    assert image.info.pixel_size == 1.5 and image.info.warnings == ()


@pytest.mark.parametrize(
    "name, kind",
    [
        ("a.tif", "tiff"),
        ("a.TIFF", "big tiff"),
        ("a.gain", "big-endian tiff"),
        ("a.eer", "eer"),
        ("a.dm3", "dm3"),
        ("a.dm4", "dm4"),
    ],
)
def test_every_other_format_leads_to_its_reader(file, name, kind):
    image = open_image(file(name, sound(kind)))
    assert image.info.warnings == ()
    assert image.frame(0).shape == image.info.shape[1:]


@pytest.mark.parametrize("kind", ["tiff", "big tiff", "big-endian tiff", "dm3", "dm4"])
@pytest.mark.parametrize("name", ["a.mrc", "a.eer", "a.mrc.gz", "a", "a.dat"])
def test_the_first_bytes_have_the_last_word_and_it_is_told(file, name, kind):
    image = open_image(file(name, sound(kind)))
    np.testing.assert_array_equal(image.frame(0), IMAGE)
    if name != "a.eer" or kind.startswith("dm"):
        assert any("whatever its name says" in warning and name in warning for warning in image.info.warnings)


@pytest.mark.parametrize("name", ["a.tif", "a.gain", "a.dm4", "a.gz", "a.eer", "a"])
def test_an_mrc_file_by_another_name_is_one(file, name):
    image = open_image(file(name))
    np.testing.assert_array_equal(image.frame(0), IMAGE)
    assert "another kind (mrc)" in image.info.warnings[0]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_file_without_the_ending_is_unpacked(file, pack):
    plain = file("b.mrc")
    image = open_image(file("a.mrc", pack(plain.path.read_bytes())))
    np.testing.assert_array_equal(image.frame(0), IMAGE)
    assert "the file is compressed" in image.info.warnings[0]


def test_a_neighbour_with_a_false_name_is_still_a_neighbour(file):
    first = open_image(file("a.dat"))
    np.testing.assert_array_equal(open_image(file("b.mrc"), first).frame(0), IMAGE)
    np.testing.assert_array_equal(open_image(file("c.dat"), first).frame(0), IMAGE)


@pytest.mark.parametrize("name", ["a.mrc", "a.tif", "a.eer", "a.dm3", "a.mrc.gz", "a.tif.bz2", "a.png", "a", "a.gz"])
@pytest.mark.parametrize(
    "data", [b"", b"x", b"<!DOCTYPE html><html>" + bytes(2000), bytes(3000), b"\x89PNG\r\n" + bytes(2000)], ids=len
)
def test_what_is_no_image_is_an_error_with_its_name(file, name, data):
    with pytest.raises(FormatError, match=name.replace(".", r"\.")):
        open_image(file(name, data))


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(NothingFoundError, match="no such file"):
        open_image(LocalFile(tmp_path / "gone.tif"))


def test_names_tell_formats():
    assert image_format("A.MRC.gz") == image_format("x/y.rec") == image_format("t.ali.bz2") == "mrc"
    assert image_format("a.tiff") == image_format("r.gain") == "tiff"
    assert image_format("a.eer") == "eer" and image_format("a.dm3") == image_format("a.dm4.xz") == "dm"
    assert image_format("a.gz") is image_format("mrc") is image_format("") is image_format("a.png") is None
    assert {".mrc", ".mrcs.bz2", ".tif.gz", ".dm4", ".eer", ".gain"} <= set(IMAGE_SUFFIXES)


def test_looking_at_names_and_mrc_files_imports_no_other_reader():
    code = (
        "import sys, napari_empiarreader.micrographs as m; m.open_image; m.open_images; "
        "print(sorted({'tifffile', 'imagecodecs', 'dask', 'scipy', 'mrcfile', 'pandas'} & {n.split('.')[0] for n in "
        "sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
