"""Topaz, run as the program it is: preprocess, train, extract (Bepler et al., Nature Methods 16, 1153 (2019)).

It needs a virtual environment of its own, because it is under the GPL and because 0.2.5 (the last release whose class
prior is right) works with old NumPy only. The benchmarks are told the folder of its programs (``--topaz``):

    python3.11 -m venv topaz-0.2.5
    topaz-0.2.5/bin/pip install torch==2.13.0
    topaz-0.2.5/bin/pip install "numpy<2" h5py pandas scikit-learn scipy pillow psutil tqdm future
    topaz-0.2.5/bin/pip install --no-deps topaz-em==0.2.5

For the current release the same with ``topaz-em==0.3.20`` and any NumPy. It wants torchvision for a rotation and two
flips; where there is no build of it, ``_stand_ins`` is put on its path. PyTorch >= 2.6 loads Topaz's pickled models
only when told to, which the environment given to it does.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from _cost import Cost, run_measured
from _specimens import Specimen, write_micrographs

from napari_empiarreader.coordinates import ParticleTable, read_particles, write_particles

__all__ = ["Topaz", "TopazRun"]

_STAND_INS = Path(__file__).parent / "_stand_ins"
#: Pixels across a particle that the factor of downsampling aims at: half to two thirds of the network's 31.
_WIDTH = 20.0
#: Radius of the disc around a label that is trained on, in downsampled pixels: Topaz's default, and its 29 pixels.
_LABEL_RADIUS, _LABEL_PIXELS = 3, 29


@dataclass(frozen=True)
class TopazRun:
    """Picks and what they cost: preparation and training, then preparation and picking."""

    picks: ParticleTable
    training: Cost
    picking: Cost


@dataclass(frozen=True)
class Topaz:
    """One installation of Topaz.

    Attributes
    ----------
    programs
        Folder of its ``topaz`` and ``python``.
    threads
        That it may use.
    updates, units
        Of its network, conv31, and the feature maps of its first layer.
    """

    programs: Path
    threads: int = 1
    updates: int = 1500
    units: int = 32

    @property
    def version(self) -> str:
        """Version of ``topaz-em``."""
        return self._ask("import importlib.metadata as m; print(m.version('topaz-em'))")

    def picked(self, specimen: Specimen, labels: ParticleTable, folder: Path) -> TopazRun:
        """Train on the specimen's training micrographs with these labels, and pick its others.

        The class prior is right: the true particles per micrograph times the disc's pixels, over all pixels.
        """
        factor = downsampling(specimen)
        train, prepared = self.prepare(write_micrographs(specimen.train, folder / "train"), factor, folder / "train_in")
        trained = self.train(specimen, labels, train, factor, folder)
        dev, prepared_dev = self.prepare(write_micrographs(specimen.dev, folder / "dev"), factor, folder / "dev_in")
        picks, extracted = self.extract(specimen, dev, factor, self.model(folder), folder / "picks.txt")
        return TopazRun(picks, prepared + trained, prepared_dev + extracted)

    def prepare(self, files: list[Path], factor: int, target: Path) -> tuple[list[Path], Cost]:
        """Downsample and normalise; returns the files written."""
        target.mkdir(parents=True, exist_ok=True)
        cost = self._run("preprocess", "-s", factor, "-d", -1, "-j", self.threads, "-o", target, *files)
        return [target / file.name for file in files], cost

    def train(self, specimen: Specimen, labels: ParticleTable, images: list[Path], factor: int, folder: Path) -> Cost:
        """Train conv31 with GE-binomial; the model stands at :meth:`model`."""
        write_particles(folder / "labels.txt", labels, format="topaz", scale=float(factor), overwrite=True)
        _whole_pixels(folder / "labels.txt")
        pixels = np.prod(specimen.train.shape) / factor**2
        prior = len(specimen.train_labels) / len(specimen.train) * _LABEL_PIXELS / pixels
        return self._run(
            *(
                "train",
                "-m",
                "conv31",
                "--units",
                self.units,
                "--pi",
                f"{prior:.5f}",
                "-r",
                _LABEL_RADIUS,
                "-d",
                -1,
                "-j",
                self.threads,
            ),
            *("--train-images", images[0].parent, "--train-targets", folder / "labels.txt"),
            *("--epoch-size", self.updates, "--num-epochs", 1),
            *("--save-prefix", folder / "model", "-o", folder / "curve.txt"),
        )

    def model(self, folder: Path) -> Path:
        """The model that :meth:`train` left in a folder."""
        return max(folder.glob("model_epoch*.sav"))

    def extract(
        self, specimen: Specimen, images: list[Path], factor: int, model: Path, target: Path
    ) -> tuple[ParticleTable, Cost]:
        """Pick; none closer than three quarters of a diameter, as our own picks. Those on ``dev`` are returned."""
        pixel_size = specimen.dev.require_pixel_size()
        radius = round(0.75 * specimen.particle_diameter / pixel_size / factor)
        cost = self._run("extract", "-m", model, "-r", radius, "-d", -1, "-j", self.threads, "-o", target, *images)
        table = read_particles(target, format="topaz", scale=float(factor)).only_on(specimen.dev.names)
        scores = 1 / (1 + np.exp(-table.features["score"].to_numpy(float)))
        return replace(table, features=table.features.assign(score=scores)), cost

    def _run(self, *words: object) -> Cost:
        cost, _ = run_measured([self.programs / "topaz", *map(str, words)], threads=self.threads, **self._environment())
        return cost

    def _environment(self) -> dict[str, str]:
        found = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
        if self._ask("import importlib.util as u; print(u.find_spec('torchvision') is None)") == "True":
            found["PYTHONPATH"] = str(_STAND_INS)
        return found

    def _ask(self, code: str) -> str:
        command = [str(self.programs / "python"), "-c", code]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def downsampling(specimen: Specimen) -> int:
    """The whole factor that divides both sides and brings a particle nearest to 20 pixels across."""
    width = specimen.particle_diameter / specimen.train.require_pixel_size()
    fitting = [s for s in range(1, 17) if all(length % s == 0 for length in specimen.train.shape)]
    return min(fitting, key=lambda s: abs(np.log(width / s / _WIDTH)))


def _whole_pixels(path: Path) -> None:
    """Topaz takes whole pixels only; rounded here, because it cuts the fractions off."""
    head, *rows = path.read_text().splitlines()
    names = head.split("\t")
    lines = [head]
    for row in rows:
        cells = dict(zip(names, row.split("\t"), strict=True))
        lines.append("\t".join(str(round(float(v))) if k in ("x_coord", "y_coord") else v for k, v in cells.items()))
    path.write_text("\n".join(lines) + "\n")
