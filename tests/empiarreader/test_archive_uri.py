"""Addresses in the archive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_empiarreader.archive import format_uri, is_uri, parse_number, parse_uri
from napari_empiarreader.errors import ArchiveError


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("empiar://10017/data/x/*.mrc", (10017, "data/x/*.mrc")),
        ("empiar://EMPIAR-10017/data/x", (10017, "data/x")),
        ("EMPIAR://empiar-10017/data/", (10017, "data")),
        ("empiar://10017", (10017, "")),
        ("empiar://10017/", (10017, "")),
        ("empiar:/10017/data/a.mrc", (10017, "data/a.mrc")),
        ("empiar://10017/data/a b+c#d%20e?.mrc", (10017, "data/a b+c#d%20e?.mrc")),
    ],
)
def test_an_address_has_a_number_and_a_path(uri, expected):
    assert parse_uri(uri) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "10017/data",
        "http://10017/data",
        "empiar:10017",
        "empiar:///data/x",
        "empiar://data/x",
        "empiar://0/data",
        "empiar://-5/data",
        "empiar://10017/../10018/x",
        "empiar://10017/data/./x",
        "empiar://10017/data//x",
        "empiar://10017/data\\x",
        "empiar://10017/da\nta",
        "empiar://10017\x00",
    ],
)
def test_a_malformed_address_is_refused_with_the_address_in_the_message(uri):
    with pytest.raises(ArchiveError) as error:
        parse_uri(uri)
    assert "empiar" in str(error.value).lower() or repr(uri) in str(error.value)


_PARTS = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="/\\"), min_size=1).filter(
    lambda part: part not in (".", "..")
)


@given(st.integers(1, 999_999), st.lists(_PARTS, max_size=4).map("/".join))
def test_writing_and_reading_an_address_are_inverse(number, path):
    assert parse_uri(format_uri(number, path)) == (number, path)
    assert is_uri(format_uri(number, path))


@given(st.text())
def test_any_text_is_an_address_that_stays_in_its_entry_or_an_error(text):
    try:
        number, path = parse_uri("empiar://" + text)
    except ArchiveError:
        return
    assert number > 0
    assert ".." not in path.split("/") and not path.startswith("/")


@pytest.mark.parametrize(
    "entry", [10017, "10017", " 10017 ", "EMPIAR-10017", "empiar-10017", "EMPIAR 10017", "EMPIAR:10017"]
)
def test_an_entry_is_named_in_every_usual_way(entry):
    assert parse_number(entry) == 10017


@pytest.mark.parametrize("entry", ["", "EMD-2824", "10017/data", "-1", 0, "١٢", "1e4", None])
def test_anything_else_names_no_entry(entry):
    with pytest.raises(ArchiveError, match="is no EMPIAR entry"):
        parse_number(entry)


@pytest.mark.parametrize("other", [None, 5, "data/x.mrc", "/empiar/x", "s3://empiar/x"])
def test_what_is_no_address_is_not_taken_for_one(other):
    assert not is_uri(other)
