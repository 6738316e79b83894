"""The record of a training: what it was made of, for people and for recognising it again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

import numpy as np
import torch

from napari_caked.checkpoint import PickerModel
from napari_caked.devices import device_in_words
from napari_caked.said import Said
from napari_caked.settings import TrainingSettings
from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["fingerprint", "provenance"]


def provenance(
    series: MicrographSeries, said: Said, settings: TrainingSettings, expected: float, device: torch.device
) -> dict[str, object]:
    """Settings, counts, versions and a checksum of the data, in types JSON knows."""
    from importlib.metadata import version

    digest = hashlib.sha256("\n".join(sorted(series.names[i] for i in said.learned)).encode())
    for table in (said.labels, said.negatives, said.validation):
        # By name, not by number: the order of the files is no part of the data.
        for i in sorted({int(i) for i in table.micrograph_index}, key=lambda i: series.names[i]):
            digest.update(series.names[i].encode())
            digest.update(np.ascontiguousarray(table.on(i)).tobytes())
    empty = sorted(series.names[i] for i in said.empty)
    digest.update("\n".join(empty).encode())
    return {
        "settings": asdict(settings),
        "labels": len(said.labels),
        "negatives": len(said.negatives),
        "empty_micrographs": len(said.empty),
        "held_out": [series.names[i] for i in said.held_out],
        "expected_particles": round(expected, 2),
        "pixel_size": series.pixel_size,
        "data": digest.hexdigest(),
        "source": series.source,
        "device": device_in_words(device),
        "versions": {"napari-caked": version("napari-caked"), "torch": str(torch.__version__)},
    }


def fingerprint(record: dict[str, object], start: PickerModel | None) -> str:
    """Of everything that decides a training."""
    decisive = [record[key] for key in ("settings", "data", "pixel_size", "held_out", "versions")]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode())
    for tensor in start.network.state_dict().values() if start is not None else ():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
