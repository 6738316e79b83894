"""The devices of this machine beyond its CPU. Only PyTorch knows them, so a helper is asked, once per session."""

from __future__ import annotations

from collections.abc import Callable

from napari_caked.widgets._messages import Devices, ListDevices, Message
from napari_caked.widgets._work import Work

__all__ = ["tell_devices"]

_found: list[tuple[str, str]] | None = None


def tell_devices(work: Work, tell: Callable[[list[tuple[str, str]]], None]) -> None:
    """Call ``tell`` in the main thread with (name, words for people) of each device, now or some seconds later.

    Without an answer it is never called; a training will say what is wrong with PyTorch.
    """
    if _found is not None:
        tell(_found)
        return

    def heard(message: Message) -> None:
        global _found
        if isinstance(message, Devices):
            _found = list(message.entries)
            tell(_found)

    work.converse(ListDevices(), heard=heard, failed=lambda error: None, ended=lambda: None)
