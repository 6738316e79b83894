"""Given a density, when it is written and read, rescaled or cut, then it is the same in the same place."""

from __future__ import annotations

import gzip
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_profet.density import Density, boxed, rescaled
from napari_profet.density_files import read_density, write_density
from napari_profet.errors import DensityError, FileExistsAlreadyError, FormatError, NothingFoundError
from napari_profet.fourier import resampled


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def blob(shape: tuple[int, int, int], voxel_size: float, sigma: float = 6.0) -> Density:
    """Make a round Gaussian in the voxel n // 2, as good as band-limited; away from 0, 0, 0."""
    axes = [(np.arange(size) - size // 2) * voxel_size for size in shape]
    squared = axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2
    return Density(np.exp(-squared / (2 * sigma**2)), voxel_size, (100.0, -20.0, 3.5), "V")


@pytest.mark.parametrize("name", ["map.mrc", "map.map", "map.mrc.gz", "map.MAP.GZ"])
@pytest.mark.parametrize("unit", ["V", ""])
def test_a_density_comes_back_from_a_file(tmp_path: Path, name: str, unit: str) -> None:
    density = Density(noise(5, 6, 7), 1.25, (-31.25, 4.5, 0.75), unit)
    path = write_density(tmp_path / name, density)
    again = read_density(path)
    assert np.array_equal(again.data, density.data)
    assert again.voxel_size == pytest.approx(1.25, rel=1e-6)
    assert again.origin == density.origin
    assert (again.unit, again.name, again.source) == (unit, "map", str(path))
    first = path.read_bytes()
    assert write_density(path, density, overwrite=True).read_bytes() == first, "the same density, the same bytes"


def test_the_header_is_right_for_other_programs(tmp_path: Path) -> None:
    path = write_density(tmp_path / "map.mrc", Density(noise(4, 6, 8) + 3, 2.0, (1.0, 2.0, 3.0)))
    assert mrcfile.validate(path)
    with mrcfile.open(path) as mrc:
        header = mrc.header
        assert mrc.is_volume() and mrc.data.dtype == np.float32
        assert [int(header[name]) for name in ("nx", "ny", "nz", "mx", "my", "mz")] == [8, 6, 4, 8, 6, 4]
        assert header.cella.tolist() == (16.0, 12.0, 8.0)
        assert header.origin.tolist() == (3.0, 2.0, 1.0)
        assert float(header.dmean) == pytest.approx(mrc.data.mean(), rel=1e-5)


def test_existing_files_and_odd_names_are_refused(tmp_path: Path) -> None:
    density = Density(noise(4, 4, 4), 1.0)
    path = write_density(tmp_path / "map.mrc", density)
    with pytest.raises(FileExistsAlreadyError, match="map.mrc"):
        write_density(path, density)
    with pytest.raises(FormatError, match=r"\.mrc, \.map or \.mrc\.gz"):
        write_density(tmp_path / "map.tif", density)
    with pytest.raises(NothingFoundError, match="none.mrc"):
        read_density(tmp_path / "none.mrc")


def map_file(path: Path, data: np.ndarray, axes: tuple[int, int, int] = (1, 2, 3), **header: object) -> Path:
    """Write a map whose columns, rows and sections are these axes (1, 2, 3 = x, y, z), voxels of 1.5 Å."""
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(data)
        mrc.set_volume()
        # data are (sections, rows, columns); the cell is given in x, y, z.
        lengths = dict(zip(axes, data.shape[::-1], strict=True))
        mrc.header.mapc, mrc.header.mapr, mrc.header.maps = axes
        for number, name in ((1, "x"), (2, "y"), (3, "z")):
            mrc.header[f"m{name}"] = lengths[number]
            mrc.header.cella[name] = lengths[number] * 1.5
        for name, value in header.items():
            mrc.header[name] = value
    return path


@pytest.mark.parametrize("axes", [(1, 2, 3), (3, 2, 1), (2, 1, 3), (2, 3, 1), (3, 1, 2), (1, 3, 2)])
def test_any_order_of_axes_becomes_zyx(tmp_path: Path, axes: tuple[int, int, int]) -> None:
    truth = noise(4, 6, 8)
    # The array axis of x, y, z in truth is 2, 1, 0.
    stored = np.ascontiguousarray(truth.transpose([3 - axis for axis in reversed(axes)]))
    starts = {1: 10, 2: -20, 3: 30}
    header = dict(zip(("nxstart", "nystart", "nzstart"), (starts[axis] for axis in axes), strict=True))
    density = read_density(map_file(tmp_path / "emd.map", stored, axes, **header))
    assert np.array_equal(density.data, truth)
    assert density.voxel_size == pytest.approx(1.5)
    assert density.origin == pytest.approx((45.0, -30.0, 15.0))
    assert density.unit == ""


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float16, np.float32])
def test_any_mode_becomes_float32(tmp_path: Path, dtype: type) -> None:
    data = np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(dtype)
    path = map_file(tmp_path / "mode.mrc", data)
    swapped = tmp_path / "mode.map.gz"
    swapped.write_bytes(gzip.compress(path.read_bytes()))
    for file in (path, swapped):
        density = read_density(file)
        assert density.data.dtype == np.float32
        assert np.array_equal(density.data, data.astype(np.float32))


