"""The catalogue: built with few requests, refreshed with fewer, searched without any, and hard to break."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_empiarreader.archive import Archive, parse_entry
from napari_empiarreader.archive.catalogue import Catalogue
from napari_empiarreader.archive.faults import AnswerHtml, Delay, FailWith
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import ArchiveError, CatalogueError, ServerUnreachableError
from napari_empiarreader.samples.descriptions import describe_entry

# Two ranges of 500, the second half empty, with gaps.
NUMBERS = [number for number in range(10_002, 10_640) if number % 3]
BULK = "/empiar/api/entry/"


def hasty(server):
    return Archive(replace(server.settings, timeout=0.5, retries=1, backoff=0.01))


@pytest.fixture
def server():
    with LoopbackArchive() as server:
        for number in NUMBERS:
            server.add_metadata(number, describe_entry(number))
        yield server


@pytest.fixture
def small():
    """An archive of three entries that a test may change."""
    with LoopbackArchive() as server:
        for number in (10_002, 10_003, 10_700):
            server.add_metadata(number, describe_entry(number))
        yield server


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A catalogue of all entries, to be searched only; its archive is gone."""
    catalogue = Catalogue(tmp_path_factory.mktemp("catalogue") / "index.sqlite")
    with LoopbackArchive() as server:
        for number in NUMBERS:
            server.add_metadata(number, describe_entry(number))
        catalogue.update(server.archive)
    return catalogue


@pytest.fixture
def catalogue(tmp_path):
    return Catalogue(tmp_path / "new" / "index.sqlite")


def bodies(server):
    return [request.body for request in server.requests if request.method == "POST"]


def gets(server):
    return [request.path for request in server.requests if request.method == "GET"]


def entries():
    return {number: parse_entry({f"EMPIAR-{number}": describe_entry(number)}, number) for number in NUMBERS}


# ---- building ------------------------------------------------------------------------------------------------


def test_the_first_build_takes_ranges_of_500_until_three_are_empty(server, catalogue):
    report = catalogue.update(hasty(server))
    assert bodies(server) == ["10000-10499", "10500-10999", "11000-11499", "11500-11999", "12000-12499"]
    assert gets(server) == []
    assert {request.path for request in server.requests} == {BULK}
    assert report.added == tuple(NUMBERS)
    assert (report.changed, report.removed, report.unchanged, report.failed) == ((), (), 0, ())
    assert len(catalogue) == len(NUMBERS)
    assert catalogue.age < timedelta(minutes=5)


def test_entries_are_stored_as_the_archive_gave_them(built):
    for number, entry in entries().items():
        assert built.entry(number) == entry
    assert built.entry(10_001) is None


def test_brief_answers_are_completed_one_by_one_and_only_once(small, catalogue):
    small.brief_answers = True
    catalogue.update(hasty(small))
    assert sorted(gets(small)) == [f"{BULK}{number}/" for number in (10_002, 10_003, 10_700)]
    assert catalogue.entry(10_700).imagesets == small.archive.entry(10_700).imagesets
    small.reset_counts()
    catalogue.update(hasty(small), max_age=timedelta(0))
    assert gets(small) == []


def test_an_entry_without_image_sets_is_asked_for_once_more_but_not_for_ever(small, catalogue):
    small.add_metadata(10_004, {**describe_entry(10_004), "imagesets": []})
    catalogue.update(hasty(small))
    assert gets(small) == [f"{BULK}10004/"]
    assert catalogue.entry(10_004).imagesets == ()
    small.reset_counts()
    catalogue.update(hasty(small), max_age=timedelta(0))
    assert gets(small) == []


def test_progress_counts_up_to_all_entries(server, catalogue):
    told = []
    catalogue.update(hasty(server), progress=lambda done, total, message="": told.append((done, total, message)))
    counts = [done for done, _, _ in told]
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] == len(NUMBERS)
    assert told[0] == (0, 0, "EMPIAR-10000 to 10499")


def test_an_archive_that_lists_nothing_is_an_error(catalogue):
    with LoopbackArchive() as nobody, pytest.raises(ArchiveError, match="knows no entries from 10000 on"):
        catalogue.update(hasty(nobody))
    assert catalogue.age is None


