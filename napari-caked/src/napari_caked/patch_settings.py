"""What a person may set for learning from patches, with its default. Nothing here needs PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from napari_caked.errors import SettingsError

__all__ = ["PatchSettings"]


@dataclass(frozen=True)
class PatchSettings:
    """How a patch network learns; the defaults are those of Bepler et al., Nature Methods 16, 1153 (2019).

    Attributes
    ----------
    objective
        Name in :data:`napari_caked.objectives.OBJECTIVES`.
    slack
        Weight of the expectation in the GE objectives; None takes the one of the paper.
    batch_size
        Patches per step, the labelled and the unlabelled ones.
    labelled_share
        Share of labelled patches in a batch: 16 of 256. Where there are labelled negatives, as many of those come on
        top.
    autoencoder
        Weight of the reconstruction error; 0 leaves the decoder out. The paper takes 10 / (number of labels) below 250
        labels.
    learning_rate
        Of Adam, constant.
    weight_decay
        Weight of half the sum of squared weights.
    turns
        Whether each patch is turned by quarters and mirrored at random.
    contrast, brightness, noise
        Standard deviations of a random factor about 1 and a random shift of each patch, and of noise added to each
        pixel, in those of the working image.
    precision
        Of the network's arithmetic: ``float32``, ``bfloat16`` or ``float16``. Weights and objective stay in float32.
    seed
        Of all randomness.

    Raises
    ------
    SettingsError
        A value that cannot work, on construction.
    """

    objective: str = "ge-binomial"
    slack: float | None = None
    batch_size: int = 256
    labelled_share: float = 0.0625
    autoencoder: float = 0.0
    learning_rate: float = 2e-4
    weight_decay: float = 0.0
    turns: bool = True
    contrast: float = 0.0
    brightness: float = 0.0
    noise: float = 0.0
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what would fail later, with a worse message."""
        if self.precision not in ("float32", "bfloat16", "float16"):
            raise SettingsError(f"precision is '{self.precision}', but must be float32, bfloat16 or float16")
        if not 0 < self.labelled < self.batch_size:
            raise SettingsError(
                f"a batch of {self.batch_size} patches with a labelled share of {self.labelled_share:g} has "
                f"{self.labelled} labelled ones, but must have some of both kinds; make it larger or change the share"
            )
        if not self.learning_rate > 0:
            raise SettingsError(f"learning_rate is {self.learning_rate}, but must be positive")
        for name in ("autoencoder", "weight_decay", "contrast", "brightness", "noise"):
            if not getattr(self, name) >= 0:
                raise SettingsError(f"{name} is {getattr(self, name)}, but must be 0 or more")

    @property
    def labelled(self) -> int:
        """Labelled patches per batch."""
        return round(self.labelled_share * self.batch_size)

    @property
    def unlabelled(self) -> int:
        """Unlabelled patches per batch."""
        return self.batch_size - self.labelled
