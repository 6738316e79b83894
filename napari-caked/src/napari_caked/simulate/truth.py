"""What is true about simulated micrographs, written as other programs read it.

A folder holds ``micrographs/`` and ``masks/`` (MRC; the class of each pixel, and the number of the particle),
``particles.star`` (centres, RELION's Euler angles and defocus), ``decoys.star`` (what is no particle, by class),
``particles.mrcs`` with ``particles_stack.star`` (the particles cut out) and ``simulation.json`` (the settings).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.simulate.decoys import CLASSES
from napari_caked.simulate.micrograph import SimulatedMicrograph
from napari_caked.simulate.settings import SimulationSettings

if TYPE_CHECKING:
    import pandas as pd

    from napari_empiarreader.coordinates import ParticleTable

__all__ = [
    "Truth",
    "decoy_table",
    "micrograph_name",
    "particle_stack",
    "particle_table",
    "truth_of",
    "write_micrograph",
    "write_truth",
]


@dataclass(frozen=True)
class Truth:
    """What is kept of a micrograph once its images are written.

    Attributes
    ----------
    name
        Of the micrograph's file, relative to the folder.
    particles
        ``(n, 8)``: y, x in pixels; rot, tilt, psi; defocus U, V in Å and the angle of U; angles in degrees.
    decoys
        ``(n, 4)``: y, x and radius in pixels, and index into :data:`.decoys.CLASSES`.
    stack
        ``(m, box, box)`` float32, the particles that no edge cuts.
    stacked
        ``(m,)`` which of the particles they are.
    """

    name: str
    particles: np.ndarray
    decoys: np.ndarray
    stack: np.ndarray
    stacked: np.ndarray


def micrograph_name(index: int) -> str:
    """Of the file of micrograph number ``index``, relative to the folder."""
    return f"micrographs/simulated_{index + 1:04d}.mrc"


def truth_of(micrograph: SimulatedMicrograph, box: int) -> Truth:
    """Truth of one micrograph, with boxes of so many pixels cut out."""
    scene = micrograph.scene
    stack, stacked = particle_stack(micrograph.image, scene.centres, box)
    decoys = np.array([(*decoy.centre, decoy.radius, decoy.kind) for decoy in scene.decoys]).reshape(-1, 4)
    particles = np.column_stack([scene.centres, micrograph.eulers, *micrograph.defoci])
    return Truth(micrograph_name(micrograph.index), particles, decoys, stack, stacked)


def particle_stack(image: np.ndarray, centres: np.ndarray, box: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes ``(m, box, box)`` around the pixels nearest to the centres, and which centres: those of whole boxes."""
    corners = np.rint(centres).astype(int) - box // 2
    whole = np.flatnonzero(((corners >= 0) & (corners + box <= np.array(image.shape))).all(axis=1))
    boxes = [image[y : y + box, x : x + box] for y, x in corners[whole]]
    return (np.stack(boxes) if boxes else np.empty((0, box, box), np.float32)), whole


def write_micrograph(folder: Path, micrograph: SimulatedMicrograph, *, overwrite: bool = False) -> None:
    """Write the image and its two masks."""
    from napari_empiarreader.micrographs.mrc import write_mrc

    scene, size, name = micrograph.scene, micrograph.pixel_size, micrograph_name(micrograph.index)
    stem = Path(name).stem
    write_mrc(folder / name, micrograph.image, size, overwrite=overwrite)
    write_mrc(folder / "masks" / f"{stem}_classes.mrc", scene.classes.astype(np.int8), size, overwrite=overwrite)
    write_mrc(folder / "masks" / f"{stem}_particles.mrc", scene.instances, size, overwrite=overwrite)


