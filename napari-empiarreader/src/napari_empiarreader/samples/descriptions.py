"""Made-up descriptions of entries, as varied and as careless as the archive's own: for a search without EMPIAR."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Any

__all__ = ["describe_entry"]

_SAMPLES = (
    "beta-galactosidase", "β-tubulin", "apoferritin", "20S proteasome", "80S ribosome", "SARS-CoV-2 spike", "TRPV1",
    "γ-secretase", "Pol κ holoenzyme", "spliceosome", "respiratory complex I", "AAV2 capsid", "photosystem II",
    "HIV-1 Gag", "GroEL/GroES", "nuclear pore complex", "P-Rex1–Gβγ", "μ-opioid receptor", "ATP synthase", "Dynein",
)  # fmt: skip
_SOURCES = ("E. coli", "human", "Saccharomyces cerevisiae", "Plasmodium falciparum", "bovine", "Arabidopsis", "mouse")
_NAMES = ("Müller", "Subramaniam", "Nakane", "O'Brien", "Zhang", "García-López", "Kühlbrandt", "Lancey", "Wąs", "Åberg")
_JOURNALS = (("Nature communications", "Nat Commun"), ("eLife", "Elife"), ("Science", "Science"), ("", "IUCrJ"))
_METHODS = ("EMDB",) * 14 + ("FIB-SEM", "SBF-SEM", "IHM", "MicroED", "SXT", "INSILICO")
# Category, format, suffix, frames.
_KINDS = (
    ("micrographs - multiframe", "TIFF", ".tiff", 40),
    ("micrographs - multiframe", "MRC", ".mrcs", 38),
    ("micrographs - multiframe", "EER", ".eer", 1080),
    ("micrographs - single frame", "MRC", ".mrc", 1),
    ("picked particles - single frame - processed", "MRCS", ".mrcs", 1),
    ("tilt series", "MRC", ".st", 41),
    ("reconstructed volumes", "MRC", ".rec", 1),
)
_PIXELS = (0.45, 0.543, 0.657, 0.83, 1.06, 1.34, 2.1, 5.4, 13.48)
_WIDTHS = ((3838, 3710), (5760, 4092), (11520, 8184), (4096, 4096))


def describe_entry(number: int) -> dict[str, Any]:
    """What the metadata service could say about entry ``number``: always the same for the same number.

    With the service's own carelessness: nulls, numbers as text, both shapes of lists, leading slashes, image sets that
    share a name.
    """
    chance = random.Random(number)
    sample, source = chance.choice(_SAMPLES), chance.choice(_SOURCES)
    method = chance.choice(_METHODS)
    deposited = date(2014, 1, 1) + timedelta(days=max(0, number - 10_000) + chance.randrange(30))
    released = deposited + timedelta(days=chance.randrange(20, 400))
    authors = [f"{name} {chance.choice('ABCDEFGHJK')}" for name in chance.sample(_NAMES, chance.randrange(1, 6))]
    maps = [f"EMD-{10_000 + number * 2 + i}" for i in range(chance.randrange(3))] if method == "EMDB" else []
    return {
        "title": f"Cryo-EM dataset of {source} {sample}" + chance.choice(("", " &amp;amp; inhibitor", " in nanodiscs")),
        "status": "REL",
        "deposition_date": deposited.isoformat(),
        "release_date": released.isoformat(),
        "update_date": (released + timedelta(days=chance.choice((0, 0, 90)))).isoformat(),
        "obsolete_date": None,
        "dataset_size": f"{chance.uniform(1, 999):.1f} {chance.choice(('GB', 'GB', 'TB'))}",
        "experiment_type": method,
        "scale": chance.choice(("molecule", "molecule", "virus", "cell")),
        "entry_doi": f"10.6019/EMPIAR-{number}",
        "authors": [{"author": {"name": name, "author_orcid": None}} for name in authors],
        "corresponding_author": {"author": {"first_name": "A", "last_name": authors[0][:-2], "country": "GB"}},
        "principal_investigator": [{"first_name": "B", "last_name": authors[-1][:-2]}],
        "cross_references": chance.choice((maps, [{"name": name} for name in maps])),
        "related_pdb_entries": [f"{chance.randrange(1, 10)}{chance.choice('abcdef')}{number % 100:02d}"],
        "grant_references": [],
        "version_history": [],
        "citation": [_citation(chance, sample, authors, released.year)],
        "imagesets": _imagesets(chance),
    }


def _citation(chance: random.Random, sample: str, authors: list[str], year: int) -> dict[str, Any]:
    journal, short = chance.choice(_JOURNALS)
    return {
        "authors": [{"name": name, "author_orcid": None, "order_id": i} for i, name in enumerate(authors)],
        "editors": [],
        "published": True,
        "preprint": False,
        "j_or_nj_citation": True,
        "title": f"Structural basis of {sample} {chance.choice(('assembly', 'gating', 'inhibition', 'activation'))}",
        "journal": journal or None,
        "journal_abbreviation": short,
        "year": str(year),
        "doi": f"10.1000/{chance.randrange(10**6)}",
        "pubmedid": str(chance.randrange(10**7)),
        "details": None,
    }


def _imagesets(chance: random.Random) -> list[dict[str, Any]]:
    sets = []
    for place in range(chance.choice((1, 1, 2, 3))):
        category, data_format, suffix, frames = chance.choice(_KINDS)
        width, height = chance.choice(_WIDTHS)
        pixel_size, dose = chance.choice(_PIXELS), chance.randrange(30, 70)
        sets.append(
            {
                "name": chance.choice(("Raw data", f"Dataset {place + 1}")),
                "directory": chance.choice(("/data", "data/", f"data/set_{place + 1}")),
                "category": category,
                "header_format": data_format,
                "data_format": chance.choice((data_format,) * 9 + ("other",)),
                "num_images_or_tilt_series": chance.randrange(1, 9000),
                "frames_per_image": frames,
                "frame_range_min": None,
                "frame_range_max": None,
                "voxel_type": "UNSIGNED BYTE",
                "pixel_width": chance.choice((pixel_size, str(pixel_size))),
                "pixel_height": pixel_size,
                "image_width": chance.choice((str(width), width, None)),
                "image_height": chance.choice((str(height), None)),
                "details": f"{chance.choice((200, 300))} kV, defocus -0.8 to -2.0 μm, {dose} e-/Å^2",
                "micrographs_file_pattern": chance.choice(("", f"data/*{suffix}")),
                "picked_particles_file_pattern": "",
                "picked_particles_directory": "",
                "segmentations": [],
            }
        )
    return sets
