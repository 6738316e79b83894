"""Working images in numbers: in memory as long as they fit, then in a temporary folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import torch

from napari_caked.preprocess.rescale import Rescaling
from napari_caked.preprocess.working import WorkingImage

__all__ = ["WorkingStore"]


@dataclass(frozen=True)
class _Stored:
    """One image: float16 in memory, or the file of its values; and its mask, eight pixels a byte."""

    image: torch.Tensor | Path
    rescaling: Rescaling
    valid: np.ndarray | None


class WorkingStore:
    """Keeps working images as float16, the first ones in memory and the rest on disk.

    However many there are, they take no more memory than they may, besides a sixteenth of their size for masks. The
    files lie in a folder of their own, which goes when the store is closed, forgotten, or Python ends.

    Parameters
    ----------
    memory
        Bytes for images in memory.
    device
        Where those in memory are kept, and where all come back.
    folder
        Where to make the temporary folder; by default where the system keeps such files.
    """

    def __init__(
        self,
        memory: int = 1 << 30,
        device: torch.device | str = "cpu",
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        self.memory = memory
        self.device = torch.device(device)
        #: Bytes of images in memory.
        self.in_memory = 0
        self._stored: list[_Stored] = []
        self._parent = folder
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._is_closed = False

    def add(self, working: WorkingImage) -> int:
        """Keep an image; returns its number, counted from 0."""
        self._require_open()
        number, image = len(self._stored), working.image.half()
        valid = None if bool(working.valid.all()) else np.packbits(working.valid.cpu().numpy())
        size = image.numel() * image.element_size()
        place: torch.Tensor | Path
        if self.in_memory + size <= self.memory:
            place = image.to(self.device)
            self.in_memory += size
        else:
            place = self._file(number)
            image.cpu().numpy().tofile(place)
        self._stored.append(_Stored(place, working.rescaling, valid))
        return number

    def half(self, number: int) -> torch.Tensor:
        """Image ``(y, x)`` float16, for reading only: those on disk are read as they are looked at."""
        self._require_open()
        stored = self._stored[number]
        if isinstance(stored.image, torch.Tensor):
            return stored.image
        # From a file that may be written, or PyTorch complains; mapped privately, so that no change reaches it.
        values = np.memmap(stored.image, np.float16, mode="c", shape=stored.rescaling.shape)
        return torch.from_numpy(values).to(self.device)

    def __getitem__(self, number: int) -> WorkingImage:
        """The image as float32, one's own to change."""
        image = self.half(number).float()
        stored = self._stored[number]
        if stored.valid is None:
            return WorkingImage(image, stored.rescaling, torch.ones_like(image, dtype=torch.bool))
        bits = np.unpackbits(stored.valid, count=image.numel()).astype(bool).reshape(image.shape)
        return WorkingImage(image, stored.rescaling, torch.from_numpy(bits).to(self.device))

    def __len__(self) -> int:
        return len(self._stored)

    def __iter__(self) -> Iterator[WorkingImage]:
        return (self[number] for number in range(len(self)))

    def close(self) -> None:
        """Give memory and files back; nothing can be read any more."""
        self._is_closed = True
        self._stored.clear()
        self.in_memory = 0
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> WorkingStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _file(self, number: int) -> Path:
        if self._folder is None:
            # Gone with this object at the latest; on Windows a file that is still mapped must not raise there.
            self._folder = tempfile.TemporaryDirectory(
                prefix="napari-caked-", dir=self._parent, ignore_cleanup_errors=True
            )
        return Path(self._folder.name) / f"{number}.f16"

    def _require_open(self) -> None:
        if self._is_closed:
            raise ValueError("this store of working images is closed")
