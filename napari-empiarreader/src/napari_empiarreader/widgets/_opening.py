"""From a selection in the archive to layers; for worker threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from napari_empiarreader.archive import Archive, Entry, Item, RemoteFile, format_uri
from napari_empiarreader.layers import LayerData, open_layers
from napari_empiarreader.progress import Progress, silent

__all__ = ["Opened", "first_step", "location", "open_selection", "open_with_particles"]


class Opened(NamedTuple):
    """Layer tuples, a sentence for the status line, and warnings."""

    layers: list[LayerData]
    summary: str
    warnings: list[str]


def location(archive: Archive, number: int, item: Item, pattern: str) -> str | RemoteFile:
    """A folder with its pattern as an address; a file as itself, whose name may hold wildcard characters."""
    if not item.is_folder:
        return archive.file(number, item.path, item.size_hint_bytes)
    if not pattern and set(item.name) & set("*?["):
        pattern = "*"  # alone, such a folder's name would be taken for a pattern
    return format_uri(number, f"{item.path}/{pattern}" if pattern else item.path)


def open_selection(
    archive: Archive,
    entry: Entry,
    locations: Sequence[str | RemoteFile],
    first: Item,
    pixel_size: float | None,
    steps: Sequence[int],
    progress: Progress = silent,
) -> Opened:
    """Layers of the images behind some addresses, and what there is to say about them.

    Parameters
    ----------
    archive, entry
        Where the addresses lead, and the entry they lead into.
    locations
        What makes up the layers.
    first
        The first of them, which names the layers and tells the image set.
    pixel_size
        Å, from the user; overrides the headers.
    steps
        Where the viewer's sliders stand. What will be on the screen is read here, into the shared cache, because
        napari would read it in the main thread.
    progress
        Told how far it is; it raises to cancel.
    """
    imageset = entry.imageset_for(first.path)
    opened = open_layers(
        locations,
        archive=archive,
        pixel_size=pixel_size,
        name=f"{entry.accession} {first.name}",
        deposited=imageset.pixel_size if imageset else None,
        progress=progress,
    )
    for number, layer in enumerate(opened.layers):
        progress(number, len(opened.layers), "reading the first image")
        _read_shown(layer, steps)
    warnings = list(opened.warnings)
    if opened.left_out:
        some = "; ".join(list(opened.left_out.values())[:3])
        warnings.append(f"{len(opened.left_out)} of the files could not be opened: {some}")
    return Opened(opened.layers, f"{entry.accession} {first.name}: {opened.summary}.", warnings)


def first_step(axis_label: str, length: int) -> int:
    """Where a layer begins along an axis: movies at their first frame, volumes in their middle."""
    return length // 2 if axis_label == "z" else 0


def _read_shown(layer: LayerData, steps: Sequence[int]) -> None:
    data, attributes, kind = layer
    if kind != "image":
        return
    levels = data if isinstance(data, list | tuple) else [data]
    lengths = levels[0].shape[:-2]
    beginning = [first_step(*axis) for axis in zip(attributes["axis_labels"], lengths, strict=False)]
    beside = list(steps)[max(len(steps) - 2 - len(lengths), 0) : len(steps) - 2] if steps else []
    here = [*beginning[: len(lengths) - len(beside)], *beside] if beside else beginning
    index = tuple(min(max(step, 0), length - 1) for step, length in zip(here, lengths, strict=True))
    np.asarray(levels[-1][index])


def open_with_particles(*args: Any, **kw: Any) -> Opened:
    raise NotImplementedError
