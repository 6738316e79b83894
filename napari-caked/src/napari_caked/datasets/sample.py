"""An item as PyTorch tensors, and as it is worked on: in real or in Fourier space, whichever the next step wants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from napari_caked.datasets.items import UNLABELLED, Item, Record
from napari_caked.errors import DatasetError

__all__ = ["Canvas", "Picture", "Pool", "Sample"]


@dataclass(frozen=True)
class Sample:
    """An item on a device.

    Attributes
    ----------
    record
        What is known without the pixels; its shape is that of ``image``.
    image
        ``(y, x)`` or ``(z, y, x)`` float32.
    mask
        Integer labels of the same shape, or None.
    points
        ``(n, 2)`` or ``(n, 3)`` float32 places in pixels, centres at integers, or None.
    partner
        float32 of the same shape that goes with the image, or None.
    other_label, other_share
        Label of what was mixed into it, and its share of the label; share 0 where nothing was.
    """

    record: Record
    image: torch.Tensor
    mask: torch.Tensor | None = None
    points: torch.Tensor | None = None
    partner: torch.Tensor | None = None
    other_label: int = UNLABELLED
    other_share: float = 0.0

    def __post_init__(self) -> None:
        for kind in ("image", "mask", "partner"):
            tensor = getattr(self, kind)
            if tensor is not None and tuple(tensor.shape) != tuple(self.record.shape):
                raise DatasetError(f"{self.name}: its {kind} is {tuple(tensor.shape)}, not {self.record.shape}")
        if self.points is not None and tuple(self.points.shape[1:]) != (self.image.ndim,):
            raise DatasetError(f"{self.name}: points are {tuple(self.points.shape)}, not (n, {self.image.ndim})")

    @classmethod
    def of(cls, item: Item, device: torch.device | str = "cpu") -> Sample:
        """The same item on a device; its arrays are copied."""
        return cls(
            item.record,
            _tensor(item.image, np.float32, device),
            None if item.mask is None else _tensor(item.mask, np.int64, device),
            None if item.points is None else _tensor(item.points, np.float32, device),
            None if item.partner is None else _tensor(item.partner, np.float32, device),
        )

    @classmethod
    def from_array(
        cls,
        image: np.ndarray | torch.Tensor,
        voxel_size: float | tuple[float, ...] | None = None,
        *,
        name: str = "image",
        mask: np.ndarray | None = None,
        points: np.ndarray | None = None,
        partner: np.ndarray | None = None,
        device: torch.device | str = "cpu",
    ) -> Sample:
        """A sample of an array alone; ``voxel_size`` in Å, one number for all axes or one for each."""
        array = np.asarray(image.cpu() if isinstance(image, torch.Tensor) else image)
        sizes = (float(voxel_size),) * array.ndim if isinstance(voxel_size, int | float) else voxel_size
        return cls.of(Item(Record(name, UNLABELLED, name, array.shape, sizes), array, mask, points, partner), device)

    def item(self, record: Record | None = None) -> Item:
        """Back to numpy, with the sample's record or another."""

        def array(tensor: torch.Tensor | None) -> np.ndarray | None:
            return None if tensor is None else tensor.detach().cpu().numpy()

        image = self.image.detach().cpu().numpy()
        return Item(record or self.record, image, array(self.mask), array(self.points), array(self.partner))

    @property
    def name(self) -> str:
        """Of the item, for messages."""
        return self.record.name

    @property
    def voxel_size(self) -> tuple[float, ...] | None:
        """Å along each axis, or None where nobody knows."""
        return self.record.voxel_size


@dataclass(frozen=True)
class Pool:
    """What augmentations mix into a sample; sequences are read by index, and may read lazily.

    Attributes
    ----------
    others
        Samples of the same data set, for mixup.
    backgrounds
        Pictures without particles, not smaller than the samples.
    """

    others: Sequence[Sample] = ()
    backgrounds: Sequence[Sample] = ()


