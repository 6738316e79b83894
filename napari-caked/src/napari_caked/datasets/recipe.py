"""A recipe: the steps from an item to what a network sees, as objects and as JSON."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Union, get_args, get_origin, get_type_hints

# Imported for the names they register.
from napari_caked.datasets import (  # noqa: F401
    augment_fourier,
    augment_geometry,
    augment_noise,
    augment_quarters,
    augment_values,
    cropping,
    filtering,
    normalising,
    resampling,
)
from napari_caked.datasets.sample import Canvas, Pool, Sample
from napari_caked.datasets.steps import REGISTRY, Augmentation, Dice, Transform
from napari_caked.errors import DatasetError

__all__ = ["Recipe", "known_steps", "step_from"]

_VERSION = 1
_PARTNERS = ("target", "twin")
_KEYS = {"version", "partner", "transforms", "augmentations"}


@dataclass(frozen=True)
class Recipe:
    """Transforms, then augmentations, in their order.

    Attributes
    ----------
    transforms
        Steps without chance: the same for every epoch, and what a store of prepared items may hold.
    augmentations
        Steps with chance, and transforms that have to come after them (a last normalisation).
    partner
        What the partner is. A ``"target"`` (a model's map, a mask of weights) goes with the image where it is moved,
        but sees no noise and no optics; a ``"twin"`` (the other half map) sees all that the image does, with noise of
        its own.
    """

    transforms: tuple[Transform, ...] = ()
    augmentations: tuple[Augmentation | Transform, ...] = ()
    partner: str = "target"

    def __post_init__(self) -> None:
        for kind in ("transforms", "augmentations"):
            object.__setattr__(self, kind, tuple(getattr(self, kind)))
        for step in self.transforms:
            if isinstance(step, Augmentation):
                raise DatasetError(f"{type(step).__name__} has chance in it; it belongs to the augmentations")
        for step in (*self.transforms, *self.augmentations):
            if not isinstance(step, Transform | Augmentation):
                raise DatasetError(f"{step!r} is no step; give one of {', '.join(known_steps())}")
        if self.partner not in _PARTNERS:
            raise DatasetError(f"partner is {self.partner!r}; give one of {', '.join(_PARTNERS)}")

    def prepare(self, sample: Sample) -> Sample:
        """After the transforms."""
        canvas = Canvas.of(sample, twins=self.partner == "twin")
        self._transform(canvas)
        return canvas.sample()

    def augment(self, sample: Sample, *, seed: int, epoch: int, index: int, pool: Pool | None = None) -> Sample:
        """A prepared sample after the augmentations."""
        canvas = Canvas.of(sample, twins=self.partner == "twin", pool=pool)
        self._augment(canvas, seed, epoch, index)
        return canvas.sample()

    def apply(self, sample: Sample, *, seed: int, epoch: int, index: int, pool: Pool | None = None) -> Sample:
        """After all steps.

        Parameters
        ----------
        seed, epoch, index
            Of the training, the turn through the data, and the item in its data set; not negative. The result is the
            same for the same three, in whatever worker, order or batch, and on whatever device but for rounding.
        pool
            What is mixed in, where a step does that.
        """
        canvas = Canvas.of(sample, twins=self.partner == "twin", pool=pool)
        self._transform(canvas)
        self._augment(canvas, seed, epoch, index)
        return canvas.sample()

    def _transform(self, canvas: Canvas) -> None:
        for step in self.transforms:
            step.work(canvas)

    def _augment(self, canvas: Canvas, seed: int, epoch: int, index: int) -> None:
        for position, step in enumerate(self.augmentations):
            if isinstance(step, Augmentation):
                # Dice of its own for each step: what one draws does not change what the next one draws.
                step.roll(canvas, Dice(seed, epoch, index, position))
            else:
                step.work(canvas)

    def to_json(self) -> str:
        """Names and parameters of all steps."""
        steps = {kind: [_description(step) for step in getattr(self, kind)] for kind in ("transforms", "augmentations")}
        return json.dumps({"version": _VERSION, "partner": self.partner} | steps, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """The recipe that :meth:`to_json` wrote, or a person.

        Raises
        ------
        DatasetError
            It is no recipe, or names a step or a parameter that does not exist.
        """
        try:
            content = json.loads(text)
        except ValueError as error:
            raise DatasetError(f"the recipe is no JSON: {error}") from error
        if not isinstance(content, dict) or content.keys() - _KEYS:
            keys = sorted(content.keys() - _KEYS) if isinstance(content, dict) else type(content).__name__
            raise DatasetError(f"the recipe has {keys}; it is an object with the keys {', '.join(sorted(_KEYS))}")
        if content.get("version", _VERSION) != _VERSION:
            raise DatasetError(f"the recipe is of version {content['version']}; this program knows version {_VERSION}")
        steps = {kind: tuple(_steps(content.get(kind, []), kind)) for kind in ("transforms", "augmentations")}
        return cls(partner=content.get("partner", "target"), **steps)


def known_steps() -> list[str]:
    """Names of all steps a recipe may have."""
    return sorted(REGISTRY)


def step_from(name: str, parameters: Mapping[str, Any] | None = None) -> Transform | Augmentation:
    """A step by its name.

    Raises
    ------
    DatasetError
        There is no such step or parameter, or a value cannot be; the message names those that exist.
    """
    if name not in REGISTRY:
        raise DatasetError(f"there is no step {name!r}; there are {', '.join(known_steps())}")
    step, given = REGISTRY[name], dict(parameters or {})
    known = {entry.name: entry for entry in fields(step)}
    if unknown := sorted(given.keys() - known.keys()):
        raise DatasetError(f"{name} has no parameter {', '.join(unknown)}; it has {', '.join(known) or 'none'}")
    needed = {key for key, entry in known.items() if entry.default is MISSING and entry.default_factory is MISSING}
    if missing := sorted(needed - given.keys()):
        raise DatasetError(f"{name} needs {', '.join(missing)}")
    hints = get_type_hints(step)
    values = {key: _frozen(value) for key, value in given.items()}
    for key, value in values.items():
        if not _fits(value, hints[key]):
            raise DatasetError(f"{name}: {key} is {given[key]!r}, and should be {known[key].type}")
    return step(**values)


def _steps(content: object, kind: str) -> Iterable[Any]:
    if not isinstance(content, list):
        raise DatasetError(f"the {kind} of a recipe are a list, not {content!r}")
    for entry in content:
        if not isinstance(entry, dict) or "name" not in entry or entry.keys() - {"name", "parameters"}:
            raise DatasetError(f'a step of a recipe is {{"name": …, "parameters": {{…}}}}, not {entry!r}')
        if not isinstance(entry.get("parameters", {}), dict):
            raise DatasetError(f"{entry['name']}: its parameters are an object, not {entry['parameters']!r}")
        yield step_from(entry["name"], entry.get("parameters"))


def _description(step: Any) -> dict[str, Any]:
    name = type(step).__name__
    if REGISTRY.get(name) is not type(step):
        raise DatasetError(f"{name} is not registered, and nobody could read it back; put @register before its class")
    return {"name": name, "parameters": asdict(step)}


def _frozen(value: Any) -> Any:
    return tuple(_frozen(entry) for entry in value) if isinstance(value, list | tuple) else value


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is what an annotation says."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        if not isinstance(value, tuple):
            return False
        if inner[-1] is Ellipsis:
            return all(_fits(entry, inner[0]) for entry in value)
        return len(value) == len(inner) and all(map(_fits, value, inner))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, type(None) if hint is None else hint)
