"""The card of a data set: what is in it, how it looks, and how it is made again.

Counts are of all items; values and pictures of some of each class, chosen by a seed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_caked.datasets.items import UNLABELLED, ItemSource
from napari_caked.datasets.store import Store
from napari_caked.errors import DatasetError
from napari_empiarreader.files import replaced_when_complete
from napari_empiarreader.progress import Progress, silent

__all__ = ["Card", "ClassOnCard", "contact_sheet", "make_card", "write_card"]

#: Name on the card of the items without a class.
NONE = "(none)"
_BINS = 64
#: Pixels of an item that its histogram is made of.
_PIXELS = 4096
_LISTED = 12
#: Of the contact sheet: dots per inch, and pixels of a picture's cell and between two of them.
_DPI, _CELL, _GAP = 120, 140, 8


@dataclass(frozen=True)
class ClassOnCard:
    """A class of a data set.

    Attributes
    ----------
    items, groups
        How many it has, and of how many groups they are.
    weight
        Sum of their weights.
    mean, deviation
        Of the values of the items that were read; None without any.
    range
        Their 1st and 99th percentiles.
    histogram
        Shares of the values between the card's ``edges``.
    read
        How many items these are from.
    """

    items: int
    groups: int
    weight: float
    mean: float | None
    deviation: float | None
    range: tuple[float, float] | None
    histogram: tuple[float, ...]
    read: int


@dataclass(frozen=True)
class Card:
    """What is in a data set.

    Attributes
    ----------
    name
        Of the data set.
    items
        How many.
    classes
        By name; items without a class under :data:`NONE`.
    groups
        Items of each group.
    shapes, voxel_sizes
        Items of each.
    edges
        Of the histograms, from the 0.1th to the 99.9th percentile of all values read.
    recipe
        What was done to the items, and is done when they are read; None where nothing is.
    made
        How to make it again: command, versions, checksum of the source.
    """

    name: str
    items: int
    classes: Mapping[str, ClassOnCard]
    groups: Mapping[str, int]
    shapes: Mapping[str, int]
    voxel_sizes: Mapping[str, int]
    edges: tuple[float, ...]
    recipe: Mapping[str, Any] | None
    made: Mapping[str, Any]

    def to_json(self) -> str:
        """Everything."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    def to_markdown(self, picture: str | None = None) -> str:
        """The card to be read by people, with a picture of that name."""
        lines = [f"# {self.name}", "", f"{self.items} items of {len(self.groups)} groups.", ""]
        lines += [
            "| class | items | groups | weight | mean | deviation | 1 % | 99 % |",
            "|---|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for name, one in self.classes.items():
            numbers = (one.weight, one.mean, one.deviation, *(one.range or (None, None)))
            cells = ["" if value is None else f"{value:.4g}" for value in numbers]
            lines.append(f"| {name} | {one.items} | {one.groups} | {' | '.join(cells)} |")
        lines += ["", "| | items |", "|---|--:|"]
        lines += [f"| {shape} pixels | {count} |" for shape, count in self.shapes.items()]
        lines += [f"| pixel size {size} | {count} |" for size, count in self.voxel_sizes.items()]
        lines += ["", *_group_lines(self.groups)]
        if picture:
            lines += ["", f"![Some items of each class]({picture})"]
        if self.recipe is not None:
            lines += ["", "## Recipe", "", "```json", json.dumps(self.recipe, indent=2), "```"]
        lines += ["", "## Made by", "", "```json", json.dumps(self.made, indent=2, ensure_ascii=False), "```", ""]
        return "\n".join(lines)


def make_card(
    source: ItemSource, name: str | None = None, *, per_class: int = 100, seed: int = 0, progress: Progress = silent
) -> Card:
    """Count the items of a data set and look at some of each class.

    Parameters
    ----------
    source
        A store, or any other source.
    name
        Of the data set; by default that of the store.
    per_class
        Items of each class whose pixels are read.
    seed
        Of the choice of these.
    progress
        Told after each of these.

    Raises
    ------
    DatasetError
        There are no items.
    """
    labels, groups = _labels(source), [record.group for record in source.records]
    chosen = {label: _some(np.flatnonzero(labels == label), per_class, seed) for label in np.unique(labels)}
    values = _values(source, np.sort(np.concatenate(list(chosen.values()))), seed, progress)
    low, high = np.percentile(np.concatenate(list(values.values())), [0.1, 99.9])
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    classes = {}
    for label, class_name in [*enumerate(source.classes), (UNLABELLED, NONE)]:
        members = np.flatnonzero(labels == label)
        if len(members) or label != UNLABELLED:
            read = [values[index] for index in chosen.get(label, ())]
            classes[class_name] = _class(source, members, groups, read, edges)
    about: Mapping[str, Any] = source.about if isinstance(source, Store) else {}
    return Card(
        name or (source.path.name if isinstance(source, Store) else "data set"),
        len(source),
        classes,
        dict(Counter(groups).most_common()),
        dict(Counter(" x ".join(map(str, record.shape)) for record in source.records).most_common()),
        dict(Counter(_size(record.voxel_size) for record in source.records).most_common()),
        tuple(float(edge) for edge in edges),
        json.loads(about["recipe"]) if about.get("recipe") else None,
        {key: about[key] for key in ("made", "dtype", "versions", "source") if key in about},
    )


def contact_sheet(
    source: ItemSource, path: str | Path, *, per_class: int = 8, seed: int = 0, overwrite: bool = False
) -> Path:
    """Write a picture with some items of each class in a row; of volumes the middle section.

    Parameters
    ----------
    source
        The items.
    path
        A PNG file.
    per_class
        Items in a row.
    seed
        Of their choice.
    overwrite
        Replace the file if it exists.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    labels = _labels(source)
    rows = [
        (label, name) for label, name in [*enumerate(source.classes), (UNLABELLED, NONE)] if (labels == label).any()
    ]
    chosen = [_some(np.flatnonzero(labels == label), per_class, seed) for label, _ in rows]
    items = dict(source.items(np.sort(np.concatenate(chosen)).tolist()))
    pictures = [[_grey(items[int(index)].image) for index in indices] for indices in chosen]
    figure = Figure(figsize=(1.2 * per_class + 1.5, 1.35 * len(rows)), dpi=_DPI, layout="constrained")
    # One for all: axes cost more than the pictures in them.
    axes = figure.subplots()
    axes.imshow(_mosaic(pictures, per_class), cmap="gray", vmin=0, vmax=1, interpolation="none")
    names = [f"{name}\n{int((labels == label).sum())}" for label, name in rows]
    axes.set_yticks((np.arange(len(rows)) + 0.5) * _CELL, names)
    axes.set(xticks=[], frame_on=False)
    axes.tick_params(length=0)
    with replaced_when_complete(path, overwrite=overwrite) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))
    return Path(path)


def _grey(image: np.ndarray) -> np.ndarray:
    """``(y, x)`` 0 to 1: the picture, or the middle section of a volume, as large as fits into a cell of the sheet.

    The darkest and the brightest per cent become black and white.
    """
    from scipy.ndimage import uniform_filter

    section = image[len(image) // 2] if image.ndim == 3 else image
    low, high = np.percentile(section, [1, 99])
    scale = (_CELL - _GAP) / max(section.shape)
    y, x = ((np.arange(max(round(n * scale), 1)) / scale).astype(int).clip(max=n - 1) for n in section.shape)
    # What is larger than its cell is averaged over the pixels that fall together.
    step = max(round(1 / scale), 1)
    section = uniform_filter(np.asarray(section, np.float32), step) if step > 1 else section
    return np.clip((section[np.ix_(y, x)] - low) / (high - low if high > low else 1), 0, 1)


def _mosaic(pictures: Sequence[Sequence[np.ndarray]], columns: int) -> np.ndarray:
    """Pictures in rows, each in the middle of its cell; nothing (NaN) between them."""
    whole = np.full((len(pictures) * _CELL, columns * _CELL), np.nan, np.float32)
    for row, there in enumerate(pictures):
        for column, picture in enumerate(there):
            y, x = (at * _CELL + (_CELL - n) // 2 for at, n in zip((row, column), picture.shape, strict=True))
            whole[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return whole


def write_card(
    source: ItemSource,
    folder: str | Path,
    name: str | None = None,
    *,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = silent,
) -> tuple[Path, Path, Path]:
    """Write ``card.json``, ``card.md`` and ``card.png`` into a folder, which may be that of the store.

    Parameters
    ----------
    source, name, seed, progress
        As in :func:`make_card`.
    folder
        Where to.
    overwrite
        Replace files that exist.
    """
    card = make_card(source, name, seed=seed, progress=progress)
    picture = contact_sheet(source, Path(folder) / "card.png", seed=seed, overwrite=overwrite)
    files = (Path(folder) / "card.json", Path(folder) / "card.md", picture)
    for path, text in zip(files, (card.to_json(), card.to_markdown(picture.name)), strict=False):
        with replaced_when_complete(path, overwrite=overwrite) as temporary:
            temporary.write_text(text, "utf-8")
    return files


def _labels(source: ItemSource) -> np.ndarray:
    if not len(source):
        raise DatasetError("the data set has no items, and there is nothing to tell about it")
    return source.labels if isinstance(source, Store) else np.array([record.label for record in source.records])


def _some(indices: np.ndarray, count: int, seed: int) -> np.ndarray:
    """At most so many of them, ascending."""
    dice = np.random.default_rng(seed)
    return np.sort(dice.choice(indices, count, replace=False)) if len(indices) > count else indices


def _values(source: ItemSource, indices: np.ndarray, seed: int, progress: Progress) -> dict[int, np.ndarray]:
    """Some values of the pixels of each item."""
    values = {}
    for done, (index, item) in enumerate(source.items(indices.tolist()), 1):
        pixels = item.image.ravel()
        dice = np.random.default_rng([seed, index])
        values[index] = pixels[dice.integers(len(pixels), size=_PIXELS)] if len(pixels) > _PIXELS else pixels
        progress(done, len(indices), item.record.name)
    return values


def _class(
    source: ItemSource, members: np.ndarray, groups: Sequence[str], read: Sequence[np.ndarray], edges: np.ndarray
) -> ClassOnCard:
    weight = float(sum(source.records[index].weight for index in members))
    of_groups = len({groups[index] for index in members})
    if not read:
        return ClassOnCard(len(members), of_groups, weight, None, None, None, (), 0)
    pixels = np.concatenate(read).astype(np.float64)
    low, high = np.percentile(pixels, [1, 99])
    shares = np.histogram(pixels, edges)[0] / len(pixels)
    mean, deviation, histogram = float(pixels.mean()), float(pixels.std()), tuple(shares.round(5).tolist())
    spread = (float(low), float(high))
    return ClassOnCard(len(members), of_groups, weight, mean, deviation, spread, histogram, len(read))


def _group_lines(groups: Mapping[str, int]) -> list[str]:
    named = list(groups.items())[:_LISTED]
    more = [f"| … {len(groups) - len(named)} more | {sum(groups.values()) - sum(count for _, count in named)} |"]
    lines = ["| group | items |", "|---|--:|", *(f"| {name} | {count} |" for name, count in named)]
    return lines + (more if len(groups) > len(named) else [])


def _size(size: tuple[float, ...] | None) -> str:
    if size is None:
        return "unknown"
    texts = [f"{one:.5g}" for one in size]
    return f"{texts[0] if len(set(texts)) == 1 else ' x '.join(texts)} Å"
