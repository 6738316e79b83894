"""Crops show what lies at their place, planes lie on the same places, and everything is turned alike."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from napari_caked.datasets.crops import CropSource

SIZE = 33


def numbered(shape):
    """Images whose pixels tell their own place, exact in half precision: row in the first, column in the second."""
    rows, columns = torch.meshgrid(*map(torch.arange, shape), indexing="ij")
    return rows.float(), columns.float()


def planes_of(image, weight=None):
    """A plane with the image's values on every second pixel, and a weight of one."""
    half = image[::2, ::2]
    return torch.stack([half, torch.ones_like(half) if weight is None else weight])


@pytest.mark.parametrize("shape", [(71, 81), (70, 80), (70, 81), (72, 79)], ids=str)
def test_a_crop_and_its_planes_are_the_slices_of_the_images_at_the_same_place(shape):
    """Given even and odd sides, then a plane's pixel j is the crop's pixel 2 j, wherever it was cut and turned."""
    rows, columns = numbered(shape)
    source = CropSource([rows, columns], [planes_of(rows), planes_of(columns)], SIZE, seed=1)
    beyond = 0
    for _ in range(12):
        images, planes = source.draw(8)
        assert images.shape == (8, 1, SIZE, SIZE) and planes.shape == (8, 2, SIZE // 2 + 1, SIZE // 2 + 1)
        assert torch.equal(images[:, 0, ::2, ::2], planes[:, 0])
        beyond += int((planes[:, 1] == 0).any())
    assert beyond  # in the mirror image, too


@pytest.mark.parametrize("shape", [(71, 81), (70, 80)], ids=str)
def test_a_crop_is_the_slice_of_the_mirrored_image_that_its_draw_says(shape):
    """Given the draws of the same generator, then every crop is cut from the mirrored image by plain slicing."""
    dice = torch.Generator().manual_seed(0)
    image = torch.randn(shape, generator=dice).half().float()
    plane = torch.randn((shape[0] // 2 + 1, shape[1] // 2 + 1), generator=dice).half().float()
    planes = torch.stack([plane, torch.ones_like(plane)])
    source, draws = CropSource([image], [planes], SIZE, seed=3), torch.Generator().manual_seed(3)
    rim = SIZE // 2
    # An even side is first made odd by its mirror image: one more pixel.
    odd = F.pad(image[None, None], (0, (shape[1] + 1) % 2, 0, (shape[0] + 1) % 2), mode="reflect")[0, 0]
    padded = np.pad(odd.numpy(), rim, mode="reflect")
    fitting = plane[: odd.shape[0] // 2 + 1, : odd.shape[1] // 2 + 1].numpy()
    padded_plane = np.pad(fitting, rim // 2, mode="reflect")
    weights = np.pad(np.ones_like(fitting), rim // 2)
    rows, columns = (length // 2 + 1 + rim - SIZE // 2 for length in odd.shape)
    for _ in range(10):
        images, cut = source.draw(4)
        _, tops, lefts = (torch.randint(below, (4,), generator=draws).tolist() for below in (1, rows, columns))
        turn = int(torch.randint(8, (1,), generator=draws))

        def turned(part, turn=turn):
            part = np.rot90(part, turn % 4)
            return part[:, ::-1] if turn >= 4 else part

        side = SIZE // 2 + 1
        for k, (top, left) in enumerate(zip(tops, lefts, strict=True)):
            whole = padded[2 * top : 2 * top + SIZE, 2 * left : 2 * left + SIZE]
            np.testing.assert_array_equal(images[k, 0].numpy(), turned(whole))
            for number, stack in enumerate((padded_plane, weights)):
                half = stack[top : top + side, left : left + side]
                np.testing.assert_array_equal(cut[k, number].numpy(), turned(half))


def test_nothing_in_the_rim_counts():
    """Given a weight of one everywhere, then it is zero exactly where a crop shows the mirror image."""
    image = torch.ones(61, 61)
    weight = torch.ones(31, 31)
    source = CropSource([image], [torch.stack([weight, weight])], SIZE, seed=0)
    _, planes = source.draw(200)
    assert set(planes[:, 1].unique().tolist()) == {0.0, 1.0}
    assert bool((planes[:, 0] == 1).all())
    assert bool((planes[:, 1].amin(dim=(1, 2)) == 0).any())
    # The whole image is seen: over many crops all of it counts.
    assert float(planes[:, 1].mean()) > 0.5


def test_every_turn_comes_up_and_all_crops_of_a_batch_are_turned_alike():
    rows, columns = numbered((101, 101))
    source = CropSource([rows], [planes_of(rows)], SIZE, seed=5)
    ways = set()
    for _ in range(40):
        images, planes = source.draw(3)
        inner = [tuple((image[0, 16, 16] - image[0, y, x]).item() for y, x in ((17, 16), (16, 17))) for image in images]
        inside = [way for way, plane in zip(inner, planes, strict=True) if bool((plane[1] > 0).all())]
        assert len(set(inside)) <= 1
        ways.update(inside)
    assert ways == {(-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0)}


def test_the_same_seed_cuts_the_same_crops_and_leaves_everyone_elses_numbers_alone():
    image = torch.randn(70, 70)
    planes = planes_of(image)
    before = torch.get_rng_state()
    one, same, other = (CropSource([image], [planes], SIZE, seed=seed).draw(4)[0] for seed in (2, 2, 3))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("shape", [(20, 90), (9, 9), (16, 200)], ids=str)
def test_images_smaller_than_a_crop_are_surrounded(shape):
    image = torch.randn(shape)
    planes = torch.ones(2, shape[0] // 2 + 1, shape[1] // 2 + 1)
    images, cut = CropSource([image], [planes], SIZE).draw(6)
    assert images.shape == (6, 1, SIZE, SIZE) and cut.shape == (6, 2, 17, 17)
    assert bool(torch.isfinite(images).all()) and float(cut[:, 1].max()) == 1
