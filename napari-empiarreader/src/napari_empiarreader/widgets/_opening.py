"""From a selection in the archive to layers; for worker threads."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from napari_empiarreader.archive import Archive, Entry, Item, RemoteFile, format_uri
from napari_empiarreader.archive.deposited import particle_files, read_particle_files
from napari_empiarreader.errors import UserError
from napari_empiarreader.layers import AXIS_LABELS, LayerData, particles_layer
from napari_empiarreader.opening import open_layers
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


def open_with_particles(
    archive: Archive,
    entry: Entry,
    locations: Sequence[str | RemoteFile],
    first: Item,
    pixel_size: float | None,
    steps: Sequence[int],
    progress: Progress = silent,
) -> Opened:
    """As :func:`open_selection`, with a Points layer of the entry's particles on each layer of micrographs."""
    opened = open_selection(archive, entry, locations, first, pixel_size, steps, progress)
    stacks = [layer for layer in opened.layers if layer[1]["axis_labels"] == AXIS_LABELS]
    if not stacks:
        warning = "particles lie on micrographs, and none were opened; select the averaged images instead of movies"
        return opened._replace(warnings=[*opened.warnings, warning])
    try:
        files = particle_files(archive, entry, first.path if first.is_folder else posixpath.dirname(first.path))
        found = [_particles_on(stack, files, entry, progress) for stack in stacks]
    except UserError as error:  # the micrographs are there all the same
        return opened._replace(warnings=[*opened.warnings, str(error)])
    layers = [*opened.layers, *(layer for layer, _ in found if layer is not None)]
    return Opened(layers, " ".join([opened.summary, *(said for _, said in found)]), opened.warnings)


def _particles_on(
    stack: LayerData, files: Sequence[RemoteFile], entry: Entry, progress: Progress
) -> tuple[LayerData | None, str]:
    """Points layer of the particles that lie on a layer's micrographs, and a sentence about them."""
    data, attributes, _ = stack
    levels = data if isinstance(data, list | tuple) else [data]
    names, shape = attributes["metadata"]["micrographs"], tuple(levels[0].shape[-2:])
    read = read_particle_files(files, names, shape, progress)
    table = read.table.only_on(names)
    source = read.sources[0].rsplit("/", 1)[-1] if len(read.sources) == 1 else f"{len(read.sources)} files"
    if not len(table):
        return None, f"None of the {len(read.table):,} particles in {source} lies on these micrographs."
    outside = int(_outside(table.coordinates[:, 1:], shape).sum())
    said = f"{len(table):,} of {len(read.table):,} particles in {source} lie on these micrographs"
    said += f", {outside:,} of them outside the image." if outside else "."
    if read.passed_over:
        others = [uri.rsplit("/", 1)[-1] for uri in read.passed_over]
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        said += f" Not opened: {', '.join(others[:3])}{more}."
    pixel_size = attributes["metadata"]["pixel_size"]
    return particles_layer(table, name=f"{entry.accession} particles", pixel_size=pixel_size), said


def _outside(coordinates: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    beyond = (coordinates < -0.5) | (coordinates > np.asarray(shape) - 0.5)
    outside: np.ndarray = np.logical_or(beyond[:, 0], beyond[:, 1])
    return outside