def test_a_range_that_is_not_found_is_an_empty_one(small, catalogue):
    small.inject(FailWith(404), times=1)
    report = catalogue.update(hasty(small))
    assert report.added == (10_700,)


@pytest.mark.parametrize(("fault", "expected"), [(FailWith(503), ServerUnreachableError), (AnswerHtml(), ArchiveError)])
def test_a_service_that_is_down_is_an_error_and_what_came_before_stays(server, catalogue, fault, expected):
    def break_down(done, total, message=""):
        if done:
            server.inject(fault, times=None)

    with pytest.raises(expected):
        catalogue.update(hasty(server), progress=break_down)
    assert len(catalogue) == sum(number < 10_500 for number in NUMBERS)
    assert catalogue.age is None
    assert catalogue.search("EMPIAR-10003")[0].number == 10_003


@pytest.mark.parametrize("fault", [FailWith(503), Delay(0.05)], ids=str)
def test_a_passing_fault_goes_unnoticed(small, catalogue, fault):
    small.inject(fault, times=1)
    assert catalogue.update(hasty(small)).added == (10_002, 10_003, 10_700)


def test_one_broken_entry_does_not_hold_up_the_others_and_is_tried_again(small, catalogue):
    small.brief_answers = True
    small.inject(FailWith(403), pattern="*/10003/", times=None)
    report = catalogue.update(hasty(small))
    assert report.failed == (10_003,)
    assert catalogue.entry(10_700).imagesets and not catalogue.entry(10_003).imagesets
    small.faults.clear()
    small.reset_counts()
    assert catalogue.update(hasty(small)).changed == (10_003,)
    assert gets(small) == [f"{BULK}10003/"]
    assert catalogue.entry(10_003).imagesets


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(describe_entry(10_002))), inner),
    max_leaves=10,
)
RECORDS = st.dictionaries(st.sampled_from(sorted(describe_entry(10_002))), JSON)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(record=RECORDS)
def test_any_record_is_kept_and_found(tmp_path, record):
    catalogue = Catalogue(tmp_path / "index.sqlite")
    catalogue._store.put({10_002: (record, True)})
    assert catalogue._store.record(10_002) == record
    assert catalogue.entry(10_002) == parse_entry({"EMPIAR-10002": record}, 10_002)
    assert numbers(catalogue.search("EMPIAR-10002")) == numbers(catalogue.search()) == [10_002]


@pytest.mark.parametrize(
    "answer",
    ["[]", "null", '{"EMPIAR-10002": []}', '{"EMPIAR-9": {"title": "not asked for"}}', '{"x": {}}', "[" * 10**5],
    ids=lambda value: value[:20],
)
def test_answers_in_no_known_shape_are_errors_and_nothing_is_kept(small, catalogue, answer, monkeypatch):
    monkeypatch.setattr("napari_empiarreader.archive._handler.json.dumps", lambda _: answer)
    with pytest.raises(ArchiveError):
        catalogue.update(hasty(small))
    assert len(catalogue) == 0


# ---- cancelling and killing ----------------------------------------------------------------------------------


class Cancelled(Exception):
    pass


def test_a_cancelled_update_keeps_what_it_has_and_the_next_goes_on(server, catalogue):
    def cancel(done, total, message=""):
        if done:
            raise Cancelled

    with pytest.raises(Cancelled):
        catalogue.update(hasty(server), progress=cancel)
    assert len(catalogue) == sum(number < 10_500 for number in NUMBERS)
    assert catalogue.search("proteasome")
    server.reset_counts()
    catalogue.update(hasty(server))
    assert bodies(server)[0] == "10500-10999"
    assert len(catalogue) == len(NUMBERS)


def test_a_cancelled_completion_goes_on_where_it_stopped(server, catalogue):
    server.brief_answers = True

    def cancel(done, total, message=""):
        if message.endswith(f", 20 of {sum(number < 10_500 for number in NUMBERS)}"):
            raise Cancelled

    with pytest.raises(Cancelled):
        catalogue.update(hasty(server), progress=cancel)
    asked = len(gets(server))
    assert 20 <= asked < 60
    catalogue.update(hasty(server))
    assert len(gets(server)) <= len(NUMBERS) + asked - 20
    assert all(catalogue.entry(number).imagesets for number in NUMBERS)


