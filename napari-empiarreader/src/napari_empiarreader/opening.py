"""From what a user names to layers: one for each size, micrographs, movies, stacks and volumes alike.

What the layers hold stands in :mod:`.layers`; here is decided which there are, and what there is to say about them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_empiarreader.layers import LayerData, micrograph_layer, movie_layer, volume_layer
from napari_empiarreader.micrographs import MicrographSeries
from napari_empiarreader.micrographs.image import Sections
from napari_empiarreader.micrographs.movies import MovieSeries
from napari_empiarreader.micrographs.opening import open_images
from napari_empiarreader.progress import Progress, silent

if TYPE_CHECKING:
    from napari_empiarreader.archive import Archive
    from napari_empiarreader.micrographs import EerSettings
    from napari_empiarreader.micrographs.gain import GainReference

__all__ = ["OpenedLayers", "open_layers"]

_DISAGREEMENT = 0.01
"""Header and entry disagree on the pixel size from this relative difference on; below it is rounding."""


@dataclass(frozen=True)
class OpenedLayers:
    """Layers of what was named, and what there is to say about them.

    Attributes
    ----------
    layers
        One for each size, number of frames and type.
    left_out
        Files that could not be opened, with the reason.
    warnings
        Sentences about what is odd, such as a header and an entry that disagree on the pixel size.
    summary
        One sentence for a status line.
    """

    layers: list[LayerData]
    left_out: dict[str, str]
    warnings: list[str]
    summary: str


def open_layers(
    locations: Any,
    *,
    archive: Archive | None = None,
    pixel_size: float | None = None,
    sections: Sections | None = None,
    gain: GainReference | None = None,
    name: str | None = None,
    deposited: float | None = None,
    shown: int = 0,
    eer: EerSettings | None = None,
    progress: Progress = silent,
) -> OpenedLayers:
    """Lazy layers of any images: micrographs, movies, stacks and volumes, one layer for each size.

    Reads headers, and of each layer the image that will be on the screen first, into the shared cache; for a worker
    thread.

    Parameters
    ----------
    locations, sections, archive, eer, progress
        As for :func:`~napari_empiarreader.micrographs.open_images`.
    pixel_size
        Å, from the user; overrides the headers.
    gain
        Movies open as sums of their frames, corrected by it.
    name
        Of the layer; by default the folder or file.
    deposited
        Å, from the archive; stands in where the headers say nothing.
    shown
        Index of the micrograph on the screen.

    Raises
    ------
    NothingFoundError, FormatError, ArchiveError
        Nothing is there, or nothing could be opened.
    """
    opened = open_images(
        locations, pixel_size=pixel_size, sections=sections, archive=archive, eer=eer, progress=progress
    )
    warnings, layers, sentences = list(opened.warnings), [], []
    for series in opened:
        if pixel_size is None:
            series, warning = _with_deposited(series, deposited)
            warnings += [warning] * (bool(warning) and warning not in warnings)
        own = name if name is None or len(opened) == 1 else f"{name} {series.shape[-1]} × {series.shape[-2]}"
        made = series.summed(gain) if gain is not None and isinstance(series, MovieSeries) else series
        if isinstance(made, MicrographSeries):
            made.read(min(shown, len(made) - 1))
        layers.append(_layer_of(made, own))
        sentences.append(_sentence(series))
    left_out = {uri: str(error) for uri, error in opened.left_out.items()}
    if left_out:
        sentences.append(f"{len(left_out)} file{'s' * (len(left_out) > 1)} could not be opened")
    return OpenedLayers(layers, left_out, warnings, "; ".join(sentences))


def _layer_of(series: MicrographSeries | MovieSeries, name: str | None) -> LayerData:
    if isinstance(series, MicrographSeries):
        return micrograph_layer(series, name)
    return (volume_layer if series.sections == "volume" else movie_layer)(series, name)


def _with_deposited(
    series: MicrographSeries | MovieSeries, deposited: float | None
) -> tuple[MicrographSeries | MovieSeries, str]:
    """The series with the archive's pixel size where its headers have none, and what to say about it."""
    used = series.pixel_size
    if used is None and deposited is None:
        return series, "neither the files nor the entry say the pixel size; type it in Å and open them again"
    if used is None:
        return series.with_pixel_size(deposited), ""
    if deposited is not None and abs(used - deposited) > _DISAGREEMENT * deposited:
        return series, (
            f"the header says {used:g} Å per pixel, the entry {deposited:g} Å; the header's is used, "
            "type the right one to change it"
        )
    return series, ""


def _sentence(series: MicrographSeries | MovieSeries) -> str:
    if isinstance(series, MicrographSeries):
        what = f"{len(series)} micrograph{'s' * (len(series) != 1)}"
    else:
        kind, part = ("volume", "sections") if series.sections == "volume" else ("movie", "frames")
        what = f"{len(series)} {kind}{'s' * (len(series) != 1)} of {series.shape[0]} {part}"
    size = f"{series.pixel_size:g} Å per pixel" if series.pixel_size else "pixel size unknown"
    return f"{what}, {series.shape[-1]} × {series.shape[-2]} px, {size}"
