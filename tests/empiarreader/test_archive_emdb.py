"""Microscope facts from EMDB: in every shape that its answers take, and never a wrong number for a wrong unit."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_empiarreader.archive import Archive, Entry
from napari_empiarreader.archive.emdb import MicroscopeFacts, parse_emdb_entry
from napari_empiarreader.archive.faults import AnswerHtml, FailWith
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import ArchiveError, ServerUnreachableError


def value(number, units=None):
    return {"valueOf_": str(number), **({"units": units} if units else {})}


MICROSCOPE = {
    "microscopy_id": 1,
    "instance_type": "single_particle_microscopy",
    "microscope": "FEI TITAN KRIOS",
    "acceleration_voltage": value(300, "kV"),
    "nominal_cs": value(2.7, "mm"),
    "nominal_defocus_min": value(0.6, "µm"),
    "nominal_defocus_max": value(1.6, "µm"),
    "nominal_magnification": 29000,
    "image_recording_list": {
        "image_recording": [
            {
                "film_or_detector_model": {"valueOf_": "GATAN K2 SUMMIT (4k x 4k)"},
                "detector_mode": "COUNTING",
                "average_electron_dose_per_image": value(50.4, "e/Å^2"),
            }
        ]
    },
}
ENTRY = {
    "emdb_id": "EMD-12602",
    "admin": {"title": "Pol kappa holoenzyme"},
    "sample": {"name": {"valueOf_": "Pol K-Ub-PCNA"}},
    "structure_determination_list": {
        "structure_determination": [
            {
                "method": "singleParticle",
                "microscopy_list": {"microscopy": [MICROSCOPE]},
                "image_processing": [
                    {"final_reconstruction": {"resolution": {"units": "Å", "valueOf_": "3.9", "res_type": "BY AUTHOR"}}}
                ],
            }
        ]
    },
}
FACTS = MicroscopeFacts(
    emdb_id="EMD-12602",
    title="Pol kappa holoenzyme",
    sample="Pol K-Ub-PCNA",
    method="singleParticle",
    microscope="FEI TITAN KRIOS",
    voltage=300,
    spherical_aberration=2.7,
    dose=50.4,
    detector="GATAN K2 SUMMIT (4k x 4k)",
    detector_mode="COUNTING",
    defocus_min=0.6,
    defocus_max=1.6,
    magnification=29000,
    resolution=3.9,
)


def unwrapped(node):
    """The same answer with plain values, and single things where there were lists."""
    if isinstance(node, dict):
        if "valueOf_" in node:
            return node["valueOf_"]
        return {name: unwrapped(inner) for name, inner in node.items()}
    return unwrapped(node[0]) if isinstance(node, list) else node


def with_microscopes(microscopy_list):
    entry = json.loads(json.dumps(ENTRY))
    entry["structure_determination_list"]["structure_determination"][0]["microscopy_list"] = microscopy_list
    return entry


def test_the_answer_becomes_typed_facts():
    assert parse_emdb_entry(ENTRY, "EMD-12602") == FACTS


@pytest.mark.parametrize(
    "answer",
    [
        unwrapped(ENTRY),
        with_microscopes([MICROSCOPE]),
        with_microscopes(MICROSCOPE),
        with_microscopes({"single_particle_microscopy": MICROSCOPE}),
        with_microscopes({"microscopy": [{"microscopy_id": 1}, MICROSCOPE]}),
    ],
    ids=["plain", "list", "single", "by kind", "second tells"],
)
def test_other_shapes_say_the_same(answer):
    assert parse_emdb_entry(answer, "EMD-12602") == FACTS


@pytest.mark.parametrize(
    ("key", "given_value", "field", "seen"),
    [
        ("acceleration_voltage", value(300000, "V"), "voltage", 300),
        ("acceleration_voltage", value(300, "furlong"), "voltage", None),
        ("acceleration_voltage", 200, "voltage", 200),
        ("acceleration_voltage", value(0, "kV"), "voltage", None),
        ("nominal_cs", value("", "mm"), "spherical_aberration", None),
        ("nominal_cs", None, "spherical_aberration", None),
        ("nominal_defocus_max", value(1600, "nm"), "defocus_max", 1.6),
        ("nominal_defocus_max", value(1.6, "μm"), "defocus_max", 1.6),
        ("nominal_defocus_max", value(0.2, "µm"), "defocus_min", 0.2),
        ("nominal_defocus_min", None, "defocus_max", 1.6),
        ("nominal_magnification", value(81000), "magnification", 81000),
        ("microscope", {"valueOf_": "TFS KRIOS"}, "microscope", "TFS KRIOS"),
    ],
)
def test_units_are_ours_and_nonsense_is_nothing(key, given_value, field, seen):
    facts = parse_emdb_entry(with_microscopes({"microscopy": [{**MICROSCOPE, key: given_value}]}), "EMD-1")
    assert getattr(facts, field) == (pytest.approx(seen) if isinstance(seen, float) else seen)


@pytest.mark.parametrize("answer", [None, [], {}, "no", {"message": "Not found"}, 5])
def test_an_answer_that_is_no_entry_is_an_error(answer):
    with pytest.raises(ArchiveError, match="EMD-12602: EMDB's answer"):
        parse_emdb_entry(answer, "EMD-12602")


def _names_in(node):
    for name, inner in node.items() if isinstance(node, dict) else ():
        yield name
        for deeper in inner if isinstance(inner, list) else [inner]:
            yield from _names_in(deeper)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(MICROSCOPE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(set(_names_in(ENTRY)))), inner),
    max_leaves=20,
)


@given(JSON)
def test_no_answer_whatsoever_is_more_than_an_archive_error(answer):
    for whole in (answer, {"structure_determination_list": answer}, with_microscopes(answer)):
        try:
            facts = parse_emdb_entry(whole, "EMD-1")
        except ArchiveError:
            continue
        assert facts.voltage is None or facts.voltage > 0


# ---- through the archive -------------------------------------------------------------------------------------


@pytest.fixture
def server():
    with LoopbackArchive(emdb={"EMD-12602": ENTRY}) as server:
        yield server


@pytest.fixture
def archive(server):
    return Archive(replace(server.settings, timeout=0.5, retries=1, backoff=0.01))


def test_the_first_linked_map_that_emdb_knows_answers(server, archive):
    entry = Entry(10934, cross_references=("none of ours", "EMD-99999", "emd_12602", "EMD-12603"))
    assert archive.microscope(entry) == FACTS
    assert [request.path for request in server.requests] == [
        "/emdb/api/entry/EMD-99999",
        "/emdb/api/entry/EMD-12602",
    ]


def test_an_answer_is_kept_until_asked_anew(server, archive):
    entry = Entry(10934, cross_references=("EMD-12602",))
    assert archive.microscope(entry) == archive.microscope(entry) == FACTS
    assert len(server.requests) == 1
    archive.microscope(entry, refresh=True)
    assert len(server.requests) == 2


def test_without_a_linked_map_nobody_is_asked(server, archive):
    assert archive.microscope(Entry(10934, cross_references=("EMPIAR-1",))) is None
    assert server.requests == []
    assert archive.microscope(Entry(10934, cross_references=("EMD-99999",))) is None


def test_answers_come_from_a_folder_too(tmp_path):
    (tmp_path / "EMD-12602.json").write_text(json.dumps(ENTRY))
    with LoopbackArchive(emdb=tmp_path) as server:
        assert server.archive.microscope(Entry(1, cross_references=("EMD-12602", "EMD-1234"))) == FACTS
        assert server.archive.microscope(Entry(1, cross_references=("EMD-1234",))) is None


@pytest.mark.parametrize(("fault", "expected"), [(FailWith(503), ServerUnreachableError), (AnswerHtml(), ArchiveError)])
def test_faults_of_emdb_are_errors_not_missing_facts(server, archive, fault, expected):
    server.inject(fault, times=None)
    with pytest.raises(expected, match="EMD-12602"):
        archive.microscope(Entry(1, cross_references=("EMD-12602",)))


def test_the_address_of_emdb_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("EMDB_API_URL", "http://127.0.0.1:1/emdb/")
    assert Archive().settings.emdb_url == "http://127.0.0.1:1/emdb"
