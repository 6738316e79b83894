"""BinaryCIF: the categories of an mmCIF file as compressed columns in MessagePack.

https://github.com/molstar/BinaryCIF (version 0.3); Sehnal et al. 2020, PLoS Comput. Biol. 16, e1008247.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_profet.errors import FormatError

if TYPE_CHECKING:
    from gemmi import cif

__all__ = ["is_binary_cif", "read_binary_cif"]

_TYPES = {1: "<i1", 2: "<i2", 3: "<i4", 4: "<u1", 5: "<u2", 6: "<u4", 32: "<f4", 33: "<f8"}
_NULLS = {1: ".", 2: "?"}


def is_binary_cif(content: bytes) -> bool:
    """Whether a content begins like BinaryCIF: with a map of MessagePack, which no text does."""
    return bool(content) and (0x80 <= content[0] <= 0x8F or content[0] in (0xDE, 0xDF)) and b"dataBlocks" in content


def read_binary_cif(content: bytes, source: str) -> cif.Document:
    """All blocks of a BinaryCIF file as if they had been read from text.

    Parameters
    ----------
    content
        The file, without the compression by gzip.
    source
        Name or address, for messages.

    Raises
    ------
    FormatError
        It is no BinaryCIF, a damaged one, or the library to unpack it is not installed.
    """
    from gemmi import cif

    try:
        import msgpack
    except ImportError as error:
        raise FormatError(
            f"{source}: BinaryCIF needs the library msgpack; install it with pip install 'napari-profet[bcif]', or "
            f"give the structure as mmCIF"
        ) from error
    document = cif.Document()
    try:
        for told in msgpack.unpackb(content)["dataBlocks"]:
            block = document.add_new_block(told["header"] or "structure")
            for category in told["categories"]:
                columns = {column["name"]: _texts(column) for column in category["columns"]}
                if len({len(values) for values in columns.values()}) > 1:
                    raise ValueError(f"the columns of {category['name']} differ in length")
                if columns and category["rowCount"]:
                    block.set_mmcif_category(f"{category['name']}.", columns, raw=True)
    # MessagePack reports damage by errors that are ValueErrors; a wrong shape shows in what is missing.
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise FormatError(f"{source}: not a readable BinaryCIF file ({error!r}); fetch it again") from error
    return document


def _texts(column: Mapping[str, Any]) -> list[str]:
    """The values of a column as they would stand in a text file."""
    from gemmi import cif

    values = _decoded(column["data"])
    if values.dtype.kind == "f":
        # float32 in the fewest digits that give it back, as the text it was made from had.
        texts = [np.format_float_positional(value, trim="0") for value in values]
    elif values.dtype.kind == "O":
        quoted = {text: cif.quote(text) for text in set(values.tolist())}
        texts = [quoted[text] for text in values.tolist()]
    else:
        texts = [str(value) for value in values.tolist()]
    if column.get("mask"):
        mask = _decoded(column["mask"])
        if len(mask) != len(texts):
            raise ValueError(f"the mask of {column['name']} has another length")
        texts = [_NULLS.get(null, text) for text, null in zip(texts, mask.tolist(), strict=True)]
    return texts


def _decoded(data: Mapping[str, Any]) -> np.ndarray:
    """An array from its bytes, by undoing its encodings from the last to the first; text is of type object."""
    values: Any = data["data"]
    for encoding in reversed(data["encoding"]):
        values = _DECODERS[encoding["kind"]](values, encoding)
    return np.asarray(values)


def _byte_array(values: bytes, encoding: Mapping[str, Any]) -> np.ndarray:
    return np.frombuffer(values, dtype=_TYPES[encoding["type"]])


def _fixed_point(values: np.ndarray, encoding: Mapping[str, Any]) -> np.ndarray:
    return values.astype(_TYPES[encoding["srcType"]]) / np.dtype(_TYPES[encoding["srcType"]]).type(encoding["factor"])


def _interval(values: np.ndarray, encoding: Mapping[str, Any]) -> np.ndarray:
    low, high, steps = encoding["min"], encoding["max"], encoding["numSteps"]
    return (low + values * ((high - low) / (steps - 1))).astype(_TYPES[encoding["srcType"]])


def _run_length(values: np.ndarray, encoding: Mapping[str, Any]) -> np.ndarray:
    pairs = values.reshape(-1, 2)
    return np.repeat(pairs[:, 0], pairs[:, 1]).astype(_TYPES[encoding["srcType"]])


def _delta(values: np.ndarray, encoding: Mapping[str, Any]) -> np.ndarray:
    return (np.cumsum(values, dtype=np.int64) + encoding["origin"]).astype(_TYPES[encoding["srcType"]])


def _integer_packing(values: np.ndarray, encoding: Mapping[str, Any]) -> np.ndarray:
    """Sum runs that end with the first value that is not the largest or smallest of its type."""
    limits = np.iinfo(values.dtype)
    goes_on = values == limits.max
    if not encoding["isUnsigned"]:
        goes_on |= values == limits.min
    starts = np.flatnonzero(np.concatenate([[True], ~goes_on[:-1]])) if len(values) else np.zeros(0, dtype=int)
    sums = np.add.reduceat(values.astype(np.int64), starts) if len(values) else values
    return sums.astype(np.uint32 if encoding["isUnsigned"] and sums.max(initial=0) > 2**31 - 1 else np.int32)


def _string_array(values: bytes, encoding: Mapping[str, Any]) -> np.ndarray:
    text = encoding["stringData"]
    offsets = _decoded({"data": encoding["offsets"], "encoding": encoding["offsetEncoding"]}).tolist()
    indices = _decoded({"data": values, "encoding": encoding["dataEncoding"]})
    strings: Sequence[str] = [text[begin:end] for begin, end in zip(offsets, offsets[1:], strict=False)]
    # -1 is "no text", which the mask says too; it becomes the last element here.
    return np.array([*strings, ""], dtype=object)[indices]


_DECODERS: Mapping[str, Callable[[Any, Mapping[str, Any]], np.ndarray]] = {
    "ByteArray": _byte_array,
    "FixedPoint": _fixed_point,
    "IntervalQuantization": _interval,
    "RunLength": _run_length,
    "Delta": _delta,
    "IntegerPacking": _integer_packing,
    "StringArray": _string_array,
}
