"""A folder of images or volumes, one file each, as a source of items."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from napari_caked.datasets.classes import (
    ByCsv,
    ByFolder,
    ByPrefix,
    ClassRule,
    Said,
    natural_order,
    numbered,
    without_items,
)
from napari_caked.datasets.items import Item, ItemSource, Record
from napari_caked.datasets.sources.beside import Beside, Pair, PointsBeside
from napari_caked.datasets.sources.files import SUFFIXES, ImageHeader, read_header, read_image, read_mask
from napari_caked.datasets.sources.report import LeftOut, Troubles, what_is_mixed
from napari_caked.errors import DatasetError
from napari_empiarreader.progress import Progress, silent

__all__ = ["FolderSource", "folder_source"]


@dataclass(frozen=True)
class _Files:
    """The files of an item, their headers read."""

    image: ImageHeader
    mask: ImageHeader | None = None
    partner: ImageHeader | None = None


@dataclass(frozen=True, eq=False)
class FolderSource(ItemSource):
    """Items of one file each; made by :func:`folder_source`.

    Attributes
    ----------
    classes, records
        As of every source.
    left_out
        Files that are not among the items, and why.
    warnings
        What is uneven: shapes and voxel sizes that differ, classes without items.
    """

    classes: tuple[str, ...]
    records: tuple[Record, ...]
    files: tuple[_Files, ...] = field(repr=False)
    points: PointsBeside | None = field(default=None, repr=False)
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()

    def items(self, indices: Sequence[int]) -> Iterator[tuple[int, Item]]:
        """Read items in the order asked for, one after the other; see :class:`.ItemSource`."""
        for index in indices:
            yield index, self._read(self.records[index], self.files[index])

    def _read(self, record: Record, files: _Files) -> Item:
        return Item(
            record,
            read_image(files.image),
            read_mask(files.mask) if files.mask else None,
            self.points.of(record) if self.points else None,
            read_image(files.partner) if files.partner else None,
        )


def folder_source(
    folder: str | Path,
    classes: ClassRule | None = None,
    *,
    only: Sequence[str] | None = None,
    groups: str | None = None,
    masks: Beside | None = None,
    partner: Beside | Pair | None = None,
    points: PointsBeside | None = None,
    voxel_size: float | Sequence[float] | None = None,
    suffixes: Sequence[str] = SUFFIXES,
    recursive: bool = False,
    permissive: bool = False,
    progress: Progress = silent,
) -> FolderSource:
    """Items from a folder of images or volumes, one file each; headers are read, pixels are not.

    Parameters
    ----------
    folder
        The folder.
    classes
        How the class of a file is known; :class:`.ByPrefix` by default, as CAKED names files.
    only
        Classes to take, in the order of their labels; all by default.
    groups
        Regular expression with a named group ``group`` that finds in the file's name what a split must not part; the
        rule of the classes may say it as well. By default each file is a group of its own.
    masks, partner, points
        What belongs to each item.
    voxel_size
        Å, one number or one for each axis; in place of what the headers say.
    suffixes
        Endings of the files to take.
    recursive
        Look through the folders below as well; done in any case where folders are the classes.
    permissive
        Leave out files that are damaged or of no class, and tell, instead of refusing the folder.
    progress
        Told after each header.

    Raises
    ------
    DatasetError
        No items, damaged files, files without a class, classes without files, masks and partners that are missing or
        of another shape; the message names the files.

    Examples
    --------
    >>> source = folder_source("maps", only=["ribosome", "apoferritin"])  # doctest: +SKIP
    >>> source.classes, len(source)  # doctest: +SKIP
    (('ribosome', 'apoferritin'), 40)
    """
    root, rule, troubles = Path(folder), classes or ByPrefix(), Troubles(permissive)
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; name the folder that holds the images")
    beside = [b for b in (masks, partner) if isinstance(b, Beside)]
    files = _listed(root, suffixes, recursive or isinstance(rule, ByFolder), beside)
    candidates = _paired(files, partner, troubles) if isinstance(partner, Pair) else {file: file for file in files}
    said = _said(candidates, rule, groups, troubles)
    known = [name for name in rule.known(root) if name not in {Path(b.folder or "").name for b in beside}]
    every, labels, wanted = numbered([one.name for one in said.values()], str(root), only=only, known=known)
    reader = _Reader(root, masks, partner, points, voxel_size)
    read = []
    chosen = [(name, int(label)) for name, label, keep in zip(said, labels, wanted, strict=True) if keep]
    for done, (name, label) in enumerate(chosen, 1):
        with troubles.about(name):
            read.append(reader.read(name, candidates[name], label, said[name]))
        progress(done, len(chosen), name)
    every = every if only is not None else tuple(natural_order({*every, *known}))
    if isinstance(rule, ByCsv):
        for name in rule.missing(candidates):
            troubles.add(name, f"{name}: {rule.path.name} names it, and there is no such file")
    empty = without_items(every, {every[record.label] for record, _ in read if record.label >= 0})
    for name in empty:
        troubles.add(f"class {name}", "it has no items; add some, or ask for the other classes only")
    left_out = troubles.settle(str(root))
    if not read:
        raise DatasetError(f"{root}: no items; files that end in {', '.join(suffixes)} are looked for there")
    records, of_files = zip(*read, strict=True)
    warnings = (*what_is_mixed(records), *(f"the class {name} has no items" for name in empty))
    return FolderSource(every, records, of_files, points, left_out, warnings)


@dataclass(frozen=True)
class _Reader:
    """What is the same for all items of a folder."""

    root: Path
    masks: Beside | None
    partner: Beside | Pair | None
    points: PointsBeside | None
    voxel_size: float | Sequence[float] | None

    def read(self, name: str, file: str, label: int, said: Said) -> tuple[Record, _Files]:
        """Record and files of an item; everything that its headers can tell is checked."""
        image = read_header(self.root / file)
        size = _voxel_size(self.voxel_size, len(image.shape), name) or image.voxel_size
        mask = read_header(self.masks.path_for(self.root, name)) if self.masks else None
        partner = read_header(self._partner_path(name, file)) if self.partner else None
        for other in (mask, partner):
            if other and other.shape != image.shape:
                raise DatasetError(f"{other.path} is {other.shape}, and {file}, to which it belongs, {image.shape}")
        origin: dict[str, str | float | int] = {"file": str(image.path), **said.ctf}
        origin |= {"mask": str(mask.path)} if mask else {}
        origin |= {"partner": str(partner.path)} if partner else {}
        record = Record(name, label, said.group or name, image.shape, size, said.weight, origin)
        if self.points:
            self.points.of(record)  # outside, or of other axes: now is the time to say so
        return record, _Files(image, mask, partner)

    def _partner_path(self, name: str, file: str) -> Path:
        if isinstance(self.partner, Beside):
            return self.partner.path_for(self.root, name)
        assert self.partner is not None
        path = self.root / self.partner.partner_of(file)
        if not path.is_file():
            raise DatasetError(f"{file}: the other half, {path}, is not there; add it, or take this one away")
        return path


def _listed(root: Path, suffixes: Sequence[str], recursive: bool, beside: Sequence[Beside]) -> list[str]:
    """Files of the folder relative to it, in natural order, without those that belong to others."""
    endings = tuple(suffix.lower() for suffix in suffixes)
    there = [
        path
        for path in (root.rglob("*") if recursive else root.iterdir())
        if path.name.lower().endswith(endings) and not path.name.startswith(".") and path.is_file()
    ]
    own = [path for path in there if not any(b.owns(root, path) for b in beside)]
    files = natural_order(path.relative_to(root).as_posix() for path in own)
    # Beside "a.mrc" lies "a_mask.mrc", which is no item; nor is it one where its "a.mrc" is not there.
    theirs = {path.resolve() for b in beside if b.folder is None for path in own if b.is_for_another(path.name)}
    return [file for file in files if (root / file).resolve() not in theirs]


def _paired(files: Sequence[str], pair: Pair, troubles: Troubles) -> dict[str, str]:
    """File of the image of each item, by the item's name."""
    found: dict[str, str] = {}
    images = set(files)
    for file in files:
        with troubles.about(file):
            name = pair.item_of(file)
            if name is not None:
                found[name] = file
            elif pair.image_of(file) not in images:
                raise DatasetError(f"{file}: the first half, {pair.image_of(file)}, is not there; add it")
    return found


def _said(candidates: Mapping[str, str], rule: ClassRule, groups: str | None, troubles: Troubles) -> dict[str, Said]:
    """What the rule says of each item, by its name."""
    said = {}
    for name in candidates:
        with troubles.about(name):
            one = rule.said_of(name)
            said[name] = one if groups is None else replace(one, group=_group_in(name, groups))
    return said


def _group_in(name: str, pattern: str) -> str:
    try:
        found = re.search(pattern, name)
        group = found and found["group"]
    except (re.error, IndexError) as error:
        raise DatasetError(
            f"the pattern {pattern!r} of the groups needs '(?P<group>...)' ({error}); mend it"
        ) from error
    if not group:
        raise DatasetError(f"{name}: the pattern {pattern!r} finds no group in it; widen the pattern")
    return group


def _voxel_size(given: float | Sequence[float] | None, axes: int, name: str) -> tuple[float, ...] | None:
    if given is None:
        return None
    sizes = (float(given),) * axes if isinstance(given, int | float) else tuple(map(float, given))
    if len(sizes) != axes:
        raise DatasetError(f"{name}: {len(sizes)} voxel sizes are given, and it has {axes} axes")
    return sizes
