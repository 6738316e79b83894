"""TIFF, EER, DM3 and DM4 files for tests, written byte by byte from their specifications, wrong ones included."""

import struct

import numpy as np

#: TIFF field types: number, struct letter.
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 1, 2, 3, 4, 5, 7, 16
LETTERS = {BYTE: "B", ASCII: "B", SHORT: "H", LONG: "I", RATIONAL: "II", UNDEFINED: "B", LONG8: "Q"}


def tiff_bytes(pages, *, big=False, order="<", tables_first=False):
    """A TIFF file. Each page is ``(tags, strips)``: tags a dictionary number -> (type, values), strips a list of bytes.

    As libtiff writes movies: a page's strips, then its list of tags, then the tables the list points to. Places and
    lengths of the strips are filled in unless the tags hold them already.
    """
    head = struct.pack(f"{order}2sHHHQ", b"II" if order == "<" else b"MM", 43, 8, 0, 0)
    if not big:
        head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 0)
    out = bytearray(head)
    pointer_at = 8 if big else 4
    pointer, counter, inline = ("Q", "Q", 8) if big else ("I", "H", 4)
    for tags, strips in pages:
        starts = []
        for strip in strips:
            starts.append(len(out))
            out += strip
        out += bytes(-len(out) % 8)
        places = LONG8 if big else LONG
        tags = {273: (places, starts), 279: (places, [len(strip) for strip in strips])} | tags
        struct.pack_into(order + pointer, out, pointer_at, len(out))
        entry = 4 + 2 * inline
        tables_at = len(out) + struct.calcsize(counter) + entry * len(tags) + inline
        listed, tables = struct.pack(order + counter, len(tags)), b""
        for tag, (kind, values) in sorted(tags.items()):
            values = list(values)
            data = b"".join(struct.pack(order + LETTERS[kind], *np.atleast_1d(value).tolist()) for value in values)
            listed += struct.pack(f"{order}HH{pointer}", tag, kind, len(values))
            if len(data) <= inline:
                listed += data.ljust(inline, b"\0")
            else:
                listed += struct.pack(order + pointer, tables_at + len(tables))
                tables += data + bytes(-len(data) % 2)
        pointer_at = len(out) + len(listed)
        out += listed + bytes(inline) + tables
    return bytes(out)


def grey_tags(height, width, bits=8, compression=1, rows=None, **more):
    """The tags of a greyscale page."""
    tags = {256: (LONG, [width]), 257: (LONG, [height]), 258: (SHORT, [bits]), 259: (SHORT, [compression])}
    return tags | {262: (SHORT, [1]), 277: (SHORT, [1]), 278: (LONG, [rows or height])} | more


# ---- EER -----------------------------------------------------------------------------------------------------


def eer_events(events, pixels, *, skip=7, across=2, down=2, wasteful=False):
    """One raw frame as a stream of bits, lowest first.

    ``events``: pixel number and place in the pixel of each electron, in order of the pixels. A number of skipped
    pixels of all ones means that many and no electron; ``wasteful`` writes place bits after it all the same.
    """
    bits = []

    def put(value, count):
        bits.extend(value >> i & 1 for i in range(count))

    longest, at = 2**skip - 1, 0

    def go_to(pixel):
        nonlocal at
        while pixel - at >= longest:
            put(longest, skip)
            at += longest
            if wasteful:
                put(0, across + down)
        put(pixel - at, skip)

    for pixel, place in events:
        go_to(pixel)
        put(place, across + down)
        at = pixel + 1
    go_to(pixels)
    if wasteful:
        put(0, across + down)
    bits.extend([0] * (-len(bits) % 64))
    return np.packbits(np.array(bits, np.uint8), bitorder="little").tobytes()


