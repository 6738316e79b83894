"""Tests of the trainer's form alone, without a window of napari around it."""

from __future__ import annotations

import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QWidget

from napari_caked.settings import TrainingSettings
from napari_caked.widgets._train_form import TrainForm


@pytest.mark.parametrize("width", [340, 420])
@pytest.mark.parametrize(
    "origin", ["trained from 10 labels", "trained without labels, from simulated micrographs of ferritin and 250 picks"]
)
def test_the_name_of_a_picker_is_seen_whole(qtbot, origin, width):
    parent = QWidget()
    qtbot.addWidget(parent)
    form = TrainForm(parent, ViewerModel(), TrainingSettings(particle_diameter=100.0))
    parent.resize(width, 900)
    parent.show()
    form.show_picker("none yet")
    qtbot.waitExposed(parent)
    form.show_picker(origin)
    label = form.picker
    qtbot.waitUntil(lambda: label.height() >= label.heightForWidth(label.width()) > 0, timeout=2000)
    assert label.width() > 0.6 * width
