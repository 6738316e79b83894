"""Given a structure, when it is written and read, then it is the same; given anything else, then the error says so."""

from __future__ import annotations

import gzip
from pathlib import Path

import gemmi
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from napari_profet import Structure, read_structure, write_structure
from napari_profet.errors import FileExistsAlreadyError, FormatError, NothingFoundError
from napari_profet.mmcif import compose, parse

PDB = """\
HEADER    HYDROLASE                               01-JAN-00   1XYZ
TITLE     A SMALL EXAMPLE
CRYST1   10.000   20.000   30.000  90.00  90.00  90.00 P 1           1
ATOM      1  N   MET A   0      11.104   6.134  -6.504  1.00 12.50           N
ATOM      2  CA AMET A   0      11.639   6.071  -5.147  0.60 13.00           C
ATOM      3  CA BMET A   0      11.700   6.100  -5.200  0.40 13.25           C
ATOM      4  N   GLY A   1A     12.000   7.000  -4.000  1.00 14.00           N
ATOM      5  CA  GLY B   1      20.000  17.000   4.000  1.00 15.00           C
HETATM    6 ZN    ZN A 201       1.000   2.000   3.000  1.00 20.00          ZN2+
HETATM    7  O   HOH A 301       4.000   5.000   6.000  1.00 30.00           O
END
"""

# By hand, with what makes files hard: quotes, several blocks, a bond, displacements, an unknown category.
MMCIF = """\
data_other
_note.text 'no atoms here'
data_1XYZ
_entry.id 1XYZ
_struct.title 'Something with "quotes"'
_my_program.setting 42
loop_
_exptl.entry_id
_exptl.method
1XYZ 'ELECTRON MICROSCOPY'
loop_
_entity.id
_entity.type
1 polymer
2 branched
loop_
_struct_conn.id
_struct_conn.ptnr1_label_atom_id
_struct_conn.ptnr1_auth_asym_id
_struct_conn.ptnr1_auth_seq_id
_struct_conn.ptnr2_label_atom_id
_struct_conn.ptnr2_auth_asym_id
_struct_conn.ptnr2_auth_seq_id
glycan ND2 H 10 C1 G 1
inner ND2 H 10 "O5'" H 11
loop_
_atom_site_anisotrop.id
_atom_site_anisotrop.U[1][1]
7 0.1
8 0.2
9 0.3
loop_
_atom_site.group_PDB
_atom_site.id
_atom_site.type_symbol
_atom_site.label_atom_id
_atom_site.label_alt_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_entity_id
_atom_site.label_seq_id
_atom_site.pdbx_PDB_ins_code
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.occupancy
_atom_site.B_iso_or_equiv
_atom_site.pdbx_formal_charge
_atom_site.auth_seq_id
_atom_site.auth_asym_id
_atom_site.pdbx_PDB_model_num
ATOM 7 N ND2 . ASN A 1 3 ? 1.5 2.25 -3.125 1.0 10.0 ? 10 H 1
ATOM 8 O "O5'" A A1LU6 A 1 4 B 1.5(2) 2.0 3.0 0.5 11.0 -1 11 H 1
HETATM 9 C C1 . NAG B 2 . ? -1.0 -2.0 -3.0 1.0 12.0 ? 1 G 1
"""


def test_a_pdb_file_gives_every_column() -> None:
    positions, atoms, header = parse(PDB.encode(), "example.pdb")
    assert positions[0].tolist() == [-6.504, 6.134, 11.104], "z, y, x"
    assert sorted(atoms["chain"]) == list("AAAAAAB")
    zinc = atoms[atoms["residue_name"] == "ZN"].iloc[0]
    assert (zinc["element"], zinc["charge"], zinc["record"], zinc["entity_type"]) == ("ZN", 2, "HETATM", "non-polymer")
    assert set(atoms.loc[atoms["residue_name"] == "HOH", "entity_type"]) == {"water"}
    alternatives = atoms[atoms["altloc"] != ""]
    assert alternatives[["altloc", "occupancy"]].to_numpy().tolist() == [["A", 0.6], ["B", 0.4]]
    glycine = atoms[(atoms["residue_name"] == "GLY") & (atoms["chain"] == "A")].iloc[0]
    assert (glycine["residue_number"], glycine["insertion_code"], glycine["b_factor"]) == (1, "A", 14.0)
    assert "_cell.length_b 20" in header


