"""A download that is killed again and again: does it end complete, and how many bytes did that cost?

    python tests/benchmarks/killed_download.py [--files N] [--megabytes N] [--kills N] [--seed N] [--connections N]

A loopback archive serves files of a few hundred kilobytes to a few megabytes, each answer with a delay. A process
downloads them all and is killed (SIGKILL, no chance to tidy up) at moments drawn at random; the next process goes on.
The last one may end. Then every file is held against the archive's byte by byte, nothing may lie beside them, and the
server's own count of bytes is held against the size of all files.

The exit code is 1 if a byte is wrong or missing, if something was left behind, or if more than 1.2 times the bytes
were sent.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from napari_empiarreader.archive.faults import Delay
from napari_empiarreader.archive.server import LoopbackArchive

MOST = 1.2
ENTRY = 10017
PATIENCE = 300.0

CHILD = """
import sys
from napari_empiarreader.archive import Archive, ArchiveSettings
from napari_empiarreader.archive.download import download, plan

archive_url, api_url, connections, folder = sys.argv[1:]
archive = Archive(ArchiveSettings(archive_url=archive_url, api_url=api_url, connections=int(connections)))
report = download(plan(archive, ["empiar://{entry}/data"], folder))
print(report)
for error in report.failed.values():
    print(error)
sys.exit(not report.is_complete)
"""


def main() -> int:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--megabytes", type=float, default=200, help="of all files together, about")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--delay", type=float, default=0.1, help="seconds before each answer")
    options = parser.parse_args()
    dice = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="killed-download-") as folder:
        root, target = Path(folder) / "archive", Path(folder) / "target"
        total = make_entry(root / str(ENTRY) / "data", options.files, options.megabytes * 1e6, dice)
        print(f"{options.files} files, {total / 1e6:.1f} MB, {options.kills} kills, seed {options.seed}\n")
        with LoopbackArchive(root) as server:
            server.inject(Delay(options.delay), "*", times=None)
            right = run(server, target, total, options.kills, options.connections, dice)
            sent = server.bytes_sent
        problems = compared(root, target)
    share = sent / total
    print(f"\nsent by the server: {sent / 1e6:.1f} MB, {share:.3f} of the files' bytes (at most {MOST})")
    print(f"files wrong, missing or left over: {len(problems)}")
    for problem in problems[:20]:
        print(f"  {problem}")
    return 0 if right and not problems and share <= MOST else 1


def make_entry(folder: Path, files: int, total: float, dice: random.Random) -> int:
    """Files of random bytes in subfolders, from a third to twice the mean size; returns their bytes."""
    weights = [dice.uniform(1 / 3, 2) for _ in range(files)]
    made = 0
    for i, weight in enumerate(weights):
        path = folder / f"GridSquare_{i % 7}" / f"FoilHole_{i:04}_fractions.tiff.bz2"
        path.parent.mkdir(parents=True, exist_ok=True)
        made += path.write_bytes(dice.randbytes(max(1, round(total * weight / sum(weights)))))
    return made


def run(server: LoopbackArchive, target: Path, total: int, kills: int, connections: int, dice: random.Random) -> bool:
    """Start, kill, and start again; whether every process ended as it should."""
    print("  process   ended by      MB sent   files complete   parts")
    shares = [dice.uniform(0.2, 1) for _ in range(kills + 1)]
    right = True
    for i, share in enumerate(shares, start=1):
        # Of what is missing, so that each process moves something before its end, and leaves something.
        missing = total - sum(path.stat().st_size for path in files_in(target))
        moment = server.bytes_sent + missing * share / sum(shares[i - 1 :]) if i <= kills else None
        arguments = [server.settings.archive_url, server.settings.api_url, str(connections), str(target)]
        code = CHILD.replace("{entry}", str(ENTRY))
        with subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True) as child:
            killed = moment is not None and killed_at(child, server, moment, dice.uniform(0, 0.05))
            said = child.communicate(timeout=PATIENCE)[0]
        ended = "SIGKILL" if killed else f"exit {child.returncode}"
        right &= killed if moment is not None else child.returncode == 0
        parts = sum(path.name.endswith(".empiar-part") for path in files_in(target))
        complete = sum(path.suffix == ".bz2" for path in files_in(target))
        print(f"  {i:7}   {ended:<10} {server.bytes_sent / 1e6:10.1f} {complete:16} {parts:7}")
        if not killed and said:
            print(f"            {said.strip()}")
    return right


def killed_at(child: subprocess.Popen[str], server: LoopbackArchive, moment: float, later: float) -> bool:
    """Kill a process a little after the server has sent so many bytes; False if it ended before."""
    until = time.monotonic() + PATIENCE
    while server.bytes_sent < moment and child.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    time.sleep(later)
    if child.poll() is not None:
        return False
    child.kill()
    child.wait()
    return True


def files_in(folder: Path) -> list[Path]:
    """Every file below a folder, which may be missing."""
    return [path for path in folder.rglob("*") if path.is_file()]


def compared(root: Path, target: Path) -> list[str]:
    """What is not as in the archive."""
    wanted = {path.relative_to(root): path for path in files_in(root)}
    there = {path.relative_to(target): path for path in files_in(target)}
    problems = [f"{name}: left over" for name in there if name not in wanted]
    for name, path in wanted.items():
        if name not in there:
            problems.append(f"{name}: missing")
        elif there[name].read_bytes() != path.read_bytes():
            problems.append(f"{name}: wrong bytes")
    return problems


if __name__ == "__main__":
    sys.exit(main())
