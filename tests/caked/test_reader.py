"""Which model files napari is told that it can show."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from napari_caked._reader import get_model_reader
from napari_caked.checkpoint import PickerModel, save_model
from napari_caked.models import MatchedFilterNetwork
from napari_caked.models.registry import build_network


@pytest.fixture
def picker(tmp_path):
    """The file of a picker with a template."""
    file = tmp_path / "picker.safetensors"
    save_model(file, PickerModel(MatchedFilterNetwork(torch.linspace(1, 0, 29)).eval(), 120.0))
    return file


def test_a_picker_with_a_template_is_shown(picker):
    ((data, attributes, kind),) = get_model_reader(str(picker))(str(picker))
    assert kind == "image" and data.shape == (57, 57) and attributes["metadata"]["particle_diameter"] == 120


def test_what_cannot_be_shown_is_left_to_other_readers(picker, tmp_path):
    without = tmp_path / "conv31.safetensors"
    save_model(without, PickerModel(build_network("conv31").eval(), 120.0))
    other = tmp_path / "other.safetensors"
    save_file({"filter.profile": torch.zeros(3)}, other)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(picker.read_bytes()[:100])
    for file in (without, other, damaged, tmp_path / "none.safetensors", tmp_path / "picker.mrc"):
        assert get_model_reader(str(file)) is None
        assert get_model_reader([str(picker), str(file)]) is None
    assert get_model_reader([str(picker)]) is not None