def test_what_is_no_map_is_named(tmp_path: Path) -> None:
    def refused(path: Path, message: str) -> None:
        with pytest.raises(FormatError, match=message) as caught:
            read_density(path)
        assert str(path) in str(caught.value)

    page = tmp_path / "page.map"
    page.write_text("<!DOCTYPE html>" + "not found " * 200)
    refused(page, "not a readable MRC")
    page.write_text("short")
    refused(page, "5 bytes are no map")
    good = map_file(tmp_path / "good.mrc", noise(6, 6, 6))
    cut = tmp_path / "cut.mrc"
    cut.write_bytes(good.read_bytes()[:-100])
    refused(cut, "not a readable MRC")
    cut = tmp_path / "cut.map.gz"
    cut.write_bytes(gzip.compress(good.read_bytes())[:-50])
    refused(cut, "damaged")
    refused(map_file(tmp_path / "flat.mrc", noise(6, 6, 6), cella=(0, 0, 0)), "no voxel size")
    refused(map_file(tmp_path / "long.mrc", noise(6, 6, 6), cella=(9, 9, 12)), "no cubes")
    refused(map_file(tmp_path / "skew.mrc", noise(6, 6, 6), cellb=(90, 90, 120)), "angles")
    refused(map_file(tmp_path / "axes.mrc", noise(6, 6, 6), mapc=2), "not 1, 2, 3 in any order")
    with mrcfile.new(tmp_path / "stack.mrcs") as mrc:
        mrc.set_data(noise(3, 6, 6))
        mrc.set_image_stack()
        mrc.voxel_size = 1.0
    refused(tmp_path / "stack.mrcs", "a stack of images")
    refused(map_file(tmp_path / "fourier.mrc", noise(6, 6, 6).astype(np.complex64)), "Fourier transform")
    assert read_density(tmp_path / "flat.mrc", voxel_size=2.0).voxel_size == 2.0


@given(size=st.integers(4, 13), bigger=st.integers(1, 9), other=st.integers(3, 8), seed=st.integers(0, 9))
@settings(max_examples=40)
def test_padding_a_transform_and_cropping_it_gives_the_volume_back(
    size: int, bigger: int, other: int, seed: int
) -> None:
    data = noise(size, other, size + 1, seed=seed)
    padded = resampled(data, (size + bigger, other + bigger, size + 1 + bigger))
    assert padded.mean() == pytest.approx(data.mean(), abs=1e-5), "the potential keeps its integral"
    assert np.allclose(resampled(padded, data.shape), data, atol=1e-5)


@pytest.mark.parametrize("shape", [(40, 40, 40), (36, 41, 50)])
@pytest.mark.parametrize("voxel_size", [1.0, 1.37, 2.0, 2.9, 3.21])
def test_rescaling_keeps_the_middle_the_shape_and_the_integral(shape: tuple[int, int, int], voxel_size: float) -> None:
    density = blob(shape, 2.0)
    result = rescaled(density, voxel_size)
    assert result.voxel_size == pytest.approx(voxel_size, rel=1.5e-3)
    assert result.centre == pytest.approx(density.centre, abs=1e-9)
    expected = blob(result.data.shape, result.voxel_size)
    assert abs(result.data - expected.data).max() < 0.01, "only where the box cut the blob"
    assert result.integral == pytest.approx(density.integral, rel=1e-4)


def test_boxing_crops_and_pads_about_the_middle() -> None:
    density = Density(noise(5, 8, 7), 1.5, (1.0, 2.0, 3.0))
    for box in (4, 6, 9, 12):
        result = boxed(density, box)
        assert result.data.shape == (box,) * 3
        assert result.centre == pytest.approx(density.centre)
        assert result.data[(box // 2,) * 3] == density.data[2, 4, 3]
    assert boxed(density, 12).integral == pytest.approx(density.integral, rel=1e-5)


def test_a_density_checks_itself() -> None:
    with pytest.raises(DensityError, match="volume of finite numbers"):
        Density(noise(4, 4), 1.0)
    with pytest.raises(DensityError, match="above 0 Å, not 0"):
        Density(noise(4, 4, 4), 0.0)
    with pytest.raises(DensityError, match="too many"):
        rescaled(Density(noise(30, 30, 30), 10.0), 0.1)
    density = Density(noise(4, 4, 4), 1.0)
    with pytest.raises(ValueError, match="read-only"):
        density.data[0, 0, 0] = 1
    smooth = blob((32, 32, 32), 1.0, 3.0).low_passed(5.0)
    # exp(-25 s²) is a Gaussian of the variance 25 / (2 pi²) in space, which adds to that of the blob.
    assert smooth.data.max() == pytest.approx((9 / (9 + 25 / (2 * np.pi**2))) ** 1.5, rel=1e-3)
