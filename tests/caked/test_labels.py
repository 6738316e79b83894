"""Labels as pixels: counted areas."""

import pytest

from napari_caked.datasets.labels import disc_area


@pytest.mark.parametrize("radius, area", [(0, 1), (1, 5), (2, 13), (3, 29), (5, 81), (2.5, 21), (0.9, 1)])
def test_the_area_of_a_disc_is_counted(radius, area):
    brute = sum(y * y + x * x <= radius**2 for y in range(-9, 10) for x in range(-9, 10))
    assert disc_area(radius) == brute == area
