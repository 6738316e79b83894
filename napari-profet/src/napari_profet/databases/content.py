"""What counts as a structure, a sequence, an error matrix, a map: the content decides, not a status or a name."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Callable
from typing import IO, Any

from napari_profet.databases.identifiers import Database, Identifier, parse_identifier
from napari_profet.errors import FormatError, IdentifierError
from napari_profet.sequence import parse_fasta

__all__ = [
    "Check",
    "check_bcif",
    "check_fasta",
    "check_json",
    "check_map",
    "check_mmcif",
    "check_pae",
    "check_pdb",
    "check_plddt",
    "read_json",
]

Check = Callable[[IO[bytes], str, Identifier], None]
"""Raises :class:`FormatError` if a content, from an address, is not what was asked for of an entry."""

_MAP_HEADER = 1024
_BYTES_OF_MODE = {0: 1, 1: 2, 2: 4, 3: 4, 4: 8, 6: 2, 12: 2}


def check_mmcif(body: IO[bytes], source: str, identifier: Identifier) -> None:
    """Refuse what is not a structure in mmCIF, or is that of another entry."""
    content = _plain(body, source)
    if not content.lstrip()[:5].lower().startswith((b"data_", b"#")):
        raise FormatError(f"{source}: not a structure in mmCIF (it does not begin with data_)")
    # A text that was cut off may still be correct mmCIF; then it mostly ends within a line.
    if not content.endswith((b"\n", b"#")):
        raise FormatError(f"{source}: not a complete structure: it breaks off within its last line")
    _check_structure(content, source, identifier)


def check_pdb(body: IO[bytes], source: str, identifier: Identifier) -> None:
    """Refuse what is not a structure in PDB format, or is that of another entry."""
    content = _plain(body, source)
    if content.lstrip()[:5].lower().startswith(b"data_"):
        raise FormatError(f"{source}: not a structure in PDB format, but mmCIF")
    _check_structure(content, source, identifier)


def check_bcif(body: IO[bytes], source: str, identifier: Identifier) -> None:
    """Refuse what is not BinaryCIF: a MessagePack map with the keys that its specification asks for.

    https://github.com/molstar/BinaryCIF
    """
    content = _plain(body, source)
    is_map = content[:1] and (0x80 <= content[0] <= 0x8F or content[0] in (0xDE, 0xDF))
    if not is_map or b"dataBlocks" not in content or b"_atom_site" not in content:
        raise FormatError(f"{source}: not a structure in BinaryCIF")


def check_fasta(body: IO[bytes], source: str, identifier: Identifier) -> None:
    """Refuse what is not a file of sequences."""
    parse_fasta(_plain(body, source), source)


def check_json(body: IO[bytes], source: str, identifier: Identifier) -> None:
    """Refuse what is not JSON."""
    read_json(body, source)


def check_pae(body: IO[bytes], source: str, identifier: Identifier) -> None:
    """Refuse what is not a square matrix of predicted aligned errors."""
    from napari_profet.pae import parse_aligned_error

    parse_aligned_error(_plain(body, source), source)


def check_plddt(body: IO[bytes], source: str, identifier: Identifier) -> None:
    """Refuse what is not a list of confidences by residue."""
    record = read_json(body, source)
    numbers, scores = (
        record.get(key) if isinstance(record, dict) else None for key in ("residueNumber", "confidenceScore")
    )
    if not isinstance(numbers, list) or not isinstance(scores, list) or len(numbers) != len(scores) or not scores:
        raise FormatError(f"{source}: not a list of confidences (residueNumber and confidenceScore of one length)")


def check_map(body: IO[bytes], source: str, identifier: Identifier) -> None:
    """Refuse what is not a complete map in MRC2014 or CCP4 format, plain or compressed by gzip.

    https://www.ccpem.ac.uk/mrc-format/mrc2014/
    """
    body.seek(0)
    packed = body.read(2) == b"\x1f\x8b"
    body.seek(0)
    try:
        stream = gzip.GzipFile(fileobj=body, mode="rb") if packed else body
        header, length = stream.read(_MAP_HEADER), 0
        while chunk := stream.read(1 << 20):
            length += len(chunk)
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"{source}: the compressed map is damaged ({error})") from error
    if len(header) < _MAP_HEADER or header[208:212] not in (b"MAP ", b"MAP\0"):
        raise FormatError(f"{source}: not a map in MRC or CCP4 format (no 'MAP' in its header)")
    order = ">" if header[212:213] == b"\x11" else "<"
    columns, rows, sections, mode = struct.unpack(f"{order}4i", header[:16])
    (extended,) = struct.unpack(f"{order}i", header[92:96])
    expected = extended + columns * rows * sections * _BYTES_OF_MODE.get(mode, 0)
    if min(columns, rows, sections) < 1 or mode not in _BYTES_OF_MODE or length < expected:
        raise FormatError(
            f"{source}: the map is incomplete: {columns} x {rows} x {sections} voxels of mode {mode} "
            f"need {expected:,} bytes, there are {length:,}"
        )


def read_json(body: IO[bytes], source: str) -> Any:
    """Content of an answer in JSON.

    Raises
    ------
    FormatError
        It is not JSON.
    """
    try:
        return json.loads(_plain(body, source))
    except ValueError as error:
        raise FormatError(f"{source}: not JSON ({error}); check the base URL") from error


def _check_structure(content: bytes, source: str, identifier: Identifier) -> None:
    from napari_profet.structure import parse_structure

    try:
        found = parse_structure(content, source)
    except FormatError as error:
        raise FormatError(f"not a structure: {error}") from error
    # Local and test files have names of any kind; one that is an id of the PDB is meant as such.
    name = found.name if identifier.database is Database.PDB else ""
    try:
        entry = parse_identifier(name, Database.PDB)
    except IdentifierError:
        return
    if entry != identifier:
        raise FormatError(f"{source}: not a structure of {identifier}, but of {entry}")


def _plain(body: IO[bytes], source: str) -> bytes:
    """The whole content, without its compression."""
    body.seek(0)
    content = body.read()
    try:
        return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"{source}: the compressed file is damaged ({error})") from error
