"""The window's side of the helper process: densities and surfaces that can be cancelled and hold nobody up."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_profet._helper import load_density, save_density, save_structure
from napari_profet.errors import DensityError
from napari_profet.mesh import Mesh
from napari_profet.widgets._jobs import Job

if TYPE_CHECKING:
    from napari_profet.density import Density
    from napari_profet.potential import DensitySettings
    from napari_profet.structure import Structure

__all__ = ["helped_density", "helped_surface"]

# So that no console appears beside the window on Windows.
_NO_CONSOLE = getattr(subprocess, "CREATE_NO_WINDOW", 0)


def helped_density(structure: Structure, settings: DensitySettings, job: Job) -> Density:
    """Density of a structure; see :func:`napari_profet.potential.density_from_structure`.

    Raises
    ------
    DensityError
        As there; or the process was ended, mostly for lack of memory.
    CancelledError
        The job was cancelled; the process is gone.
    """
    with tempfile.TemporaryDirectory(prefix="profet-") as folder:
        before, after = Path(folder, "structure.npz"), Path(folder, "density.npz")
        save_structure(before, structure)
        _ask({"task": "density", "settings": dataclasses.asdict(settings)}, before, after, job)
        return load_density(after)


def helped_surface(density: Density, level: float, job: Job) -> Mesh:
    """Surface of a density; see :func:`napari_profet.mesh.isosurface`."""
    with tempfile.TemporaryDirectory(prefix="profet-") as folder:
        before, after = Path(folder, "density.npz"), Path(folder, "mesh.npz")
        save_density(before, density)
        _ask({"task": "surface", "level": level}, before, after, job)
        with np.load(after, allow_pickle=False) as made:
            return Mesh(made["vertices"], made["faces"], float(made["level"]))


def _ask(request: Mapping[str, Any], before: Path, after: Path, job: Job) -> None:
    """Have the process do something with one file, and make the other."""
    job.check()
    command = [sys.executable, "-m", "napari_profet._helper"]
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            creationflags=_NO_CONSOLE,
        )
        with process:
            job.when_cancelled(process.kill)
            assert process.stdin is not None and process.stdout is not None
            # Where it has ended already, its answer or its lack of one says why.
            with contextlib.suppress(OSError):
                told = {**request, "input": str(before), "output": str(after)}
                print(json.dumps(told), file=process.stdin, flush=True)
            answer = _listen(process.stdout, job)
        job.check()
        if "error" in answer:
            raise DensityError(answer["error"])
        if "done" not in answer:
            complaints.seek(0)
            raise _broken(process.returncode, complaints.read())


def _listen(lines: Any, job: Job) -> dict[str, Any]:
    """The last thing the process says; steps before it are the job's progress."""
    said: dict[str, Any] = {}
    for line in lines:
        said = json.loads(line)
        if "step" in said:
            job.progress(said["step"], said["steps"], said["message"])
    return said


def _broken(code: int, complaints: str) -> Exception:
    """Why a process gave no answer."""
    if code < 0 or "MemoryError" in complaints:
        return DensityError(
            "the computation was ended by the system, most likely for lack of memory; take larger voxels, or fewer "
            "chains"
        )
    return RuntimeError(f"the helper process ended with {code}:\n{complaints[-4000:]}")
