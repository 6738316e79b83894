"""Given what RCSB and PDBe know of a protein, when its structures are asked for, then a ranked table of exact hits."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from napari_profet import DatabaseSettings, describe_entry, find_structures
from napari_profet.databases import StructureHit, coverage_bar
from napari_profet.errors import IdentifierError, ServerUnreachableError, UnknownIdError, UnusableAnswerError

BEST, SEARCH, DATA = "/pdbe/api/mappings/best_structures/P01308", "/search", "/graphql"


def row(pdb_id: str, chain: str, coverage: float, resolution: float | None, first: int, last: int) -> dict[str, Any]:
    return {
        "pdb_id": pdb_id, "chain_id": chain, "coverage": coverage, "resolution": resolution, "unp_start": first,
        "unp_end": last, "start": 1, "end": last - first + 1, "tax_id": 9606,
        "experimental_method": "X-ray diffraction" if resolution else "Solution NMR",
    }  # fmt: skip


@pytest.fixture
def known(databank: Any) -> Any:
    """PDBe ranks two entries; RCSB lists these and two more."""
    best = [row("2hiu", "A", 0.19, None, 90, 110), row("1zeh", "B", 0.27, 1.5, 25, 54)]
    hits = ["1ZEH", "pdb_00002HIU", "9NEW", "8NEW"]
    databank.files[BEST] = json.dumps({"P01308": best}).encode()
    databank.files[SEARCH] = json.dumps(
        {"total_count": 4, "result_set": [{"identifier": name, "score": 1.0} for name in hits]}
    ).encode()
    methods = (("9NEW", "ELECTRON MICROSCOPY", 3.1), ("8NEW", "X-RAY DIFFRACTION", 2.0))
    entries = [
        {"rcsb_id": name, "exptl": [{"method": method}], "rcsb_entry_info": {"resolution_combined": [value]}}
        for name, method, value in methods
    ]
    databank.files[DATA] = json.dumps({"data": {"entries": entries}}).encode()
    return databank


def test_a_ranked_table_joined_from_both(known: Any, settings: DatabaseSettings) -> None:
    table = find_structures("P01308", settings=settings)
    assert table.notes == ()
    assert table.hits == (
        StructureHit(1, "2HIU", "A", "Solution NMR", None, 90, 110, 0.19),
        StructureHit(2, "1ZEH", "B", "X-ray diffraction", 1.5, 25, 54, 0.27),
        StructureHit(3, "8NEW", "", "X-ray diffraction", 2.0, 0, 0, None),
        StructureHit(4, "9NEW", "", "Electron microscopy", 3.1, 0, 0, None),
    )
    assert known.requests == [BEST, SEARCH, DATA]
    assert find_structures("P01308", settings=settings) == table and len(known.requests) == 3


def test_the_search_is_by_exact_attribute_and_never_by_words(known: Any, settings: DatabaseSettings) -> None:
    find_structures("P01308", settings=settings)
    search = known.questions[0]
    nodes = [node["parameters"] for node in search["query"]["nodes"]]
    base = "rcsb_polymer_entity_container_identifiers.reference_sequence_identifiers.database_"
    assert nodes == [
        {"attribute": f"{base}accession", "operator": "exact_match", "value": "P01308"},
        {"attribute": f"{base}name", "operator": "exact_match", "value": "UniProt"},
    ]
    assert search["return_type"] == "entry" and "full_text" not in json.dumps(search)


@pytest.mark.parametrize(
    ("broken", "ids", "words"),
    [(BEST, ["8NEW", "1ZEH"], "incomplete"), (SEARCH, ["2HIU", "1ZEH"], "incomplete"), (DATA, ["2HIU"], "without")],
)
def test_what_could_not_be_asked_is_noted(
    broken: str, ids: list[str], words: str, known: Any, settings: DatabaseSettings
) -> None:
    known.faults = {broken: 500}
    table = find_structures("P01308", settings=settings)
    assert {hit.pdb_id for hit in table.hits} >= set(ids)
    assert words in table.notes[0] and "HTTP 500" in table.notes[0]


def test_no_table_if_nobody_answers(known: Any, settings: DatabaseSettings) -> None:
    known.faults = {BEST: 500, SEARCH: "page"}
    with pytest.raises(ServerUnreachableError, match="HTTP 500"):
        find_structures("P01308", settings=settings)


def test_a_protein_without_structures(databank: Any, settings: DatabaseSettings) -> None:
    # PDBe says 404, RCSB 204 without content.
    databank.files[SEARCH] = b""
    table = find_structures("P01308", settings=settings)
    assert (table.hits, table.notes) == ((), ())
    assert len(find_structures("P01308", settings=settings)) == 0


@pytest.mark.parametrize(
    ("address", "answer"),
    [(BEST, []), (BEST, {"P01308": [{"pdb_id": "1abc"}]}), (SEARCH, {"result_set": ["1ABC"]}), (SEARCH, [1])],
)
def test_an_odd_answer_is_noted_and_never_kept(
    address: str, answer: object, known: Any, settings: DatabaseSettings
) -> None:
    known.files[address] = json.dumps(answer).encode()
    table = find_structures("P01308", settings=settings)
    assert "not usable" in table.notes[0]
    kept = {path.name for path in settings.cache_folder.rglob("*.json")}
    assert ("P01308-structures-pdbe.json" in kept) == (address == SEARCH)


def test_a_pdb_id_is_no_protein(settings: DatabaseSettings) -> None:
    with pytest.raises(IdentifierError, match="UniProt accession"):
        find_structures("1abc", settings=settings)


def test_facts_about_an_entry(databank: Any, settings: DatabaseSettings) -> None:
    entity = {
        "rcsb_polymer_entity": {"pdbx_description": "Insulin"},
        "entity_poly": {"rcsb_sample_sequence_length": 21},
        "rcsb_polymer_entity_container_identifiers": {
            "entity_id": "1",
            "auth_asym_ids": ["A", "C"],
            "reference_sequence_identifiers": [
                {"database_name": "UniProt", "database_accession": "P01308"},
                {"database_name": "NCBI", "database_accession": "NP_1"},
            ],
        },
    }
    record = {
        "rcsb_id": "1ZEH",
        "struct": {"title": "Insulin"},
        "exptl": [{"method": "X-RAY DIFFRACTION"}],
        "rcsb_entry_info": {"resolution_combined": [1.5], "deposited_atom_count": 900, "assembly_count": 3},
        "rcsb_accession_info": {"initial_release_date": "1998-12-30T00:00:00Z"},
        "rcsb_entry_container_identifiers": {"emdb_ids": None},
        "polymer_entities": [entity, {**entity, "rcsb_polymer_entity_container_identifiers": {}}],
    }
    databank.files[DATA] = json.dumps({"data": {"entry": record}}).encode()
    entry = describe_entry("1zeh", settings=settings)
    assert (entry.pdb_id, entry.method, entry.resolution) == ("1ZEH", "X-ray diffraction", 1.5)
    assert (entry.released, entry.assemblies, entry.maps) == ("1998-12-30", 3, ())
    assert (entry.entities[0].chains, entry.entities[0].accessions) == (("A", "C"), ("P01308",))
    assert entry.entities[1].accessions == ()
    assert databank.questions[0]["variables"] == {"id": "1ZEH"}


def test_no_facts_about_an_entry(databank: Any, settings: DatabaseSettings) -> None:
    databank.files[DATA] = b'{"data": {"entry": null}}'
    with pytest.raises(UnknownIdError, match="9XYZ: there is no such entry"):
        describe_entry("9xyz", settings=settings)
    databank.files[DATA] = b'{"errors": [{"message": "bad query"}]}'
    with pytest.raises(UnusableAnswerError, match="bad query"):
        describe_entry("9xyz", settings=settings, refresh=True)


def test_answers_that_change_are_asked_for_again_after_a_while(known: Any, settings: DatabaseSettings) -> None:
    find_structures("P01308", settings=settings)
    find_structures("P01308", settings=replace(settings, answer_days=-1))
    assert known.requests == [BEST, SEARCH, DATA] * 2
    find_structures("P01308", settings=settings, refresh=True)
    assert len(known.requests) == 9


@pytest.mark.parametrize(
    ("first", "last", "length", "bar"),
    [
        (1, 100, 100, "██████████"),
        (1, 10, 100, "█░░░░░░░░░"),
        (91, 100, 100, "░░░░░░░░░█"),
        (45, 46, 100, "░░░░█░░░░░"),
        (1, 1, 100000, "█░░░░░░░░░"),
        (0, 0, 100, "··········"),
        (1, 10, 0, "··········"),
        (90, 120, 100, "░░░░░░░░██"),
    ],
)
def test_the_coverage_bar(first: int, last: int, length: int, bar: str) -> None:
    assert coverage_bar(first, last, length, 10) == bar
