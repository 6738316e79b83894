"""All coordinate formats in one table: what they are called, what they need, what they hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from napari_empiarreader.coordinates import cbox, cryosparc, csv_table, eman, epicker, star, topaz, xmipp
from napari_empiarreader.coordinates.names import stem_of
from napari_empiarreader.coordinates.options import CoordinateOptions
from napari_empiarreader.coordinates.table import ParticleTable
from napari_empiarreader.errors import FormatError, NothingFoundError

__all__ = [
    "FORMATS",
    "INDEX_FORMAT",
    "SUFFIXES",
    "CoordinateFormat",
    "begins_like_coordinates",
    "detect_format",
    "format_named",
    "format_to_write",
    "lost_in",
]

_HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class CoordinateFormat:
    """A coordinate format.

    Attributes
    ----------
    name
        What users call it, as in ``format="box"`` and ``--to box``.
    title
        A few words for a menu.
    suffixes
        Suffixes of its files, in small letters; the first is that of new files.
    frame
        Its frame and unit in a few words.
    read, render
        From a file to particles, and from particles (of one micrograph, where ``one_micrograph``) to a file's bytes.
    one_micrograph
        Whether a file holds one micrograph, which its own name says.
    recognises
        Whether the beginning of a text is this format; None for the one that is tried last.
    read_needs, write_needs
        Fields of :class:`.CoordinateOptions` that reading or writing may need: what is not in the file, or not in the
        particles, is asked for.
    keeps
        Whether a feature survives in a file.
    blocks
        Key of the metadata under which the file's further contents wait for the writer.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    frame: str
    read: Callable[[Path, CoordinateOptions], ParticleTable]
    render: Callable[[ParticleTable, CoordinateOptions, Path], bytes]
    keeps: Callable[[str], bool]
    one_micrograph: bool = False
    recognises: Callable[[str], bool] | None = None
    read_needs: tuple[str, ...] = ()
    write_needs: tuple[str, ...] = ()
    blocks: str = ""


def _among(*patterns: str) -> Callable[[str], bool]:
    whole = re.compile("|".join(patterns))
    return lambda name: bool(whole.fullmatch(name))


def _any(name: str) -> bool:
    return True


def _is_index(text: str) -> bool:
    return bool(re.search(r"^\s*_rlnMicrographCoordinates\b", text, re.MULTILINE))


INDEX_FORMAT = "relion-autopick"

_CBOX_NAMES = ("box_width", "box_height", "score", "helix", *cbox.CBOX_COLUMNS)

_ALL = (
    CoordinateFormat(
        "star", "RELION STAR, one file", (".star",), "centre, rows from the top, unbinned pixels",
        star.read_star, star.render_star, _any, blocks="star_blocks",
    ),
    CoordinateFormat(
        INDEX_FORMAT, "RELION index (autopick.star) and one STAR per micrograph", (".star",),
        "centre, rows from the top, unbinned pixels",
        star.read_star, star.star_of_one, _any, one_micrograph=True, recognises=_is_index, blocks="star_blocks",
    ),
    CoordinateFormat(
        "cryosparc", "cryoSPARC .cs", (".cs",), "centre, rows from the bottom, fractions of the micrograph",
        cryosparc.read_cryosparc, cryosparc.render_cryosparc, lambda name: "/" in name or name in ("uid", "score"),
        read_needs=("shapes",), write_needs=("shapes", "pixel_size"),
    ),
    CoordinateFormat(
        "box", "EMAN .box", (".box",), "corner of the box, rows from the top, pixels",
        eman.read_box, eman.render_box, _among("box_width", "box_height", "score", "box_mark", r"box_column_\d+"),
        one_micrograph=True, write_needs=("box_size",),
    ),
    CoordinateFormat(
        "helix-box", "EMAN helices, segment centres", (".box", ".txt"), "centre, rows from the top, pixels",
        eman.read_helix_box, eman.render_helix_box, _among("helix", "box_width"),
        one_micrograph=True, recognises=eman.is_helix_box, write_needs=("box_size",),
    ),
    CoordinateFormat(
        "eman2", "EMAN2 .json", (".json",), "centre, rows from the top, pixels",
        eman.read_eman_json, eman.render_eman_json, _among("tag", r"eman2_\d+"), one_micrograph=True, blocks="eman2",
    ),
    CoordinateFormat(
        "cbox", "crYOLO .cbox", (".cbox",), "corner of the box, rows from the top, pixels",
        cbox.read_cbox, cbox.render_cbox, _CBOX_NAMES.__contains__,
        one_micrograph=True, recognises=cbox.is_cbox, write_needs=("box_size",), blocks="cbox_blocks",
    ),
    CoordinateFormat(
        "topaz", "Topaz .txt", (".txt",), "centre, rows from the top, pixels of the downsampled picture",
        topaz.read_topaz, topaz.render_topaz, _any,
        recognises=topaz.is_topaz, read_needs=("scale",), write_needs=("scale",),
    ),
    CoordinateFormat(
        "csv", "CSV table", (".csv", ".tsv", ".txt"),
        "centre, rows from the top (CryoPPP: from the bottom), pixels",
        csv_table.read_csv, csv_table.render_csv, _any,
        read_needs=("columns", "shapes"), write_needs=("columns", "shapes"),
    ),
    CoordinateFormat(
        "epicker", "EPicker .thi", (".thi",), "centre, rows from the top, pixels",
        epicker.read_thi, epicker.render_thi, _among("score", "helix", "Radius"),
        one_micrograph=True, recognises=epicker.is_thi,
    ),
    CoordinateFormat(
        "xmipp", "Xmipp .pos", (".pos",), "centre, rows from the top, whole pixels",
        xmipp.read_pos, xmipp.render_pos, _any, one_micrograph=True, recognises=xmipp.is_pos, blocks="pos_blocks",
    ),
)  # fmt: skip

