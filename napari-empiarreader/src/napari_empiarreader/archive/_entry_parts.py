"""The small records that an entry is made of."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Citation", "Grant", "Person", "Segmentation", "Version", "Workflow"]


@dataclass(frozen=True)
class Person:
    """Somebody responsible for an entry. Telephone and e-mail are left in the archive.

    Parameters
    ----------
    orcid
        ``0000-0001-9064-4085``, or empty.
    country
        As the archive words it: a code of two letters, or a name.
    """

    name: str = ""
    orcid: str = ""
    organization: str = ""
    town: str = ""
    country: str = ""


@dataclass(frozen=True)
class Citation:
    """A publication about an entry.

    Parameters
    ----------
    published, preprint, is_journal
        None where the archive does not say.
    year
        As text; some are not numbers.
    """

    title: str = ""
    authors: tuple[str, ...] = ()
    editors: tuple[str, ...] = ()
    published: bool | None = None
    preprint: bool | None = None
    is_journal: bool | None = None
    journal: str = ""
    journal_abbreviation: str = ""
    volume: str = ""
    issue: str = ""
    first_page: str = ""
    last_page: str = ""
    year: str = ""
    language: str = ""
    country: str = ""
    doi: str = ""
    pubmed_id: str = ""
    details: str = ""
    book_chapter_title: str = ""
    publisher: str = ""
    publication_location: str = ""


@dataclass(frozen=True)
class Segmentation:
    """A segmentation deposited with an image set; paths are inside the entry."""

    name: str = ""
    file: str = ""
    description: str = ""
    original_files: str = ""
    original_format: str = ""


@dataclass(frozen=True)
class Version:
    """One line of an entry's history."""

    number: str = ""
    date: str = ""
    status: str = ""
    details: str = ""


@dataclass(frozen=True)
class Grant:
    """Who paid."""

    funding_body: str = ""
    code: str = ""
    country: str = ""


@dataclass(frozen=True)
class Workflow:
    """A processing workflow: an address, or a file inside the entry."""

    location: str = ""
    kind: str = ""
