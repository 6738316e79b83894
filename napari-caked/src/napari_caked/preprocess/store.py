"""Working images in numbers: in memory as long as they fit, then in a temporary folder."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import MutableMapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np
import torch

from napari_caked.preprocess.working import WorkingImage

__all__ = ["WorkingStore"]


class WorkingStore:
    """Keeps the first working images as they are, and the others on disk, in half precision.

    However many there are, they take no more memory than they may: those on disk are mapped into memory, where the
    system holds as much of them as it has room for. They lie in a folder of their own, which goes when the store is
    closed, forgotten, or Python ends.

    Parameters
    ----------
    memory
        Bytes for images in memory, their masks among them.
    folder
        Where to make the temporary folder; by default where the system keeps such files.

    Attributes
    ----------
    in_memory
        Bytes of images in memory.
    """

    def __init__(self, memory: int, folder: str | os.PathLike[str] | None = None) -> None:
        self.in_memory = 0
        self._memory, self._parent = memory, folder
        self._seen: set[int] = set()
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def put_away(self, workings: MutableMapping[int, WorkingImage]) -> None:
        """Take in what has come to ``workings`` since the last call, and put in its place what is to be used of it.

        That is the image itself, or where there is no more room one with float16 values within 0.002 of it. Neither it
        nor its mask is for writing.
        """
        for index in workings.keys() - self._seen:
            working = workings[index]
            size = working.image.nbytes + working.valid.nbytes
            if self.in_memory + size <= self._memory:
                self.in_memory += size
            else:
                workings[index] = self._on_disk(index, working)
                del working
                _release_freed_memory()
            self._seen.add(index)

    def close(self) -> None:
        """Give the files back."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> WorkingStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _on_disk(self, index: int, working: WorkingImage) -> WorkingImage:
        if self._folder is None:
            # Gone with this object at the latest; on Windows a file that is still mapped must not raise there.
            self._folder = tempfile.TemporaryDirectory(
                prefix="napari-caked-", dir=self._parent, ignore_cleanup_errors=True
            )
        path = Path(self._folder.name) / str(index)
        return replace(
            working,
            image=_mapped(path.with_suffix(".image"), working.image, np.float16),
            valid=_mapped(path.with_suffix(".valid"), working.valid, np.bool_),
        )


def _mapped(path: Path, tensor: torch.Tensor, kind: type[np.generic]) -> torch.Tensor:
    """The same values in a file, as ``kind``."""
    values = tensor.cpu().numpy()
    file = np.memmap(path, kind, mode="w+", shape=values.shape)
    file[:] = values
    file.flush()
    # Mapped anew and privately, so that no change reaches the file.
    return torch.from_numpy(np.memmap(path, kind, mode="c", shape=values.shape))


def _release_freed_memory() -> None:
    """Give what is free between living objects back to the system.

    The C library of Linux (glibc) keeps it, and does not reuse it for images of the same size: measured, the process
    grew by up to 4 MB for each image of 4 MB that was on disk.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # other C libraries of Linux have none
            trim(0)
