"""UniProt: what is known about a protein, and which accession a name means."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from napari_profet.databases.content import read_json
from napari_profet.databases.identifiers import Database, Identifier, parse_identifier
from napari_profet.databases.obtain import Item, Remote, Way, obtain
from napari_profet.errors import AmbiguousIdError, FormatError, IdentifierError, UnknownIdError

if TYPE_CHECKING:
    from napari_profet.features import ProteinFeatures

__all__ = ["Protein", "entry_source", "parse_protein", "protein_of", "resolved", "sequence_remotes"]


@dataclass(frozen=True)
class Protein:
    """An entry of UniProt.

    Attributes
    ----------
    accession
        Such as P12345.
    name
        Entry name, such as INS_HUMAN.
    about
        Its canonical sequence, and the features of it: signal peptide, propeptides, domains ...
    description
        Name of the protein.
    genes
        Names of the gene, the primary one first, then its synonyms.
    organism
        Scientific name.
    common_name
        Of the organism, or nothing.
    taxon
        Number of the organism in the taxonomy of NCBI.
    reviewed
        Whether a curator has looked at the entry (Swiss-Prot).
    """

    accession: str
    name: str
    about: ProteinFeatures
    description: str = ""
    genes: tuple[str, ...] = ()
    organism: str = ""
    common_name: str = ""
    taxon: int = 0
    reviewed: bool = False


def protein_of(accession: str, way: Way) -> Protein:
    """The entry of an accession.

    Raises
    ------
    UnknownIdError
        UniProt has no such entry, or has removed it; the message has its successors.
    """
    kept = obtain(*entry_source(accession, way), way)
    with kept.path.open("rb") as body:
        return parse_protein(read_json(body, kept.url), kept.url)


def entry_source(accession: str, way: Way) -> tuple[Item, list[Remote]]:
    """The entry of an accession as a file; isoforms share that of the canonical sequence."""
    base = accession.split("-")[0]
    url = f"{way.settings.uniprot_url.rstrip('/')}/uniprotkb/{base}.json"
    return Item(Identifier(Database.UNIPROT, base), "entry", f"{base}.json", _check_entry), [Remote(url)]


def sequence_remotes(accession: str, way: Way) -> list[Remote]:
    """Where the sequence of an accession, or of one of its isoforms, is."""
    return [Remote(f"{way.settings.uniprot_url.rstrip('/')}/uniprotkb/{accession}.fasta")]


def resolved(identifier: Identifier, way: Way) -> Identifier:
    """The accession that an entry name, or a gene with its organism, means; other ids as they are.

    Raises
    ------
    UnknownIdError
        No entry has exactly this name.
    AmbiguousIdError
        Several entries have it, and none of them or several are reviewed; the message lists them.
    """
    if not identifier.is_name:
        return identifier
    if "@" in identifier.accession:
        gene, organism = identifier.accession.split("@", 1)
        found = _of_gene(gene, organism, way)
    else:
        found = [
            protein for protein in _search(f"id:{identifier.accession}", way) if protein.name == identifier.accession
        ]
    if not found:
        raise UnknownIdError(f"UniProt has no entry {identifier.accession}; check the name, or give an accession")
    chosen = found if len(found) == 1 else [protein for protein in found if protein.reviewed]
    if len(chosen) != 1:
        listed = ", ".join(f"{protein.accession} ({protein.name})" for protein in (chosen or found)[:10])
        raise AmbiguousIdError(
            f"{identifier.accession} means {len(chosen or found)} entries of UniProt: {listed}; give one of them"
        )
    return parse_identifier(chosen[0].accession, Database.ALPHAFOLD)


def parse_protein(record: Any, source: str) -> Protein:
    """Protein from an entry of UniProt in JSON.

    Raises
    ------
    FormatError
        It is not such an entry.
    UnknownIdError
        The entry has been deleted or merged.
    """
    from napari_profet.features import parse_features

    if not isinstance(record, dict) or not isinstance(record.get("primaryAccession"), str):
        raise FormatError(f"{source}: not an entry of UniProt (no primaryAccession)")
    accession = record["primaryAccession"]
    # It becomes part of addresses and file names.
    try:
        named = parse_identifier(accession, Database.UNIPROT).is_name
    except IdentifierError:
        named = True
    if named:
        raise FormatError(f"{source}: {accession!r} is no accession of UniProt")
    if record.get("entryType") == "Inactive":
        reason = record.get("inactiveReason", {})
        heirs = ", ".join(reason.get("mergeDemergeTo") or reason.get("mergeDemergeTos") or ()) or "nothing"
        verb = str(reason.get("inactiveReasonType", "removed")).lower()
        raise UnknownIdError(f"UniProt has {verb} {accession}; in its place: {heirs}")
    organism, genes = record.get("organism", {}), record.get("genes", [])
    try:
        return Protein(
            accession=accession,
            name=record.get("uniProtkbId", ""),
            description=_description(record.get("proteinDescription", {})),
            genes=tuple(
                name["value"]
                for gene in genes
                for name in [*([gene["geneName"]] if "geneName" in gene else []), *gene.get("synonyms", ())]
            ),
            organism=organism.get("scientificName", ""),
            common_name=organism.get("commonName", ""),
            taxon=int(organism.get("taxonId", 0)),
            reviewed="(Swiss-Prot)" in record.get("entryType", ""),
            about=parse_features(record, source),
        )
    except FormatError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FormatError(f"{source}: the entry {accession} has an unknown shape ({error!r})") from error


def _description(names: dict[str, Any]) -> str:
    recommended: dict[str, Any] = names.get("recommendedName") or next(iter(names.get("submissionNames", ())), {})
    return str(recommended.get("fullName", {}).get("value", ""))


def _of_gene(gene: str, organism: str, way: Way) -> list[Protein]:
    """Entries whose gene and organism are exactly these; names of organisms are looked up by word at UniProt."""
    organism = " ".join(organism.split())
    taxon = f"organism_id:{organism}" if organism.isdigit() else f'organism_name:"{organism}"'
    found = [
        protein
        for protein in _search(f'gene_exact:"{gene}" AND {taxon}', way)
        if organism.lower() in (protein.organism.lower(), protein.common_name.lower(), str(protein.taxon))
    ]
    primary = [protein for protein in found if protein.genes[:1] and protein.genes[0].lower() == gene.lower()]
    named = [protein for protein in found if gene.lower() in {name.lower() for name in protein.genes}]
    return primary or named


def _search(query: str, way: Way) -> Sequence[Protein]:
    fields = "accession,id,protein_name,gene_names,organism_name,reviewed"
    base = way.settings.uniprot_url.rstrip("/")
    url = f"{base}/uniprotkb/search?query={quote(query)}&fields={fields}&format=json&size=500"
    key = hashlib.sha256(query.encode()).hexdigest()[:16]
    item = Item(Identifier(Database.UNIPROT, f"search {query}"), "search", f"search-{key}.json", _check_results)
    kept = obtain(item, [Remote(url)], way, max_days=way.settings.answer_days)
    with kept.path.open("rb") as body:
        return _active(read_json(body, kept.url), kept.url)


def _active(answer: dict[str, Any], source: str) -> list[Protein]:
    """The proteins of a search; removed entries may still be listed."""
    return [parse_protein(record, source) for record in answer["results"] if record.get("entryType") != "Inactive"]


def _check_entry(body: IO[bytes], source: str, identifier: Identifier) -> None:
    protein = parse_protein(read_json(body, source), source)
    if protein.accession != identifier.accession:
        raise FormatError(f"{source}: the entry {protein.accession}, not {identifier}; ask for that one")


def _check_results(body: IO[bytes], source: str, identifier: Identifier) -> None:
    answer = read_json(body, source)
    if not isinstance(answer, dict) or not isinstance(answer.get("results"), list):
        raise FormatError(f"{source}: not a list of entries of UniProt (no results)")
    if not all(isinstance(record, dict) for record in answer["results"]):
        raise FormatError(f"{source}: a result of the search is not an entry of UniProt")
    _active(answer, source)
