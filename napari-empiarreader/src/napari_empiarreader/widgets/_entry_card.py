"""An entry in words, as rich text for a label. Everything from the archive is escaped: it is text, never markup."""

from __future__ import annotations

from html import escape
from urllib.parse import quote

from napari_empiarreader.archive import Entry, ImageSet

__all__ = ["entry_card"]


def entry_card(entry: Entry) -> str:
    """Title, facts, citation and image sets of an entry as rich text."""
    parts = [f"<p><b>{entry.accession}</b> {escape(entry.title)}</p>"]
    facts = [entry.dataset_size, entry.release_date and f"released {entry.release_date}", *entry.cross_references]
    parts.append(f"<p>{escape(' · '.join(filter(None, facts)))}</p>")
    citation = ", ".join(filter(None, (entry.citation_title, entry.citation_journal, entry.citation_year)))
    if citation or entry.citation_doi:
        parts.append(f"<p><i>{escape(citation)}</i> {_doi_link(entry.citation_doi)}</p>")
    parts.append("<ul>" + "".join(f"<li>{_imageset_line(imageset)}</li>" for imageset in entry.imagesets) + "</ul>")
    return "".join(parts)


def _imageset_line(imageset: ImageSet) -> str:
    width, height = imageset.image_width, imageset.image_height
    facts = (
        imageset.category,
        imageset.data_format,
        f"{imageset.num_images} images" if imageset.num_images else "",
        f"{imageset.frames_per_image} frames" if (imageset.frames_per_image or 1) > 1 else "",
        f"{width} × {height} px" if width and height else "",
        f"{imageset.pixel_size:g} Å/px" if imageset.pixel_size else "",
    )
    return f"<b>{escape(imageset.directory)}</b> {escape(imageset.name)}<br>{escape(', '.join(filter(None, facts)))}"


def _doi_link(doi: str) -> str:
    # Qt's own blue for links cannot be read on a dark theme; this one can be read on both.
    return f'<a style="color: #5c8fe6" href="https://doi.org/{quote(doi)}">{escape(doi)}</a>' if doi else ""