def eer_bytes(frames, shape, *, compression=65001, metadata=None, final_image=None, strips=1, **tags):
    """An EER file of raw frames that are already streams of bits."""
    pages = []
    if final_image is not None:
        pages.append((grey_tags(*shape, bits=16), [final_image.astype("<u2").tobytes()]))
    rows = -(-shape[0] // strips)
    for stream in frames:
        page = {256: (SHORT, [shape[1]]), 257: (SHORT, [shape[0]]), 259: (SHORT, [compression]), 278: (SHORT, [rows])}
        cut = -(-len(stream) // strips)
        parts = [stream[i * cut : (i + 1) * cut] for i in range(strips)]
        pages.append((page | {int(tag.removeprefix("t")): value for tag, value in tags.items()}, parts))
    if metadata is not None:
        pages[0][0][65001] = (UNDEFINED, list(metadata.encode()))
    return tiff_bytes(pages, big=True)


def eer_metadata(**items):
    """Acquisition metadata as the camera writes it; a value may be a pair with its unit."""
    lines = []
    for name, value in items.items():
        value, unit = value if isinstance(value, tuple) else (value, None)
        lines.append(
            f'<item name="{name.replace("__", ".")}"{f" unit={chr(34)}{unit}{chr(34)}" if unit else ""}>{value}</item>'
        )
    return "<metadata>" + "".join(lines) + "</metadata>"


# ---- DM3 and DM4 ---------------------------------------------------------------------------------------------

DM_LETTERS = {2: "h", 3: "i", 4: "H", 5: "I", 6: "f", 7: "d", 8: "?", 9: "b", 10: "b", 11: "q", 12: "Q"}
#: DataType of an image, and the encoded type of its numbers.
DM_IMAGES = {
    "i2": (1, 2),
    "f4": (2, 6),
    "u1": (6, 10),
    "i4": (7, 3),
    "i1": (9, 10),
    "u2": (10, 4),
    "u4": (11, 5),
    "f8": (12, 7),
}


class Typed(tuple):
    """A value with its encoded type: ``Typed((5, 7))`` is a 7 as 32 bit unsigned integer."""


class Raw(tuple):
    """An array: encoded type and bytes."""


def dm_bytes(tree, *, version=4, order="<"):
    """A DM file from a tree: a dictionary is a directory with names, a list one without, a text an array of letters."""

    def number(value):
        return value.to_bytes(8 if version == 4 else 4, "big")

    def value_bytes(value):
        if isinstance(value, Typed):
            info, data = [value[0]], struct.pack(order + DM_LETTERS[value[0]], value[1])
        elif isinstance(value, Raw):
            kind, data = value
            info = [20, kind, len(data) // struct.calcsize(DM_LETTERS[kind])]
        elif isinstance(value, str):
            data = value.encode("utf-16-le" if order == "<" else "utf-16-be")
            info = [20, 4, len(value)]
        else:  # a group of four 32 bit integers, as DM writes rectangles
            data = struct.pack(order + "4i", *value)
            info = [15, 0, 4, 0, 3, 0, 3, 0, 3, 0, 3]
        return b"%%%%" + number(len(info)) + b"".join(map(number, info)) + data

    def directory(node):
        items = list(node.items()) if isinstance(node, dict) else [("", item) for item in node]
        return b"\1\0" + number(len(items)) + b"".join(tag(name, value) for name, value in items)

    def tag(name, value):
        is_directory = isinstance(value, dict | list)
        body = directory(value) if is_directory else value_bytes(value)
        length = number(len(body)) if version == 4 else b""
        return bytes([20 if is_directory else 21]) + struct.pack(">H", len(name)) + name.encode() + length + body

    body = directory(tree)
    return struct.pack(">I", version) + number(len(body)) + struct.pack(">I", int(order == "<")) + body + bytes(8)


def dm_image(array, *, scale=None, units="nm", third_units="", order="<", data_type=None):
    """The tags of one image of a DM file; ``array`` is (y, x) or (sections, y, x)."""
    kind, encoded = DM_IMAGES[array.dtype.str[1:]]
    dimensions = [
        {
            "Origin": Typed((6, 0.0)),
            "Scale": Typed((6, scale if i < 2 else 1.0)),
            "Units": units if i < 2 else third_units,
        }
        for i in range(array.ndim)
    ]
    return {
        "ImageData": {
            "Calibrations": {"Brightness": {"Scale": Typed((6, 1.0))}, "Dimension": dimensions if scale else []},
            "Data": Raw((encoded, array.astype(array.dtype.newbyteorder(order)).tobytes())),
            "DataType": Typed((5, data_type or kind)),
            "Dimensions": [Typed((5, side)) for side in reversed(array.shape)],
            "PixelDepth": Typed((5, array.dtype.itemsize)),
        },
        "ImageTags": {"Acquisition": {"Comment": "a tag that nobody needs", "Rect": (0, 0, 1, 1)}},
        "Name": "image",
    }


def dm_tree(*images):
    """The root of a DM file: things that come before the images, the images, and things behind them."""
    return {
        "ApplicationBounds": (0, 0, 100, 200),
        "DocumentObjectList": [{"AnnotationType": Typed((3, 20)), "Text": "x" * 50}],
        "ImageList": list(images),
        "MinVersionList": [{"RequiredVersion": Typed((5, 50659328))}],
    }
