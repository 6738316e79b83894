"""What UniProt says, as a value: every shape its positions come in, and an error for every other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_profet.errors import FormatError, NothingFoundError
from napari_profet.features import Certainty, Position, mature_sequences, parse_features, read_features


def entry(*features: dict[str, Any], sequence: str = "") -> dict[str, Any]:
    return {"primaryAccession": "P12345", "features": list(features), "sequence": {"value": sequence}}


def feature(kind: str, start: Any, end: Any, **more: Any) -> dict[str, Any]:
    return {"type": kind, "location": {"start": start, "end": end}, **more}


EXACT = {"value": 1, "modifier": "EXACT"}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"value": 24, "modifier": "EXACT"}, Position(24)),
        ({"value": 24}, Position(24)),
        ({"value": 24, "modifier": "OUTSIDE"}, Position(24, Certainty.OUTSIDE)),
        ({"value": 24, "modifier": "UNSURE"}, Position(24, Certainty.UNSURE)),
        ({"value": None, "modifier": "UNKNOWN"}, Position(None, Certainty.UNKNOWN)),
        ({"modifier": "UNKNOWN"}, Position(None, Certainty.UNKNOWN)),
        ({"value": 24, "modifier": "UNKNOWN"}, Position(None, Certainty.UNKNOWN)),
        (None, Position(None, Certainty.UNKNOWN)),
    ],
)
def test_every_position_that_uniprot_writes(said: Any, expected: Position) -> None:
    one = parse_features(entry(feature("Signal", EXACT, said))).features[0]
    assert one.end == expected
    assert one.located is (expected.value is not None)
    assert (1 in one, 24 in one, 25 in one) == ((True, True, False) if one.located else (False, False, False))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"features": []}, "no primaryAccession"),
        ([], "no primaryAccession"),
        ({"primaryAccession": "P12345", "entryType": "Inactive"}, "no longer an entry"),
        ({"primaryAccession": "P12345", "features": {}}, "not a list"),
        (entry({"type": "Signal"}), "no location"),
        (entry(feature("Signal", EXACT, {"value": "24"})), "'24', not a whole number"),
        (entry(feature("Signal", EXACT, {"value": True})), "True, not a whole number"),
        (entry(feature("Signal", EXACT, {"value": 3, "modifier": "ROUGHLY"})), "modifier 'ROUGHLY'"),
        (entry(feature("Signal", {"value": 9}, {"value": 3})), "starts at 9 and ends at 3"),
    ],
)
def test_another_shape_is_refused(wrong: Any, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        parse_features(wrong, "P12345.json")


def test_a_file_is_read_or_refused_by_name(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps({**entry(), "uniProtkbId": "TEST_HUMAN", "secondaryAccessions": ["Q00001"]}))
    bad.write_text("<html>")
    protein = read_features(good)
    assert (protein.name, protein.answers_to("Q00001"), protein.answers_to("P12345-2")) == ("TEST_HUMAN", True, False)
    with pytest.raises(FormatError, match=r"bad\.json: not JSON"):
        read_features(bad)
    with pytest.raises(NothingFoundError, match=r"none\.json"):
        read_features(tmp_path / "none.json")


def test_proinsulin_without_signal_and_c_peptide_is_two_chains() -> None:
    # Preproinsulin as in P01308, made short: signal 1-3, B 4-7, C peptide 8-10, A 11-14.
    protein = parse_features(
        entry(
            feature("Signal", {"value": 1}, {"value": 3}),
            feature("Propeptide", {"value": 8}, {"value": 10}, description="C peptide"),
            sequence="MALFVNQRREGIVE",
        )
    )
    assert mature_sequences(protein, ["Signal", "Propeptide"]) == ("FVNQ", "GIVE")
    assert mature_sequences(protein, ["signal"]) == ("FVNQRREGIVE",)
    assert mature_sequences(protein, []) == ("MALFVNQRREGIVE",)


@given(st.text("ACDEFGHIKLMNPQRSTVWY", min_size=1, max_size=40), st.data())
def test_a_cleaved_sequence_is_the_rest(sequence: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(1, len(sequence)))
    end = data.draw(st.integers(start, len(sequence)))
    protein = parse_features(entry(feature("Signal", {"value": start}, {"value": end}), sequence=sequence))
    assert "".join(mature_sequences(protein, ["Signal"])) == sequence[: start - 1] + sequence[end:]
