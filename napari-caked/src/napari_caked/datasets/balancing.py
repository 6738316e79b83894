"""Drawing items so that each class has the share that is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from napari_caked.datasets.items import ItemSource
from napari_caked.errors import DatasetError

__all__ = ["BalancedSampler", "sampler_weights"]


def sampler_weights(
    source: ItemSource, shares: Mapping[str, float] | None = None, *, indices: Sequence[int] | None = None
) -> np.ndarray:
    """``(n,)`` chances of the items, which add up to 1, for drawing with replacement.

    Parameters
    ----------
    source
        The data set.
    shares
        Of each class, in any proportion; by default the same for every class that has items. Classes that are not
        named, and items without a class, are never drawn.
    indices
        The items to draw from (a part of a split); all by default. The result has one chance for each of them.

    Raises
    ------
    DatasetError
        A class is unknown or has no item with a weight, or a share cannot be.

    Examples
    --------
    >>> chances = sampler_weights(source, {"particle": 1, "junk": 1})  # doctest: +SKIP
    >>> sampler = torch.utils.data.WeightedRandomSampler(chances, len(source))  # doctest: +SKIP
    """
    chosen = np.arange(len(source)) if indices is None else np.asarray(indices, int)
    chances = np.zeros(len(chosen))
    for share, at, weights in _classes(source, shares, chosen):
        chances[at] = share * weights
    return chances


class BalancedSampler:
    """Indices of items, with exactly the share of each class that is asked for; a sampler for PyTorch's loaders.

    Within a class every item comes as often as its weight says, rounded up or down: of equal items none comes a second
    time before all others have come. An epoch has an order of its own, which depends on seed and epoch alone.

    Parameters
    ----------
    source, shares, indices
        As of :func:`sampler_weights`.
    length
        Draws in an epoch; the number of items to draw from by default.
    seed
        The same seed draws the same items.

    Attributes
    ----------
    epoch
        Number of the next epoch; counts up with each, or is set.

    Raises
    ------
    DatasetError
        As :func:`sampler_weights`.
    """

    def __init__(
        self,
        source: ItemSource,
        shares: Mapping[str, float] | None = None,
        *,
        indices: Sequence[int] | None = None,
        length: int | None = None,
        seed: int = 0,
    ) -> None:
        self._chosen = np.arange(len(source)) if indices is None else np.asarray(indices, int)
        self._length = len(self._chosen) if length is None else length
        self._seed, self.epoch = seed, 0
        parts = list(_classes(source, shares, self._chosen))
        numbers = _largest_remainders(np.array([share for share, _, _ in parts]) * self._length)
        self._parts = [(number, at, weights) for number, (_, at, weights) in zip(numbers, parts, strict=True)]

    def set_epoch(self, epoch: int) -> None:
        """Say the number of the next epoch, as PyTorch's distributed samplers have it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        dice = np.random.default_rng((self._seed, self.epoch))
        self.epoch += 1
        drawn = [self._chosen[_systematic(number, at, weights, dice)] for number, at, weights in self._parts]
        yield from dice.permutation(np.concatenate(drawn)).tolist()


def _classes(
    source: ItemSource, shares: Mapping[str, float] | None, chosen: np.ndarray
) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """For each class its share, which of the chosen items are of it, and their weights; both add up to 1."""
    labels = np.array([source.records[index].label for index in chosen.tolist()], int)
    weights = np.array([source.records[index].weight for index in chosen.tolist()])
    if shares is None:
        shares = {name: 1.0 for label, name in enumerate(source.classes) if (weights[labels == label] > 0).any()}
    unknown = [name for name in shares if name not in source.classes]
    if unknown:
        raise DatasetError(f"there is no class {', '.join(unknown)}; there are {', '.join(source.classes) or 'none'}")
    total = sum(shares.values())
    if not shares or min(shares.values()) < 0 or not 0 < total < math.inf:
        raise DatasetError(f"the shares {dict(shares)} cannot be; give each class a number of at least 0, one above it")
    for name, share in shares.items():
        at = np.flatnonzero((labels == source.classes.index(name)) & (weights > 0))
        if share and not len(at):
            raise DatasetError(f"the class {name} has no items to draw from; give it the share 0, or add some")
        if share:
            yield share / total, at, weights[at] / weights[at].sum()


def _largest_remainders(amounts: np.ndarray) -> list[int]:
    """Whole numbers with the same sum."""
    numbers = np.floor(amounts + 1e-9).astype(int)
    missing = round(amounts.sum()) - int(numbers.sum())
    numbers[np.argsort(numbers - amounts, kind="stable")[:missing]] += 1
    return [int(number) for number in numbers]


def _systematic(number: int, at: np.ndarray, weights: np.ndarray, dice: np.random.Generator) -> np.ndarray:
    """``(number,)`` draws, each item within one of its expected count (systematic sampling, Madow 1949)."""
    order = dice.permutation(len(at))
    reached = number * np.cumsum(weights[order])
    reached[-1] = number
    counts = np.diff(np.floor(reached + dice.random()), prepend=0.0).astype(int)
    return np.asarray(at[np.repeat(order, counts)])
