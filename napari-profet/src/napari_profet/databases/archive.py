"""The Protein Data Bank and EMDB: where their mirrors keep the files of an entry. No request is made here."""

from __future__ import annotations

from enum import StrEnum

from napari_profet.databases.content import check_bcif, check_fasta, check_map, check_mmcif, check_pdb
from napari_profet.databases.identifiers import Identifier
from napari_profet.databases.obtain import Item, Remote
from napari_profet.databases.settings import DatabaseSettings
from napari_profet.errors import FormatError

__all__ = ["Format", "fasta_item", "fasta_remotes", "map_item", "map_remotes", "structure_item", "structure_remotes"]


class Format(StrEnum):
    """File formats of a structure.

    ``CIF`` is mmCIF and exists for every entry; ``PDB`` not for large ones; ``BCIF`` is BinaryCIF; ``SIFTS`` is mmCIF
    with the UniProt number of every residue, and only for entries of the PDB.
    """

    CIF = "cif"
    PDB = "pdb"
    BCIF = "bcif"
    SIFTS = "sifts"


_CHECKS = {Format.CIF: check_mmcif, Format.PDB: check_pdb, Format.BCIF: check_bcif, Format.SIFTS: check_mmcif}
_SUFFIXES = {Format.CIF: ".cif", Format.PDB: ".pdb", Format.BCIF: ".bcif", Format.SIFTS: "_sifts.cif"}


def structure_item(identifier: Identifier, form: Format, assembly: int = 0) -> Item:
    """The structure file of an entry; ``assembly`` 0 is the asymmetric unit."""
    if assembly < 0:
        raise FormatError(f"assembly {assembly}: assemblies are counted from 1; 0 is the structure as deposited")
    if assembly and form not in (Format.CIF, Format.PDB):
        raise FormatError(f"{identifier}: assemblies come in the formats cif and pdb, not {form}; choose cif")
    which = f"-assembly{assembly}" if assembly else ""
    return Item(identifier, f"{form}{which}", f"{identifier}{which}{_SUFFIXES[form]}", _CHECKS[form])


def structure_remotes(identifier: Identifier, form: Format, assembly: int, settings: DatabaseSettings) -> list[Remote]:
    """Where the structure file of a PDB entry is, in the order of the settings.

    RCSB and the two archives have compressed files; PDBe has them plain.
    """
    if form is Format.SIFTS:
        return [Remote(url) for url in _sifts(identifier, settings)]
    places = {name: _PLACES[name](identifier, form, assembly, settings) for name in settings.mirrors}
    # Ids beyond four characters exist only in the archive that is made for them, and in what is derived from it.
    if len(identifier.accession) > 4:
        places = {name: places[name] for name in sorted(places, key=lambda name: name != "wwpdb")}
        places.pop("pdbj", None)
    found = [Remote(url) for url in places.values() if url]
    if not found:
        raise FormatError(
            f"{identifier}: none of the mirrors {', '.join(settings.mirrors)} has {form} files"
            f"{f' of assembly {assembly}' if assembly else ''}; choose the format cif or more mirrors"
        )
    return found


def map_item(identifier: Identifier) -> Item:
    """The density map of an EMDB entry."""
    return Item(identifier, "map", f"{identifier}.map", check_map)


def map_remotes(identifier: Identifier, settings: DatabaseSettings) -> list[Remote]:
    """Where the map of an EMDB entry is."""
    number = identifier.accession.removeprefix("EMD-")
    return [Remote(f"{base.rstrip('/')}/EMD-{number}/map/emd_{number}.map.gz") for base in settings.emdb_urls]


def fasta_item(identifier: Identifier) -> Item:
    """The sequences of an entry."""
    return Item(identifier, "sequence", f"{identifier}.fasta", check_fasta)


def fasta_remotes(identifier: Identifier, settings: DatabaseSettings) -> list[Remote]:
    """Where the sequences of a PDB entry are."""
    return [Remote(f"{settings.rcsb_fasta_url.rstrip('/')}/{identifier.accession}")]


def _rcsb(identifier: Identifier, form: Format, assembly: int, settings: DatabaseSettings) -> str | None:
    if form is Format.BCIF:
        return f"{settings.rcsb_models_url.rstrip('/')}/{identifier.accession.lower()}.bcif.gz"
    if form is Format.PDB:
        suffix = f".pdb{assembly}.gz" if assembly else ".pdb.gz"
    else:
        suffix = f"-assembly{assembly}.cif.gz" if assembly else ".cif.gz"
    return f"{settings.rcsb_url.rstrip('/')}/{identifier.accession}{suffix}"


def _pdbe(identifier: Identifier, form: Format, assembly: int, settings: DatabaseSettings) -> str | None:
    base, code = settings.pdbe_url.rstrip("/"), identifier.accession.lower()
    if assembly:
        return f"{base}/static/entry/download/{code}-assembly-{assembly}.cif.gz" if form is Format.CIF else None
    name = f"pdb{code}.ent" if form is Format.PDB else f"{code}.{form}"
    return f"{base}/entry-files/download/{name}"


def _pdbj(identifier: Identifier, form: Format, assembly: int, settings: DatabaseSettings) -> str | None:
    base, code = settings.pdbj_url.rstrip("/"), identifier.accession.lower()
    folder = code[1:3]
    if assembly:
        path = f"assemblies/mmCIF/divided/{folder}/{code}-assembly{assembly}.cif.gz"
        return f"{base}/{path}" if form is Format.CIF else None
    if form is Format.CIF:
        return f"{base}/structures/divided/mmCIF/{folder}/{code}.cif.gz"
    return f"{base}/structures/divided/pdb/{folder}/pdb{code}.ent.gz" if form is Format.PDB else None


def _wwpdb(identifier: Identifier, form: Format, assembly: int, settings: DatabaseSettings) -> str | None:
    if assembly or form is Format.BCIF:
        return None
    code = identifier.extended
    return f"{settings.wwpdb_url.rstrip('/')}/{code[-3:-1]}/{code}/{code}.{form}.gz"


def _sifts(identifier: Identifier, settings: DatabaseSettings) -> list[str]:
    code, extended = identifier.accession.lower(), identifier.extended
    return [
        f"{settings.pdbe_url.rstrip('/')}/entry-files/download/{code}_updated.cif",
        f"{settings.nextgen_url.rstrip('/')}/{extended[-3:-1]}/{extended}/{extended}_xyz-enrich.cif.gz",
    ]


_PLACES = {"rcsb": _rcsb, "pdbe": _pdbe, "pdbj": _pdbj, "wwpdb": _wwpdb}
