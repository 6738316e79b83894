"""From a selection in the archive to one lazy layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from napari_empiarreader.archive import Archive, Item, RemoteFile, format_uri

__all__ = ["Opened", "location", "open_layer"]

_DISAGREEMENT = 0.01
"""Header and entry disagree on the pixel size from this relative difference on; below it is rounding."""


class Opened(NamedTuple):
    """A layer tuple, a sentence for the status line, and a warning or nothing."""

    layer: tuple[Any, dict[str, Any], str]
    summary: str
    warning: str


def location(archive: Archive, number: int, item: Item, pattern: str) -> str | RemoteFile:
    """A folder with its pattern as an address; a file as itself, whose name may hold wildcard characters."""
    if not item.is_folder:
        return archive.file(number, item.path)
    if not pattern and set(item.name) & set("*?["):
        pattern = "*.mrc*"  # alone, such a folder's name would be taken for a pattern
    return format_uri(number, f"{item.path}/{pattern}" if pattern else item.path)


def open_layer(
    archive: Archive,
    locations: Sequence[str | RemoteFile],
    name: str,
    pixel_size: float | None,
    deposited: float | None,
    shown: int,
) -> Opened:
    """Layer of the micrographs, and what there is to say about it; for a worker thread.

    Parameters
    ----------
    archive
        Where the addresses lead.
    locations
        What makes up the one layer.
    name
        Of the layer.
    pixel_size
        Å, from the user; overrides the header.
    deposited
        Å, from the entry; stands in where the header says nothing.
    shown
        Index of the micrograph that will be on the screen first. It is read here, into the shared cache, because
        napari would read it in the main thread.
    """
    from napari_empiarreader.layers import micrograph_layer
    from napari_empiarreader.micrographs import open_micrographs

    series = open_micrographs(locations, archive=archive, pixel_size=pixel_size)
    used, warning = series.pixel_size, ""
    if used is None and deposited is not None:
        series = series.with_pixel_size(deposited)
    elif used is None:
        warning = "neither the files nor the entry say the pixel size; type it in Å and open them again"
    elif pixel_size is None and deposited is not None and abs(used - deposited) > _DISAGREEMENT * deposited:
        warning = (
            f"the header says {used:g} Å per pixel, the entry {deposited:g} Å; the header's is used, "
            "type the right one to change it"
        )
    size = f"{series.pixel_size:g} Å per pixel" if series.pixel_size else "pixel size unknown"
    series.read(min(shown, len(series) - 1))
    count = f"{len(series)} micrograph{'s' if len(series) != 1 else ''}"
    shape = f"{series.shape[1]} × {series.shape[0]} px"
    return Opened(micrograph_layer(series, name), f"{count}, {shape}, {size}", warning)
