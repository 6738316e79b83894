"""What decides how picks are judged, with its defaults; importable without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from napari_caked.errors import SettingsError

__all__ = ["CLASSES", "PARTICLE", "PICKERS", "PatchSettings", "PruneSettings"]

#: What a pick may be. ``contaminant``: ice, aggregates, gold, broken particles; ``carbon``: the film and its edge;
#: ``background``: nothing, or a place between particles.
CLASSES = ("particle", "contaminant", "carbon", "background")
PARTICLE = CLASSES.index("particle")
#: Whose opinion is asked beside the network's own: pickers trained on the labels, the general picker adapted to the
#: micrographs without labels, or nobody.
PICKERS = ("trained", "adapted", "none")


@dataclass(frozen=True)
class PatchSettings:
    """What the network sees of a pick. Every length follows from the particle's diameter.

    Attributes
    ----------
    particle_width
        Width of a particle in the near patch, pixels.
    side
        Of the near patch, pixels: 1.8 diameters.
    wide_side
        Of the wide patch, pixels.
    pooling
        Near pixels that are averaged to one pixel of the wide patch, on each axis; with 7 it is 6.2 diameters wide.
    background_width
        Standard deviation of the background that is subtracted from the micrograph, in particle widths: wider than for
        picking, since carbon and ice are known by it.
    """

    particle_width: float = 36.0
    side: int = 64
    wide_side: int = 32
    pooling: int = 7
    background_width: float = 6.0

    def __post_init__(self) -> None:
        for name in ("particle_width", "side", "wide_side", "pooling", "background_width"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name}: {getattr(self, name)} makes no patch; give more than 0")


@dataclass(frozen=True)
class PruneSettings:
    """How picks are judged and how the network learns from labels.

    Attributes
    ----------
    flips
        Views of each pick that are averaged: 8 for all flips and quarter turns, 4 for quarter turns, 1 for none.
    batch
        Patches that are judged at once.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    folds
        Parts of the labels of which each is held back once, to choose how much is learned and to calibrate.
    steps, step_size
        Most batches that the whole network learns from, after its heads have; and its rate.
    learning_batch
        Patches in such a batch.
    picker
        One of :data:`PICKERS`. Where there are no labels, or fewer than ten particles among them, the adapted picker
        stands for trained ones.
    picker_steps
        Batches that such a picker learns from.
    seed
        Of everything random in learning.
    """

    flips: int = 4
    batch: int = 256
    device: str = "auto"
    folds: int = 5
    steps: int = 60
    step_size: float = 2e-4
    learning_batch: int = 32
    picker: str = "trained"
    picker_steps: int = 120
    seed: int = 0

    def __post_init__(self) -> None:
        if self.flips not in (1, 4, 8):
            raise SettingsError(f"flips: {self.flips} is not 1, 4 or 8")
        for name, least in (
            ("batch", 1),
            ("folds", 2),
            ("steps", 0),
            ("learning_batch", 2),
            ("picker_steps", 2),
            ("seed", 0),
        ):
            if getattr(self, name) < least:
                raise SettingsError(f"{name}: {getattr(self, name)} is too few; give {least} or more")
        if self.picker not in PICKERS:
            raise SettingsError(f"picker: {self.picker!r} is not {', '.join(PICKERS)}")
        if not self.step_size > 0:
            raise SettingsError(f"step_size: {self.step_size} teaches nothing; give more than 0")
