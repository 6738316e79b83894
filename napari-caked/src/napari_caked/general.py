"""The picker for any particle: weights that were trained on made-up specimens, and shipped.

They pick without a single label, and every training of the default network starts from them. How they were trained is
in ``general.md`` beside them.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from napari_caked.checkpoint import PickerModel, load_model
from napari_caked.models import MatchedFilter, MatchedFilterNetwork

if TYPE_CHECKING:
    from napari_caked.settings import TrainingSettings

__all__ = ["GENERAL_WEIGHTS", "disc", "general_picker", "inverted", "starting_picker", "with_template"]

#: The file.
GENERAL_WEIGHTS = Path(__file__).parent / "weights" / "general.safetensors"
#: Radius of the disc that stands for a particle nobody has seen yet, and the softness of its edge, in particle widths.
_RADIUS, _EDGE = 0.425, 0.06


def general_picker(particle_diameter: float) -> PickerModel:
    """The general picker for particles of so many Å: a picker as any other, but untrained for its specimen.

    Raises
    ------
    CheckpointError
        The weights are missing or damaged: install napari-caked again.
    """
    model = _loaded()
    return replace(model, network=copy.deepcopy(model.network), particle_diameter=particle_diameter)


def starting_picker(settings: TrainingSettings) -> PickerModel | None:
    """The general picker where a training starts from it (:attr:`.TrainingSettings.starts_general`); else None."""
    return general_picker(settings.particle_diameter) if settings.starts_general else None


def with_template(network: torch.nn.Module, matched: MatchedFilter) -> MatchedFilterNetwork:
    """A copy of a network, its template another one.

    Where that is of bright particles and the network's own of dark ones, or the other way round, the copy sees images
    with their contrast inverted.
    """
    if not isinstance(network, MatchedFilterNetwork):
        raise TypeError(f"a {type(network).__name__} has no template")
    changed = MatchedFilterNetwork(matched.profile.clone(), network.inner, network.channels)
    learned = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("filter.")}
    changed.load_state_dict(learned, strict=False)
    if _opposed(network.filter, matched):
        first = changed.stem[0]
        assert isinstance(first, torch.nn.Conv2d)
        with torch.no_grad():
            first.weight.neg_()
    return changed.train(network.training)


def inverted(network: MatchedFilterNetwork) -> MatchedFilterNetwork:
    """A copy of a network that says of an image what the network says of it with its contrast inverted."""
    return with_template(network, MatchedFilter(-network.filter.profile))


def _opposed(one: MatchedFilter, other: MatchedFilter) -> bool:
    """Whether one is of dark and the other of bright particles."""
    reach = min(len(one.profile), len(other.profile)) - 1
    return bool((one.kernel(reach).cpu() * other.kernel(reach).cpu()).sum() < 0)


def disc(particle_width: float, radius: int) -> MatchedFilter:
    """Template of a particle nobody has seen yet: a dark disc with a soft edge.

    Parameters
    ----------
    particle_width, radius
        In working pixels; the template reaches as far as ``radius``.
    """
    away = torch.arange(radius + 1.0) / particle_width
    return MatchedFilter(-torch.sigmoid((_RADIUS - away) / _EDGE))


@lru_cache(maxsize=1)
def _loaded() -> PickerModel:
    return load_model(GENERAL_WEIGHTS)
