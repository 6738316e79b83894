"""What CAKED 0.1.7 and its unmerged branch get wrong when they transform an item, and what is done here instead.

The others of its transforms' defects have their tests where the step is tested: `normalise` that changes nothing and
NaN of constant volumes (test_recipe.py), `rescale` that squeezes (test_transforms.py).
"""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from napari_caked.datasets.augment_fourier import MissingWedge
from napari_caked.datasets.augment_geometry import Rotate, Scale, Shift
from napari_caked.datasets.augment_noise import GaussianNoise, PoissonNoise
from napari_caked.datasets.augment_quarters import TurnQuarters
from napari_caked.datasets.augment_values import Erase
from napari_caked.datasets.filtering import LowPass
from napari_caked.datasets.normalising import ZScore
from napari_caked.datasets.recipe import Recipe
from napari_caked.datasets.resampling import Fit, Rescale
from napari_caked.datasets.sample import Sample

RECIPE = Recipe((Fit(24),), (Rotate(), GaussianNoise(), PoissonNoise(), MissingWedge(), Erase(), ZScore()))


def volume(shape=(24, 24, 24), seed=0, **more) -> Sample:
    return Sample.from_array(np.random.default_rng(seed).normal(size=shape), 2.0, **more)


def test_a_filter_is_the_same_on_every_read_and_crosses_all_axes():
    """Defect 2: the width of `gaussianblur` is drawn anew on every read, and z is not blurred."""
    point = np.zeros((24, 24, 24))
    point[12, 12, 12] = 1
    one, two = (LowPass(12.0)(Sample.from_array(point, 2.0)).image.numpy() for _ in range(2))
    assert np.array_equal(one, two)
    assert np.allclose(one, one.transpose(2, 0, 1), atol=1e-7) and np.allclose(one, one.transpose(1, 0, 2), atol=1e-7)
    assert one[10, 12, 12] > 0.1 * one[12, 12, 12]


def test_importing_and_applying_leave_everybodys_random_numbers_alone():
    """Defect 9: importing CAKED reseeds numpy's generator; here nothing global is drawn from, or seeded."""
    script = """
import numpy as np, random, sys, torch
np.random.seed(5), random.seed(5), torch.manual_seed(5)
from napari_caked.datasets.recipe import Recipe
from napari_caked.datasets.sample import Sample
sample = Sample.from_array(np.arange(24.0**3).reshape(24, 24, 24) % 7, 2.0)
Recipe.from_json(sys.argv[1]).apply(sample, seed=1, epoch=1, index=1)
print(np.random.rand() == np.random.RandomState(5).rand(), random.random() == random.Random(5).random(),
      float(torch.rand(())) == float(torch.rand((), generator=torch.Generator().manual_seed(5))))
"""
    done = subprocess.run([sys.executable, "-c", script, RECIPE.to_json()], capture_output=True, text=True)
    assert done.stdout.split() == ["True"] * 3, done.stderr


def test_volumes_of_mixed_shapes_and_voxel_sizes_come_to_one():
    """Defect 10: mixed shapes raise when a batch is made; and voxel sizes are never read."""
    shapes = [(10, 20, 40), (24, 24, 24), (31, 30, 29)]
    batch = torch.stack([RECIPE.apply(volume(shape), seed=0, epoch=0, index=0).image for shape in shapes])
    assert batch.shape == (3, 24, 24, 24)
    sizes = [
        Rescale(3.0)(Sample.from_array(np.random.default_rng(0).normal(size=(40, 40)), a)).voxel_size for a in (1, 2.5)
    ]
    assert np.allclose(sizes, 3.0, rtol=3e-3)


@pytest.mark.parametrize("step", [Rotate(), Scale(), Shift(3), TurnQuarters(), Rescale(1.3), Rescale(3.1), Fit(17)])
def test_labels_of_masks_are_never_interpolated(step):
    """`randrot` of the branch turns label volumes by cubic splines: labels 0 and 5 become all there is between."""
    mask = np.zeros((24, 24, 24), np.int32)
    mask[6:14, 8:20, 4:18], mask[16:20, 4:9, 3:9] = 5, 1000
    done = step(volume(mask=mask)).mask
    assert set(done.unique().tolist()) == {0, 5, 1000} and not done.is_floating_point()


def test_angles_are_any_and_not_three_about_one_axis():
    """`randrot` of the branch knows 30, 60 and 90 degrees about one axis."""
    axis = np.array([[12.0, 12, 12], [12, 12, 20]])
    ends = np.array([Rotate()(volume(points=axis), index=i).points.numpy()[1] - 12 for i in range(50)])
    assert np.allclose(np.linalg.norm(ends, axis=1), 8, atol=1e-3)
    assert len(np.unique(ends.round(2), axis=0)) == 50 and np.all(np.ptp(ends, axis=0) > 10)


class _Augmented(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> torch.Tensor:
        return RECIPE.apply(volume(seed=index), seed=4, epoch=2, index=index).image


def test_workers_and_batches_change_nothing():
    """CAKED has no seeds, and loads in one process only."""
    alone = torch.stack([_Augmented()[i] for i in range(6)])
    for batch, workers in ((4, 0), (1, 2), (3, 2)):
        loader = torch.utils.data.DataLoader(_Augmented(), batch_size=batch, num_workers=workers)
        assert torch.equal(torch.cat(list(loader)), alone), (batch, workers)
    assert pickle.loads(pickle.dumps(RECIPE)) == RECIPE  # as workers that are spawned get it
