"""The archive's own description of an entry, ``<number>/<number>.xml``, as the same typed values as the service's.

It lies beside the data, so it is there where only a copy of the files is. The tags are EMPIAR's schema
(``http://pdbe.org/empiar``), whatever prefix or version of the namespace a file uses. A document type declaration is
refused before anything of it is believed: the archive's files have none, and it is the way in for entity expansion.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import Any
from xml.parsers import expat

from napari_empiarreader.archive.entry import Entry, parse_entry
from napari_empiarreader.errors import ArchiveError

__all__ = ["parse_entry_xml"]

_LARGEST = 32 * 2**20
_DEEPEST = 64

Facts = dict[str, Any]


def parse_entry_xml(content: bytes, number: int) -> Entry:
    """Entry ``number`` out of the bytes of its XML file.

    Raises
    ------
    ArchiveError
        The bytes are no such file, declare entities, or describe another entry.
    """
    what = f"EMPIAR-{number}: {number}.xml"
    root = _safe_tree(content, what)
    if _tag(root) != "entry":
        raise ArchiveError(
            f"{what} begins with <{_tag(root)[:40]}> instead of <entry>; it is no description of an entry"
        )
    accession = root.get("accessionCode", "").strip()
    if accession not in (f"EMPIAR-{number}", str(number)):
        raise ArchiveError(f"{what} describes {accession[:40]!r}; look for the file in that entry's own folder")
    return parse_entry({f"EMPIAR-{number}": _entry_facts(root)}, number)


def _safe_tree(content: bytes, what: str) -> ElementTree.Element:
    """Elements of an XML document that declares nothing, nests no deeper than 64, and is no larger than 32 MiB."""
    if len(content) > _LARGEST:
        raise ArchiveError(f"{what} has {len(content)} bytes; no entry needs more than {_LARGEST}")
    depth = 0

    def refuse(*_: object) -> None:
        raise ArchiveError(f"{what} has a document type declaration, which the archive's files have not; not read")

    def enter(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise ArchiveError(f"{what} nests its elements deeper than {_DEEPEST}; it is no description of an entry")

    def leave(*_: object) -> None:
        nonlocal depth
        depth -= 1

    guard = expat.ParserCreate()
    guard.StartDoctypeDeclHandler = refuse
    guard.EntityDeclHandler = refuse
    guard.StartElementHandler = enter
    guard.EndElementHandler = leave
    try:
        guard.Parse(content, True)
        return ElementTree.fromstring(content)
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:
        if isinstance(error, ArchiveError):
            raise
        raise ArchiveError(f"{what} is no well-formed XML ({error}); it may be cut off, read it again") from error


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(element: ElementTree.Element | None) -> str:
    return "" if element is None else "".join(element.itertext()).strip()


def _find(element: ElementTree.Element | None, *tags: str) -> ElementTree.Element | None:
    """The first child at the end of a path of tags, whatever their namespace."""
    for tag in tags:
        if element is None:
            return None
        element = next((child for child in element if _tag(child) == tag), None)
    return element


def _children(element: ElementTree.Element | None) -> list[ElementTree.Element]:
    return [] if element is None else list(element)


def _all(element: ElementTree.Element, *tags: str) -> Iterator[ElementTree.Element]:
    return (inner for inner in element.iter() if _tag(inner) in tags)


def _facts(element: ElementTree.Element | None) -> Facts:
    """Texts of an element's children under the service's names: ``townOrCity`` is ``town_or_city`` there."""
    return {_snake(_tag(child)): _text(child) for child in _children(element)}


def _snake(tag: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", tag).lower()


def _entry_facts(root: ElementTree.Element) -> Facts:
    admin = _find(root, "admin")
    references = _find(root, "crossReferences")
    people = [_person(child) for child in _children(admin) if _tag(child) == "principalInvestigator"]
    facts = _facts(admin)
    related = root if references is None else references
    return {
        **facts,
        **_facts(_find(admin, "keyDates")),
        "status": facts.get("current_status"),
        "dataset_size": _size(_find(admin, "datasetSize")),
        "authors": [_text(author) for author in _children(_find(admin, "authorsList"))],
        "corresponding_author": _person(_find(admin, "correspondingAuthor")),
        "principal_investigator": people,
        "grant_references": [_facts(grant) for grant in _children(_find(admin, "grantSupport"))],
        "version_history": [_facts(version) for version in _children(_find(admin, "versionHistory"))],
        "cross_references": [_text(entry) for entry in _all(related, "emdbEntry")],
        "related_pdb_entries": [_text(entry) for entry in _all(related, "pdbEntry")],
        "empiar_references": [_text(entry) for entry in _all(related, "empiarEntry")],
        "biostudies_references": [_text(entry) for entry in _all(related, "biostudiesEntry")],
        "idr_references": [_text(entry) for entry in _all(related, "idrEntry")],
        "citation": [_citation(found) for found in _all(related, "journalCitation", "nonJournalCitation")],
        "workflow_file": _text(_find(admin, "workflowFile")),
        "imagesets": [_imageset(child) for child in root if _tag(child) == "imageSet"],
    }


def _size(element: ElementTree.Element | None) -> str:
    return "" if element is None else f"{_text(element)} {element.get('units', '')}".strip()


def _person(element: ElementTree.Element | None) -> Facts:
    facts = _facts(element)
    return {**facts, "post_or_zip": facts.get("post_or_zip_code")}


def _citation(element: ElementTree.Element) -> Facts:
    outside = {
        reference.get("type", "").lower(): _text(reference)
        for reference in element
        if _tag(reference) == "externalReferences"
    }
    return {
        **_facts(element),
        "authors": [_text(child) for child in element if _tag(child) == "author"],
        "editors": [_text(child) for child in element if _tag(child) == "editor"],
        "published": element.get("published"),
        "preprint": element.get("preprint"),
        "j_or_nj_citation": _tag(element) == "journalCitation",
        "doi": outside.get("doi", "").removeprefix("doi:"),
        "pubmedid": outside.get("pubmed"),
    }


def _imageset(element: ElementTree.Element) -> Facts:
    return {
        **_facts(element),
        **_facts(_find(element, "dimensions")),
        **_facts(_find(element, "frameRange")),
        "segmentations": [_facts(child) for child in _children(_find(element, "segmentationList"))],
    }
