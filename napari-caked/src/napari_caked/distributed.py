"""Picking on a dask.distributed cluster: batches of micrographs by location, tables back as they come.

Workers read the files themselves, so each must see them under the same path (or at the same ``empiar://`` address);
the model travels with each batch. A batch takes a few seconds: short enough that little is lost with a worker, long
enough that the scheduler has next to nothing to do. What a lost worker was at, dask gives to another; each future ends
once, so each micrograph has one outcome.

Scheduler and workers of dask trust each other, and whoever can reach them: use a cluster of your own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from napari_caked.errors import PickingError
from napari_caked.jobs import Micrograph, Outcome, Picker, Setup
from napari_empiarreader.errors import MissingLibraryError, UserError

__all__ = ["pick_on_cluster"]

#: Seconds that a batch should take, and micrographs it may hold.
_BATCH_SECONDS, _LARGEST_BATCH = 3.0, 64
#: Seconds to wait for a scheduler to answer, and for its first worker.
_PATIENCE = 60
#: Batches for each thread of the workers that are under way or wait there.
_AHEAD = 2


def pick_on_cluster(micrographs: Sequence[Micrograph], setup: Setup, address: str) -> Generator[Outcome]:
    """Outcomes of micrographs picked by the workers of the scheduler at ``address``, in the order of their arrival.

    Raises
    ------
    MissingLibraryError
        dask.distributed is not installed.
    PickingError
        No scheduler or no workers are there, or the workers have another version of napari-caked.
    """
    distributed = _library()
    try:
        client = distributed.Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise PickingError(f"{address}: no dask scheduler answers there ({error}); check the address") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError as error:
            raise PickingError(
                f"{address}: the scheduler has no workers; start some with 'dask worker {address}'"
            ) from error
        yield from _Batches(distributed, client, micrographs, setup).outcomes()


class _Batches:
    """What is to do, and the futures of what is under way."""

    def __init__(self, distributed: Any, client: Any, micrographs: Sequence[Micrograph], setup: Setup) -> None:
        self._distributed, self._client = distributed, client
        self._waiting = deque(micrographs)
        self._task = json.dumps(
            {
                "setup": setup.as_json(),
                "model": base64.b64encode(Path(setup.model).read_bytes()).decode(),
                "version": version("napari-caked"),
            }
        )
        self._size = 1
        self._given: dict[Any, list[Micrograph]] = {}

    def outcomes(self) -> Generator[Outcome]:
        """Give out batches and take in outcomes until there is nothing left."""
        arriving = self._distributed.as_completed(loop=self._client.loop, raise_errors=False)
        self._top_up(arriving)
        for future in arriving:
            batch = self._given.pop(future.key)
            try:
                seconds, lines = future.result()
            except self._distributed.KilledWorker as error:
                # Several workers died at it: one micrograph at a time, the culprit will be known.
                if len(batch) == 1:
                    reason = f"{batch[0].location}: several workers died while they picked it ({error})"
                    yield Outcome(batch[0].name, error=reason)
                else:
                    for micrograph in batch:
                        self._submit([micrograph], arriving)
            except (UserError, self._distributed.client.FutureCancelledError, OSError) as error:
                raise PickingError(str(error)) from error
            else:
                self._size = max(1, min(_LARGEST_BATCH, round(_BATCH_SECONDS * len(batch) / max(seconds, 1e-3))))
                yield from map(Outcome.from_json, lines)
            self._top_up(arriving)

    def _top_up(self, arriving: Any) -> None:
        threads = max(sum(self._client.ncores().values()), 1)
        while self._waiting and len(self._given) < _AHEAD * threads:
            # Towards the end in smaller batches, so that nobody waits long for the last.
            size = max(1, min(self._size, len(self._waiting) // threads))
            self._submit([self._waiting.popleft() for _ in range(size)], arriving)

    def _submit(self, batch: list[Micrograph], arriving: Any) -> None:
        listed = json.dumps([asdict(micrograph) for micrograph in batch])
        future = self._client.submit(_pick_batch, self._task, listed, pure=False)
        self._given[future.key] = batch
        arriving.add(future)


_PICKERS: dict[str, Picker] = {}
_LOADING = threading.Lock()


def _pick_batch(task: str, listed: str) -> tuple[float, list[str]]:
    """On a worker: seconds it took, and the outcomes of the listed micrographs."""
    picker = _picker(task)
    began = time.monotonic()
    lines = [one.as_json() for one in picker.outcomes(Micrograph(**values) for values in json.loads(listed))]
    return time.monotonic() - began, lines


def _picker(task: str) -> Picker:
    """The model of a task, loaded once in each worker."""
    import torch

    key = hashlib.sha256(task.encode()).hexdigest()
    with _LOADING:
        if key not in _PICKERS:
            values = json.loads(task)
            if values["version"] != version("napari-caked"):
                raise PickingError(
                    f"the workers have napari-caked {version('napari-caked')}, you have {values['version']}; install "
                    "the same everywhere, or picks would depend on who made them"
                )
            torch.set_num_threads(1)
            setup = Setup.from_json(values["setup"])
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / Path(setup.model).name
                file.write_bytes(base64.b64decode(values["model"]))
                picker = Picker(replace(setup, model=str(file)))
            _PICKERS.clear()  # of an earlier run
            _PICKERS[key] = picker
        return _PICKERS[key]


def _library() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise MissingLibraryError(
            "picking on a cluster needs dask.distributed; install it here and on the workers with "
            "pip install 'napari-caked[distributed]'"
        ) from error
    return distributed