def test_a_kill_in_the_middle_leaves_a_usable_catalogue(server, tmp_path):
    path = tmp_path / "index.sqlite"
    server.brief_answers = True
    script = f"""
import sys
from napari_empiarreader.archive import Archive, ArchiveSettings
from napari_empiarreader.archive.catalogue import Catalogue
settings = ArchiveSettings(api_url={server.settings.api_url!r}, archive_url={server.settings.archive_url!r})
Catalogue({str(path)!r}).update(Archive(settings), lambda done, total, message="": print(message, flush=True))
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    for line in child.stdout:
        if ", 50 of" in line:
            break
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    catalogue = Catalogue(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len(catalogue) == sum(number < 10_500 for number in NUMBERS)
    assert catalogue.search("Cryo-EM")
    catalogue.update(hasty(server))
    assert len(catalogue) == len(NUMBERS)
    assert all(catalogue.entry(number).imagesets for number in NUMBERS)


# ---- refreshing ----------------------------------------------------------------------------------------------


def test_a_later_update_asks_for_new_numbers_only(server, catalogue):
    catalogue.update(hasty(server))
    server.reset_counts()
    server.add_metadata(10_650, describe_entry(10_650))
    report = catalogue.update(hasty(server))
    last = max(NUMBERS)
    assert bodies(server)[0] == f"{last + 1}-10999"
    assert len(bodies(server)) == 4 and gets(server) == []
    assert (report.added, report.changed, report.unchanged) == ((10_650,), (), 0)


def test_old_ranges_are_asked_again_and_the_date_decides_what_changed(small, catalogue):
    catalogue.update(hasty(small))
    small.reset_counts()
    small.add_metadata(10_002, {**describe_entry(10_002), "title": "quietly changed"})
    small.add_metadata(10_003, {**describe_entry(10_003), "title": "changed", "update_date": "2030-01-01"})
    small.add_metadata(10_005, describe_entry(10_005))  # released late, with an early number
    report = catalogue.update(hasty(small), max_age=timedelta(0))
    assert bodies(small)[:2] == ["10000-10499", "10500-10999"]
    assert (report.added, report.changed, report.unchanged) == ((10_005,), (10_003,), 2)
    assert catalogue.entry(10_003).title == "changed"
    assert catalogue.entry(10_002).title != "quietly changed"
    assert [found.number for found in catalogue.search("changed")] == [10_003]


def test_a_full_update_reads_everything_anew(small, catalogue):
    catalogue.update(hasty(small))
    small.add_metadata(10_002, {**describe_entry(10_002), "title": "quietly changed"})
    assert catalogue.update(hasty(small), full=True).changed == (10_002, 10_003, 10_700)
    assert catalogue.entry(10_002).title == "quietly changed"


def test_a_change_that_only_comes_briefly_keeps_the_old_until_the_new_is_whole(small, catalogue):
    catalogue.update(hasty(small))
    small.brief_answers = True
    small.add_metadata(10_003, {**describe_entry(10_003), "title": "changed", "update_date": "2030-01-01"})
    small.inject(FailWith(403), pattern="*/10003/", times=1)
    assert catalogue.update(hasty(small), max_age=timedelta(0)).failed == (10_003,)
    assert catalogue.entry(10_003).title == small_title(10_003) and catalogue.entry(10_003).imagesets
    assert catalogue.update(hasty(small)).changed == (10_003,)
    assert catalogue.entry(10_003).title == "changed"


def small_title(number):
    return parse_entry({f"EMPIAR-{number}": describe_entry(number)}, number).title


def test_a_withdrawn_entry_goes_when_the_archive_says_so(small, catalogue):
    catalogue.update(hasty(small))
    small.remove_metadata(10_003)
    assert catalogue.update(hasty(small), max_age=timedelta(0)).removed == (10_003,)
    assert catalogue.entry(10_003) is None
    assert {found.number for found in catalogue.search()} == {10_002, 10_700}


def test_another_archive_does_not_mix_with_the_first(small, server, catalogue):
    catalogue.update(hasty(small))
    with pytest.raises(CatalogueError, match="full=True"):
        catalogue.update(hasty(server))
    assert len(catalogue) == 3
    catalogue.update(hasty(server), full=True)
    assert catalogue.entry(10_700) is None and len(catalogue) == len(NUMBERS)


def test_an_address_that_had_nothing_does_not_claim_the_file(small, catalogue):
    with LoopbackArchive() as nobody, pytest.raises(ArchiveError):
        catalogue.update(hasty(nobody))
    assert catalogue.update(hasty(small)).added == (10_002, 10_003, 10_700)


def test_each_archive_has_its_own_file_in_its_cache_folder(server, tmp_path, monkeypatch):
    monkeypatch.setenv("EMPIAR_CACHE", str(tmp_path))
    monkeypatch.delenv("EMPIAR_API_URL", raising=False)
    assert Catalogue().path == Catalogue.of(Archive()).path == tmp_path / "catalogue.sqlite"
    assert Catalogue.of(server.archive).path.parent == server.settings.cache_folder
    assert Catalogue.of(server.archive).path.name != "catalogue.sqlite"
    monkeypatch.setenv("EMPIAR_API_URL", server.settings.api_url)
    assert Catalogue().path == tmp_path / Catalogue.of(server.archive).path.name


# ---- searching -----------------------------------------------------------------------------------------------


def numbers(found):
    return [entry.number for entry in found]


def test_searching_needs_no_network(built):
    assert built.search("ribosome")  # the fixture's archive is closed


@pytest.mark.parametrize(
    "text", ["proteasome", "PROTEASOME", "prot", "20S prot", "proteasome 20s", "  proteasome  ", "proteasome human"]
)
def test_words_are_found_in_any_case_order_and_state_of_typing(built, text):
    words = text.lower().split()
    wanted = {number for number, entry in entries().items() if all(word in _everything(entry) for word in words)}
    assert wanted
    assert set(numbers(built.search(text, limit=10_000))) == wanted


def _everything(entry):
    """All searchable text, for the words of these tests, none of which is a part of another word."""
    sets = [text for each in entry.imagesets for text in (each.name, each.details)]
    return " ".join([entry.title, *entry.authors, entry.citation_title, *sets]).lower()


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("beta-tubulin", "β-tubulin"),
        ("β-tubulin", "β-tubulin"),
        ("beta tub", "β-tubulin"),
        ("β-galactosidase", "beta-galactosidase"),
        ("gamma-secretase", "γ-secretase"),
        ("mu-opioid", "μ-opioid"),
        ("µ-opioid", "μ-opioid"),
        ("Pol kappa", "Pol κ"),
        ("Gβγ", "Gβγ"),
    ],
)
def test_greek_letters_are_found_by_letter_and_by_name(built, typed, stored):
    wanted = {number for number, entry in entries().items() if stored in entry.title}
    assert wanted and set(numbers(built.search(typed, limit=10_000))) == wanted


@pytest.mark.parametrize(("typed", "name"), [("Muller", "Müller"), ("garcia", "García-López"), ("Aberg", "Åberg")])
def test_accents_of_names_do_not_matter(built, typed, name):
    wanted = {n for n, entry in entries().items() if any(name in author for author in entry.authors)}
    assert wanted and set(numbers(built.search(typed, limit=10_000))) == wanted


def test_entries_are_found_by_every_kind_of_number(built):
    entry = next(entry for entry in entries().values() if entry.cross_references and entry.pdb_references)
    emdb, pdb = entry.cross_references[0], entry.pdb_references[0]
    for text in (str(entry.number), entry.accession, entry.accession.lower(), f" {entry.number} "):
        assert built.search(text)[0].number == entry.number
    for text in (emdb, emdb.lower(), emdb.removeprefix("EMD-"), f"{pdb} {entry.number}", entry.entry_doi):
        assert entry.number in numbers(built.search(text))


def test_the_title_counts_more_than_the_small_print(small, catalogue):
    small.add_metadata(10_010, {"title": "Something else", "imagesets": [{"name": "x", "details": "like urease"}]})
    small.add_metadata(10_011, {"title": "Urease", "imagesets": [{"name": "x", "details": "300 kV"}]})
    small.add_metadata(10_012, {"title": "Another", "citation": [{"title": "On urease"}], "imagesets": [{"name": "x"}]})
    catalogue.update(hasty(small))
    assert numbers(catalogue.search("urease")) == [10_011, 10_012, 10_010]


def test_without_words_the_newest_come_first(built):
    found = built.search(limit=10)
    newest = sorted(entries().values(), key=lambda entry: (entry.release_date, entry.number), reverse=True)
    assert numbers(found) == [entry.number for entry in newest[:10]]


def test_a_result_tells_what_a_list_shows(built):
    entry = entries()[NUMBERS[5]]
    found = built.search(entry.accession)[0]
    assert (found.title, found.authors, found.release_date) == (entry.title, entry.authors, entry.release_date)
    assert (found.dataset_size, found.size_bytes, found.method) == (
        entry.dataset_size,
        entry.size_bytes,
        entry.experiment_type,
    )
    assert set(found.categories) == {each.category for each in entry.imagesets}
    assert set(found.data_formats) == {each.data_format for each in entry.imagesets}
    assert found.pixel_sizes == tuple(sorted({each.pixel_size for each in entry.imagesets}))
    assert (found.cross_references, found.pdb_references) == (entry.cross_references, entry.pdb_references)
    assert found.accession == entry.accession


@pytest.mark.parametrize(
    ("filters", "fits"),
    [
        ({"method": "fib-sem"}, lambda e: e.experiment_type == "FIB-SEM"),
        ({"category": "tilt series"}, lambda e: any(i.category == "tilt series" for i in e.imagesets)),
        ({"data_format": "EER"}, lambda e: any(i.data_format == "EER" for i in e.imagesets)),
        ({"least_size": 10**12}, lambda e: e.size_bytes >= 10**12),
        ({"most_size": 10**11}, lambda e: e.size_bytes <= 10**11),
        ({"least_size": 2**200}, lambda e: False),
        (
            {"least_pixel_size": 0.5, "most_pixel_size": 0.7},
            lambda e: any(0.5 <= i.pixel_size <= 0.7 for i in e.imagesets),
        ),
        (
            {"category": "micrographs - multiframe", "data_format": "TIFF", "most_pixel_size": 0.6},
            lambda e: any(
                i.category == "micrographs - multiframe" and i.data_format == "TIFF" and i.pixel_size <= 0.6
                for i in e.imagesets
            ),
        ),
        ({"released_since": "2015-06-01"}, lambda e: e.release_date >= "2015-06-01"),
        ({"method": "EMDB", "text": "ribosome"}, lambda e: e.experiment_type == "EMDB" and "ribosome" in e.title),
        ({"method": "no such method"}, lambda e: False),
        ({"method": None, "category": ""}, lambda e: True),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_filters_leave_what_fits(built, filters, fits):
    wanted = {number for number, entry in entries().items() if fits(entry)}
    assert set(numbers(built.search(limit=10_000, **filters))) == wanted


def test_choices_are_what_there_is_the_commonest_first(built):
    methods = [entry.experiment_type for entry in entries().values()]
    assert built.choices("method") == {method: methods.count(method) for method in set(methods)}
    formats = built.choices("data_format")
    assert list(formats.values()) == sorted(formats.values(), reverse=True)
    assert formats["EER"] == sum(any(i.data_format == "EER" for i in e.imagesets) for e in entries().values())
    with pytest.raises(ValueError, match="no choices"):
        built.choices("record; DROP TABLE entries")


def test_the_limit_holds(built):
    assert len(built.search("Cryo-EM", limit=7)) == 7
    assert built.search("Cryo-EM", limit=0) == built.search("Cryo-EM", limit=-1) == []
    assert len(built.search("Cryo-EM", limit=2**100)) == len(NUMBERS)
    assert built.entry(2**100) is None and built.entry(-1) is None


HOSTILE = [
    '"', "'", '""" OR 1', "title:ribosome", "NEAR(a b)", "a AND", "OR", "NOT", "*", "^a", "(", "-", "a*b", "+",
    "{title} : x", "'; DROP TABLE entries; --", "\0", "a\0b", "\ud800", "😀", "％", "\u202e", "²", "ﬁ",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_words_are_words(built, text):
    assert isinstance(built.search(text), list)
    assert isinstance(built.search(text + " ribosome"), list)
    assert len(built) == len(NUMBERS)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=[]) | st.sampled_from('"*()^:-+{}\0 NEARORAND'), max_size=30))
