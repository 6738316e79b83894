"""Patches of picks kept in files, so that picks can be looked at and judged again without reading a micrograph."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from napari_caked.devices import choose_device
from napari_caked.errors import LabelsError
from napari_caked.pruning.checkpoint import Pruner
from napari_caked.pruning.learning import fine_tuned, sobered
from napari_caked.pruning.network import folded, head_logits, pooled_features
from napari_caked.pruning.patches import WIDE_CHANNELS, Opinion, Patches, patches_of
from napari_caked.pruning.settings import PatchSettings, PruneSettings
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries
from napari_empiarreader.progress import Progress, silent

__all__ = ["StoredPatches", "judged_patches", "learned_from_patches", "store_patches"]

#: File of the near patches, which a viewer may map by itself; those of the wide ones and of what a picker says lie
#: beside it.
NEAR, _WIDE, _ODDS = "near.npy", "wide.npy", "odds.npy"
_DEFAULTS = PruneSettings()
_PATCHES = PatchSettings()


@dataclass(frozen=True)
class StoredPatches:
    """Patches of ``n`` picks in a folder.

    Attributes
    ----------
    near
        ``(n, side, side)`` float16, memory-mapped.
    wide
        ``(n, 3, wide_side, wide_side)`` float16, memory-mapped.
    odds
        ``(n,)`` float32: what a picker said of them, as of :class:`.Patches`.
    """

    near: np.ndarray
    wide: np.ndarray
    odds: np.ndarray

    @staticmethod
    def open(folder: str | os.PathLike[str]) -> StoredPatches | None:
        """Those in a folder, or None where they are missing or not complete."""
        files = [Path(folder) / name for name in (NEAR, _WIDE, _ODDS)]
        if not all(file.is_file() for file in files):
            return None
        near, wide, odds = (np.load(file, mmap_mode="r", allow_pickle=False) for file in files)
        return StoredPatches(near, wide, np.array(odds))

    def __len__(self) -> int:
        return len(self.near)

    def patches(self, rows: np.ndarray | slice, device: torch.device | str = "cpu") -> Patches:
        """Some of them as the network takes them."""
        near, wide, odds = (
            torch.from_numpy(np.array(part[rows])).float().to(device) for part in (self.near, self.wide, self.odds)
        )
        return Patches(near[:, None], wide, odds)


def store_patches(
    series: MicrographSeries,
    picks: ParticleTable,
    particle_diameter: float,
    folder: str | os.PathLike[str],
    settings: PatchSettings = _PATCHES,
    *,
    opinion: Opinion | None = None,
    device: str = "auto",
    progress: Progress = silent,
    stop: Callable[[], bool] = lambda: False,
) -> StoredPatches:
    """Cut the patches of picks into files; each micrograph is read once, and one of them is in memory.

    Parameters
    ----------
    series, picks, particle_diameter
        As :func:`~napari_caked.pruning.patches.patches_of` takes them.
    folder
        Where; what is there is replaced when all is cut.
    settings, device
        How, and where.
    opinion
        Of a picker, asked for each micrograph.
    progress, stop
        Told and asked after each micrograph; where ``stop`` says yes, :class:`KeyboardInterrupt` is raised.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    count, side, wide_side = len(picks), settings.side, settings.wide_side
    shapes = {NEAR: (count, side, side), _WIDE: (count, WIDE_CHANNELS, wide_side, wide_side), _ODDS: (count,)}
    parts = {name: folder / f"{name}.part" for name in shapes}
    maps = {
        name: np.lib.format.open_memmap(
            parts[name], mode="w+", dtype=np.float32 if name == _ODDS else np.float16, shape=shape
        )
        for name, shape in shapes.items()
    }
    total = len(np.unique(picks.micrograph_index))
    parts_of = patches_of(series, picks, particle_diameter, settings, choose_device(device), opinion)
    for done, (rows, patches) in enumerate(parts_of, start=1):
        maps[NEAR][rows] = patches.near[:, 0].half().cpu().numpy()
        maps[_WIDE][rows] = patches.wide.half().cpu().numpy()
        maps[_ODDS][rows] = patches.odds.cpu().numpy()
        progress(done, total, f"cut out of {series.names[int(picks.micrograph_index[rows[0]])]}")
        if stop():
            raise KeyboardInterrupt
    for mapped in maps.values():
        mapped.flush()
    maps.clear()  # Windows renames no file that is mapped
    for name, part in parts.items():
        part.replace(folder / name)
    stored = StoredPatches.open(folder)
    assert stored is not None
    return stored


def judged_patches(
    stored: StoredPatches,
    pruner: Pruner,
    settings: PruneSettings = _DEFAULTS,
    *,
    progress: Progress = silent,
    stop: Callable[[], bool] = lambda: False,
) -> np.ndarray:
    """Logits ``(n, classes)`` of picks whose patches are stored; a batch of them is in memory.

    Parameters
    ----------
    stored, pruner, settings
        What, by whom, and how.
    progress, stop
        Told and asked after each batch; where ``stop`` says yes, :class:`KeyboardInterrupt` is raised.
    """
    device = choose_device(settings.device)
    network = folded(sobered(pruner) if stored.odds.any() else pruner.network).to(device)
    parts = []
    for start in range(0, len(stored), settings.batch):
        patches = stored.patches(slice(start, start + settings.batch), device)
        with torch.inference_mode():
            features = pooled_features(network, patches, settings.flips, settings.batch)
            parts.append(head_logits(network, features).cpu().numpy())
        progress(min(start + settings.batch, len(stored)), len(stored), "judged")
        if stop():
            raise KeyboardInterrupt
    return np.concatenate(parts) if parts else np.empty((0, pruner.network.head.out_features), np.float32)


def learned_from_patches(
    stored: StoredPatches,
    good: np.ndarray,
    bad: np.ndarray,
    pruner: Pruner,
    settings: PruneSettings = _DEFAULTS,
    *,
    odds: np.ndarray | None = None,
    progress: Progress = silent,
    stop: Callable[[], bool] = lambda: False,
) -> Pruner:
    """A pruner that has learned from stored patches ``good``, which are particles, and ``bad``, which are none.

    Parameters
    ----------
    good, bad
        ``(k,)`` int: which of them.
    odds
        ``(len(good) + len(bad),)`` log-odds of a picker that has not learned from them; those that are stored if None.
    stored, pruner, settings, progress, stop
        As :func:`.fine_tuned` takes them.

    Raises
    ------
    LabelsError
        Too few of either, or one that is both.
    """
    both = np.intersect1d(good, bad)
    if len(both):
        raise LabelsError(f"pick {int(both[0])} is marked as good and as bad; mark it as one of them")
    rows = np.concatenate([good, bad]).astype(int)
    classes = np.concatenate([np.zeros(len(good), int), np.full(len(bad), -1)])
    patches = stored.patches(rows, choose_device(settings.device))
    if odds is not None:
        patches = replace(patches, odds=torch.from_numpy(odds).to(patches.odds))
    return fine_tuned(pruner, patches, classes, settings, progress=progress, stop=stop)
