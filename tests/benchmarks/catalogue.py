"""How long the catalogue takes to build, to refresh, and to search while a user types.

    python tests/benchmarks/catalogue.py [ENTRIES]

An archive of made-up entries (3,000 unless told otherwise) on this machine answers each request after 20 ms. Prints
figures; they are for reading and are asserted nowhere.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from napari_empiarreader.archive.catalogue import Catalogue
from napari_empiarreader.archive.faults import Delay
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.samples.descriptions import describe_entry

FIRST = 10_002
LATENCY = 0.02
TYPED = ("beta-galactosidase", "human proteasome", "Müller TRPV1", "EMPIAR-11", "γ-secretase 300 kV")
REPEATS = 20


def timed(name: str, server: LoopbackArchive, work: Callable[[], object]) -> None:
    """Do the work and print what it took."""
    server.reset_counts()
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    print(f"{name:<44}{seconds:>9.2f} s{len(server.requests):>8}{server.bytes_sent / 1e6:>10.1f} MB", flush=True)


def keystrokes(catalogue: Catalogue) -> list[float]:
    """Seconds of each search while the words are typed letter by letter."""
    taken = []
    for _ in range(REPEATS):
        for text in TYPED:
            for end in range(1, len(text) + 1):
                start = time.perf_counter()
                catalogue.search(text[:end])
                taken.append(time.perf_counter() - start)
    return taken


def main(count: int) -> None:
    """Print the tables."""
    with LoopbackArchive() as server, tempfile.TemporaryDirectory() as folder:
        for number in range(FIRST, FIRST + count):
            server.add_metadata(number, describe_entry(number))
        server.inject(Delay(LATENCY), times=None)
        archive = server.archive
        catalogue = Catalogue(Path(folder) / "whole.sqlite")
        print(f"{count} entries, {LATENCY * 1000:g} ms latency{'':<17}{'time':>9}{'requests':>10}{'received':>11}")
        timed("first build, complete bulk answers", server, lambda: catalogue.update(archive))
        timed("later update, nothing new", server, lambda: catalogue.update(archive))
        timed("update of all ranges, nothing changed", server, lambda: catalogue.update(archive, max_age=timedelta(0)))
        server.brief_answers = True
        brief = Catalogue(Path(folder) / "brief.sqlite")
        timed("first build, each entry asked once more", server, lambda: brief.update(archive))
        print(f"file: {catalogue.path.stat().st_size / 1e6:.1f} MB")
    # The archive is closed from here on, and the folder is made anew: searches are offline.
    with LoopbackArchive() as server, tempfile.TemporaryDirectory() as folder:
        for number in range(FIRST, FIRST + count):
            server.add_metadata(number, describe_entry(number))
        catalogue = Catalogue(Path(folder) / "whole.sqlite")
        catalogue.update(server.archive)
        server.close()
        taken = sorted(keystrokes(catalogue))
        filters = {"method": "EMDB", "data_format": "TIFF", "most_pixel_size": 0.7}
        start = time.perf_counter()
        for _ in range(REPEATS):
            catalogue.search("ribosome", **filters)
        filtered = (time.perf_counter() - start) / REPEATS
    print(
        f"search per keystroke, {len(taken)} searches: median {statistics.median(taken) * 1e3:.1f} ms, "
        f"95 % {taken[int(len(taken) * 0.95)] * 1e3:.1f} ms, slowest {taken[-1] * 1e3:.1f} ms; "
        f"with three filters {filtered * 1e3:.1f} ms"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
