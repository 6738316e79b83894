"""Patches for training, cut on the device: all of a batch by one indexing operation, none by a Python loop.

The micrographs lie in one buffer, each with a mirrored rim. A patch is the place of its middle in the buffer plus a
table of distances, and there are eight such tables: turning a patch costs nothing. Drawing never asks the device for a
value, so that it can run ahead of Python.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from napari_caked.datasets.labels import disc_area
from napari_caked.errors import LabelsError

__all__ = ["PatchSource", "jittered"]


class PatchSource:
    """Random patches around labelled, unlabelled and labelled negative pixels.

    A pixel within the label radius of a label is labelled; all the others that show specimen are unlabelled. A pixel
    that lies near a label as well as near a negative is none of the three.

    Parameters
    ----------
    images
        Working images ``(y, x)``, of whatever sizes; kept in half precision.
    valid
        ``(y, x)`` bool for each: pixels that show specimen. No patch is centred on another one.
    labels, negatives
        For each image ``(n, 2)`` (y, x) of particles, and of places that are none.
    width
        Side of a patch, an odd number.
    radius
        Label radius in working pixels.
    expected_particles
        Particles per micrograph, the labelled ones included.
    device
        Where the images live and the patches are cut.
    seed
        Of all draws; they depend on the kind of device as well.

    Attributes
    ----------
    prior
        Expected share of particle pixels among the unlabelled ones: labelled pixels are taken out of the area and out
        of the expected particles.
    labelled, unlabelled, negative
        Number of pixels of each kind.
    generator
        Source of all randomness, on the device.

    Raises
    ------
    LabelsError
        There are no labelled pixels, no unlabelled ones, or the expected particles would cover most of the area.
    """

    def __init__(
        self,
        images: Sequence[torch.Tensor],
        valid: Sequence[torch.Tensor],
        labels: Sequence[np.ndarray],
        negatives: Sequence[np.ndarray] | None = None,
        *,
        width: int,
        radius: float,
        expected_particles: float,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        self.width, self.device = width, torch.device(device)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        reach = width // 2
        row = max((image.shape[1] for image in images), default=0) + 2 * reach
        strips, kinds = [], []
        for i, (image, shown) in enumerate(zip(images, valid, strict=True)):
            strips.append(_with_rim(image.to(self.device, torch.float16), reach, row))
            others = negatives[i] if negatives is not None else np.empty((0, 2))
            kinds.append(_kinds(shown.cpu().numpy(), labels[i], others, radius, reach, row))
        if not strips:
            raise LabelsError("there are no micrographs to cut patches from")
        self._pixels = torch.cat(strips).flatten()
        places = np.concatenate(kinds).ravel()
        self._labelled, self._unlabelled, self._negative = (
            _indices(places == kind).to(self.device) for kind in (_LABELLED, _FREE, _NEGATIVE)
        )
        self.labelled, self.unlabelled, self.negative = map(len, (self._labelled, self._unlabelled, self._negative))
        self.prior = self._unlabelled_prior(expected_particles * len(strips) * disc_area(radius))
        self._offsets = _turned_offsets(width, row).to(self.device)

    def draw(self, labelled: int, unlabelled: int, negative: int = 0, *, turns: bool = True) -> torch.Tensor:
        """Patches ``(labelled + unlabelled + negative, 1, width, width)`` in half precision, in this order.

        With ``turns``, each is turned by quarters and mirrored at random: no interpolation, which would change the
        noise. Where nobody marked negatives, there are none.
        """
        wanted = [(self._labelled, labelled), (self._unlabelled, unlabelled)]
        if self.negative:
            wanted.append((self._negative, negative))
        middles = torch.cat([places[self._integers(len(places), count)] for places, count in wanted]).long()
        turn = self._integers(len(self._offsets) if turns else 1, len(middles))
        index = middles[:, None] + self._offsets[turn]
        # Three times as fast as indexing with all dimensions at once, and every device can do it.
        return self._pixels.index_select(0, index.flatten()).view(-1, 1, self.width, self.width)

    def _integers(self, below: int, count: int) -> torch.Tensor:
        return torch.randint(below, (count,), generator=self.generator, device=self.device)

    def _unlabelled_prior(self, expected_pixels: float) -> float:
        if not self.labelled:
            raise LabelsError("no label lies where the micrographs show specimen; mark some particles there")
        if not self.unlabelled:
            raise LabelsError("the labels cover the micrographs; check the particle diameter")
        # Where labels outnumber the expectation, some particles are taken to be unlabelled still: prior zero would
        # forbid to find anything new.
        prior = max(expected_pixels - self.labelled, 0.1 * self.labelled) / self.unlabelled
        if prior > 0.5:
            raise LabelsError(
                "the expected particles would cover more than half of what the micrographs show; check the diameter "
                "and the expected number of particles"
            )
        return prior


def jittered(
    patches: torch.Tensor, contrast: float, brightness: float, noise: float, generator: torch.Generator
) -> torch.Tensor:
    """Patches ``(n, 1, y, x)`` with random contrast and brightness each, and noise in each pixel."""

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=patches.device, dtype=patches.dtype)

    count = len(patches)
    if contrast:
        patches = patches * (1 + contrast * normal(count, 1, 1, 1))
    if brightness:
        patches = patches + brightness * normal(count, 1, 1, 1)
    return patches + noise * normal(*patches.shape) if noise else patches


_NONE, _FREE, _LABELLED, _NEGATIVE = range(4)


def _with_rim(image: torch.Tensor, reach: int, row: int) -> torch.Tensor:
    """``(y + 2 reach, row)``: the image, mirrored beyond its edges, and zeros to fill the rows."""
    # Mirrored, but never by more than there is to mirror.
    mode = "reflect" if min(image.shape) > reach else "replicate"
    rimmed = F.pad(image[None, None], (reach,) * 4, mode=mode)[0, 0]
    return F.pad(rimmed, (0, row - rimmed.shape[1]))


def _kinds(
    valid: np.ndarray, labels: np.ndarray, negatives: np.ndarray, radius: float, reach: int, row: int
) -> np.ndarray:
    """``(y + 2 reach, row)`` uint8: of which kind each pixel of a strip is."""
    labelled, negative = (_discs(valid.shape, points, radius) for points in (labels, negatives))
    kinds = np.full(valid.shape, _FREE, np.uint8)
    kinds[labelled], kinds[negative] = _LABELLED, _NEGATIVE
    kinds[(labelled & negative) | ~valid] = _NONE
    fill = row - valid.shape[1] - reach
    return np.pad(kinds, ((reach, reach), (reach, fill)), constant_values=_NONE)


def _indices(chosen: np.ndarray) -> torch.Tensor:
    """Where ``(n,)`` bool is true, in half the memory where the numbers allow it."""
    places = np.flatnonzero(chosen)
    return torch.from_numpy(places.astype(np.int32) if len(chosen) < 2**31 else places)


def _discs(shape: tuple[int, ...], points: np.ndarray, radius: float) -> np.ndarray:
    """``shape`` bool: pixels within ``radius`` of a point, and each point's own."""
    marked = np.zeros(shape, bool)
    for y, x in points:
        top, left = max(int(y - radius), 0), max(int(x - radius), 0)
        window = marked[top : max(int(y + radius) + 2, 0), left : max(int(x + radius) + 2, 0)]
        rows = np.arange(top, top + window.shape[0])[:, None]
        columns = np.arange(left, left + window.shape[1])
        window |= (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        window |= (rows == round(y)) & (columns == round(x))
    return marked


def _turned_offsets(width: int, row: int) -> torch.Tensor:
    """``(8, width²)``: distances in the buffer from a patch's middle to its pixels, for the eight ways to turn it."""
    steps = torch.arange(width) - width // 2
    offsets = steps[:, None] * row + steps
    turned = [torch.rot90(offsets, quarters) for quarters in range(4)]
    return torch.stack([one.flatten() for way in turned for one in (way, way.flip(-1))])
