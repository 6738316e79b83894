"""Any images: sorted by size, nothing padded, nothing left out in silence.

Way of the data: locations become files (:mod:`.locations`); enough headers are read to know what there is; files of
one size, number of frames and type become one lazy series each (:mod:`.series`, :mod:`.movies`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from napari_empiarreader.errors import FormatError, UserError
from napari_empiarreader.files import ByteSource, LocalFile
from napari_empiarreader.micrographs.formats import (
    COMPRESSED_SUFFIXES,
    IMAGE_SUFFIXES,
    EerSettings,
    image_format,
)
from napari_empiarreader.micrographs.headers import OUT_OF_REACH, PATIENCE, open_all, opened
from napari_empiarreader.micrographs.image import ImageFile, ImageInfo, Sections
from napari_empiarreader.micrographs.movies import MovieSeries, movie_files
from napari_empiarreader.micrographs.series import (
    MicrographSeries,
    described,
    distinct_names,
    files_series,
    gathered,
    listed,
)
from napari_empiarreader.progress import Progress, silent

if TYPE_CHECKING:
    from napari_empiarreader.archive import Archive

__all__ = ["OpenedImages", "open_images"]

#: Damaged files at the beginning after which the rest is not tried.
_ATTEMPTS = 16
_WARNINGS = 20


@dataclass(frozen=True)
class OpenedImages(Sequence[MicrographSeries | MovieSeries]):
    """Series of images, and what could not be opened.

    Attributes
    ----------
    series
        One for each size, number of frames and type; the largest number of files first.
    left_out
        Files that could not be opened, with their errors.
    warnings
        Sentences about what is odd and was accepted, each of one file or of files that disagree.
    """

    series: tuple[MicrographSeries | MovieSeries, ...]
    left_out: Mapping[str, UserError] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.series)

    def __iter__(self) -> Iterator[MicrographSeries | MovieSeries]:
        return iter(self.series)

    @overload
    def __getitem__(self, index: int) -> MicrographSeries | MovieSeries: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[MicrographSeries | MovieSeries]: ...
    def __getitem__(
        self, index: int | slice
    ) -> MicrographSeries | MovieSeries | Sequence[MicrographSeries | MovieSeries]:
        return self.series[index]


@dataclass
class _Group:
    """Files that are, or are believed to be, like the one that is open."""

    first: ImageFile
    owner: ByteSource
    files: list[ByteSource] = field(default_factory=list)
    pixel_sizes: list[float] = field(default_factory=list)

    @property
    def info(self) -> ImageInfo:
        return self.first.info


def open_images(
    locations: str | Path | ByteSource | Sequence[str | Path | ByteSource],
    *,
    pixel_size: float | None = None,
    sections: Sections | None = None,
    archive: Archive | None = None,
    progress: Progress = silent,
    check: Literal["hints", "all"] = "hints",
    eer: EerSettings | None = None,
) -> OpenedImages:
    """Open images of any format lazily, sorted by size.

    The headers of all local files are read. In the archive one header is read for each kind of file and, of MRC
    files, for each length in the listing (which is rounded); files of equal length, and compressed ones, of which the
    length says nothing, are believed to be alike until they are shown. One that turns out different raises
    :class:`~napari_empiarreader.errors.MixedSizesError` then.

    Parameters
    ----------
    locations
        Files, folders, patterns, ``file://`` or ``empiar://`` addresses; see :func:`.find_files`. Of a folder every
        image of :data:`~.formats.IMAGE_SUFFIXES` is taken.
    pixel_size
        Å per pixel; overrides the headers.
    sections
        What the sections of a file are, if its header and name are wrong about it: "frames" of a movie, images of a
        "stack", or a "volume" along z.
    archive
        Where ``empiar://`` addresses lead.
    progress
        Told which location is looked through, and how many headers were read.
    check
        "all" reads the header of every file, in the archive as well, several at a time.
    eer
        How EER movies are made into frames.

    Returns
    -------
    OpenedImages
        Files of one image each are a :class:`~.series.MicrographSeries`. Files of several are a
        :class:`~.movies.MovieSeries`, whose ``sections`` say what they count; except that the sections of a "stack",
        if it is the only such file or if ``sections`` asks, are micrographs named ``0001@file``.

    Raises
    ------
    NothingFoundError, ArchiveError
        A location holds nothing; the archive is out of reach.
    FormatError
        No file could be opened.
    """
    locations = listed(locations)
    files = gathered(locations, suffixes=IMAGE_SUFFIXES, archive=archive, progress=progress)
    names = dict(zip(files, distinct_names(files), strict=True))
    groups, left_out, warnings = _sorted(files, sections, check, eer, progress)
    if not groups:
        raise _nothing_opened(left_out)
    source = described(locations)
    # One stack alone is particles or a tilt series; several together are the movies of a data set.
    apart = sections == "stack" or sum(len(group.files) for group in groups if group.info.shape[0] > 1) == 1
    series = [_series(group, names, sections, apart, pixel_size, source, eer) for group in groups]
    return OpenedImages(tuple(series), left_out, tuple(_shortened(warnings)))


def _series(
    group: _Group,
    names: Mapping[ByteSource, str],
    sections: Sections | None,
    apart: bool,
    pixel_size: float | None,
    source: str,
    eer: EerSettings | None,
) -> MicrographSeries | MovieSeries:
    of_group = [names[file] for file in group.files]
    size = pixel_size if pixel_size is not None else next(iter(group.pixel_sizes), None)
    if group.info.shape[0] == 1:
        return files_series(group.files, group.first, pixel_size=size, source=source, names=of_group, eer=eer)
    kind = sections or group.info.sections
    movies = movie_files(
        group.files,
        group.first,
        first_index=group.files.index(group.owner),
        pixel_size=size,
        source=source,
        names=of_group,
        sections=kind,
        eer=eer,
    )
    if kind == "stack" and apart:
        return movies.as_micrographs(group.info.tilts if len(group.files) == 1 else None)
    return movies


def _sorted(
    files: Sequence[ByteSource],
    sections: Sections | None,
    check: Literal["hints", "all"],
    eer: EerSettings | None,
    progress: Progress,
) -> tuple[list[_Group], dict[str, UserError], list[str]]:
    """Files by what they hold, the files that could not be opened, and what is odd."""
    left_out: dict[str, UserError] = {}
    warnings: list[str] = []
    groups: dict[tuple[object, ...], _Group] = {}
    kinships = _kinships(files, check)
    opened = open_all([kin[0] for kin in kinships], eer=eer, progress=progress)
    for kin, first in zip(kinships, opened, strict=True):
        image, owner, kin = _first_to_open(kin, first, left_out, eer)
        if image is None:
            continue
        info = image.info
        kind = (sections or info.sections) if info.shape[0] > 1 else ""
        group = groups.setdefault((info.shape, info.dtype.str, kind), _Group(image, owner))
        group.files += kin
        if info.pixel_size is not None:
            group.pixel_sizes.append(info.pixel_size)
        warnings += info.warnings
    order = {file: i for i, file in enumerate(files)}
    for group in groups.values():
        group.files.sort(key=order.__getitem__)
        warnings += _disagreement(group)
    return sorted(groups.values(), key=lambda group: -len(group.files)), left_out, warnings


def _kinships(files: Sequence[ByteSource], check: Literal["hints", "all"]) -> list[list[ByteSource]]:
    """Files that are believed to be alike: those whose format and, if it says something, length is the same."""
    kinships: dict[object, list[ByteSource]] = {}
    for i, file in enumerate(files):
        compressed = file.name.lower().endswith(COMPRESSED_SUFFIXES)
        kind = image_format(file.name)
        hint = getattr(file, "size_hint_bytes", None) if kind == "mrc" and not compressed else None
        alone = check == "all" or isinstance(file, LocalFile)
        kinships.setdefault(i if alone else (kind, compressed, hint), []).append(file)
    return list(kinships.values())


def _first_to_open(
    kin: list[ByteSource],
    image: ImageFile | UserError,
    left_out: dict[str, UserError],
    eer: EerSettings | None,
) -> tuple[ImageFile | None, ByteSource, list[ByteSource]]:
    """The first of some like files that can be opened, whose it is, and the files from there on; notes the others.

    Raises
    ------
    ServerUnreachableError, OfflineError
        Several in a row were out of reach.
    """
    unreachable = 0
    for i, file in enumerate(kin):
        if i >= _ATTEMPTS:
            break
        if i:
            image = opened(file, eer)
        if not isinstance(image, UserError):
            return image, file, kin[i:]
        left_out[file.uri] = image
        unreachable = unreachable + 1 if isinstance(image, OUT_OF_REACH) else 0
        if unreachable == PATIENCE:
            raise image
    for file in kin[_ATTEMPTS:]:
        left_out[file.uri] = FormatError(
            f"{file.uri}: not tried, because {_ATTEMPTS} files of its kind before it could not be opened; open it alone"
        )
    return None, kin[0], []


def _shortened(warnings: list[str]) -> list[str]:
    """No more sentences than somebody reads."""
    more = len(warnings) - _WARNINGS
    return warnings if more <= 0 else [*warnings[:_WARNINGS], f"{more:,} more warnings like these"]


def _nothing_opened(left_out: Mapping[str, UserError]) -> UserError:
    first = next(iter(left_out.values()))
    if len(left_out) == 1:
        return first
    return FormatError(f"none of {len(left_out)} images could be opened; the first error: {first}")


def _disagreement(group: _Group) -> list[str]:
    """A sentence if headers of one group tell different pixel sizes (by more than they are rounded)."""
    sizes = group.pixel_sizes
    others = [size for size in sizes if abs(size - sizes[0]) > 1e-3 * sizes[0]]
    if not others:
        return []
    return [
        f"{group.owner.uri} and others have a pixel size of {sizes[0]:g} Å in their headers, {len(others)} of "
        f"{len(sizes)} say otherwise ({min(others):g} to {max(others):g} Å); {sizes[0]:g} Å is taken"
    ]
