"""What transforms and augmentations have in common: names, randomness, and the check of their parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch

from napari_caked.datasets.sample import Canvas, Pool, Sample
from napari_caked.errors import DatasetError

__all__ = ["REGISTRY", "Augmentation", "Dice", "Range", "Transform", "register", "require", "require_range"]

#: Smallest and largest value an augmentation draws.
Range = tuple[float, float]
#: Every step that a recipe may name.
REGISTRY: dict[str, type[Transform] | type[Augmentation]] = {}
_Step = TypeVar("_Step", bound="type[Transform] | type[Augmentation]")


def register(step: _Step) -> _Step:
    """Let recipes name a step, by the name of its class.

    Raises
    ------
    DatasetError
        Another one has that name.
    """
    if REGISTRY.get(step.__name__, step) is not step:
        raise DatasetError(f"there is a step named {step.__name__} already; give yours another name")
    REGISTRY[step.__name__] = step
    return step


class Dice:
    """Random numbers of one step on one item in one epoch: the same in whatever worker, batch, order or device.

    They are drawn on the CPU, because every kind of device has random numbers of its own.
    """

    def __init__(self, *entropy: int) -> None:
        if min(entropy) < 0:
            raise DatasetError(f"seed, epoch and index are {entropy[:3]}; give numbers that are not negative")
        state = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
        # Seeds of PyTorch are signed.
        self.generator = torch.Generator().manual_seed(int(state[0]) >> 1)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number from ``low`` to ``high``."""
        # In double precision, or a range far from zero would have few values.
        return low + (high - low) * torch.rand((), generator=self.generator, dtype=torch.float64).item()

    def integer(self, below: int) -> int:
        """One of 0 … below - 1."""
        return int(torch.randint(below, (), generator=self.generator))

    def normal(self, shape: Sequence[int], device: torch.device, *, complex_: bool = False) -> torch.Tensor:
        """Normal deviates of variance 1; for complex ones that of both parts together."""
        kind = torch.complex64 if complex_ else torch.float32
        return torch.randn(tuple(shape), generator=self.generator, dtype=kind).to(device)


@dataclass(frozen=True)
class Transform(ABC):
    """A step without chance: a frozen dataclass with :meth:`work`."""

    @abstractmethod
    def work(self, canvas: Canvas) -> None:
        """Change what is on the canvas."""

    def __call__(self, sample: Sample) -> Sample:
        """The sample after this step alone."""
        canvas = Canvas.of(sample)
        self.work(canvas)
        return canvas.sample()


@dataclass(frozen=True)
class Augmentation(ABC):
    """A step with chance: a frozen dataclass with :meth:`work`.

    Attributes
    ----------
    probability
        Of doing anything at all.
    """

    probability: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        require(0 <= self.probability <= 1, self, "probability", "give a number from 0 to 1")

    @abstractmethod
    def work(self, canvas: Canvas, dice: Dice) -> None:
        """Change what is on the canvas."""

    def roll(self, canvas: Canvas, dice: Dice) -> None:
        """Work, or leave it, as chance has it."""
        if self.probability == 1 or dice.uniform() < self.probability:
            self.work(canvas, dice)

    def __call__(
        self, sample: Sample, *, seed: int = 0, epoch: int = 0, index: int = 0, pool: Pool | None = None
    ) -> Sample:
        """The sample after this step alone."""
        canvas = Canvas.of(sample, pool=pool)
        self.roll(canvas, Dice(seed, epoch, index, 0))
        return canvas.sample()


def require(good: bool, step: object, parameter: str, remedy: str) -> None:
    """Raise DatasetError that names the step, the parameter and its value, unless it is good."""
    if not good:
        raise DatasetError(f"{type(step).__name__}: {parameter} is {getattr(step, parameter)!r}; {remedy}")


def require_range(step: object, parameter: str, low: float, high: float, unit: str) -> None:
    """Raise DatasetError unless a parameter is a pair in order from ``low`` to ``high``."""
    value = getattr(step, parameter)
    pair = isinstance(value, tuple) and len(value) == 2
    good = pair and low <= value[0] <= value[1] <= high
    limits = f"from {low:g} to {high:g}" if np.isfinite(high) else f"not below {low:g}"
    require(good, step, parameter, f"give (smallest, largest) {unit}, {limits}")
