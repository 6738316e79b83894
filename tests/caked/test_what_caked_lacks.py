"""One test for each defect of CAKED 0.1.7 that was found by running it, in the order of that list."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

import napari_caked
from napari_caked.datasets.building import build
from napari_caked.datasets.filtering import LowPass
from napari_caked.datasets.loading import Dataset
from napari_caked.datasets.normalising import MinMax, ZScore
from napari_caked.datasets.recipe import Recipe
from napari_caked.datasets.resampling import Fit
from napari_caked.datasets.sources import folder_source
from napari_caked.errors import DatasetError


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """Twelve maps ``alpha_0.mrc`` … ``beta_11.mrc`` of 8 x 8 x 8 voxels of 2 Å."""
    folder, dice = tmp_path / "maps", np.random.default_rng(0)
    folder.mkdir()
    for i in range(12):
        write(folder / f"{('alpha', 'beta')[i % 2]}_{i}.mrc", dice.normal(5, 3, (8, 8, 8)))
    return folder


def write(path: Path, volume: np.ndarray) -> None:
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(volume.astype(np.float32))
        file.voxel_size = 2.0


def first(data: Dataset) -> torch.Tensor:
    return data.items()[0]["image"][0]


def test_1_normalising_normalises(maps):
    image = first(Dataset.from_folder(maps, recipe=Recipe((ZScore(),))))
    assert image.mean().abs() < 1e-5 and image.std(correction=0) == pytest.approx(1, abs=1e-4)


def test_2_a_filter_does_the_same_at_every_read_and_along_every_axis(maps):
    data = Dataset.from_folder(maps, recipe=Recipe((LowPass(8.0, edge=0),)))
    image = first(data)
    assert torch.equal(image, first(data))
    power = torch.fft.fftn(image).abs() ** 2
    for axis in range(3):
        # 1 / 8 Å is half of Nyquist: shells 3 and 4 of 8 voxels are gone along each axis.
        assert power.select(axis, 3).sum() < 1e-6 * power.sum() and power.select(axis, 4).sum() < 1e-6 * power.sum()


def test_3_a_constant_volume_is_an_error_or_zeros_and_never_nan(maps):
    write(maps / "alpha_0.mrc", np.full((8, 8, 8), 7))
    with pytest.raises(DatasetError, match=r"alpha_0.mrc: all its values are 7"):
        first(Dataset.from_folder(maps, recipe=Recipe((MinMax(),))))
    assert not first(Dataset.from_folder(maps, recipe=Recipe((MinMax(constant="zeros"),)))).any()


def test_4_rescaling_keeps_the_aspect(maps):
    ball = sum(((np.indices((10, 20, 40)) - np.array([5, 10, 20])[:, None, None, None]) / 4) ** 2) < 1
    write(maps / "alpha_0.mrc", ball)
    image = first(Dataset.from_folder(maps, recipe=Recipe((Fit(16),))))
    assert image.shape == (16, 16, 16)
    extent = [int((image.amax(dim=[a for a in range(3) if a != axis]) > 0.5).sum()) for axis in range(3)]
    assert max(extent) - min(extent) <= 1 and extent[2] == 3, "8 of 40 voxels across, 3 of 16, along every axis"


def test_5_labels_are_integers_and_classes_have_their_names(maps):
    (batch,) = Dataset.from_folder(maps).loader(12, shuffle=False)
    names = Dataset.from_folder(maps).classes
    assert batch["label"].dtype == torch.int64
    assert [names[k] for k in batch["label"]] == [name.split("_")[0] for name in batch["name"]]


def test_6_the_share_of_validation_is_a_share(maps):
    train, validation = Dataset.from_folder(maps).parted(0.25)
    assert (len(train), len(validation)) == (9, 3)
    with pytest.raises(DatasetError, match="a share from 0 to 1; for 20 % give 0.2"):
        Dataset.from_folder(maps).loaders(2, validation=20)


def test_7_a_batch_larger_than_the_set_is_a_smaller_batch(maps):
    assert [len(batch["name"]) for batch in Dataset.from_folder(maps).loader(100)] == [12]


def test_8_only_files_that_end_so_are_taken(maps):
    (maps / "alpha_20.mrc.json").write_text("{}")
    with mrcfile.new(maps / "alpha_21.mrcs") as file:
        file.set_data(np.zeros((2, 8, 8), np.float32))
    assert len(folder_source(maps)) == 12


def test_9_importing_and_loading_leave_global_random_numbers_alone(maps):
    script = """
import json, random, sys
import numpy as np
def drawn():
    random.seed(3); np.random.seed(3)
    return [random.random(), float(np.random.rand())]
expected = drawn()
random.seed(3); np.random.seed(3)
import napari_caked
from napari_caked.datasets.loading import Dataset
import torch
torch.manual_seed(3)
state = torch.get_rng_state()
for loader in Dataset.from_folder(sys.argv[1]).loaders(4):
    list(loader)
print(json.dumps([expected, [random.random(), float(np.random.rand())], torch.equal(state, torch.get_rng_state())]))
"""
    done = subprocess.run([sys.executable, "-c", script, str(maps)], capture_output=True, text=True, check=True)
    expected, there, same_torch = json.loads(done.stdout)
    assert there == expected and same_torch


def test_10_mixed_shapes_are_told_with_names_and_remedy(maps):
    write(maps / "alpha_0.mrc", np.zeros((4, 4, 4)))
    assert "2 different shapes" in folder_source(maps).warnings[0]
    with pytest.raises(DatasetError, match=r"alpha_0.mrc.*CropPad"):
        list(Dataset.from_folder(maps).loader(12, shuffle=False))


def test_11_the_version_stands_in_one_place_alone(maps, tmp_path):
    assert not hasattr(napari_caked, "__version__")
    store = build(folder_source(maps), tmp_path / "maps.dataset.zarr")
    assert store.about["versions"]["napari-caked"] == version("napari-caked")


def test_12_a_damaged_header_is_named_and_may_be_left_out(maps):
    (maps / "alpha_0.mrc").write_bytes(b"no map" * 300)
    with pytest.raises(DatasetError, match=r"alpha_0.mrc.*permissive"):
        folder_source(maps)
    source = folder_source(maps, permissive=True)
    assert len(source) == 11 and source.left_out[0].name == "alpha_0.mrc"