class Picture:
    """Pixels or their Fourier transform, whichever was set last; the other one is made when somebody asks for it."""

    def __init__(self, pixels: torch.Tensor) -> None:
        self._pixels: torch.Tensor | None = pixels
        self._waves: torch.Tensor | None = None
        self._shape = tuple(pixels.shape)
        self.device = pixels.device

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the pixels."""
        return self._shape

    @property
    def pixels(self) -> torch.Tensor:
        """``(y, x)`` or ``(z, y, x)`` float32. To be replaced, not to be written into."""
        if self._pixels is None:
            assert self._waves is not None
            self._pixels = torch.fft.irfftn(self._waves, s=self._shape)
        return self._pixels

    @pixels.setter
    def pixels(self, pixels: torch.Tensor) -> None:
        self._pixels, self._waves, self._shape = pixels, None, tuple(pixels.shape)

    @property
    def waves(self) -> torch.Tensor:
        """``(…, x // 2 + 1)``: what ``rfftn`` makes of the pixels. To be replaced, not to be written into."""
        if self._waves is None:
            assert self._pixels is not None
            self._waves = torch.fft.rfftn(self._pixels)
        return self._waves

    @waves.setter
    def waves(self, waves: torch.Tensor) -> None:
        self._waves, self._pixels = waves, None

    def deviation(self) -> float:
        """Standard deviation of the pixels, from their Fourier transform where that is at hand (Parseval's theorem)."""
        if self._pixels is not None:
            pixels = self._pixels - self._pixels.mean()
            return float(torch.linalg.vector_norm(pixels)) / pixels.numel() ** 0.5
        waves, size = self.waves, self._shape[-1]
        # Frequencies stand for their negatives as well, but for those of the first and, if even, the last plane.
        parts = torch.view_as_real(waves)
        power = 2 * _energy(parts.reshape(-1)[2:]) - _energy(parts[..., 0, :].reshape(-1)[2:])
        if size % 2 == 0:
            power -= _energy(parts[..., size // 2, :])
        return max(power, 0.0) ** 0.5 / math.prod(self._shape)

    def filter(self, transfer: torch.Tensor) -> None:
        """Multiply the Fourier transform, in place."""
        self.waves = self.waves.mul_(transfer)


@dataclass
class Canvas:
    """A sample while steps work on it, one after the other.

    Attributes
    ----------
    record
        Of the sample; its shape and voxel size are those of the pictures.
    pictures
        The image, and its partner where it has one.
    mask, points
        As in the sample.
    twins
        Whether the partner sees what the image sees (noise, optics), and not only the same geometry.
    pool
        What may be mixed in.
    """

    record: Record
    pictures: list[Picture]
    mask: torch.Tensor | None
    points: torch.Tensor | None
    twins: bool = False
    pool: Pool = field(default_factory=Pool)
    other_label: int = UNLABELLED
    other_share: float = 0.0

    @classmethod
    def of(cls, sample: Sample, *, twins: bool = False, pool: Pool | None = None) -> Canvas:
        """Put a sample on the canvas; it is not changed by what happens there."""
        pictures = [Picture(pixels) for pixels in (sample.image, sample.partner) if pixels is not None]
        other = (sample.other_label, sample.other_share)
        return cls(sample.record, pictures, sample.mask, sample.points, twins, pool or Pool(), *other)

    def sample(self) -> Sample:
        """What it has become."""
        images = [picture.pixels for picture in self.pictures]
        partner = images[1] if len(images) > 1 else None
        record = self.record
        return Sample(record, images[0], self.mask, self.points, partner, self.other_label, self.other_share)

    @property
    def seen(self) -> list[Picture]:
        """The pictures that noise and optics act on."""
        return self.pictures if self.twins else self.pictures[:1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the pictures."""
        return self.pictures[0].shape

    @property
    def device(self) -> torch.device:
        """Of the pictures."""
        return self.pictures[0].device

    @property
    def voxel_size(self) -> tuple[float, ...]:
        """Å along each axis.

        Raises
        ------
        DatasetError
            Nobody knows it.
        """
        if self.record.voxel_size is None:
            raise DatasetError(f"{self.record.name}: its voxel size is not known; give it where the data are read")
        return self.record.voxel_size

    @property
    def spacing(self) -> tuple[float, ...]:
        """The voxel size, or pixels where nobody knows it: for what needs only the ratio of the axes."""
        return self.record.voxel_size or (1.0,) * len(self.shape)

    def place(self, points: torch.Tensor | None) -> None:
        """Take points, without those outside the pictures."""
        if points is not None:
            size = torch.tensor(self.shape, dtype=points.dtype, device=points.device)
            points = points[((points >= -0.5) & (points < size - 0.5)).all(dim=1)]
        self.points = points

    def resize(self, voxel_size: tuple[float, ...] | None) -> None:
        """Take the pictures' new shape, and a voxel size, into the record."""
        self.record = replace(self.record, shape=self.shape, voxel_size=voxel_size)


def _energy(values: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(values)) ** 2


def _tensor(array: np.ndarray, kind: type, device: torch.device | str) -> torch.Tensor:
    # A copy: an array may be read-only, of foreign byte order or flipped, which tensors cannot be.
    return torch.from_numpy(np.array(array, kind)).to(device)
