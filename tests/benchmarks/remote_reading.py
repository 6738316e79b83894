"""What it costs to look into a remote archive: requests, bytes and seconds, ours beside the peers', in one run.

    python tests/benchmarks/remote_reading.py [--headers N] [--side PIXELS] [--no-peers]

A loopback archive with 20 ms of latency serves a micrograph (4,096 x 4,096 float32), a 20-frame movie as MRC and as
LZW-compressed TIFF, and many small files; its own counts are printed, as multiples of what the pixels need. Then the
headers are read once more while 3 % of the requests hang and 3 % are answered with 503. Every reader runs in a process
of its own, the peers in environments of their own that are made in the user's cache folder (EMPIARreader needs an older
numpy): EMPIARreader 0.0.17, scigantic-empiar 0.4.2 and plain fsspec, each as its own documentation uses it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from contextlib import suppress
from pathlib import Path

import numpy as np

PEERS = {
    "EMPIARreader": ("empiarreader==0.0.17", "imagecodecs"),
    "scigantic": ("scigantic-empiar==0.4.2", "tifffile", "imagecodecs"),
    "fsspec": ("fsspec", "aiohttp", "mrcfile", "tifffile", "imagecodecs"),
}
NUMBER = 10017
FRAMES = 20
LATENCY = 0.02
TASKS = {
    "picture": "first picture, 4k x 4k",
    "again": "the same picture again",
    "headers": "headers",
    "mrc frame": "1 of 20 frames, MRC",
    "tiff frame": "1 of 20 frames, TIFF",
    "faulty headers": "headers, 6 % faults",
}
# Each reader defines the functions picture(), header(name), mrc_frame(k), tiff_frame(k); `base` ends in the number.
READERS = {
    "ours": """
from napari_empiarreader.archive import Archive
from napari_empiarreader.archive.bulk import read_many
from napari_empiarreader.micrographs import open_micrographs
from napari_empiarreader.micrographs.formats import open_image
archive = Archive()
series, movies = [], {}
def picture():
    if not series:
        series.append(open_micrographs(f"empiar://{number}/data/big/m.mrc", archive=archive))
    return series[0].read(0)
def headers(names):
    found = list(read_many([archive.file(number, f"data/small/{name}") for name in names], 0, 1024))
    return sum(isinstance(answer, bytes) and len(answer) == 1024 for answer in found)
def movie(name, k):
    if name not in movies:
        movies[name] = open_image(archive.file(number, f"data/movies/{name}"))
    return movies[name].frame(k)
""",
    "EMPIARreader": """
from empiarreader import EmpiarSource
from empiarreader.empiar.empiar import EmpiarCatalog
EmpiarCatalog._empiar_url_api_base = api
EmpiarSource._empiar_url_ftp_over_https_base = base.rsplit("/", 1)[0]
def source(folder, name):
    return EmpiarSource(number, directory=f"data/{folder}", filename=f"*{name}")
def picture():
    return source("big", "m.mrc").read_partition(0)
def headers(names):
    small = source("small", ".mrc")
    done = 0
    for i in range(len(names)):
        try:
            small.read_partition(i)
            done += 1
        except Exception:
            pass
    return done
def movie(name, k):
    return source("movies", name).read_partition(0)[k]
""",
    "scigantic": """
import scigantic_empiar as peer
peer.EBI, peer.API = base.rsplit("/", 1)[0], api + "/entry"
def picture():
    return peer.read_mrc_frame(number, "big/m.mrc")[0]
def headers(names):
    from concurrent.futures import ThreadPoolExecutor
    def header(name):
        try:
            peer.read_mrc(number, f"small/{name}")
            return 1
        except Exception:
            return 0
    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(header, names))
def movie(name, k):
    if name.endswith(".tif"):
        return peer.read_tiff_frame(number, f"data/movies/{name}", k)[0]
    return peer.read_mrc_frame(number, f"movies/{name}", k)[0]
""",
    "fsspec": """
import fsspec, io, numpy as np, mrcfile, tifffile
def picture():
    with fsspec.open(f"{base}/data/big/m.mrc") as file:
        return mrcfile.mrcinterpreter.MrcInterpreter(io.BytesIO(file.read())).data
def headers(names):
    files = fsspec.filesystem("http")
    answers = files.cat_ranges([f"{base}/data/small/{name}" for name in names], 0, 1024, on_error="return")
    return sum(isinstance(answer, bytes) and len(answer) == 1024 for answer in answers)
def movie(name, k):
    with fsspec.open(f"{base}/data/movies/{name}") as file:
        if name.endswith(".tif"):
            return tifffile.TiffFile(file).pages[k].asarray()
        header = np.frombuffer(file.read(1024), "<i4", 4)
        file.seek(1024 + k * header[0] * header[1])
        return np.frombuffer(file.read(header[0] * header[1]), "i1").reshape(header[1], header[0])
""",
}
# Runs in the reader's environment: one task per line of standard input, one JSON answer per line.
LOOP = """
import json, os, sys, time, warnings
warnings.simplefilter("ignore")
number, base, api = int(os.environ["NUMBER"]), os.environ["BASE"], os.environ["API"]
exec(sys.argv[1])
names = os.environ["NAMES"].split()
tasks = {"picture": picture, "again": picture, "headers": lambda: headers(names),
         "faulty headers": lambda: headers(names),
         "mrc frame": lambda: movie("movie.mrc", 7), "tiff frame": lambda: movie("movie.tif", 7),
         "mrc open": lambda: movie("movie.mrc", 0), "tiff open": lambda: movie("movie.tif", 0)}
