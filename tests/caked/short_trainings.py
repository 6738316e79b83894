"""Short trainings, and what can be seen of them: what the tests of steering and of going on have in common."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from napari_caked.settings import PreprocessSettings, TrainingSettings

QUICK = TrainingSettings(
    particle_diameter=120.0,
    steps=6,
    batch_size=2,
    crop_size=65,
    channels=8,
    device="cpu",
    precision="float32",
    reviews=0,
)
# Particles of 12 pixels: the networks of the paper look at every pixel, and those of 20 take three times as long.
PATCHES = replace(QUICK, network="conv31", steps=3, preprocess=PreprocessSettings(particle_width=12.0))


class Clock:
    """Time that goes on by ``pace`` seconds for each look at the clock."""

    def __init__(self, pace):
        self.now, self.pace = 0.0, pace

    def monotonic(self):
        self.now += self.pace
        return self.now


def labels_on(data, *indices):
    return data[1].where(np.isin(data[1].micrograph_index, indices))


def weights(model):
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]
