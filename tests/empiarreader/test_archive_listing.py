"""Listing pages: both of Apache's layouts, and nothing that leads out of the folder."""

from datetime import datetime
from html import escape
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_empiarreader.archive import Item, parse_listing
from napari_empiarreader.errors import ArchiveError

TABLE = """<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">
<html><head><title>Index of /empiar/world_availability/10934/data</title></head><body>
<h1>Index of /empiar/world_availability/10934/data</h1>
<table><tr><th valign="top"><img src="/icons/blank.gif" alt="[ICO]"></th><th><a href="?C=N;O=D">Name</a></th>
<th><a href="?C=M;O=A">Last modified</a></th><th><a href="?C=S;O=A">Size</a></th><th><a href="?C=D;O=A">Description</a></th></tr>
<tr><th colspan="5"><hr></th></tr>
<tr><td valign="top"><img src="/icons/back.gif" alt="[PARENTDIR]"></td><td><a href="/empiar/world_availability/10934/">Parent Directory</a></td><td>&nbsp;</td><td align="right">  - </td><td>&nbsp;</td></tr>
<tr><td valign="top"><img src="/icons/folder.gif" alt="[DIR]"></td><td><a href="Tiff/">Tiff/</a></td><td align="right">2021-12-31 10:01  </td><td align="right">  - </td><td>&nbsp;</td></tr>
<tr><td valign="top"><img src="/icons/unknown.gif" alt="[   ]"></td><td><a href="a%20b.mrc">a b.mrc</a></td><td align="right">2021-12-30 09:00  </td><td align="right"> 64M</td><td>&nbsp;</td></tr>
<tr><td valign="top"><img src="/icons/unknown.gif" alt="[   ]"></td><td><a href="FoilHole_20210901_fractions.tiff">FoilHole_20210901_frac..&gt;</a></td><td align="right">2021-12-30 09:00  </td><td align="right">4.0K</td><td>&nbsp;</td></tr>
</table></body></html>"""  # noqa: E501

PRE = """<html><head><title>Index of /x</title></head><body><h1>Index of /x</h1>
<pre><img src="/icons/blank.gif" alt="Icon "> <a href="?C=N;O=D">Name</a>     <a href="?C=M;O=A">Last modified</a>      <a href="?C=S;O=A">Size</a>  <a href="?C=D;O=A">Description</a><hr><img src="/icons/back.gif" alt="[PARENTDIR]"> <a href="/">Parent Directory</a>                             -
<img src="/icons/folder.gif" alt="[DIR]"> <a href="Tiff/">Tiff/</a>                  31-Dec-2021 10:01    -
<img src="/icons/unknown.gif" alt="[   ]"> <a href="a%20b.mrc">a b.mrc</a>           30-Dec-2021 09:00   64M
<img src="/icons/unknown.gif" alt="[   ]"> <a href="FoilHole_20210901_fractions.tiff">FoilHole_20210901_frac..&gt;</a> 30-Dec-2021 09:00  4.0K
<hr></pre></body></html>"""  # noqa: E501

EXPECTED = [
    Item("Tiff", "data/Tiff", True, None, datetime(2021, 12, 31, 10, 1)),
    Item(
        "FoilHole_20210901_fractions.tiff",
        "data/FoilHole_20210901_fractions.tiff",
        False,
        4096,
        datetime(2021, 12, 30, 9),
    ),
    Item("a b.mrc", "data/a b.mrc", False, 64 * 1024**2, datetime(2021, 12, 30, 9)),
]


@pytest.mark.parametrize("page", [TABLE, PRE], ids=["table", "pre"])
def test_both_layouts_give_the_same_items_without_sort_links_and_parents(page):
    assert parse_listing(page, "/data/") == EXPECTED


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (7, "7 B"),
        (999, "999 B"),
        (4096, "4.0 KiB"),
        (64 * 1024**2, "64 MiB"),
        (2**51, "2048 TiB"),
    ],
)
def test_a_size_is_worded_with_the_digits_the_archive_gives(size, text):
    assert Item("a", "a", False, size).rounded_size == text


@pytest.mark.parametrize(
    "href",
    [
        "../",
        "..",
        "%2e%2e/",
        "%2e%2e",
        "%252e%252e/",
        "./",
        ".",
        "",
        "/",
        "/etc/passwd",
        "//evil.example/x",
        "a/b.mrc",
        "a%2Fb.mrc",
        "..%2f..%2fetc/",
        "..%5cwin.ini",
        "a\\b",
        "https://evil.example/a.mrc",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "?C=N;O=D",
        "a.mrc?download=1",
        "#top",
        "a%00.mrc",
        "a%0A.mrc",
        "%ff.mrc",
    ],
)
def test_a_link_that_is_no_plain_name_is_no_item(href):
    page = f'<h1>Index of /</h1><pre><a href="{href}">x</a> 2021-12-31 10:00 1\n<a href="good.mrc">good</a></pre>'

    assert [item.name for item in parse_listing(page)] == ["good.mrc"]


@pytest.mark.parametrize(
    "page", ["", "<html><body><h1>Down for maintenance</h1></body></html>", "{}", "<a href='x.mrc'>x</a>"]
)
def test_a_page_that_is_no_index_is_an_error_not_an_empty_folder(page):
    with pytest.raises(ArchiveError, match="no file listing"):
        parse_listing(page, "data")


def test_a_page_with_own_heading_is_known_by_its_sort_links():
    page = '<h1>EMPIAR</h1><table><tr><a href="?C=N;O=D">Name</a></tr><tr><a href="a.mrc">a</a></tr></table>'

    assert [item.name for item in parse_listing(page)] == ["a.mrc"]


def test_an_empty_folder_has_no_items():
    assert parse_listing("<title>Index of /x</title><table></table>") == []


_CHARACTERS = st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/\\\x7f")
_NAMES = st.text(_CHARACTERS, min_size=1, max_size=20).filter(lambda name: name not in (".", "..", "%2e", "%2e%2e"))
_DATES = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)).map(lambda d: d.replace(second=0, microsecond=0))
_FILES = st.dictionaries(_NAMES, st.tuples(st.booleans(), st.integers(0, 972), _DATES), max_size=8)


@given(_FILES, st.sampled_from(["<tr><td>{}</td><td>{}  </td><td>{}</td><td>&nbsp;</td></tr>\n", "{}  {}  {}\n"]))
def test_what_a_page_lists_comes_back_whatever_the_names(files, row):
    rows = ""
    for name, (is_folder, size, date) in files.items():
        slash = "/" if is_folder else ""
        link = f'<a href="{escape(quote(name, safe=""))}{slash}">{escape(name[:9])}..&gt;</a>'
        rows += row.format(link, date.strftime("%Y-%m-%d %H:%M"), "-" if is_folder else size)
    items = parse_listing(f"<title>Index of /d</title>{rows}", "d")

    found = {
        item.name: (item.is_folder, 0 if item.is_folder else item.size_hint_bytes, item.modified) for item in items
    }
    assert found == {name: (f, 0 if f else size, date) for name, (f, size, date) in files.items()}
    assert [item.is_folder for item in items] == sorted((item.is_folder for item in items), reverse=True)
    assert all(item.path == f"d/{item.name}" for item in items)


@given(st.text(max_size=200))
def test_no_page_leads_out_of_its_folder_or_raises_anything_unexpected(text):
    try:
        items = parse_listing("<title>Index of /</title>" + text, "data")
    except ArchiveError:
        return
    assert all(item.path == f"data/{item.name}" and "/" not in item.name and item.name != ".." for item in items)
