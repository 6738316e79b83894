"""An entry in words, as rich text for a label. Everything from the archive is escaped: it is text, never markup."""

from __future__ import annotations

import re
from html import escape
from urllib.parse import quote

from napari_empiarreader.archive import Entry, ImageSet
from napari_empiarreader.archive.emdb import MicroscopeFacts

__all__ = ["ENTRY_LINK", "MICROSCOPE_LINK", "entry_card"]

MICROSCOPE_LINK = "ask:microscope"
"""Link that asks EMDB for the microscope: a request more, so only by a click."""

ENTRY_LINK = "entry:"
"""Beginning of a link to another entry."""

_MOST_AUTHORS = 8
_MOST_LINKS = 12

# Qt's own blue for links cannot be read on a dark theme; this one can be read on both.
_LINK_COLOUR = "#5c8fe6"


def entry_card(entry: Entry, microscope: MicroscopeFacts | str | None = None) -> str:
    """Title, facts, citation, references and image sets of an entry as rich text.

    Parameters
    ----------
    entry
        What the archive says.
    microscope
        What EMDB says, or a sentence in its place; None offers to ask.
    """
    page = _link(f"https://www.ebi.ac.uk/empiar/{entry.accession}/", entry.accession)
    parts = [f"<p><b>{page}</b> {escape(entry.title)}</p>"]
    parts.append(_paragraph(" · ".join(_facts(entry))))
    parts.append(_paragraph(escape(_authors(entry))))
    citation = ", ".join(filter(None, (entry.citation_title, entry.citation_journal, entry.citation_year)))
    if citation or entry.citation_doi:
        doi = entry.citation_doi
        link = _link(f"https://doi.org/{quote(doi)}", doi) if doi else ""
        parts.append(f"<p><i>{escape(citation)}</i> {link}</p>")
    parts.append(_paragraph(" · ".join(_references(entry))))
    parts.append(_microscope(entry, microscope))
    parts.append("<p><b>Image sets</b></p><ul>" if entry.imagesets else "")
    for label, imageset in zip(entry.imageset_labels, entry.imagesets, strict=True):
        parts.append(f"<li>{_imageset_line(imageset, label)}</li>")
    parts.append("</ul>" if entry.imagesets else "")
    return "".join(parts)


def _facts(entry: Entry) -> list[str]:
    dates = (("released", entry.release_date), ("deposited", entry.deposition_date), ("updated", entry.update_date))
    said = [entry.dataset_size, entry.experiment_type, *(f"{what} {date}" for what, date in dates if date)]
    return [escape(fact) for fact in said if fact]


def _authors(entry: Entry) -> str:
    more = len(entry.authors) - _MOST_AUTHORS
    return ", ".join(entry.authors[:_MOST_AUTHORS]) + (f" and {more} more" if more > 0 else "")


def _references(entry: Entry) -> list[str]:
    """Links to the maps, models and entries that belong to this one."""
    links = [_link(f"https://www.ebi.ac.uk/emdb/{quote(name)}", name) for name in entry.cross_references]
    links += [
        _link(f"https://www.ebi.ac.uk/pdbe/entry/pdb/{quote(name.lower())}", f"PDB {name}")
        for name in entry.pdb_references
    ]
    links += [_entry_link(name) for name in entry.empiar_references]
    more = len(links) - _MOST_LINKS
    return links[:_MOST_LINKS] + ([f"{more} more"] if more > 0 else [])


def _entry_link(name: str) -> str:
    """A link that opens another entry here, if its name is that of one."""
    known = re.fullmatch(r"(?:EMPIAR-)?[0-9]{1,9}", name)
    return _link(ENTRY_LINK + name, name) if known else escape(name)


def _microscope(entry: Entry, facts: MicroscopeFacts | str | None) -> str:
    if facts is None:
        offer = entry.cross_references
        return _paragraph(_link(MICROSCOPE_LINK, "Microscope, voltage and dose from EMDB") if offer else "")
    if isinstance(facts, str):
        return _paragraph(escape(facts))
    defocus = ""
    if facts.defocus_min is not None and facts.defocus_max is not None:
        defocus = f"defocus {facts.defocus_min:g} to {facts.defocus_max:g} µm"
    said = (
        facts.microscope,
        f"{facts.voltage:g} kV" if facts.voltage else "",
        f"Cs {facts.spherical_aberration:g} mm" if facts.spherical_aberration else "",
        f"{facts.dose:g} e⁻/Å²" if facts.dose else "",
        defocus,
        " ".join(filter(None, (facts.detector, facts.detector_mode))),
        f"map at {facts.resolution:g} Å" if facts.resolution else "",
    )
    words = ", ".join(filter(None, said)) or "nothing is said about the microscope"
    return f"<p><b>{escape(facts.emdb_id)}</b> {escape(words)}</p>"


def _imageset_line(imageset: ImageSet, label: str) -> str:
    width, height = imageset.image_width, imageset.image_height
    facts = (
        imageset.category,
        imageset.data_format,
        f"{imageset.num_images} images" if imageset.num_images else "",
        f"{imageset.frames_per_image} frames" if (imageset.frames_per_image or 1) > 1 else "",
        f"{width} × {height} px" if width and height else "",
        f"{imageset.pixel_size:g} Å/px" if imageset.pixel_size else "",
    )
    words = escape(", ".join(filter(None, facts)))
    return f"<b>{escape(imageset.directory)}</b> {escape(label)}<br>{words}"


def _paragraph(inside: str) -> str:
    return f"<p>{inside}</p>" if inside else ""


def _link(address: str, text: str) -> str:
    return f'<a style="color: {_LINK_COLOUR}" href="{escape(address)}">{escape(text)}</a>'
