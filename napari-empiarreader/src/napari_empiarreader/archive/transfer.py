"""The same files by Globus and Aspera: the commands, as text for the user's own shell.

EMPIAR asks that HTTPS be used for small amounts only. Nothing here runs anything or reaches any network. The syntax is
that of globus-cli 3 (a batch line is split as a shell splits it) and of ascp 3.9/4.4 (pairs of lines, not quoted at
all); the names of the collection, the host and the user are settings, because the archive has changed them before.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath

from napari_empiarreader.archive.remote import RemoteFile
from napari_empiarreader.archive.uri import parse_uri
from napari_empiarreader.errors import UnsafeNameError

__all__ = [
    "HTTPS_BUDGET_BYTES",
    "TransferSettings",
    "aspera_command",
    "aspera_list",
    "globus_batch",
    "globus_command",
    "transfer_text",
    "write_transfer",
]

HTTPS_BUDGET_BYTES = 4_000_000_000
"""Bytes that EMPIAR's FAQ calls the most to fetch over HTTPS."""

GLOBUS_BATCH = "globus-batch.txt"
ASPERA_LIST = "aspera-pairs.txt"

_SHOWN = 20
"""Files that are listed in a text for the screen; more belong into a file."""


@dataclass(frozen=True)
class TransferSettings:
    """Where the two services find EMPIAR. Check them against https://www.ebi.ac.uk/empiar/faq before a large transfer.

    Parameters
    ----------
    globus_collection
        Identifier of the collection, by default that of "EMBL-EBI Public Data" as public scripts name it.
    globus_root
        Folder of that collection that holds one folder per entry number.
    globus_local
        Identifier of the user's own collection; "" stands for Globus Connect Personal on the machine that runs the
        command.
    aspera_host, aspera_user
        The server of Aspera and the public user there.
    aspera_key
        Key file that came with the Aspera client; ``~`` stands for the home folder.
    aspera_rate
        Most bits per second, as ascp writes it.
    """

    globus_collection: str = "47772002-3e5b-4fd3-b97c-18cee38d6df2"
    globus_root: str = "/empiar/world_availability"
    globus_local: str = ""
    aspera_host: str = "hx-fasp-1.ebi.ac.uk"
    aspera_user: str = "emp_ext2"
    aspera_key: str = "~/.aspera/connect/etc/asperaweb_id_dsa.openssh"
    aspera_rate: str = "200M"


def globus_batch(files: Iterable[RemoteFile | str]) -> str:
    """Lines for ``globus transfer --batch``: source and destination of each file, relative to the two roots.

    Parameters
    ----------
    files
        Files, and addresses without wildcards; an address that ends in "/" is a folder with all below it.

    Raises
    ------
    UnsafeNameError
        A name holds a line break.
    ArchiveError
        An address is none.
    """
    return "".join(
        f"{'--recursive ' if is_folder else ''}{shlex.quote(path)} {shlex.quote(path)}\n"
        for path, is_folder in _paths(files)
    )


def globus_command(
    files: Sequence[RemoteFile | str],
    folder: str | os.PathLike[str],
    batch_file: str | os.PathLike[str] = GLOBUS_BATCH,
    settings: TransferSettings | None = None,
) -> str:
    """The command that transfers the files of a batch to ``folder/<entry number>/<path in the entry>``.

    ``checksum`` is the only level of comparison that Globus calls safe after a transfer that broke off.
    """
    settings = settings or TransferSettings()
    source = shlex.quote(f"{settings.globus_collection}:{settings.globus_root.rstrip('/')}/")
    local = shlex.quote(settings.globus_local) if settings.globus_local else '"$(globus endpoint local-id)"'
    target = shlex.quote(f":{_globus_path(Path(folder).expanduser().absolute())}/")
    numbers = dict.fromkeys(path.split("/")[0] for path, _ in _paths(files))
    label = "EMPIAR " + " ".join(list(numbers)[:5])
    batch = shlex.quote(os.fspath(batch_file))
    return (
        f"globus transfer {source} {local}{target} --batch {batch} --sync-level checksum --label {shlex.quote(label)}"
    )


def aspera_list(files: Iterable[RemoteFile | str]) -> str:
    """Lines for ``ascp --file-pair-list``: a line for the source, one for the destination, nothing quoted.

    Parameters and errors are those of :func:`globus_batch`.
    """
    # A source folder is put into its destination, a source file becomes it.
    return "".join(
        f"/{path}\n{path.rsplit('/', 1)[0] if is_folder and '/' in path else '.' if is_folder else path}\n"
        for path, is_folder in _paths(files)
    )