def write_truth(
    folder: Path, truths: Sequence[Truth], settings: SimulationSettings, source: str, *, overwrite: bool = False
) -> dict[str, Path]:
    """Write what is true of all micrographs of a folder.

    Returns
    -------
    dict of str to Path
        What was written.
    """
    from importlib.metadata import version

    from napari_empiarreader import write_particles
    from napari_empiarreader.files import replaced_when_complete
    from napari_empiarreader.micrographs.mrc import write_mrc

    files = {"particles": folder / "particles.star", "settings": folder / "simulation.json"}
    write_particles(files["particles"], particle_table(truths, settings), overwrite=overwrite)
    if any(len(truth.decoys) for truth in truths):
        files["decoys"] = folder / "decoys.star"
        write_particles(files["decoys"], decoy_table(truths), overwrite=overwrite)
    stack = np.concatenate([truth.stack for truth in truths])
    if len(stack):
        files["stack"], files["stack table"] = folder / "particles.mrcs", folder / "particles_stack.star"
        write_mrc(files["stack"], stack, settings.pixel_size, overwrite=overwrite)
        table = particle_table(truths, settings, box=stack.shape[-1])
        write_particles(files["stack table"], table, overwrite=overwrite)
    record = {"source": source, "napari-caked": version("napari-caked"), "settings": asdict(settings)}
    with replaced_when_complete(files["settings"], overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return files


def particle_table(truths: Sequence[Truth], settings: SimulationSettings, box: int | None = None) -> ParticleTable:
    """All particles with the columns of RELION; with ``box`` only those in the stack, and where they are in it."""
    from napari_empiarreader.coordinates import ParticleTable

    rows = [truth.particles[truth.stacked] if box else truth.particles for truth in truths]
    everything = np.concatenate(rows).reshape(-1, 8)
    features = _columns(everything, settings)
    if box:
        features["rlnImageName"] = [f"{i + 1:06d}@particles.mrcs" for i in range(len(everything))]
    return ParticleTable(
        tuple(truth.name for truth in truths),
        np.column_stack([_numbers(rows), everything[:, :2]]),
        features,
        metadata={"star_blocks": {"optics": _optics(settings, box)}, "star_block": "particles"},
    )


def decoy_table(truths: Sequence[Truth]) -> ParticleTable:
    """Everything that is no particle; ``class`` is the index of :data:`.decoys.CLASSES`, ``kind`` its name."""
    import pandas as pd

    from napari_empiarreader.coordinates import ParticleTable

    rows = [truth.decoys for truth in truths]
    everything = np.concatenate(rows)
    kinds = everything[:, 3].astype(int)
    names = [CLASSES[kind].replace(" ", "_") for kind in kinds]
    features = pd.DataFrame({"class": kinds, "kind": names, "radius": everything[:, 2]})
    return ParticleTable(
        tuple(truth.name for truth in truths), np.column_stack([_numbers(rows), everything[:, :2]]), features
    )


def _numbers(rows: Iterable[np.ndarray]) -> np.ndarray:
    """Index of the micrograph of each row."""
    lengths = [len(part) for part in rows]
    return np.repeat(np.arange(len(lengths)), lengths)


def _columns(particles: np.ndarray, settings: SimulationSettings) -> pd.DataFrame:
    import pandas as pd

    names = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
    frame = pd.DataFrame(dict(zip(names, particles[:, 2:].T, strict=True)))
    if settings.optics.phase_plate:
        frame["rlnPhaseShift"] = settings.optics.phase_plate
    frame["class"] = 1
    frame["rlnOpticsGroup"] = 1
    return frame


def _optics(settings: SimulationSettings, box: int | None) -> pd.DataFrame:
    import pandas as pd

    optics = settings.optics
    columns: dict[str, list[object]] = {
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnOpticsGroup": [1],
        "rlnMicrographOriginalPixelSize": [settings.pixel_size],
        "rlnMicrographPixelSize": [settings.pixel_size],
        "rlnVoltage": [optics.voltage],
        "rlnSphericalAberration": [optics.spherical_aberration],
        "rlnAmplitudeContrast": [optics.amplitude_contrast],
    }
    if box:
        columns |= {"rlnImagePixelSize": [settings.pixel_size], "rlnImageSize": [box], "rlnImageDimensionality": [2]}
    return pd.DataFrame(columns)