def test_no_text_is_ever_an_error(built, text):
    built.search(text)


def test_a_very_long_text_is_no_error(built):
    assert built.search("ribosome " * 100_000)
    assert built.search("x" * 10**6) == []


def test_signs_alone_find_nothing_rather_than_everything(built):
    assert built.search("---") == built.search('"*"') == []


# ---- the file ------------------------------------------------------------------------------------------------


def test_searching_before_the_first_build_says_what_to_do(catalogue):
    assert len(catalogue) == 0 and catalogue.age is None and catalogue.entry(10_002) is None
    with pytest.raises(CatalogueError, match="update it once while online"):
        catalogue.search("ribosome")
    assert not catalogue.path.exists()


def test_a_file_of_another_version_is_built_anew(small, catalogue):
    catalogue.update(hasty(small))
    with sqlite3.connect(catalogue.path) as connection:
        connection.execute("ALTER TABLE entries DROP COLUMN card")
        connection.execute("CREATE TABLE more (x)")
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(CatalogueError, match="empty"):
        catalogue.search("x")
    assert catalogue.update(hasty(small)).added == (10_002, 10_003, 10_700)
    assert len(catalogue.search()) == 3


def test_another_programs_database_is_left_alone(small, tmp_path):
    with sqlite3.connect(tmp_path / "other.sqlite") as connection:
        connection.execute("CREATE TABLE precious (x)")
    catalogue = Catalogue(tmp_path / "other.sqlite")
    for use in (lambda: catalogue.update(hasty(small)), lambda: catalogue.search("x"), lambda: len(catalogue)):
        with pytest.raises(CatalogueError, match="another program's database"):
            use()
    with sqlite3.connect(tmp_path / "other.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM precious").fetchone() == (0,)


