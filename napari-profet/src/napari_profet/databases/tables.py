"""What the databases list: the structures of a protein, ranked; and the facts of an entry of the PDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from napari_profet.databases.content import read_json
from napari_profet.databases.identifiers import Database, Identifier, parse_identifier
from napari_profet.databases.obtain import Item, Remote, Way, obtain
from napari_profet.errors import FormatError, ServerUnreachableError, UnknownIdError, UnusableAnswerError

__all__ = ["Entity", "Entry", "StructureHit", "StructureTable", "coverage_bar", "entry_of", "structures_of"]

_ACCESSION = "rcsb_polymer_entity_container_identifiers.reference_sequence_identifiers.database_accession"
_DETAILS = """query ($ids: [String!]!) { entries(entry_ids: $ids) {
  rcsb_id exptl { method } rcsb_entry_info { resolution_combined } } }"""
_ENTRY = """query ($id: String!) { entry(entry_id: $id) {
  rcsb_id struct { title } exptl { method }
  rcsb_entry_info { resolution_combined deposited_atom_count assembly_count }
  rcsb_accession_info { initial_release_date }
  rcsb_entry_container_identifiers { emdb_ids }
  polymer_entities {
    rcsb_polymer_entity { pdbx_description } entity_poly { rcsb_sample_sequence_length }
    rcsb_polymer_entity_container_identifiers {
      entity_id auth_asym_ids reference_sequence_identifiers { database_name database_accession } } } } }"""


@dataclass(frozen=True)
class StructureHit:
    """A chain of a PDB entry that shows a protein.

    Attributes
    ----------
    rank
        Place in the table, from 1.
    pdb_id
        The entry.
    chain
        Author's name of the chain; empty where only RCSB knows of the entry.
    method
        Such as "X-ray diffraction".
    resolution
        Å; None where the method has none.
    first, last
        Residues of the UniProt sequence in the chain; 0 where only RCSB knows of the entry.
    coverage
        Share of the UniProt sequence, 0 to 1; None where only RCSB knows of the entry.
    """

    rank: int
    pdb_id: str
    chain: str
    method: str
    resolution: float | None
    first: int
    last: int
    coverage: float | None


@dataclass(frozen=True)
class StructureTable:
    """All structures of a protein, the best first.

    Attributes
    ----------
    accession
        The protein.
    hits
        First in the order of PDBe (coverage, quality, resolution), then what only RCSB lists, by resolution.
    notes
        What could not be asked, in words; empty when the table is complete.
    """

    accession: str
    hits: tuple[StructureHit, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.hits)


@dataclass(frozen=True)
class Entity:
    """A polymer of a PDB entry: its name, length, chains and UniProt accessions."""

    number: str
    description: str
    length: int
    chains: tuple[str, ...]
    accessions: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """Facts about an entry of the PDB; ``resolution`` in Å, or None where the method has none."""

    pdb_id: str
    title: str
    method: str
    resolution: float | None
    released: str
    atoms: int
    assemblies: int
    entities: tuple[Entity, ...]
    maps: tuple[str, ...] = ()


def structures_of(accession: str, way: Way) -> StructureTable:
    """Structures of a protein: RCSB's exact search by attribute, joined with PDBe's ranking.

    Parameters
    ----------
    accession
        UniProt accession, without the number of an isoform.
    way
        How to fetch.

    Raises
    ------
    ServerUnreachableError, UnusableAnswerError, OfflineError
        Neither of the two services answers. If one of them does, the table has a note about the other.
    """
    failures: list[ServerUnreachableError | UnusableAnswerError] = []
    ranked: list[Mapping[str, Any]] = []
    listed: list[str] = []
    try:
        ranked = _ranked(accession, way)
    except (ServerUnreachableError, UnusableAnswerError) as error:
        failures.append(error)
    try:
        listed = _listed(accession, way)
    except (ServerUnreachableError, UnusableAnswerError) as error:
        failures.append(error)
    if len(failures) == 2:
        raise failures[0]
    hits = [_hit(rank, row) for rank, row in enumerate(ranked, 1)]
    known = {hit.pdb_id for hit in hits}
    more = sorted(set(listed) - known)
    notes = [f"incomplete: {error}" for error in failures]
    try:
        details = _details(more, accession, way) if more else {}
    except (ServerUnreachableError, UnusableAnswerError) as error:
        details = {}
        notes.append(f"without methods and resolutions of some: {error}")
    unplaced = [StructureHit(0, name, "", *details.get(name, ("", None)), 0, 0, None) for name in more]
    unplaced.sort(key=lambda hit: (hit.resolution is None, hit.resolution or 0.0, hit.pdb_id))
    hits += [
        StructureHit(rank, hit.pdb_id, "", hit.method, hit.resolution, 0, 0, None)
        for rank, hit in enumerate(unplaced, len(hits) + 1)
    ]
    return StructureTable(accession, tuple(hits), tuple(notes))


def entry_of(identifier: Identifier, way: Way) -> Entry:
    """Facts about an entry of the PDB.

    Raises
    ------
    UnknownIdError
        There is no such entry.
    """
    item = Item(identifier, "facts", f"{identifier}-facts.json", _check_object)
    remote = Remote(way.settings.rcsb_data_url, question={"query": _ENTRY, "variables": {"id": identifier.accession}})
    kept = obtain(item, [remote], way, max_days=way.settings.answer_days)
    with kept.path.open("rb") as body:
        record = (read_json(body, kept.url).get("data") or {}).get("entry")
    if record is None:
        raise UnknownIdError(f"{identifier}: there is no such entry in the PDB; check the id")
    try:
        return _entry(record)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UnusableAnswerError(f"{kept.url}: facts about {identifier} of an unknown shape ({error!r})") from error


def coverage_bar(first: int, last: int, length: int, width: int = 24) -> str:
    """A line of ``width`` characters, filled where residues ``first`` to ``last`` of ``length`` lie."""
    if not 1 <= first <= last or not length:
        return "·" * width
    begin = min((first - 1) * width // length, width - 1)
    end = max(min(-(-last * width // length), width), begin + 1)
    return "░" * begin + "█" * (end - begin) + "░" * (width - end)


def _ranked(accession: str, way: Way) -> list[Mapping[str, Any]]:
    """PDBe's rows; none where it knows of no structure."""
    url = f"{way.settings.pdbe_url.rstrip('/')}/api/mappings/best_structures/{accession}"
    identifier = Identifier(Database.UNIPROT, accession)
    item = Item(identifier, "structures-pdbe", f"{accession}-structures-pdbe.json", _check_ranking)
    try:
        kept = obtain(item, [Remote(url)], way, max_days=way.settings.answer_days)
    except UnknownIdError:
        return []
    with kept.path.open("rb") as body:
        return list(read_json(body, kept.url).get(accession, []))