def aspera_command(
    folder: str | os.PathLike[str],
    list_file: str | os.PathLike[str] = ASPERA_LIST,
    settings: TransferSettings | None = None,
) -> str:
    """The command that fetches the files of a list; started again, it continues (``-k 2``: by sparse checksums)."""
    settings = settings or TransferSettings()
    words = ["ascp", "-QT", "-d", "-k", "2", "-l", settings.aspera_rate, "-P", "33001"]
    words += ["-i", str(Path(settings.aspera_key).expanduser()), "--mode=recv"]
    words += [f"--user={settings.aspera_user}", f"--host={settings.aspera_host}"]
    words += [f"--file-pair-list={os.fspath(list_file)}", str(Path(folder).expanduser().absolute())]
    return shlex.join(words)


def transfer_text(
    files: Sequence[RemoteFile | str], folder: str | os.PathLike[str], settings: TransferSettings | None = None
) -> str:
    """Everything to paste into a shell (bash, zsh): both lists, where they are short, and both commands.

    Longer lists are not part of the text; :func:`write_transfer` makes them.
    """
    lists = {GLOBUS_BATCH: globus_batch(files), ASPERA_LIST: aspera_list(files)}
    lines = [
        "# Check first: the Globus collection, the Aspera host and user below have changed before;",
        "# https://www.ebi.ac.uk/empiar/faq has the current ones. Globus needs 'pip install globus-cli' and",
        "# 'globus login'; Aspera needs the free IBM Aspera Connect or ascp.",
    ]
    for name, command in (
        (GLOBUS_BATCH, globus_command(files, folder, GLOBUS_BATCH, settings)),
        (ASPERA_LIST, aspera_command(folder, ASPERA_LIST, settings)),
    ):
        lines.append("")
        if len(files) <= _SHOWN:
            lines += [f"cat > {name} <<'END_OF_LIST'", lists[name] + "END_OF_LIST"]
        else:
            lines.append(f"# {name} is to list {len(files)} files; archive.transfer.write_transfer makes it")
        lines.append(command)
    return "\n".join(lines) + "\n"


def write_transfer(
    files: Sequence[RemoteFile | str],
    folder: str | os.PathLike[str],
    beside: str | os.PathLike[str],
    settings: TransferSettings | None = None,
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write both lists, and a script for each that runs the command; returns the four paths.

    Parameters
    ----------
    folder
        Where the files are to go.
    beside
        Where the lists and scripts go; made where it is missing.

    Raises
    ------
    FileExistsAlreadyError
        One of them exists and ``overwrite`` is false.
    """
    from napari_empiarreader.files import replaced_when_complete

    place = Path(beside).expanduser().absolute()
    batch, pairs = place / GLOBUS_BATCH, place / ASPERA_LIST
    head = "#!/bin/sh\n# Check first: https://www.ebi.ac.uk/empiar/faq has the current collection, host and user.\n"
    texts = {
        batch: globus_batch(files),
        pairs: aspera_list(files),
        place / "globus.sh": f"{head}{globus_command(files, folder, batch, settings)}\n",
        place / "aspera.sh": f"{head}{aspera_command(folder, pairs, settings)}\n",
    }
    for path, text in texts.items():
        with replaced_when_complete(path, overwrite=overwrite) as temporary:
            temporary.write_text(text, "utf-8", newline="\n")
    return list(texts)


def _paths(files: Iterable[RemoteFile | str]) -> list[tuple[str, bool]]:
    """``10017/data/a.mrc`` for each file or folder, and whether it is a folder."""
    found = []
    for each in files:
        if isinstance(each, RemoteFile):
            number, path, is_folder = each.number, each.path, False
        else:
            number, path = parse_uri(each)
            is_folder = each.endswith("/") or not path
        whole = f"{number}/{path}".rstrip("/")
        if len(whole.splitlines()) != 1:
            raise UnsafeNameError(f"{whole!r}: a name with a line break cannot stand in a list; leave the file out")
        found.append((whole, is_folder))
    return found


def _globus_path(path: PurePath) -> str:
    """A local path as Globus writes it, with the letter of a drive as its first folder."""
    if isinstance(path, PureWindowsPath):
        return re.sub(r"^([A-Za-z]):", r"/\1", path.as_posix()).rstrip("/")
    return path.as_posix().rstrip("/")