def test_a_file_that_is_no_database_is_left_alone(small, tmp_path):
    path = tmp_path / "thesis.txt"
    path.write_bytes(b"all my work " * 1000)
    for use in (lambda: Catalogue(path).update(hasty(small)), lambda: Catalogue(path).search("x")):
        with pytest.raises(CatalogueError, match="cannot be used"):
            use()
    assert path.read_bytes() == b"all my work " * 1000


def test_a_damaged_file_is_an_error_in_words(server, catalogue):
    catalogue.update(hasty(server))
    size = catalogue.path.stat().st_size
    with catalogue.path.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(size - 8192))
    with pytest.raises(CatalogueError, match=r"index\.sqlite"):
        catalogue.search("proteasome")


def test_a_place_that_cannot_be_written_is_an_error_in_words(small, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CatalogueError, match="cannot be written"):
        Catalogue(tmp_path / "file" / "index.sqlite").update(hasty(small))


def test_a_python_without_full_text_search_is_an_error_that_names_it(small, catalogue, monkeypatch):
    class Without(sqlite3.Connection):
        def execute(self, sql, *values):
            return super().execute(sql.replace("fts5", "no_fts5"), *values)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **more: connect(*given, factory=Without, **more))
    with pytest.raises(CatalogueError, match="built without FTS5"):
        catalogue.update(hasty(small))


