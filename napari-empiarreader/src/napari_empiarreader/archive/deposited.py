"""The particles that lie beside an entry's images: where their files are, and what they hold."""

from __future__ import annotations

import posixpath
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_empiarreader.archive.client import Archive
from napari_empiarreader.archive.entry import Entry, ImageSet
from napari_empiarreader.archive.layout import FileKind, guess_kind
from napari_empiarreader.archive.listing import Item
from napari_empiarreader.archive.remote import RemoteFile
from napari_empiarreader.errors import EntryNotFoundError, NothingFoundError
from napari_empiarreader.progress import Progress, silent

if TYPE_CHECKING:
    from napari_empiarreader.coordinates import ParticleTable

__all__ = ["DepositedParticles", "particle_files", "read_particle_files"]

_MOST_LISTINGS = 12
"""Folders looked into where the depositor did not say where the particles are."""

_TELLING = re.compile(r"partic|pick|coord|star|box|metadata", re.IGNORECASE)


def particle_files(archive: Archive, entry: Entry, near: str = "") -> list[RemoteFile]:
    """Files of deposited particles, those of the images in ``near`` first looked for.

    What the depositor named decides: the pattern, else the folder, of the image set that holds ``near``, then of the
    others. Otherwise the folders from ``near`` upwards are searched, with those beneath whose names tell of particles,
    for tables by name; the first folder that has some counts.

    Parameters
    ----------
    near
        Path inside the entry of the images, or of their folder.

    Raises
    ------
    NothingFoundError
        No such file is found.
    ArchiveError
        The archive does not answer.
    """
    own = entry.imageset_for(near)
    imagesets = sorted(entry.imagesets, key=lambda imageset: imageset is not own)
    for items in _candidates(archive, entry.number, imagesets, near):
        if items:
            return [archive.file(entry.number, item.path, item.size_hint_bytes) for item in items]
    raise NothingFoundError(
        f"{entry.accession}: no file with particle coordinates was named by the depositor or found near "
        f"{near or 'its images'}; look for one in the tree, and import it"
    )


def _candidates(archive: Archive, number: int, imagesets: list[ImageSet], near: str) -> Iterator[list[Item]]:
    for imageset in imagesets:
        if imageset.picked_particles_file_pattern:
            yield _named(archive, number, imageset.picked_particles_file_pattern)
        if imageset.picked_particles_directory:
            yield [item for item in _listed(archive, number, imageset.picked_particles_directory) if _is_table(item)]
    left = _MOST_LISTINGS
    folder = near.strip("/")
    while left > 0:
        items = _listed(archive, number, folder)
        left -= 1
        yield [item for item in items if _is_table(item)]
        for inside in [item for item in items if item.is_folder and _TELLING.search(item.name)][:left]:
            left -= 1
            yield [item for item in _listed(archive, number, inside.path) if _is_table(item)]
        if not folder:
            return
        folder = posixpath.dirname(folder)


def _named(archive: Archive, number: int, pattern: str) -> list[Item]:
    """Files that fit the depositor's pattern, which may leave out the folder ``data``."""
    for whole in (pattern, f"data/{pattern}"):
        try:
            found = [item for item in archive.glob(number, whole) if not item.is_folder]
        except EntryNotFoundError:
            continue
        if found:
            return found
    return []


def _listed(archive: Archive, number: int, folder: str) -> list[Item]:
    try:
        return archive.list(number, folder)
    except EntryNotFoundError:  # a file, or a folder that the depositor misspelt
        return []


def _is_table(item: Item) -> bool:
    return not item.is_folder and guess_kind(item.path) is FileKind.PARTICLE_TABLE


@dataclass(frozen=True)
class DepositedParticles:
    """Particles of an entry.

    Attributes
    ----------
    table
        All of them, on the micrographs that the files name; a name that matches an opened micrograph is that one's.
    sources
        Addresses of the files they were read from.
    passed_over
        Addresses of further tables that were not read.
    """

    table: ParticleTable
    sources: tuple[str, ...]
    passed_over: tuple[str, ...] = ()


def read_particle_files(
    files: Sequence[RemoteFile],
    micrographs: Sequence[str],
    shape: tuple[int, int] | None = None,
    progress: Progress = silent,
) -> DepositedParticles:
    """Particles out of files that :func:`particle_files` found; only they are downloaded.

    Files that are called after one of the micrographs hold the particles of that one, and all of them are read. Where
    there is none, the largest file counts: of several tables of one job it is the one with all particles.

    Parameters
    ----------
    micrographs
        Names of the opened micrographs.
    shape
        ``(y, x)`` of the micrographs in pixels, for formats that need it.
    progress
        Told how many files have come.

    Raises
    ------
    FormatError, CoordinatesError
        A file cannot be understood.
    ArchiveError
        The archive does not answer.
    """
    from napari_empiarreader.coordinates import read_particles

    chosen = _chosen(files, micrographs)
    # The end of a name tells the format, and the name may tell the micrograph; both are kept.
    with tempfile.TemporaryDirectory(prefix="empiar-particles-") as folder:
        for done, file in enumerate(chosen):
            progress(done, len(chosen), file.name)
            file.download(Path(folder) / file.name)
        progress(len(chosen), len(chosen), "reading")
        place = Path(folder) / chosen[0].name if len(chosen) == 1 else Path(folder)
        table = read_particles(place, micrographs=micrographs, shapes=shape)
    unread = [file.uri for file in files if file not in chosen]
    return DepositedParticles(table, tuple(file.uri for file in chosen), tuple(unread))


def _chosen(files: Sequence[RemoteFile], micrographs: Sequence[str]) -> list[RemoteFile]:
    from napari_empiarreader.coordinates.names import micrograph_of_file

    known = set(micrographs)
    named: dict[str, RemoteFile] = {}  # two folders may hold files of one name: the first counts
    for file in files:
        if micrograph_of_file(Path(file.name), micrographs) in known:
            named.setdefault(file.name, file)
    if named:
        suffixes = [Path(name).suffix.lower() for name in named]
        commonest = max(dict.fromkeys(suffixes), key=suffixes.count)
        return [file for name, file in named.items() if Path(name).suffix.lower() == commonest]
    return [max(files, key=lambda file: file.size_hint_bytes or 0)]
