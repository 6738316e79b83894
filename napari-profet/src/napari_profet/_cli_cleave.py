"""The command ``cleave``: what goes from structures, said first and then done."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_profet.errors import FileExistsAlreadyError, FormatError, UserError
from napari_profet.files import refuse_existing

if TYPE_CHECKING:
    from napari_profet.cleave_plan import CleaveOptions, CleavePlan
    from napari_profet.databases import DatabaseSettings
    from napari_profet.features import ProteinFeatures
    from napari_profet.structure import Structure

__all__ = ["cleave"]

_SUFFIXES = (".cif", ".mmcif", ".pdb", ".cif.gz", ".mmcif.gz", ".pdb.gz")


def cleave(
    sources: Annotated[list[str], typer.Argument(metavar="FILE|ID...", help="Structure files, or ids to fetch.")],
    signal: Annotated[bool, typer.Option("--signal", help="Signal peptides go.")] = False,
    transit: Annotated[bool, typer.Option("--transit", help="Transit peptides go.")] = False,
    propeptide: Annotated[bool, typer.Option("--propeptide", help="Propeptides go.")] = False,
    initiator: Annotated[bool, typer.Option("--initiator", help="Initiator methionines that cells remove go.")] = False,
    tags: Annotated[bool, typer.Option("--tags", help="Expression tags and cloning artefacts go.")] = False,
    feature: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND[:DESCRIPTION]", help="A kind of UniProt feature, such as Domain; repeatable."),
    ] = None,
    drop_chains: Annotated[str, typer.Option(metavar="A,B", help="Whole chains go; label:A by the other name.")] = "",
    drop_entities: Annotated[str, typer.Option(metavar="1,2", help="Whole entities go.")] = "",
    residues: Annotated[
        list[str] | None,
        typer.Option("--range", metavar="A:1-25", help="Residues, also H:52A-52C, label:A:1-25."),
    ] = None,
    select: Annotated[
        list[str] | None, typer.Option(metavar="SELECTION", help="Atoms in gemmi's syntax, //A/10-20; repeatable.")
    ] = None,
    plddt: Annotated[float | None, typer.Option(metavar="VALUE", help="Predicted residues below this go.")] = None,
    altlocs: Annotated[bool, typer.Option("--altlocs", help="Alternative places but the best go.")] = False,
    hydrogens: Annotated[bool, typer.Option("--hydrogens", help="Hydrogens go, deuterium too.")] = False,
    waters: Annotated[bool, typer.Option("--waters", help="Water goes.")] = False,
    ions: Annotated[bool, typer.Option("--ions", help="Single atoms outside of chains go.")] = False,
    ligands: Annotated[bool, typer.Option("--ligands", help="Small molecules go; modified residues stay.")] = False,
    chains: Annotated[str, typer.Option(metavar="A,B", help="Do all this in these chains only.")] = "",
    keep: Annotated[
        list[str] | None, typer.Option(metavar="SELECTION", help="Atoms that stay all the same; repeatable.")
    ] = None,
    uniprot: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE|ACCESSION", help="UniProt entries; else those that the structure names."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; write nothing.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT", help="A .cif or .pdb (.gz) file, or a folder.")
    ] = None,
    form: Annotated[str, typer.Option("--format", metavar="cif|pdb", help="Format of files in a folder.")] = "cif",
    fasta: Annotated[bool, typer.Option("--fasta", help="Write the sequences too, beside the structure.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Use kept files only; ask no server.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Cut peptides, tags, chains or residues off structures; leave out atoms.

    Cuts shorten the sequence too; --select, --plddt and all after it only leave atoms out.

    What went is told in the mmCIF file and in a .cleaved.json beside it.

    In a folder, what is there already is not made again.
    """
    from napari_profet.cleave_plan import CleaveOptions
    from napari_profet.selecting import ResidueRange

    if output is None and not dry_run:
        raise FormatError("say where to write (-o OUT), or only look (--dry-run)")
    options = CleaveOptions(
        signal=signal,
        transit=transit,
        propeptide=propeptide,
        initiator=initiator,
        tags=tags,
        features=tuple(feature or ()),
        chains=_split(drop_chains),
        entities=_split(drop_entities),
        ranges=tuple(ResidueRange.parse(text) for text in residues or ()),
        selections=tuple(select or ()),
        plddt=plddt,
        altlocs=altlocs,
        hydrogens=hydrogens,
        waters=waters,
        ions=ions,
        ligands=ligands,
        only=_split(chains),
        keep=tuple(keep or ()),
    )
    if options == CleaveOptions(only=options.only, keep=options.keep):
        raise FormatError("nothing is to go; say what, for instance --signal or --range A:1-25 (see --help)")
    targets = [_target(source, output, form, len(sources)) for source in sources]
    if len(set(targets)) < len(targets) and output is not None:
        raise FormatError("two structures would be written to one file; give them one by one")
    failed = 0
    for number, (source, target) in enumerate(zip(sources, targets, strict=True), start=1):
        if len(sources) > 1:
            print(f"[{number}/{len(sources)}] {source}", file=sys.stderr)
        try:
            _one(source, None if dry_run else target, options, tuple(uniprot or ()), offline, fasta, overwrite)
        except FileExistsAlreadyError as error:
            if len(sources) == 1:
                raise
            print(f"{error}; left as it is", file=sys.stderr)
        except UserError as error:
            if len(sources) == 1:
                raise
            failed += 1
            print(f"error: {source}: {error}", file=sys.stderr)
    if failed:
        raise UserError(f"{failed} of {len(sources)} structures failed; the same command again does only these")