def _listed(accession: str, way: Way) -> list[str]:
    """Ids of the entries with a polymer of this very accession; an attribute, not words in a text."""
    names = {"attribute": _ACCESSION, "operator": "exact_match", "value": accession}
    database = {"attribute": _ACCESSION.replace("_accession", "_name"), "operator": "exact_match", "value": "UniProt"}
    nodes = [{"type": "terminal", "service": "text", "parameters": node} for node in (names, database)]
    question = {
        "query": {"type": "group", "logical_operator": "and", "nodes": nodes},
        "return_type": "entry",
        "request_options": {"return_all_hits": True, "results_content_type": ["experimental"]},
    }
    identifier = Identifier(Database.UNIPROT, accession)
    item = Item(identifier, "structures-rcsb", f"{accession}-structures-rcsb.json", _check_result_set)
    kept = obtain(
        item, [Remote(way.settings.rcsb_search_url, question=question)], way, max_days=way.settings.answer_days
    )
    content = kept.path.read_bytes()
    if not content:
        return []
    with kept.path.open("rb") as body:
        return [_pdb_id(hit["identifier"]) for hit in read_json(body, kept.url).get("result_set", [])]


def _details(names: Sequence[str], accession: str, way: Way) -> dict[str, tuple[str, float | None]]:
    """Method and resolution of entries."""
    identifier = Identifier(Database.UNIPROT, accession)
    item = Item(identifier, "structures-details", f"{accession}-structures-details.json", _check_object)
    remote = Remote(way.settings.rcsb_data_url, question={"query": _DETAILS, "variables": {"ids": list(names)}})
    kept = obtain(item, [remote], way, max_days=way.settings.answer_days)
    with kept.path.open("rb") as body:
        records = (read_json(body, kept.url).get("data") or {}).get("entries") or []
    return {_pdb_id(record["rcsb_id"]): (_method(record), _resolution(record)) for record in records if record}


