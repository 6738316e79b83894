#!/usr/bin/env python3
"""The way in: make an environment, then run the demonstration or the tests. Needs nothing but Python.

python3 start.py                    install into ./.venv, then train and pick on the built-in entry
python3 start.py demo ARGUMENTS     the same; the arguments go to "napari-caked demo" (--gui opens napari)
python3 start.py test ARGUMENTS     run every test; the arguments go to tox (-e lint: only that environment)

No science lives here. This file must be readable by Python 3.7, so that an old one gets a clear message.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent
PACKAGES = ("napari-profet", "napari-empiarreader", "napari-caked")
OLDEST_PYTHON = (3, 11)
TOX = "tox>=4.23,<5"

# What Qt loads at run time, by the name the loader knows, and the Debian packages that bring it. Packages with
# two names changed theirs with the 64-bit time of newer releases; the first one apt knows is taken.
QT_LIBRARIES = {
    "libglib-2.0.so.0": ("libglib2.0-0t64", "libglib2.0-0"),
    "libGL.so.1": ("libgl1",),
    "libEGL.so.1": ("libegl1",),
    "libxkbcommon.so.0": ("libxkbcommon0",),
    "libdbus-1.so.3": ("libdbus-1-3",),
    "libfontconfig.so.1": ("libfontconfig1",),
    "libxkbcommon-x11.so.0": ("libxkbcommon-x11-0",),
    "libxcb-cursor.so.0": ("libxcb-cursor0",),
    "libxcb-icccm.so.4": ("libxcb-icccm4",),
    "libxcb-keysyms.so.1": ("libxcb-keysyms1",),
    "libxcb-shape.so.0": ("libxcb-shape0",),
}


class Stop(Exception):
    """The work cannot go on; the message is for the user, the code is the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def main(arguments: list[str]) -> int:
    """Run what the arguments ask for; return the exit code."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    task = "demo"
    if arguments and not arguments[0].startswith("-"):
        task, arguments = arguments[0], arguments[1:]
    try:
        require_python()
        if task == "demo":
            return demo(arguments)
        if task == "test":
            return test(arguments)
        raise Stop(f"{task}: no such task; say demo or test (python3 start.py --help)", 2)
    except Stop as stop:
        say(str(stop), sys.stderr)
        return stop.code
    except KeyboardInterrupt:
        return 130


def demo(arguments: list[str]) -> int:
    """Install the three packages into ./.venv, then run ``napari-caked demo`` with the arguments."""
    gui = "--gui" in arguments
    require_venv()
    if gui and sys.platform == "linux":
        require_screen_libraries()
    environment = ROOT / ".venv"
    # Every package in one command: pip then settles on one set of versions, and finds our own packages here.
    packages = [part for name in PACKAGES for part in ("-e", f"{ROOT / name}{'[all]' if gui else ''}")]
    install(environment, ["-c", str(ROOT / "constraints.txt"), *packages], extras=["all"] if gui else [])
    return call([program(environment, "napari-caked"), "demo", *arguments])


def test(arguments: list[str]) -> int:
    """Install what the virtual screen needs, where this may be done, then run tox from ./.venv-test."""
    install_screen()
    require_venv()
    environment = ROOT / ".venv-test"
    before = read_record(environment)
    install(environment, [TOX])
    if before and before != read_record(environment):
        # tox does not see what our packages require: environments made for other requirements are stale.
        say("The requirements have changed: removing the old environments of tox ...")
        shutil.rmtree(ROOT / ".tox", ignore_errors=True)
    return call([program(environment, "tox"), "--root", str(ROOT), *arguments])


# ---- environments --------------------------------------------------------------------------------------------


def install(environment: Path, arguments: list[str], extras: list[str] | None = None) -> None:
    """Make the environment and install into it, unless the record in it says that this was done before."""
    done = read_record(environment)
    wanted = {"fingerprint": fingerprint(), "extras": extras or []}
    if done.get("fingerprint") == wanted["fingerprint"] and set(wanted["extras"]) <= set(done.get("extras", [])):
        return
    start = time.monotonic()
    make_environment(environment)
    say(f"Installing into {environment.name}; the first time this takes some minutes ...")
    run_quietly([program(environment, "python"), "-m", "pip", "install", "-q", *arguments], "The installation failed.")
    record_file(environment).write_text(json.dumps(wanted))
    say(f"Installed in {time.monotonic() - start:.0f} s.")


def make_environment(environment: Path) -> None:
    """Make a virtual environment, or make it anew where its Python has gone."""
    if works([program(environment, "python"), "-m", "pip", "--version"]):
        return
    say(f"Making {environment.name} with Python {sys.version_info[0]}.{sys.version_info[1]} ...")
    run_quietly([sys.executable, "-m", "venv", "--clear", str(environment)], "The environment could not be made.")


def program(environment: Path, name: str) -> str:
    """Path of a program inside a virtual environment."""
    if os.name == "nt":
        return str(environment / "Scripts" / f"{name}.exe")
    return str(environment / "bin" / name)


def fingerprint() -> str:
    """A digest of all that decides what gets installed, and of where it is (editable installs point there)."""
    digest = hashlib.sha256(f"{ROOT} {sys.version_info[:2]} {TOX}".encode())
    for file in (ROOT / "constraints.txt", *(ROOT / name / "pyproject.toml" for name in PACKAGES)):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def record_file(environment: Path) -> Path:
    """Where the environment says what was installed into it."""
    return environment / "installed.json"


def read_record(environment: Path) -> dict:
    """Read what was installed into the environment; empty where nothing was, or where that was cut short."""
    if not Path(program(environment, "python")).exists():
        return {}
    try:
        return json.loads(record_file(environment).read_text())
    except (OSError, ValueError):
        return {}


# ---- what the machine must bring -----------------------------------------------------------------------------


def require_python() -> None:
    """Stop with one line where this Python is too old."""
    if sys.version_info < OLDEST_PYTHON:
        wanted, found = (".".join(str(part) for part in version[:2]) for version in (OLDEST_PYTHON, sys.version_info))
        raise Stop(f"Python {wanted} or newer is needed, this is {found}; call a newer one: python{wanted} start.py", 2)


def require_venv() -> None:
    """Stop with one line where Debian keeps parts of Python in a package of their own."""
    if not venv_works():
        raise Stop(f"Python's venv is missing; on Debian or Ubuntu: sudo apt-get install {venv_package()}", 2)


def venv_works() -> bool:
    """Whether this Python has all that ``python -m venv`` needs."""
    importlib.invalidate_caches()
    return all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))


def venv_package() -> str:
    """The Debian package with the virtual environments of this Python."""
    return f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"


def require_screen_libraries() -> None:
    """Stop with one message that names what Qt misses on this Linux."""
    missing = missing_libraries()
    if missing:
        raise Stop(
            f"A window needs system libraries that are missing: {', '.join(missing)}.\n"
            f"On Debian or Ubuntu: sudo apt-get install {' '.join(packages_of(missing))}",
            2,
        )


def install_screen() -> None:
    """Install what tests with a window need, or stop with the command that does it."""
    if sys.platform != "linux":
        say("No virtual screen on this system: tests with a window use the real one.")
        return
    missing = missing_libraries()
    screen = [] if shutil.which("Xvfb") else ["xvfb"]
    if not shutil.which("apt-get"):
        if missing or screen:
            say(f"Neither Debian nor Ubuntu: tests with a window need {', '.join(missing + screen)}; install them.")
        return
    python = [] if venv_works() else [venv_package()]
    if not (missing or screen or python):
        return
    root = os.geteuid() == 0
    command = ["apt-get", "install", "-y", "--no-install-recommends"]
    if not (root or works(["sudo", "-n", "true"])):
        line = shlex.join(["sudo", *command, *python, *screen, *packages_of(missing)])
        raise Stop(f"The tests need system packages, which an administrator must install:\n  {line}", 2)
    sudo = [] if root else ["sudo", "-n"]
    # The lists may be absent (a fresh container) or old; without a network, packages already fetched may still do.
    works([*sudo, "apt-get", "update", "-q"])
    command = [*sudo, *command, *python, *screen, *packages_of(missing)]
    say(f"Installing what the virtual screen needs: {shlex.join(command)}")
    run_quietly(command, "The system packages could not be installed.", DEBIAN_FRONTEND="noninteractive")


def missing_libraries() -> list[str]:
    """Libraries of Qt that this machine's loader does not find: the loader knows, whoever installed them."""
    missing = []
    for name in QT_LIBRARIES:
        try:
            ctypes.CDLL(name)
        except OSError:
            missing.append(name)
    return missing


def packages_of(libraries: list[str]) -> list[str]:
    """The Debian packages that bring the libraries, under the names of this release."""
    return [next(filter(apt_knows, QT_LIBRARIES[name]), QT_LIBRARIES[name][-1]) for name in libraries]


def apt_knows(package: str) -> bool:
    """Whether apt can install a package of exactly this name."""
    return works(["apt-cache", "show", "--no-all-versions", package])


# ---- running things ------------------------------------------------------------------------------------------


def call(command: list[str]) -> int:
    """Run a command with the user's own terminal; return its exit code."""
    return subprocess.run(command).returncode


def works(command: list[str]) -> bool:
    """Whether a command is there and succeeds; its output is nobody's business."""
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
    except OSError:
        return False


def run_quietly(command: list[str], complaint: str, **variables: str) -> None:
    """Run a command whose output matters only if it fails."""
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **variables}
    )
    if result.returncode:
        raise Stop(f"{result.stdout}\n{complaint} The command was:\n  {shlex.join(command)}")


def say(text: str, stream: TextIO | None = None) -> None:
    """Print at once, so that lines come in order even where they go into a log."""
    print(text, file=stream or sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
