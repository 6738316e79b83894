"""Correlations by Fourier transforms, against sums over every disc in double precision."""

import numpy as np
import pytest
import torch

from napari_caked.models import MatchedFilter, correlation
from napari_caked.models.correlation import correlations


def template(radius):
    return MatchedFilter(torch.cos(torch.arange(radius + 1.0))).kernel()


def by_sums(image, kernel, margin):
    """Correlation of every second pixel, one window at a time."""
    image, kernel = image.astype(np.float64), kernel.double().numpy()
    radius = len(kernel) // 2
    rows, columns = (range(margin, length - margin, 2) for length in image.shape)
    result = np.empty((len(rows), len(columns)))
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            window = image[y - radius : y + radius + 1, x - radius : x + radius + 1]
            result[i, j] = (window * kernel).sum()
    return result


@pytest.mark.parametrize("block", [48, 576])
@pytest.mark.parametrize("shape", [(61, 141), (75, 59), (37, 33)], ids=str)
def test_correlations_are_those_of_sums_over_discs(monkeypatch, shape, block):
    monkeypatch.setattr(correlation, "_BLOCK", block)
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    image[:, 20:40] = 0  # a masked area has no variance
    templates = [template(1), template(4), template(7)]
    found = correlations(torch.from_numpy(image), templates, 8)
    assert found.shape == (3, (shape[0] + 1) // 2 - 8, (shape[1] + 1) // 2 - 8)
    for one, kernel in zip(found, templates, strict=True):
        np.testing.assert_allclose(one, by_sums(image, kernel, 8), atol=1e-5)


def test_blocks_are_many_where_the_image_is_large():
    counts = [correlation._blocks(results, 18) for results in (200, 520, 2000)]
    assert counts[0][0] == 200 and counts[1][0] == 260 and counts[2][0] < 300
    assert all(pixels % 4 == 0 and pixels >= 2 * (count + 18) for count, pixels in counts)


def test_the_inverted_image_has_the_inverted_correlations():
    image = torch.from_numpy(np.random.default_rng(1).normal(size=(201, 333))).float()
    plain, inverted = (correlations(one, [template(5)], 6) for one in (image, -image))
    assert torch.equal(inverted, -plain)


def test_a_template_finds_itself():
    kernel = template(6)
    image = torch.zeros(61, 61)
    image[24:37, 24:37] = 9 * kernel
    found = correlations(image, [kernel], 10)[0]
    assert float(found[10, 10]) == pytest.approx(9 * float((kernel**2).sum()), rel=1e-5) == float(found.abs().max())
