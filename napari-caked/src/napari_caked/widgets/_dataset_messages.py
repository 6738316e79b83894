"""What the window of data sets and its helper process say to each other, besides what all windows do.

Nothing here needs PyTorch or Qt. Micrographs and painted masks stay in the window: the helper asks for them by
:class:`._messages.Read`, whose index counts through the micrographs first, then through the masks of the first cut
that has some, and so on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_empiarreader.coordinates import ParticleTable

__all__ = [
    "AskSplit",
    "BuildJob",
    "Built",
    "Cut",
    "Divided",
    "Halted",
    "InFolder",
    "InTable",
    "Listed",
    "LookJob",
    "NotTried",
    "OnMicrographs",
    "Parameter",
    "Sheet",
    "StepKind",
    "Steps",
    "Tried",
    "Try",
]

LISTING, READING, STORING = "Listing the items", "Reading pictures", "Storing items"
"""The parts of a job, as the user reads them."""


@dataclass(frozen=True)
class Cut:
    """Boxes on micrographs.

    Attributes
    ----------
    table
        Their middles, with the column ``class_name``: the class, empty for none.
    box
        Pixels.
    masks
        Which stack of masks goes with it, counted from 1; 0 for none.
    """

    table: ParticleTable
    box: int
    masks: int = 0


@dataclass(frozen=True)
class OnMicrographs:
    """Items that are cut from micrographs.

    Attributes
    ----------
    names, shape, dtype, pixel_size, source
        Of the :class:`~napari_empiarreader.MicrographSeries`.
    cuts
        At least one; of several, classes of one name are one.
    """

    names: tuple[str, ...]
    shape: tuple[int, int]
    dtype: np.dtype
    pixel_size: float | None
    source: str
    cuts: tuple[Cut, ...]


@dataclass(frozen=True)
class InFolder:
    """Items that are files in a folder.

    Attributes
    ----------
    path
        The folder.
    rule
        How the class is known, one of :data:`._dataset_sources.RULES`.
    said
        The separator, regular expression, CSV file or name of the class that the rule needs.
    groups
        Regular expression that finds the group in the name; empty for none.
    voxel_size
        Å, in place of what the headers say.
    permissive
        Leave out what cannot be used, and say so.
    """

    path: str
    rule: str
    said: str = ""
    groups: str = ""
    voxel_size: float | None = None
    permissive: bool = False


@dataclass(frozen=True)
class InTable:
    """Items that are the images of a particle stack.

    Attributes
    ----------
    path
        STAR or ``.cs`` file that names them, or the stack alone.
    classes
        Column that holds the class; empty for one class.
    groups
        Column that holds the group; empty for the micrograph.
    pixel_size
        Å, in place of what table and stack say.
    permissive
        Leave out what cannot be used, and say so.
    """

    path: str
    classes: str = ""
    groups: str = ""
    pixel_size: float | None = None
    permissive: bool = False


# ---- jobs and requests, from the window --------------------------------------------------------------------------


@dataclass(frozen=True)
class LookJob:
    """Asks for :class:`Steps`, :class:`Listed` and a :class:`Sheet`; then for answers to what is asked.

    Attributes
    ----------
    source
        The items.
    per_class
        How many of each class are looked at, at most.
    """

    source: OnMicrographs | InFolder | InTable
    per_class: int = 24


@dataclass(frozen=True)
class Try:
    """Asks for an item before and after each step of a recipe; of several that wait, only the last is answered.

    Attributes
    ----------
    ticket
        Grows from one to the next.
    index
        Of the item.
    recipe
        JSON.
    seed
        Of the augmentations.
    """

    ticket: int
    index: int
    recipe: str
    seed: int


@dataclass(frozen=True)
class AskSplit:
    """Asks how a split would come out: for :class:`Divided`.

    Attributes
    ----------
    share
        Of the items for validation.
    seed
        Of the split.
    taken
        ``(k,)`` int: the items that are taken.
    """

    share: float
    seed: int
    taken: np.ndarray


@dataclass(frozen=True)
class BuildJob:
    """Asks for a store: for :class:`Built`; after ``Stop`` for :class:`Halted`, and the same job goes on from there.

    Attributes
    ----------
    source
        The items.
    path
        Of the store.
    recipe
        JSON.
    taken
        ``(k,)`` int: the items that are taken, ascending.
    classes
        Of the data set, in the order of their labels.
    labels
        ``(k,)`` int: the label of each taken item, which somebody may have changed.
    share, seed
        Of the split; share 0 makes none.
    half, overwrite
        Store 16-bit floats; replace another data set.
    """

    source: OnMicrographs | InFolder | InTable
    path: str
    recipe: str
    taken: np.ndarray
    classes: tuple[str, ...]
    labels: np.ndarray
    share: float = 0.0
    seed: int = 0
    half: bool = False
    overwrite: bool = False


# ---- from the helper ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    """One parameter of a step.

    Attributes
    ----------
    name
        In the recipe.
    kind
        ``number``, ``whole``, ``range``, ``yes``, ``text`` or ``json`` (anything else).
    default
        JSON.
    unit
        Å, degrees, …; empty where it has none.
    words
        What it is.
    """

    name: str
    kind: str
    default: str
    unit: str
    words: str


@dataclass(frozen=True)
class StepKind:
    """A step that a recipe may have; ``chance`` says whether it is an augmentation."""

    name: str
    chance: bool
    words: str
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class Steps:
    """All steps that there are."""

    kinds: tuple[StepKind, ...]


@dataclass(frozen=True)
class Listed:
    """What is known of all items without their pixels.

    Attributes
    ----------
    classes
        Names.
    labels
        ``(n,)`` int; -1 for items without a class.
    names
        ``(n,)`` text.
    groups
        How many.
    words
        Shapes and voxel sizes, and what was left out.
    places
        ``(n, 3)`` (micrograph, y, x) of the items' middles in pixels; ``(0, 3)`` where they come from no micrographs.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    names: np.ndarray
    groups: int
    words: str
    places: np.ndarray


@dataclass(frozen=True)
class Sheet:
    """Some items of each class.

    Attributes
    ----------
    indices
        ``(k,)`` int, class after class.
    pictures
        ``(k, y, x)`` uint8; of volumes the middle section.
    """

    indices: np.ndarray
    pictures: np.ndarray


@dataclass(frozen=True)
class Tried:
    """An item before and after each step.

    Attributes
    ----------
    ticket
        Of the request.
    index
        Of the item.
    titles
        ``before``, and the names of the steps.
    captions
        Of each picture, its size and values in words.
    pictures
        Of each ``(y, x)`` uint8; of volumes the middle section.
    """

    ticket: int
    index: int
    titles: tuple[str, ...]
    captions: tuple[str, ...]
    pictures: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class NotTried:
    """The step ``number`` (from 0; -1 for the item itself) cannot be done; why. Pictures up to it were made."""

    ticket: int
    number: int
    message: str


@dataclass(frozen=True)
class Divided:
    """How a split comes out, in words."""

    words: str


@dataclass(frozen=True)
class Built:
    """The store is complete.

    Attributes
    ----------
    path
        The folder.
    words
        Its items by class.
    """

    path: str
    words: str


@dataclass(frozen=True)
class Halted:
    """The build was stopped; how much is stored, in words."""

    words: str