def _hit(rank: int, row: Mapping[str, Any]) -> StructureHit:
    resolution = row.get("resolution")
    return StructureHit(
        rank=rank,
        pdb_id=_pdb_id(row["pdb_id"]),
        chain=str(row["chain_id"]),
        method=str(row.get("experimental_method") or ""),
        resolution=float(resolution) if resolution else None,
        first=int(row["unp_start"]),
        last=int(row["unp_end"]),
        coverage=float(row["coverage"]),
    )


def _entry(record: Mapping[str, Any]) -> Entry:
    info = record.get("rcsb_entry_info") or {}
    return Entry(
        pdb_id=_pdb_id(record["rcsb_id"]),
        title=(record.get("struct") or {}).get("title") or "",
        method=_method(record),
        resolution=_resolution(record),
        released=str((record.get("rcsb_accession_info") or {}).get("initial_release_date") or "")[:10],
        atoms=int(info.get("deposited_atom_count") or 0),
        assemblies=int(info.get("assembly_count") or 0),
        entities=tuple(_entity(entity) for entity in record.get("polymer_entities") or ()),
        maps=tuple((record.get("rcsb_entry_container_identifiers") or {}).get("emdb_ids") or ()),
    )


def _entity(record: Mapping[str, Any]) -> Entity:
    names = record["rcsb_polymer_entity_container_identifiers"]
    references = names.get("reference_sequence_identifiers") or ()
    return Entity(
        number=str(names.get("entity_id", "")),
        description=(record.get("rcsb_polymer_entity") or {}).get("pdbx_description") or "",
        length=int((record.get("entity_poly") or {}).get("rcsb_sample_sequence_length") or 0),
        chains=tuple(names.get("auth_asym_ids") or ()),
        accessions=tuple(name["database_accession"] for name in references if name["database_name"] == "UniProt"),
    )


def _pdb_id(text: object) -> str:
    """An id as the servers write it, in the one form that it has here."""
    return str(parse_identifier(str(text), Database.PDB))


def _method(record: Mapping[str, Any]) -> str:
    return ", ".join(str(method["method"]).capitalize() for method in record.get("exptl") or ())


def _resolution(record: Mapping[str, Any]) -> float | None:
    values = (record.get("rcsb_entry_info") or {}).get("resolution_combined") or ()
    return float(min(values)) if values else None


def _check_object(body: IO[bytes], source: str, identifier: Identifier) -> None:
    answer = read_json(body, source)
    if not isinstance(answer, dict) or "data" not in answer:
        raise FormatError(f"{source}: not an answer in GraphQL (no data): {str(answer)[:200]}")


def _check_ranking(body: IO[bytes], source: str, identifier: Identifier) -> None:
    answer = read_json(body, source)
    rows = answer.get(identifier.accession, []) if isinstance(answer, dict) else None
    try:
        for rank, row in enumerate(rows or (), 1):
            _hit(rank, row)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FormatError(f"{source}: not a ranking of structures ({error!r})") from error
    if not isinstance(rows, list):
        raise FormatError(f"{source}: not a ranking of structures by accession; check the base URL")


def _check_result_set(body: IO[bytes], source: str, identifier: Identifier) -> None:
    body.seek(0)
    # Status 204 and no content: there are no hits.
    if not body.read(1):
        return
    answer = read_json(body, source)
    if not isinstance(answer, dict) or not isinstance(answer.get("result_set", []), list):
        raise FormatError(f"{source}: not a result of a search (no result_set)")
    try:
        for hit in answer.get("result_set", []):
            _pdb_id(hit["identifier"])
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{source}: a hit of the search without a PDB id ({error!r})") from error
