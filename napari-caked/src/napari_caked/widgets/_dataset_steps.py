"""The steps that a recipe may have, told so that a form can be made of them. Needs PyTorch, and runs in the helper."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import MISSING, Field, fields
from typing import Any, get_type_hints

from napari_caked.widgets._dataset_messages import Parameter, StepKind

__all__ = ["step_kinds", "words_of"]

#: Units as the docstrings of the steps have them, those that contain others first.
_UNITS = ("e/Å²", "Å²", "Å", "µm", "degrees", "Degrees", "Per cent", "Pixels", "Voxels")
_SHORT = {"degrees": "°", "Degrees": "°", "Per cent": "%", "Pixels": "px", "Voxels": "px"}
#: Those of parameters that share one line of the docstring with others.
_OF = {"defocus": "µm", "astigmatism": "µm", "angle": "°", "phase_plate": "°"}
_OF |= {"voltage": "kV", "spherical_aberration": "mm", "amplitude_contrast": ""}
#: What a form begins with where a step has no default of its own.
_BEGIN = {"resolution": 10.0, "diameter": 150.0, "voxel_size": 4.0, "shape": 64, "size": 64}
_PROBABILITY = "How often it does anything at all, from 0 to 1."


def step_kinds() -> tuple[StepKind, ...]:
    """All that a form can offer, transforms first; not those that need a measurement (the noise of a spectrum)."""
    from napari_caked.datasets.recipe import known_steps
    from napari_caked.datasets.steps import REGISTRY, Augmentation

    kinds = [_kind(name, REGISTRY[name], issubclass(REGISTRY[name], Augmentation)) for name in known_steps()]
    kinds = [kind for kind in kinds if all(parameter.default for parameter in kind.parameters)]
    return tuple(sorted(kinds, key=lambda kind: (kind.chance, kind.name)))


def _kind(name: str, step: Any, chance: bool) -> StepKind:
    hints, words = get_type_hints(step), words_of(step)
    every = sorted(fields(step), key=lambda entry: entry.name == "probability")
    return StepKind(
        name,
        chance,
        (inspect.getdoc(step) or "").partition("\n\n")[0].replace("\n", " "),
        tuple(_parameter(entry, hints[entry.name], words.get(entry.name, "")) for entry in every),
    )


def _parameter(entry: Field[Any], hint: Any, words: str) -> Parameter:
    from napari_caked.datasets.steps import Range

    kinds = {float: "number", int: "whole", bool: "yes", str: "text", Range: "range"}
    default = _BEGIN.get(entry.name) if entry.default is MISSING else entry.default
    given = entry.default is not MISSING or default is not None
    found = next((unit for unit in _UNITS if re.search(rf"(?<!\w){re.escape(unit)}(?!\w)", words)), "")
    words = _PROBABILITY if entry.name == "probability" else words
    unit = _OF.get(entry.name, _SHORT.get(found, found))
    return Parameter(entry.name, kinds.get(hint, "json"), json.dumps(default) if given else "", unit, words)


def words_of(step: type) -> dict[str, str]:
    """What the docstrings of a class and of what it comes from say of each attribute."""
    words: dict[str, str] = {}
    for cls in reversed(step.__mro__):
        words |= _attributes(inspect.cleandoc(cls.__dict__.get("__doc__") or ""))
    return words


def _attributes(text: str) -> dict[str, str]:
    """The section ``Attributes`` of a numpydoc string; several names on one line share what is said of them."""
    section = re.search(r"^Attributes\n-+\n(.*?)(?=\n\n\S|\Z)", text, re.DOTALL | re.MULTILINE)
    words: dict[str, str] = {}
    names: list[str] = []
    for line in section[1].splitlines() if section else ():
        if line.startswith(" "):
            for name in names:
                words[name] = f"{words[name]} {line.strip()}".strip()
        elif line.strip():
            names = [name.strip() for name in line.split(",")]
            words |= dict.fromkeys(names, "")
    return words
