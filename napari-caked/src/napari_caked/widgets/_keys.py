"""Keys on the canvas that work whichever layer is active, and are given back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

__all__ = ["Keys"]


class Keys:
    """Binds keys of a viewer while :meth:`hold` is on.

    Parameters
    ----------
    viewer
        Its keys, as long as the active layer does not claim them itself.
    actions
        What each key does.
    """

    def __init__(self, viewer: napari.viewer.Viewer, actions: Mapping[str, Callable[[], Any]]) -> None:
        self._viewer = viewer
        self._bindings = {key: _ignoring_arguments(action) for key, action in actions.items()}
        self._before: dict[str, Any] = {}
        self._held = False

    def hold(self, on: bool) -> None:
        """Take the keys, or give them back as they were."""
        if on == self._held:
            return
        self._held = on
        for key, action in self._bindings.items():
            if on:
                self._before[key] = _binding(self._viewer, key)
                self._viewer.bind_key(key, action, overwrite=True)
            else:
                self._viewer.bind_key(key, self._before.pop(key), overwrite=True)

    def claim(self, layer: Layer, *keys: str) -> None:
        """Take keys of one layer too: those that napari's own use for its kind would shadow."""
        for key in keys:
            layer.bind_key(key, self._bindings[key], overwrite=True)


def _binding(viewer: Any, key: str) -> Any:
    """What a key of the viewer itself does, or None."""
    from app_model.types import KeyBinding

    return viewer.keymap.get(KeyBinding.from_str(key))


def _ignoring_arguments(action: Callable[[], Any]) -> Callable[..., None]:
    def act(*_anything: Any) -> None:
        action()

    return act
