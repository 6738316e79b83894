"""AlphaFold DB: predicted structures by UniProt accession."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import IO, Any

from napari_profet.databases.content import check_json, read_json
from napari_profet.databases.identifiers import Database, Identifier
from napari_profet.databases.obtain import Item, Remote, Way, obtain
from napari_profet.errors import FormatError, UnknownIdError, UnusableAnswerError

__all__ = ["Prediction", "predictions_of", "read_plddt", "remote_of"]


@dataclass(frozen=True)
class Prediction:
    """A model of AlphaFold DB: of a protein, one of its isoforms, a piece of it, or a complex.

    Attributes
    ----------
    model
        Its id, such as AF-P12345-F1.
    accession
        UniProt accession, with the number of the isoform where it is not the canonical one.
    version
        Version of the file.
    first, last
        Residues of the UniProt sequence that are modelled, from 1; 0 where the database does not say.
    plddt
        Mean confidence from 0 to 100; NaN where the database does not say.
    description, gene, organism
        Of the protein.
    sequence
        The residues that are modelled.
    is_complex
        Whether there are other chains in it.
    urls
        Addresses of the files, by the database's own keys: ``cifUrl``, ``pdbUrl``, ``paeDocUrl`` ...
    """

    model: str
    accession: str
    version: str = ""
    first: int = 0
    last: int = 0
    plddt: float = float("nan")
    description: str = ""
    gene: str = ""
    organism: str = ""
    sequence: str = ""
    is_complex: bool = False
    urls: dict[str, str] = field(default_factory=dict)


def predictions_of(accession: str, way: Way) -> tuple[Prediction, ...]:
    """All models of a UniProt entry that the database lists; empty if there is none.

    Raises
    ------
    UnusableAnswerError
        The answer is not a list of predictions.
    """
    base = accession.split("-")[0]
    url = f"{way.settings.alphafold_url.rstrip('/')}/prediction/{base}"
    item = Item(Identifier(Database.ALPHAFOLD, base), "predictions", f"{base}-predictions.json", _check_records)
    try:
        kept = obtain(item, [Remote(url)], way, max_days=way.settings.answer_days)
    except UnknownIdError:
        return ()
    with kept.path.open("rb") as body:
        return tuple(_prediction(record) for record in read_json(body, kept.url))


def remote_of(identifier: Identifier, key: str, way: Way) -> Remote:
    """Where a file of a model is, as the database itself says.

    The addresses of the files change with every release of the database, and old ones vanish; so they are taken from
    its answer and never put together here.

    Parameters
    ----------
    identifier
        Accession and fragment.
    key
        Which file: ``cifUrl``, ``pdbUrl``, ``bcifUrl``, ``paeDocUrl``, ``plddtDocUrl``, ``msaUrl``.

    Raises
    ------
    UnknownIdError
        There is no such model; the message has those that are there.
    UnusableAnswerError
        The model has no such file.
    """
    models = predictions_of(identifier.accession, way)
    chosen = _chosen(identifier, models)
    if chosen is None:
        others = ", ".join(model.model for model in models) or "none at all"
        raise UnknownIdError(f"AlphaFold DB has no prediction for {identifier}; check the accession (there: {others})")
    if key not in chosen.urls:
        raise UnusableAnswerError(f"AlphaFold DB: the prediction {chosen.model} names no such file ({key})")
    return Remote(chosen.urls[key], chosen.version)


def read_plddt(body: IO[bytes], source: str) -> dict[int, float]:
    """Confidence of each residue by its number, from a file that has been checked."""
    record = read_json(body, source)
    return dict(zip(map(int, record["residueNumber"]), map(float, record["confidenceScore"]), strict=True))


def _chosen(identifier: Identifier, models: tuple[Prediction, ...]) -> Prediction | None:
    """The model of this very sequence: the answer also lists isoforms, fragments, complexes and models by others."""
    wanted = f"AF-{identifier.accession}-F{identifier.fragment}"
    for model in models:
        if model.model == wanted:
            return model
    # Models may be named by other schemes one day; then the accession alone must point to one.
    same = [model for model in models if model.accession == identifier.accession and not model.is_complex]
    return same[0] if len(same) == 1 and identifier.fragment == 1 else None


def _prediction(record: dict[str, Any]) -> Prediction:
    """A record of the answer; several keys were renamed in 2025."""

    def text(*keys: str) -> str:
        return next((str(record[key]) for key in keys if record.get(key) not in (None, "")), "")

    return Prediction(
        model=text("modelEntityId", "entryId"),
        accession=text("uniprotAccession"),
        version=text("latestVersion"),
        first=int(text("sequenceStart", "uniprotStart") or 0),
        last=int(text("sequenceEnd", "uniprotEnd") or 0),
        plddt=float(text("globalMetricValue") or "nan"),
        description=text("uniprotDescription"),
        gene=text("gene"),
        organism=text("organismScientificName"),
        sequence=text("sequence", "uniprotSequence"),
        is_complex=bool(record.get("isComplex")),
        urls={key: value for key, value in record.items() if key.endswith("Url") and isinstance(value, str) and value},
    )


def _check_records(body: IO[bytes], source: str, identifier: Identifier) -> None:
    check_json(body, source, identifier)
    records = read_json(body, source)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise FormatError(f"{source}: not a list of predictions; check the base URL")
    try:
        for record in records:
            _prediction(record)
    except ValueError as error:
        raise FormatError(f"{source}: a prediction with odd numbers ({error})") from error