def _split(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())


def _target(source: str, output: Path | None, form: str, count: int) -> Path | None:
    """Where a structure is to be written."""
    if form not in ("cif", "pdb"):
        raise FormatError(f"--format {form}: choose cif or pdb")
    if output is None:
        return None
    if output.name.lower().endswith(_SUFFIXES) and not output.is_dir():
        if count > 1:
            raise FormatError(f"{output} is one file for {count} structures; name a folder")
        return output
    if output.suffix and not output.is_dir():
        raise FormatError(f"{output}: let the name end in {', '.join(_SUFFIXES)}, or name a folder")
    return output / f"{Path(source).name.split('.')[0]}_cleaved.{form}"


def _one(
    source: str,
    target: Path | None,
    options: CleaveOptions,
    uniprot: tuple[str, ...],
    offline: bool,
    fasta: bool,
    overwrite: bool,
) -> None:
    """Plan one structure; do it if there is a target."""
    from napari_profet import cleave as cleaving
    from napari_profet import cleave_output as writing

    sequences = target.with_name(f"{target.name.split('.')[0]}.fasta") if target and fasta else None
    if target and not overwrite:
        # Before anything is fetched.
        for path in filter(None, (target, writing.record_path(target), sequences)):
            refuse_existing(path)
    settings = _settings(offline)
    structure = _structure(source, settings, with_numbers=bool(options.of_uniprot))
    proteins = _proteins(structure, uniprot, settings) if options.of_uniprot else ()
    plan = cleaving.plan_cleaving(structure, options, proteins)
    print(_table(structure, plan), file=sys.stderr if target else sys.stdout)
    if target:
        for path in writing.write_cleaved(target, cleaving.cleave(structure, plan), plan, overwrite=overwrite):
            print(path)
    if sequences:
        from napari_profet.cleave_sequences import chain_sequences
        from napari_profet.sequence import write_fasta

        print(write_fasta(sequences, chain_sequences(structure, plan), overwrite=overwrite))


def _settings(offline: bool) -> DatabaseSettings:
    from napari_profet._cli_fetch import settings_of

    return settings_of(offline)


def _structure(source: str, settings: DatabaseSettings, *, with_numbers: bool) -> Structure:
    """Structure of a file, or of an id; of the PDB the file that has UniProt's numbers where they are needed."""
    from napari_profet import console
    from napari_profet.structure import read_structure

    if Path(source).exists() or "/" in source or source.lower().endswith((".ent", ".ent.gz", *_SUFFIXES)):
        return read_structure(source)
    from napari_profet.databases import Database, fetch_structure, parse_identifier
    from napari_profet.errors import UnknownIdError

    if with_numbers and parse_identifier(source).database is Database.PDB:
        try:
            found = fetch_structure(source, format="sifts", settings=settings, progress=console.progress_line)
            return read_structure(found.path)
        except UnknownIdError as error:
            print(f"no file with the numbers of SIFTS ({error}); the deposited one is used", file=sys.stderr)
    return read_structure(fetch_structure(source, settings=settings, progress=console.progress_line).path)


def _proteins(structure: Structure, named: tuple[str, ...], settings: DatabaseSettings) -> tuple[ProteinFeatures, ...]:
    """UniProt entries from files, or fetched by accession."""
    from napari_profet.cleave import uniprot_accessions
    from napari_profet.features import read_features

    found = []
    for name in named or uniprot_accessions(structure):
        if Path(name).exists() or name.lower().endswith(".json"):
            found.append(read_features(name))
        else:
            from napari_profet.databases import fetch_protein

            found.append(fetch_protein(name, settings=settings).about)
    return tuple(found)


def _table(structure: Structure, plan: CleavePlan) -> str:
    """Show a plan: one line for each thing that goes, the sum, and what to know."""
    lines = [f"{structure.name}: {int(plan.goes.sum()):,} of {len(structure):,} atoms go"]
    for one in plan.removals:
        where = f"{one.chain or '-'}:{one.first}..{one.last}" if one.first else one.chain or "-"
        source = f" by {one.numbering}" if one.numbering else ""
        words = f"{one.detail}{source}"
        lines.append(f"  {one.reason:<21}{where:<14}{one.residues:>6} residues {one.atoms:>8} atoms  {words}".rstrip())
    lines += [f"  note: {note}" for note in plan.notes]
    return "\n".join(lines)