#: Every coordinate format by its name.
FORMATS: dict[str, CoordinateFormat] = {form.name: form for form in _ALL}

#: Suffixes of all coordinate files.
SUFFIXES: tuple[str, ...] = tuple(dict.fromkeys(suffix for form in _ALL for suffix in form.suffixes))


def format_named(name: str) -> CoordinateFormat:
    """The format of a name.

    Raises
    ------
    FormatError
        There is none.
    """
    if name not in FORMATS:
        raise FormatError(f"'{name}' is no coordinate format known here; known: {', '.join(FORMATS)}")
    return FORMATS[name]


def detect_format(path: Path) -> CoordinateFormat:
    """The format of a file by its suffix, and by its first words where several formats share the suffix.

    Raises
    ------
    FormatError
        A suffix that no format has.
    NothingFoundError
        No such file.
    """
    suffix = path.suffix.lower()
    fits = [form for form in _ALL if suffix in form.suffixes]
    if not fits:
        raise _unknown(path)
    if suffix == ".star":
        fits += [FORMATS["cbox"], FORMATS["xmipp"]]
    if len(fits) > 1:
        head = _head(path)
        for form in fits:
            if form.recognises is not None and form.recognises(head):
                return form
        fits = [form for form in fits if form.recognises is None] or fits
    return fits[0]


def begins_like_coordinates(path: Path) -> bool:
    """Whether a file whose suffix other programs use as well (``.csv``, ``.json``) begins as one of ours does."""
    form = detect_format(path)
    head = _head(path)
    if form.recognises is not None:
        return form.recognises(head)
    if form.name == "csv":
        return csv_table.has_coordinate_columns(head)
    return form.name != "eman2" or '"boxes"' in head


def _unknown(path: Path) -> FormatError:
    return FormatError(
        f"{path}: '{path.suffix.lower()}' is no coordinate format known here; known: {', '.join(SUFFIXES)}; "
        "or name the format (format, --from, --to)"
    )


def _head(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES).decode("utf-8-sig", "replace").replace("\r\n", "\n")
    except FileNotFoundError as error:
        raise NothingFoundError(f"{path}: no such file") from error
    except OSError as error:
        raise NothingFoundError(f"{path}: cannot be read ({error.strerror})") from error


def format_to_write(path: Path, table: ParticleTable, name: str | None = None) -> CoordinateFormat:
    """The format for a new file: the named one, or by suffix; of several the one that the particles came in.

    Raises
    ------
    FormatError
        No format is named, and none follows from the suffix.
    """
    if name is not None:
        return format_named(name)
    own = FORMATS.get(str(table.metadata.get("format", "")))
    if own is not None and own.one_micrograph and (path.is_dir() or not path.suffix) and own.name != INDEX_FORMAT:
        return own
    fits = [form for form in _ALL if path.suffix.lower() in form.suffixes and form.name != INDEX_FORMAT]
    if not fits:
        raise _unknown(path)
    fits.sort(key=lambda form: form.suffixes[0] != path.suffix.lower())  # those whose own suffix it is come first
    return own if own in fits and own is not None else fits[0]


def lost_in(table: ParticleTable, name: str) -> list[str]:
    """What a format cannot hold of these particles, in a few words each; nothing where all survives."""
    form = format_named(name)
    columns = [str(column) for column in table.features.columns]
    if form.name == "box" and "box_mark" in columns and "helix" in columns:
        columns.remove("helix")  # the marks say where a helix begins and ends
    lost = [f"the feature '{column}'" for column in columns if not form.keeps(column)]
    metadata = [table.metadata, *table.metadata.get("by_micrograph", {}).values()]
    for key in sorted({other.blocks for other in _ALL if other.blocks and other.blocks != form.blocks}):
        blocks = dict.fromkeys(str(block) for part in metadata for block in part.get(key, ()))
        lost += [f"the block '{block}'" for block in blocks if block not in ("header", "global", "cryolo_include")]
    if form.name in ("xmipp",) and len(table) and (table.coordinates[:, 1:] % 1).any():
        lost.append("fractions of a pixel")
    used = [table.micrographs[i] for i in sorted(set(table.micrograph_index.tolist()))]
    by_stem = form.name == "topaz" or (form.one_micrograph and form.name not in (INDEX_FORMAT, "helix-box"))
    if by_stem and any(name not in (stem_of(name), f"{stem_of(name)}.mrc") for name in used):
        lost.append("folders and suffixes of the micrographs' names")
    return lost
