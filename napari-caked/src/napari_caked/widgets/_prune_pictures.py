"""Stored patches as pictures, made when they are looked at. Needs no PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

__all__ = ["PatchPictures"]

#: Standard deviations of a patch's own noise, after its binning, from black to white.
_REACH = 2.2


class PatchPictures:
    """Near patches ``(n, side, side)``, binned by two, as pictures of eight bits.

    Parameters
    ----------
    near
        Memory-mapped; each with median 0 and deviation 1.
    """

    def __init__(self, near: np.ndarray) -> None:
        self._near = near

    @staticmethod
    def of(folder: Path) -> PatchPictures:
        """Those that the helper has stored in a folder."""
        return PatchPictures(np.load(folder / "near.npy", mmap_mode="r", allow_pickle=False))

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(n, y, x)``."""
        count, height, width = self._near.shape
        return count, height // 2, width // 2

    @property
    def dtype(self) -> np.dtype:
        """Of a picture."""
        return np.dtype(np.uint8)

    def __getitem__(self, index: int) -> np.ndarray:
        _, height, width = self.shape
        patch = self._near[index, : 2 * height, : 2 * width].astype(np.float32)
        binned = patch.reshape(height, 2, width, 2).mean(axis=(1, 3))
        return np.clip((binned / _REACH + 1) * 127.5, 0, 255).astype(np.uint8)
