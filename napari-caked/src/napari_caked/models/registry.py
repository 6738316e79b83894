"""Networks by name: what users choose from, and what a model file needs to be read again."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_caked.errors import SettingsError

if TYPE_CHECKING:
    from napari_caked.models.protocol import PickerNetwork

__all__ = ["NETWORKS", "NetworkEntry", "build_network"]


@dataclass(frozen=True)
class NetworkEntry:
    """A network that can be built.

    Attributes
    ----------
    name
        As users write it.
    home
        Module and callable, ``module:callable``; loaded when the network is first built.
    summary
        For lists of choices.
    patches
        Whether it learns from patches, as in the paper, rather than from whole regions.
    """

    name: str
    home: str
    summary: str
    patches: bool = True


_MODELS = "napari_caked.models"

NETWORKS: Mapping[str, NetworkEntry] = {
    entry.name: entry
    for entry in (
        NetworkEntry(
            "matched",
            f"{_MODELS}.matched:MatchedFilterNetwork",
            "matched filter and correction",
            patches=False,
        ),
        NetworkEntry("conv31", f"{_MODELS}.paper:conv31", "three layers, sees 31 pixels: the paper's own"),
        NetworkEntry("conv63", f"{_MODELS}.paper:conv63", "four layers, sees 63 pixels"),
        NetworkEntry("conv127", f"{_MODELS}.paper:conv127", "five layers, sees 127 pixels"),
        NetworkEntry("resnet8", f"{_MODELS}.paper:resnet8", "eight layers with shortcuts, sees 71 pixels"),
        NetworkEntry("resnet16", f"{_MODELS}.paper:resnet16", "sixteen layers with shortcuts, sees 91 pixels"),
    )
}


def build_network(name: str, **configuration: Any) -> PickerNetwork:
    """An untrained network.

    Parameters
    ----------
    name
        Of :data:`NETWORKS`.
    **configuration
        What the network asks for, in types JSON knows: the ``configuration`` of a network of that name builds one into
        which its weights fit.

    Raises
    ------
    SettingsError
        There is no network of that name, or it has no such configuration.
    """
    if name not in NETWORKS:
        raise SettingsError(f"there is no network called '{name}'; use one of {', '.join(NETWORKS)}")
    module, attribute = NETWORKS[name].home.split(":")
    build = getattr(importlib.import_module(module), attribute)
    try:
        inspect.signature(build).bind(**configuration)
    except TypeError as error:
        raise SettingsError(
            f"network {name} cannot be built from {configuration} ({error}); it takes {inspect.signature(build)}"
        ) from error
    return build(**configuration)
