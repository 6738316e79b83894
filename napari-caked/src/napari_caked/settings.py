"""Everything a person may set for training and picking, with its default: the one place where defaults stand.

Nothing here needs PyTorch, so that the command line and the widgets can show defaults without waiting for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_caked.errors import SettingsError

__all__ = ["PickSettings", "PreprocessSettings", "TrainingSettings"]


@dataclass(frozen=True)
class PreprocessSettings:
    """How micrographs become working images.

    Attributes
    ----------
    particle_width
        Width of a particle in working pixels; from it, the diameter and the pixel size follow the rescaling.
    normalization
        ``"gmm"`` or ``"affine"``.
    background_width
        Standard deviation of the background subtraction, in particle widths.
    """

    particle_width: float = 20.0
    normalization: str = "gmm"
    background_width: float = 1.5


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides a training, besides the data.

    Attributes
    ----------
    particle_diameter
        Å. The one number the user gives; all lengths below are in particle widths.
    expected_particles
        Particles per micrograph; None estimates it (see :mod:`napari_caked.expectation`).
    steps
        Batches to learn from.
    batch_size, crop_size
        Crops per batch, and their side in working pixels (4 k + 1).
    unlabelled_pixels
        Unlabelled pixels drawn per batch for the count term.
    slack
        Weight of the count term in GE-binomial.
    label_radius
        Radius of the disc around a label whose pixels count as labelled, in particle widths.
    template_radius
        Radius of the matched filter, in particle widths.
    likeness_share
        Share of the expected particles that are taken from the surest likenesses as further positives.
    learning_rate
        Highest rate of the one-cycle schedule of AdamW.
    channels
        Width of the network.
    seed
        Of all randomness.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    preprocess
        How micrographs become working images.

    Raises
    ------
    SettingsError
        A value that cannot work, on construction.
    """

    particle_diameter: float
    expected_particles: float | None = None
    steps: int = 150
    batch_size: int = 8
    crop_size: int = 97
    unlabelled_pixels: int = 256
    slack: float = 1.0
    label_radius: float = 0.2
    template_radius: float = 0.7
    likeness_share: float = 0.5
    learning_rate: float = 3e-3
    channels: int = 32
    seed: int = 0
    device: str = "auto"
    preprocess: PreprocessSettings = field(default_factory=PreprocessSettings)

    def __post_init__(self) -> None:
        """Refuse what would fail later, with a worse message."""
        _require(self.steps >= 2, "steps", self.steps, "at least 2")
        _require(self.batch_size >= 2, "batch_size", self.batch_size, "at least 2: half of a batch lies at labels")
        fits = self.crop_size >= 33 and self.crop_size % 4 == 1
        _require(fits, "crop_size", self.crop_size, "33 or more, of the form 4 k + 1")
        _require(self.unlabelled_pixels >= 1, "unlabelled_pixels", self.unlabelled_pixels, "at least 1")
        _require(self.learning_rate > 0, "learning_rate", self.learning_rate, "positive")
        expected = self.expected_particles
        _require(expected is None or expected > 0, "expected_particles", expected, "positive")


@dataclass(frozen=True)
class PickSettings:
    """How a score map becomes picks.

    Attributes
    ----------
    threshold
        Least score (probability) of a pick; 0 keeps every candidate.
    minimum_distance
        Smallest distance between two picks, in particle diameters.
    border
        Smallest distance of a pick from the edges of its micrograph, in particle diameters; 0 loses nothing, 0.5 leaves
        out particles that are cut.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    precision
        Of the network's arithmetic: ``float32``, ``bfloat16``, ``float16`` or ``auto``; see
        :func:`napari_caked.scoring.choose_precision`.
    tile_memory
        MB that the network's feature maps may take; larger working images are scored in parts.

    Raises
    ------
    SettingsError
        A value that cannot work, on construction.
    """

    threshold: float = 0.5
    minimum_distance: float = 0.75
    border: float = 0.0
    device: str = "auto"
    precision: str = "auto"
    tile_memory: float = 256.0

    def __post_init__(self) -> None:
        """Refuse what would fail later, with a worse message."""
        _require(0 <= self.threshold <= 1, "threshold", self.threshold, "a probability, 0 to 1")
        _require(0 <= self.minimum_distance < float("inf"), "minimum_distance", self.minimum_distance, "0 or more")
        _require(0 <= self.border < float("inf"), "border", self.border, "0 or more")
        known = ("auto", "float32", "bfloat16", "float16")
        _require(self.precision in known, "precision", repr(self.precision), f"one of {', '.join(known)}")
        _require(0 < self.tile_memory < float("inf"), "tile_memory", self.tile_memory, "positive")


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise SettingsError(f"{name} is {value}, but must be {wanted}")
