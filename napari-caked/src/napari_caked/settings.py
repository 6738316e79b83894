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

    The default network learns from all places of the labelled micrographs, as a template made of the labels judges
    them (:mod:`napari_caked.teaching`). The networks of Bepler et al., Nature Methods 16, 1153 (2019) learn from
    patches, with one of the objectives for positive and unlabelled data.

    Attributes
    ----------
    particle_diameter
        Å. The one number the user gives; all lengths below are in particle widths.
    expected_particles
        Particles per micrograph; None estimates it (see :mod:`napari_caked.expectation`).
    network
        Name in :data:`napari_caked.models.registry.NETWORKS`.
    objective
        ``likeness``, of the default network, or for networks that learn from patches a name in
        :data:`napari_caked.objectives.OBJECTIVES`; None takes the network's own: ``likeness`` or ``ge-binomial``.
    slack
        Weight of the expectation in the GE objectives; None takes that of the paper.
    autoencoder
        Weight of the reconstruction error; only for networks that learn from patches.
    steps
        Batches to learn from; None takes 360 from the general weights and 600 from nothing, or 1,500 of patches.
    reviews
        How often the default network, in the second half of its training, looks at the micrographs itself and learns
        on from its own opinion and the labels.
    improving_steps
        The same where training starts from a picker that exists.
    time_budget
        Seconds after which learning ends, with the rates of its end; None for no bound. What is learned then depends
        on the speed of the machine.
    batch_size, crop_size
        Crops per batch of the default network, and their side in working pixels (4 k + 1).
    learning_rate
        Highest rate of the one-cycle schedule of AdamW, or for patches the rate of Adam; None takes 3e-3 or 2e-4.
    spot_width, spot_weight
        Standard deviation of the spot that marks a particle, and how much more its middle counts than background.
    template_radius, inner_radius
        Radii of the two matched filters.
    label_radius
        Radius of the disc around a label whose pixels count as labelled; only for networks that learn from patches.
    channels
        Width of the default network.
    general
        Start the default network from the general weights (:mod:`napari_caked.general`), and ask them for a second
        opinion. They fit the default ``channels`` and ``preprocess`` only; other networks start from nothing.
    precision
        ``float32``, ``bfloat16``, ``float16`` or ``auto``: the fastest that the device computes in itself. Weights,
        sums and objectives stay in float32.
    hold_out
        Labelled micrographs to learn nothing from, and to choose the best state by.
    validate_every
        Steps between two looks at the micrographs held out; None takes a tenth of all steps.
    patience
        Looks without progress after which learning ends; None never ends early.
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
    network: str = "matched"
    objective: str | None = None
    slack: float | None = None
    autoencoder: float = 0.0
    steps: int | None = None
    reviews: int = 3
    improving_steps: int = 80
    time_budget: float | None = None
    batch_size: int = 8
    crop_size: int = 97
    learning_rate: float | None = None
    spot_width: float = 0.1
    spot_weight: float = 4.0
    template_radius: float = 0.9
    inner_radius: float = 0.7
    label_radius: float = 0.2
    channels: int = 24
    general: bool = True
    precision: str = "auto"
    hold_out: int = 0
    validate_every: int | None = None
    patience: int | None = None
    seed: int = 0
    device: str = "auto"
    preprocess: PreprocessSettings = field(default_factory=PreprocessSettings)

    def __post_init__(self) -> None:
        """Refuse what would fail later, with a worse message."""
        _require(self.steps is None or self.steps >= 2, "steps", self.steps, "at least 2")
        _require(self.reviews >= 0, "reviews", self.reviews, "0 or more")
        _require(self.improving_steps >= 2, "improving_steps", self.improving_steps, "at least 2")
        _require(self.batch_size >= 2, "batch_size", self.batch_size, "at least 2")
        fits = self.crop_size >= 33 and self.crop_size % 4 == 1
        _require(fits, "crop_size", self.crop_size, "33 or more, of the form 4 k + 1")
        rate = self.learning_rate
        _require(rate is None or rate > 0, "learning_rate", rate, "positive")
        expected, budget = self.expected_particles, self.time_budget
        _require(expected is None or expected > 0, "expected_particles", expected, "positive")
        _require(budget is None or budget > 0, "time_budget", budget, "positive, in seconds")
        _require(self.hold_out >= 0, "hold_out", self.hold_out, "0 or more micrographs")
        looks = self.validate_every
        _require(looks is None or looks >= 1, "validate_every", looks, "at least 1 step")
        _require(self.patience is None or self.patience >= 1, "patience", self.patience, "at least 1 look")
        _require(self.channels >= 1, "channels", self.channels, "at least 1")
        _require(self.autoencoder >= 0, "autoencoder", self.autoencoder, "0 or more")
        known = ("auto", "float32", "bfloat16", "float16")
        _require(self.precision in known, "precision", repr(self.precision), f"one of {', '.join(known)}")
        own = self.network == "matched"
        fitting = self.objective in (None, "likeness") if own else self.objective != "likeness"
        wanted = "likeness, or another network" if own else "an objective for patches, or the network matched"
        _require(fitting, "objective", self.objective, f"{wanted} (the network is {self.network})")
        _require(not (own and self.autoencoder), "autoencoder", self.autoencoder, "0 for the network matched")

    @property
    def starts_general(self) -> bool:
        """Whether the network is one that the general weights fit, and is to start from them."""
        fits = self.channels == TrainingSettings.channels and self.preprocess == PreprocessSettings()
        return self.general and self.network == "matched" and fits

    @property
    def all_steps(self) -> int:
        """Batches of all rounds."""
        if self.steps is not None:
            return self.steps
        own = 360 if self.starts_general else 600
        return own if self.network == "matched" else 1500

    @property
    def round_lengths(self) -> tuple[int, ...]:
        """Batches of each round: half of all before the first review, as many between any two of the others."""
        length = self.all_steps // (2 * self.reviews) if self.reviews and self.network == "matched" else 0
        return (self.all_steps - self.reviews * length, *[length] * self.reviews) if length else (self.all_steps,)


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
    minimum_distance: float = 0.5
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