def test_an_mmcif_file_gives_every_column_and_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "example.cif"
    path.write_text(MMCIF)
    structure = read_structure(path)
    assert (structure.name, structure.title, structure.method) == (
        "1XYZ",
        'Something with "quotes"',
        "electron microscopy",
    )
    assert structure.positions.tolist() == [[-3.125, 2.25, 1.5], [3, 2, 1.5], [-3, -2, -1]]
    assert structure.atoms.iloc[1].to_dict() == {
        "record": "ATOM",
        "serial": 8,
        "element": "O",
        "atom_name": "O5'",
        "altloc": "A",
        "residue_name": "A1LU6",
        "label_chain": "A",
        "entity": "1",
        "label_residue_number": 4,
        "insertion_code": "B",
        "occupancy": 0.5,
        "b_factor": 11.0,
        "charge": -1,
        "residue_number": 11,
        "chain": "H",
        "model": 1,
        "entity_type": "polymer",
    }
    assert structure.atoms["entity_type"].tolist() == ["polymer", "polymer", "branched"]
    assert structure.atoms["label_residue_number"].tolist() == [3, 4, 0]

    again = read_structure(write_structure(tmp_path / "again.cif", structure))
    pd.testing.assert_frame_equal(again.atoms, structure.atoms)
    assert np.array_equal(again.positions, structure.positions)
    assert again.header == structure.header
    assert "_my_program.setting 42" in again.header


def test_atoms_left_out_take_their_bonds_and_displacements_along() -> None:
    positions, atoms, header = parse(MMCIF.encode(), "example.cif")
    text = compose("x", positions[:2], atoms[:2], header)
    block = gemmi.cif.read_string(text).sole_block()
    assert list(block.find_values("_struct_conn.id")) == ["inner"]
    assert list(block.find_values("_atom_site_anisotrop.id")) == ["7", "8"]
    alone = gemmi.cif.read_string(compose("x", positions[2:], atoms[2:], header)).sole_block()
    assert not len(alone.find_values("_struct_conn.id"))


def test_gemmi_reads_the_written_file_alike(tmp_path: Path) -> None:
    """The reference is gemmi's own reader, with its own idea of an atom."""
    path = tmp_path / "example.pdb"
    path.write_text(PDB)
    written = gemmi.read_structure(str(write_structure(tmp_path / "example.cif", read_structure(path))))
    original = gemmi.read_structure(str(path))

    def listed(structure: gemmi.Structure) -> set[tuple]:
        return {
            (c.chain.name, str(c.residue.seqid), c.residue.name, c.atom.name, c.atom.altloc, c.atom.pos.tolist()[0])
            + (c.atom.element.name, c.atom.occ, c.atom.b_iso, c.atom.charge)
            for c in structure[0].all()
        }

    assert listed(written) == listed(original)
    assert written.cell.b == 20


names = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabc0123456789'\"*_#$;", min_size=1, max_size=5)
integers = st.integers(-9999, 99999)
numbers = st.floats(-1e4, 1e4, allow_nan=False)


@st.composite
def structures(draw: st.DrawFn) -> Structure:
    count = draw(st.integers(1, 8))

    def column(values: st.SearchStrategy) -> list:
        return draw(st.lists(values, min_size=count, max_size=count))

    atoms = pd.DataFrame(
        {
            "record": column(st.sampled_from(["ATOM", "HETATM"])),
            "serial": draw(st.lists(st.integers(1, 10**7), min_size=count, max_size=count, unique=True)),
            "element": column(st.sampled_from(["C", "N", "O", "S", "Zn", "X"])),
            "atom_name": column(names),
            "altloc": column(st.sampled_from(["", "A", "B", "1"])),
            "residue_name": column(names),
            "label_chain": column(names),
            "entity": column(names),
            "label_residue_number": column(st.integers(0, 9999)),
            "insertion_code": column(st.sampled_from(["", "A", "'"])),
            "occupancy": column(st.floats(0, 1)),
            "b_factor": column(numbers),
            "charge": column(st.integers(-4, 7)),
            "residue_number": column(integers),
            "chain": column(names),
            "model": column(st.integers(1, 99)),
        }
    )
    positions = draw(npst.arrays(float, (count, 3), elements=numbers))
    return Structure(name=draw(names), positions=positions, atoms=atoms)


@given(structures())
def test_any_structure_survives_writing_and_reading(structure: Structure) -> None:
    text = compose(structure.name, structure.positions, structure.atoms, structure.header)
    positions, atoms, _ = parse(text.encode(), "round.cif")
    assert np.array_equal(positions, structure.positions)
    exposed = [name for name in structure.atoms if name != "entity_type"]
    pd.testing.assert_frame_equal(Structure("x", positions, atoms).atoms[exposed], structure.atoms[exposed])


