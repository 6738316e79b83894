"""Which of the listed items are taken, and as what. Knows no Qt."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from napari_caked.widgets._dataset_messages import Listed

__all__ = ["Choice"]


@dataclass
class Choice:
    """What somebody made of what was listed.

    Attributes
    ----------
    listed
        The items.
    labels
        ``(n,)`` int as they are now; -1 for none.
    left_out
        ``(n,)`` bool: one by one.
    off
        Classes that are not taken; -1 for items without a class.
    """

    listed: Listed
    labels: np.ndarray = field(init=False)
    left_out: np.ndarray = field(init=False)
    off: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.labels = np.array(self.listed.labels, int)
        self.left_out = np.zeros(len(self.labels), bool)

    @property
    def names(self) -> dict[int, str]:
        """Of the classes that may be ticked, by their labels."""
        none = {-1: "no class"} if (self.labels < 0).any() else {}
        return dict(enumerate(self.listed.classes)) | none

    @property
    def is_off(self) -> np.ndarray:
        """``(n,)`` bool: whether the class of an item is not taken."""
        return np.isin(self.labels, list(self.off))

    @property
    def taken(self) -> np.ndarray:
        """``(k,)`` indices, ascending."""
        return np.flatnonzero(~self.left_out & ~self.is_off)

    def counts(self) -> dict[int, int]:
        """Items of each class that are not left out one by one."""
        labels = self.labels[~self.left_out]
        return {label: int((labels == label).sum()) for label in self.names}

    def final(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Classes of the data set, and the labels ``(k,)`` of the items that are taken."""
        kept = [label for label in range(len(self.listed.classes)) if label not in self.off]
        numbers = {label: number for number, label in enumerate(kept)} | {-1: -1}
        labels = np.array([numbers[int(label)] for label in self.labels[self.taken]], int)
        return tuple(self.listed.classes[label] for label in kept), labels
