"""What many files say of themselves, asked in parallel."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from napari_empiarreader.errors import OfflineError, ServerUnreachableError, UserError
from napari_empiarreader.files import ByteSource, LocalFile
from napari_empiarreader.micrographs.formats import EerSettings, image_format, open_image
from napari_empiarreader.micrographs.image import ImageFile
from napari_empiarreader.progress import Progress, silent

__all__ = ["OUT_OF_REACH", "PATIENCE", "open_all", "opened"]

#: Requests under way at a time; the archive's own limit on connections may be lower.
_AT_ONCE = 12
#: Files in one go.
_BATCH = 96
#: What says nothing of the file itself.
OUT_OF_REACH = (ServerUnreachableError, OfflineError)
#: So many files in a row out of reach mean that the archive is.
PATIENCE = 3


def open_all(
    files: Sequence[ByteSource],
    *,
    eer: EerSettings | None = None,
    progress: Progress = silent,
    at_once: int = _AT_ONCE,
) -> Iterator[ImageFile | UserError]:
    """Each file open, or the error that it gave, in the order of the files.

    Of an MRC file its header is read, 1,024 bytes by one request (and the extended header where it is needed).

    Raises
    ------
    ServerUnreachableError, OfflineError
        Several files in a row were out of reach, so that nothing can be said of any.
    """
    if all(isinstance(file, LocalFile) and image_format(file.name) == "mrc" for file in files):
        # Threads cost more than they gain where a header takes a tenth of a millisecond.
        yield from (opened(file, eer) for file in files)
        return
    given_up = threading.Event()

    def open_one(file: ByteSource) -> ImageFile | UserError:
        return ServerUnreachableError(f"{file.uri}: not asked") if given_up.is_set() else opened(file, eer)

    with ThreadPoolExecutor(min(at_once, len(files))) as pool:
        unreachable = 0
        try:
            # Not all at once: what is open holds memory until it has been looked at.
            for begin in range(0, len(files), _BATCH):
                for i, image in enumerate(pool.map(open_one, files[begin : begin + _BATCH]), begin):
                    progress(i + 1, len(files), f"reading headers: {files[i].name}")
                    unreachable = unreachable + 1 if isinstance(image, OUT_OF_REACH) else 0
                    if isinstance(image, UserError) and unreachable == PATIENCE:
                        raise image
                    yield image
        finally:
            given_up.set()


def opened(file: ByteSource, eer: EerSettings | None = None) -> ImageFile | UserError:
    """The file open, or the error that it gave."""
    try:
        return open_image(file, eer=eer)
    except UserError as error:
        return error
