"""Given BinaryCIF written by the rules of its specification, when it is read, then it says what the text said."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from gemmi import cif

from napari_profet import Structure, read_structure, write_structure
from napari_profet.binarycif import read_binary_cif
from napari_profet.errors import FormatError
from napari_profet.structure import parse_structure

# The specification's numbers of types, and its smallest types that a number fits in.
TYPE_OF = {"int8": 1, "int16": 2, "int32": 3, "uint8": 4, "uint16": 5, "uint32": 6, "float32": 32, "float64": 33}


def raw(values: np.ndarray) -> dict[str, Any]:
    """An array as its bytes."""
    return {"data": values.tobytes(), "encoding": [{"kind": "ByteArray", "type": TYPE_OF[values.dtype.name]}]}


def packed(values: np.ndarray, size: int = 1, *, unsigned: bool = False) -> dict[str, Any]:
    """Integers in pieces of ``size`` bytes: what does not fit is written as limits that add up."""
    kind = np.dtype(f"{'u' if unsigned else 'i'}{size}")
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    pieces: list[int] = []
    for value in values.tolist():
        while value >= high:
            pieces.append(high)
            value -= high
        while value <= low and not unsigned:
            pieces.append(low)
            value -= low
        pieces.append(value)
    step = {"kind": "IntegerPacking", "byteCount": size, "srcSize": len(values), "isUnsigned": unsigned}
    told = raw(np.array(pieces, dtype=kind))
    return {"data": told["data"], "encoding": [step, *told["encoding"]]}


def after(step: dict[str, Any], inner: dict[str, Any]) -> dict[str, Any]:
    return {"data": inner["data"], "encoding": [step, *inner["encoding"]]}


def delta(values: np.ndarray) -> dict[str, Any]:
    steps = np.diff(values, prepend=values[:1]).astype("i4")
    return after({"kind": "Delta", "origin": int(values[0]), "srcType": 3}, packed(steps, 2))


def run_lengths(values: np.ndarray) -> dict[str, Any]:
    starts = np.flatnonzero(np.diff(values, prepend=values[0] - 1))
    lengths = np.diff(np.append(starts, len(values)))
    pairs = np.column_stack([values[starts], lengths]).ravel().astype("i4")
    return after({"kind": "RunLength", "srcType": 3, "srcSize": len(values)}, packed(pairs))


def fixed_point(values: np.ndarray, factor: int) -> dict[str, Any]:
    scaled = np.rint(values * factor).astype("i4")
    return after({"kind": "FixedPoint", "factor": factor, "srcType": 32}, delta(scaled))


def texts(values: list[str]) -> dict[str, Any]:
    unique = list(dict.fromkeys(values))
    offsets = np.cumsum([0, *map(len, unique)]).astype("i4")
    indices, places = packed(np.array([unique.index(value) for value in values])), packed(offsets, unsigned=True)
    step = {"kind": "StringArray", "stringData": "".join(unique), "dataEncoding": indices["encoding"]}
    step |= {"offsets": places["data"], "offsetEncoding": places["encoding"]}
    return {"data": indices["data"], "encoding": [step]}


def column(name: str, values: list[str | None | bool]) -> dict[str, Any]:
    """A column by its name: numbers as numbers, the rest as text; None is "?" and False "."."""
    null = np.array([{None: 2, False: 1}.get(value, 0) if not isinstance(value, str) else 0 for value in values])
    plain = [value if isinstance(value, str) else "" for value in values]
    if name.startswith("Cartn") or name in ("occupancy", "B_iso_or_equiv"):
        data = fixed_point(np.array(plain, dtype=float), 1000)
    elif name in ("id", "label_seq_id") and all(value.isdigit() for value in plain):
        data = delta(np.array(plain, dtype="i4"))
    elif name in ("auth_seq_id", "pdbx_PDB_model_num"):
        data = run_lengths(np.array(plain, dtype="i4"))
    else:
        data = texts(plain)
    mask = raw(null.astype("u1")) if null.any() else None
    return {"name": name, "data": data, "mask": mask}


def binary(text: str) -> bytes:
    """A BinaryCIF file from mmCIF text."""
    block = cif.read_string(text).sole_block()
    categories = []
    for name in block.get_mmcif_category_names():
        columns = block.get_mmcif_category(name)
        rows = len(next(iter(columns.values())))
        told = [column(item, list(values)) for item, values in columns.items()]
        categories.append({"name": name.removesuffix("."), "rowCount": rows, "columns": told})
    blocks = [{"header": block.name, "categories": categories}]
    return msgpack.packb({"version": "0.3.0", "encoder": "a test", "dataBlocks": blocks})


@pytest.fixture
def text(bundle: Structure, tmp_path: Path) -> str:
    return write_structure(tmp_path / "bundle.cif", bundle).read_text()


def test_a_structure_is_the_same_in_both_forms(text: str, bundle: Structure, tmp_path: Path) -> None:
    (tmp_path / "bundle.bcif").write_bytes(binary(text))
    (tmp_path / "bundle.bcif.gz").write_bytes(gzip.compress(binary(text)))
    for name in ("bundle.bcif", "bundle.bcif.gz"):
        read = read_structure(tmp_path / name)
        assert np.allclose(read.positions, bundle.positions, atol=5.1e-4)
        assert read.atoms.equals(bundle.atoms)
        assert read.title == bundle.title
        categories = cif.read_string(bundle.header).sole_block().get_mmcif_category_names()
        assert cif.read_string(read.header).sole_block().get_mmcif_category_names() == categories


def test_every_encoding_comes_back() -> None:
    wide = np.array([0, 127, 128, -128, -129, 300, -70_000, 5])
    columns = {
        "packed": packed(wide),
        "unsigned": packed(np.array([0, 255, 256, 70_000, 3]), 1, unsigned=True),
        "delta": delta(np.array([40, 41, 39, 39, 90_000])),
        "runs": run_lengths(np.array([3, 3, 3, -2, 8, 8])),
        "fixed": fixed_point(np.array([-12.345, 0.001, 99.0]), 1000),
        "interval": after(
            {"kind": "IntervalQuantization", "min": -1.0, "max": 1.0, "numSteps": 5, "srcType": 33},
            raw(np.array([0, 1, 4], dtype="u1")),
        ),
        "text": texts(["A", "it's", "two words", "A", ""]),
    }
    blocks = [
        {
            "header": "X",
            "categories": [
                {"name": f"_{name}", "rowCount": 9, "columns": [{"name": "value", "data": data, "mask": None}]}
                for name, data in columns.items()
            ],
        }
    ]
    block = read_binary_cif(msgpack.packb({"dataBlocks": blocks}), "test").sole_block()
    said = {name: [cif.as_string(value) for value in block.find_values(f"_{name}.value")] for name in columns}
    assert said == {
        "packed": list(map(str, wide.tolist())),
        "unsigned": ["0", "255", "256", "70000", "3"],
        "delta": ["40", "41", "39", "39", "90000"],
        "runs": ["3", "3", "3", "-2", "8", "8"],
        "fixed": ["-12.345", "0.001", "99.0"],
        "interval": ["-1.0", "-0.5", "1.0"],
        "text": ["A", "it's", "two words", "A", ""],
    }


def test_missing_values_keep_their_two_kinds() -> None:
    told = column("label_seq_id", ["1", None, False])
    blocks = [{"header": "X", "categories": [{"name": "_a", "rowCount": 3, "columns": [told]}]}]
    block = read_binary_cif(msgpack.packb({"dataBlocks": blocks}), "test").sole_block()
    assert list(block.find_values("_a.label_seq_id")) == ["1", "?", "."]


def test_what_is_damaged_says_so(text: str) -> None:
    good = binary(text)
    for bad in (good[:-40], good.replace(b"IntegerPacking", b"IntegerPackinX"), good.replace(b"rowCount", b"rowCounX")):
        with pytest.raises(FormatError, match=r"a\.bcif: not a readable BinaryCIF file .*; fetch it again"):
            parse_structure(bad, "a.bcif")


def test_without_the_extra_the_remedy_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.bcif"
    path.write_bytes(binary(text))
    script = "import sys; sys.modules['msgpack'] = None\nfrom napari_profet import read_structure\n"
    script += f"try:\n    read_structure({str(path)!r})\nexcept ValueError as error:\n    print(error)"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"{path}: BinaryCIF needs") and "pip install 'napari-profet[bcif]'" in said
