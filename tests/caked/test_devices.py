"""Devices: a word that this machine understands, or an error that says which words there are."""

import pytest
import torch

from napari_caked.devices import choose_device, device_in_words
from napari_caked.errors import DeviceError


def test_auto_is_a_device_that_works():
    assert float(torch.ones(3, device=choose_device("auto")).sum()) == 3


def test_the_cpu_is_called_cpu():
    assert device_in_words(choose_device("cpu")) == "CPU"


@pytest.mark.parametrize("wish", ["gpu", "", "cuda:99", "cuda:x", "meta", "tpu:0"])
def test_a_device_that_is_not_there_is_an_error_that_says_what_to_use(wish):
    with pytest.raises(DeviceError, match="use auto"):
        choose_device(wish)