def test_compressed_files_and_their_names(bundle: Structure, tmp_path: Path) -> None:
    packed = write_structure(tmp_path / "b.cif.gz", bundle)
    plain = write_structure(tmp_path / "b.mmcif", bundle)
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert len(read_structure(packed)) == len(bundle)
    misnamed = plain.rename(tmp_path / "b.pdb")
    assert len(read_structure(misnamed)) == len(bundle), "the content decides, not the name"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"<html><body>404</body></html>", "web page"),
        (b"<?xml version='1.0'?><Error/>", "web page or XML"),
        (b"just some text\n", "neither mmCIF"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "neither mmCIF"),
        (b"data_x\nloop_\n_atom_site.id\n_atom_site.Cartn_x\n1\n", "not a readable"),
        (b"data_x\n_entry.id 'never closed\n", "not a readable"),
        (b"data_x\n_entry.id x\n", "no atom positions"),
        (b"data_x\nloop_\n_refln.index_h\n1\n2\n", "diffraction data"),
        (b"data_x\nloop_\n_chem_comp_atom.atom_id\nC1\n", "chemical component"),
        (MMCIF.replace(" 2.25 ", " ? ").encode(), "atom 1 of the file has no position"),
        (MMCIF.replace(" 2.25 ", " two ").encode(), "is two, not a number"),
        (MMCIF.replace("_atom_site.type_symbol", "_atom_site.unknown").encode(), "no _atom_site.type_symbol"),
        (MMCIF.replace("_atom_site.Cartn_z", "_atom_site.depth").encode(), "no _atom_site.Cartn_z"),
        (PDB.replace("12.000   7.000", "12.000   7,000").encode(), "line 7 has no coordinates"),
        (gzip.compress(MMCIF.encode())[:-20], "damaged"),
    ],
)
def test_what_is_no_structure_is_named(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.cif"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=words) as caught:
        read_structure(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("example", [MMCIF, PDB], ids=["mmCIF", "PDB"])
def test_odd_letters_and_line_ends_do_no_harm(example: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.ent"
    reference = parse(example.encode(), "plain")[0]
    accented = example.replace("Something", "Étude").replace("A SMALL", "UN É")
    for content in [
        accented.encode("latin-1"),
        b"\xef\xbb\xbf" + accented.encode(),
        accented.replace("\n", "\r\n").encode(),
    ]:
        path.write_bytes(content)
        assert np.array_equal(read_structure(path).positions, reference)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(NothingFoundError, match="no such file"):
        read_structure(tmp_path / "none.cif")
    with pytest.raises(NothingFoundError, match="is a folder"):
        read_structure(tmp_path)


def test_an_existing_file_is_left_alone_unless_told(bundle: Structure, tmp_path: Path) -> None:
    path = tmp_path / "mine.cif"
    path.write_text("precious")
    with pytest.raises(FileExistsAlreadyError, match="exists already"):
        write_structure(path, bundle)
    assert path.read_text() == "precious"
    write_structure(path, bundle, overwrite=True)
    assert len(read_structure(path)) == len(bundle)
    assert [item.name for item in tmp_path.iterdir()] == ["mine.cif"]


@pytest.mark.parametrize("name", ["out.pdb", "out", "out.gz", "out.pdb.gz"])
def test_only_mmcif_is_written(name: str, bundle: Structure, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="mmCIF"):
        write_structure(tmp_path / name, bundle)


def test_nothing_is_not_written(bundle: Structure, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no atom"):
        write_structure(tmp_path / "x.cif", bundle.select(np.zeros(len(bundle), bool)))


def test_atoms_without_what_they_need_are_refused(bundle: Structure) -> None:
    with pytest.raises(ValueError, match="lacks the columns element"):
        Structure("x", bundle.positions, bundle.atoms.drop(columns="element"))
    with pytest.raises(ValueError, match="one for each"):
        Structure("x", bundle.positions[1:], bundle.atoms)
    with pytest.raises(ValueError, match="finite"):
        Structure("x", bundle.positions * np.nan, bundle.atoms)


def test_a_prediction_is_recognised() -> None:
    from napari_profet.structure import parse_structure

    predicted = (
        "data_AF\nloop_\n_ma_qa_metric.id\n_ma_qa_metric.name\n1 pLDDT\n" + MMCIF[MMCIF.index("loop_\n_entity.id") :]
    )
    assert parse_structure(predicted.encode(), "AF.cif").method == "predicted"
    mentions = MMCIF.replace('Something with "quotes"', "Better than pLDDT")
    assert parse_structure(mentions.encode(), "1XYZ.cif").method == "electron microscopy"