for line in sys.stdin:
    began = time.perf_counter()
    try:
        answer = tasks[line.strip()]()
        said = answer if isinstance(answer, int) else "ok"
    except Exception as error:
        said = f"{type(error).__name__}: {error}"[:70].replace(chr(10), " ")
    print("ANSWER " + json.dumps([said, time.perf_counter() - began]), flush=True)
"""


def write_files(folder: Path, headers: int, side: int) -> dict[str, int]:
    """Files of the entry; the bytes that each task needs at least."""
    import mrcfile
    import tifffile

    from napari_empiarreader.micrographs import write_mrc

    rng = np.random.default_rng(3)
    data = folder / str(NUMBER) / "data"
    write_mrc(data / "big" / "m.mrc", rng.normal(size=(side, side)).astype(np.float32), 1.1)
    small = np.zeros((64, 64), np.float32)
    for i in range(headers):
        write_mrc(data / "small" / f"m{i:04d}.mrc", small, 1.1)
    movie = rng.poisson(0.7, (FRAMES, 2048, 2048)).astype(np.int8)
    (data / "movies").mkdir()
    with mrcfile.new(data / "movies" / "movie.mrc") as mrc:
        mrc.set_data(movie)
        mrc.set_image_stack()
    tifffile.imwrite(data / "movies" / "movie.tif", movie.astype(np.uint8), compression="lzw", rowsperstrip=128)
    with tifffile.TiffFile(data / "movies" / "movie.tif") as file:
        page = sum(file.pages[7].databytecounts)
    entry = {
        "title": "benchmark",
        "imagesets": [
            {
                "name": name,
                "directory": f"data/{name}",
                "data_format": "MRC",
                "num_images_or_tilt_series": 1,
                "frames_per_image": 1,
                "image_width": "1",
                "image_height": "1",
                "details": "",
            }
            for name in ("big", "small", "movies")
        ],
    }
    (folder / str(NUMBER) / "entry.json").write_text(json.dumps(entry))
    return {
        "picture": side * side * 4 + 1024,
        "again": side * side * 4 + 1024,
        "headers": headers * 1024,
        "faulty headers": headers * 1024,
        "mrc frame": 2048 * 2048,
        "tiff frame": page,
    }


def python_of(peer: str) -> str:
    """Interpreter with the peer, made where it is missing."""
    from platformdirs import user_cache_path

    home = user_cache_path("napari-empiarreader", appauthor=False) / "benchmark-peers" / peer
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (home / "complete").is_file():
        print(f"installing {peer} ...", file=sys.stderr)
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PEERS[peer]], check=True, stderr=subprocess.DEVNULL)
        (home / "complete").touch()
    return str(python)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--headers", type=int, default=1000)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--no-peers", action="store_true")
    arguments = parser.parse_args()

    from napari_empiarreader.archive.faults import Delay, FailWith, Hang
    from napari_empiarreader.archive.server import LoopbackArchive

    readers = {"ours": sys.executable}
    if not arguments.no_peers:
        readers |= {peer: python_of(peer) for peer in PEERS}
    with tempfile.TemporaryDirectory() as folder:
        least = write_files(Path(folder), arguments.headers, arguments.side)
        print(f"latency {LATENCY * 1e3:.0f} ms; bytes as multiples of what is needed; {arguments.headers} headers")
        print(f"{'task':<24}{'reader':<14}{'seconds':>8}{'requests':>10}{'bytes':>10}  right")
        for task in TASKS:
            for reader, python in readers.items():
                with LoopbackArchive(folder) as archive, tempfile.TemporaryDirectory() as cache:
                    archive.inject(Delay(LATENCY), times=None)
                    environment = os.environ | {
                        "NUMBER": str(NUMBER),
                        "BASE": f"{archive.settings.archive_url}/{NUMBER}",
                        "API": archive.settings.api_url,
                        "EMPIAR_ARCHIVE_URL": archive.settings.archive_url,
                        "EMPIAR_API_URL": archive.settings.api_url,
                        "EMPIAR_CACHE": cache,
                        "NAMES": " ".join(f"m{i:04d}.mrc" for i in range(arguments.headers)),
                    }
                    process = subprocess.Popen(
                        [python, "-c", LOOP, READERS[reader]],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL,
                        text=True,
                        env=environment,
                    )

                    def ask(what: str, process: subprocess.Popen = process) -> tuple[object, float]:
                        with suppress(BrokenPipeError):
                            process.stdin.write(what + "\n")
                            process.stdin.flush()
                        for line in process.stdout:
                            if line.startswith("ANSWER "):
                                said, took = json.loads(line[7:])
                                return said, took
                        return "it died", 0.0

                    if task == "again":
                        ask("picture")
                    elif task.endswith("frame"):
                        ask(task.replace("frame", "open"))  # its directory is known then
                    elif task == "faulty headers":
                        hung = max(arguments.headers * 3 // 100, 1)
                        rng = np.random.default_rng(0)
                        for i in rng.choice(arguments.headers, 2 * hung, replace=False):
                            fault = Hang(5) if hung > 0 and i % 2 else FailWith(503)
                            archive.inject(fault, f"*/m{i:04d}.mrc")
                    time.sleep(0.1)
                    archive.reset_counts()
                    said, took = ask(task)
                    requests, moved = len(archive.requests), archive.bytes_sent
                    process.kill()
                    process.wait()
                right = f"{said} of {arguments.headers}" if isinstance(said, int) else said
                print(
                    f"{TASKS[task]:<24}{reader:<14}{took:8.2f}{requests:10d}{moved / least[task]:10.2f}  {right}",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