def test_threads_search_while_one_updates(server, catalogue):
    catalogue.update(hasty(server))
    done = threading.Event()

    def keep_searching(_):
        count = 0
        while not done.is_set() or count < 3:
            assert len(catalogue.search("proteasome", limit=10_000)) == wanted
            count += 1
        return count

    wanted = len(catalogue.search("proteasome", limit=10_000))
    with ThreadPoolExecutor(3) as pool:
        searches = [pool.submit(keep_searching, i) for i in range(3)]
        try:
            catalogue.update(hasty(server), full=True)
        finally:
            done.set()
        assert all(search.result() >= 3 for search in searches)


def test_processes_update_one_file_together(server, tmp_path):
    script = f"""
from napari_empiarreader.archive import Archive, ArchiveSettings
from napari_empiarreader.archive.catalogue import Catalogue
settings = ArchiveSettings(api_url={server.settings.api_url!r}, archive_url={server.settings.archive_url!r})
catalogue = Catalogue({str(tmp_path / "index.sqlite")!r})
catalogue.update(Archive(settings))
print(len(catalogue), len(catalogue.search("proteasome", limit=10_000)))
"""
    children = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [child.communicate() for child in children]
    proteasomes = sum("proteasome" in entry.title for entry in entries().values())
    assert [out.split() for out, _ in said] == [[str(len(NUMBERS)), str(proteasomes)]] * 3, said[0][1]
