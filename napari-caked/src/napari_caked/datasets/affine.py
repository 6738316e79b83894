"""Pulling an image through an affine map about voxel n // 2, such that white noise stays white.

Linear interpolation averages neighbours, and noise loses up to 70 % of its variance, most of it at high frequencies: a
cue from which a network learns what was turned and what was not. What is lost follows from the map alone, and one
multiplication in Fourier space gives it back (:func:`whitening`). Turning a square picture needs no interpolation at
all (:func:`sheared`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from napari_caked.datasets.cropping import mirrored_index, resized
from napari_caked.datasets.frequencies import axis_frequencies, raised_cosine

__all__ = ["pulled", "pulled_labels", "pulled_points", "sheared", "whitening"]

#: Nodes for the fractions of a pixel at which an image is read.
_NODES = 16
#: Share by which fractions of a pixel may occur more or less often than others, and still be called even.
_UNEVEN = 0.02
#: Pixels at least over which a picture fades beyond what is turned into view.
_FADE = 6
#: Less of the power than this is not given back: a guard against dividing by nothing.
_FLOOR = 0.01


def pulled(images: Sequence[torch.Tensor], matrix: torch.Tensor) -> list[torch.Tensor]:
    """Images of one shape, linearly interpolated at ``matrix @ (voxel - n // 2) + n // 2``, mirrored beyond the edge.

    Twice as fast as ``grid_sample`` on one thread, and in two dimensions as in three.
    """
    shape, device = images[0].shape, images[0].device
    places = _source(shape, matrix, device)
    steps = [math.prod(n + 1 for n in shape[axis + 1 :]) for axis in range(len(shape))]
    whole = [place.floor() for place in places]
    # float32 counts to 2^24 without gaps, and is faster than integers as long as that is enough.
    exact = torch.float32 if math.prod(n + 1 for n in shape) < 2**24 else torch.float64
    index = whole[0].to(exact) * steps[0]
    for one, step in zip(whole[1:], steps[1:], strict=True):
        index.add_(one, alpha=step)
    index = index.to(torch.int32 if exact is torch.float32 else torch.int64).flatten()
    shares = [place.sub_(one) for place, one in zip(places, whole, strict=True)]
    return [_interpolated(image, index, shares, steps) for image in images]


def pulled_labels(labels: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Labels at the nearest voxel of where :func:`pulled` reads."""
    places = _source(labels.shape, matrix, labels.device)
    return labels[tuple(place.round_().long() for place in places)]


def pulled_points(points: torch.Tensor, matrix: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Where points are found after :func:`pulled`."""
    centre = torch.tensor([n // 2 for n in shape], dtype=torch.float64)
    moved = (points.double().cpu() - centre) @ torch.linalg.inv(matrix.double()).T + centre
    return moved.to(points.dtype).to(points.device)


def whitening(shape: tuple[int, ...], matrix: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Factor on the grid of ``rfftn`` that makes white noise white again after :func:`pulled`.

    Two read places that are t apart along an axis, the first at the fraction f between two pixels, share
    ``b(f, t) = sum_j tri(f - j) tri(f + t - j)`` of the noise. The average over all places in the image is the
    autocorrelation of the interpolated noise, which reaches a few pixels; its Fourier transform is the power that is
    left, and the factor is one over its root. The signal's amplitude comes back as well, but for the part of the power
    that interpolation has folded from beyond the Nyquist frequency.

    Parameters
    ----------
    matrix
        As in :func:`pulled`. Fractions are taken to be independent from axis to axis; where they are far from even
        (turns of a few degrees), only the variance is computed without that.
    """
    axes = len(shape)
    matrix = matrix.double()
    reach = math.ceil(2 * math.sqrt(axes) * float(torch.linalg.matrix_norm(torch.linalg.inv(matrix), 2)))
    reach = min(reach, (min(shape) - 1) // 2)
    near = torch.arange(-reach, reach + 1, dtype=torch.float64)
    apart = torch.stack(torch.meshgrid(*[near] * axes, indexing="ij"), -1) @ matrix.T
    fractions = _fractions(shape, matrix)
    shared = _shared_noise(apart, fractions).prod(dim=-1)
    if float((_NODES * fractions - 1).abs().max()) > _UNEVEN:
        shared[(reach,) * axes] = _variance(shape, matrix)
    power = _cosine_transform(0.5 * (shared + shared.flip(list(range(axes)))), near, shape, device)
    factor = power.clamp_(min=_FLOOR).rsqrt_()
    factor[(0,) * axes] = 1.0  # a constant stays what it is
    return factor


def sheared(images: Sequence[torch.Tensor], angle: float) -> list[torch.Tensor]:
    """Pictures ``(y, x)`` turned as by :func:`pulled` with a rotation of so many radians, by three shears.

    A shear moves each line along itself, which a factor of modulus 1 on its Fourier transform does: no variance is
    lost (Unser, Thevenaz & Yaroslavsky, IEEE Trans. Image Process. 4, 1371 (1995)). Mirrored beyond the edge.
    """
    shape = tuple(images[0].shape)
    # What is cut out in the end has come from within ``reach`` on its way. Beyond it the picture fades to its mean, or
    # the jump from its last line to its first would ring. The size is odd, because the frequency at Nyquist of even
    # lengths has no phase to change.
    reach = math.sqrt(0.5) * max(shape) + 1
    size = _odd_size(math.ceil(2 * reach) + 2 * _FADE)
    distance = (torch.arange(size, device=images[0].device) - size // 2).abs()
    inside = raised_cosine(distance, (reach + size / 2) / 2, size / 2 - reach)
    quarters = round(angle / (math.pi / 2))
    rest = angle - quarters * math.pi / 2
    means = torch.stack([image.mean() for image in images])[:, None, None]
    turned = torch.stack([resized(image, (size, size), 0.0, mirror=True) for image in images]) - means
    turned = turned * inside * inside[:, None]
    turned = torch.rot90(turned, -quarters, (1, 2))
    if rest:
        along, across = math.tan(rest / 2), -math.sin(rest)
        for axis, slope in ((2, along), (1, across), (2, along)):
            turned = _shear(turned, axis, slope)
    return [resized(image, shape, 0.0, mirror=True) for image in turned + means]


def _source(shape: Sequence[int], matrix: torch.Tensor, device: torch.device | str) -> list[torch.Tensor]:
    """Where each voxel is read, one tensor for each axis, within the image."""
    axes = [torch.arange(n, device=device, dtype=torch.float32) - n // 2 for n in shape]
    axes = [one.reshape([-1 if i == j else 1 for j in range(len(shape))]) for i, one in enumerate(axes)]
    places = []
    for row, n in zip(matrix.tolist(), shape, strict=True):
        parts = [one * share for one, share in zip(axes, row, strict=True)]
        place = sum(parts[:-1], parts[-1] + n // 2)
        beyond = sum(abs(share) * (m // 2 + 1) for share, m in zip(row, shape, strict=True)) + n // 2
        if beyond < 2 * (n - 1):
            # One reflection at each edge is enough, and three passes in place do it.
            places.append(place.abs_().sub_(n - 1).abs_().neg_().add_(n - 1))
        else:
            places.append(mirrored_index(place, n))
    return places


def _interpolated(
    image: torch.Tensor, index: torch.Tensor, shares: Sequence[torch.Tensor], steps: Sequence[int]
) -> torch.Tensor:
    # One voxel more at each far edge, so that all neighbours exist; their share is zero.
    flat = torch.nn.functional.pad(image, (0, 1) * image.ndim).flatten()

    def between(axis: int, offset: int) -> torch.Tensor:
        if axis == image.ndim:
            return flat[offset:].index_select(0, index).view(shares[0].shape)
        return between(axis + 1, offset).lerp_(between(axis + 1, offset + steps[axis]), shares[axis])

    return between(0, 0)


def _shared_noise(apart: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """``b(f, t)`` of each axis (last of ``apart``) averaged over f, whose nodes have weights ``(axis, node)``."""
    f = torch.arange(_NODES, dtype=apart.dtype) / _NODES
    reached = apart[..., None] + f
    first, second = ((1 - one.abs_()).clamp_(min=0) for one in (reached - 1, reached))
    return (second.mul_((1 - f) * weights) + first.mul_(f * weights)).sum(dim=-1)


def _fractions(shape: Sequence[int], matrix: torch.Tensor) -> torch.Tensor:
    """How often each fraction of a pixel occurs along each axis of the source: ``(axis, node)``, at nodes k / 16.

    From its Fourier coefficients, which are products over the axes because the read places are a lattice.
    """
    harmonics = torch.arange(_NODES, dtype=matrix.dtype) - _NODES // 2
    coefficients = torch.ones((len(shape), _NODES), dtype=torch.complex128)
    for column, n in zip(matrix.T, shape, strict=True):
        places = torch.arange(n, dtype=matrix.dtype) - n // 2
        angles = (2 * math.pi * torch.outer(column, harmonics))[..., None] * places
        coefficients *= torch.complex(angles.cos().mean(dim=-1), angles.sin().mean(dim=-1))
    return torch.fft.fft(torch.fft.ifftshift(coefficients, dim=1)).real / _NODES


def _variance(shape: tuple[int, ...], matrix: torch.Tensor) -> float:
    """Mean variance of interpolated white noise, over all voxels."""
    left = torch.ones(shape)
    for place in _source(shape, matrix, "cpu"):
        f = place - place.floor()
        left *= 1 - 2 * f + 2 * f * f
    return float(left.double().mean())


def _cosine_transform(
    shared: torch.Tensor, near: torch.Tensor, shape: tuple[int, ...], device: torch.device | str
) -> torch.Tensor:
    """Fourier transform, on the grid of ``rfftn``, of an even function that reaches a few pixels."""
    waves = shared.to(torch.complex64).to(device)
    frequencies = [one.flatten() for one in axis_frequencies(shape, (1.0,) * len(shape), device)]
    angles = [2 * math.pi * torch.outer(one, near.float().to(device)) for one in frequencies]
    for axis in range(len(shape) - 1, 0, -1):
        turn = torch.polar(torch.ones_like(angles[axis]), angles[axis])
        waves = torch.tensordot(waves, turn, dims=([axis], [1])).movedim(-1, axis)
    # The sum is real: its last and largest step does without the imaginary part.
    flat = torch.view_as_real(waves.reshape(len(near), -1))
    power = angles[0].cos() @ flat[..., 0] - angles[0].sin() @ flat[..., 1]
    return power.reshape(shape[0], *waves.shape[1:])


def _shear(images: torch.Tensor, axis: int, slope: float) -> torch.Tensor:
    size = images.shape[axis]
    offset = slope * (torch.arange(size, device=images.device, dtype=torch.float32) - size // 2)
    waves = torch.fft.rfft(images, dim=axis)
    angles = 2 * math.pi * torch.outer(offset, torch.fft.rfftfreq(size, device=images.device))
    phases = torch.polar(torch.ones_like(angles), angles)
    return torch.fft.irfft(waves * (phases if axis == 2 else phases.T), n=size, dim=axis)


def _odd_size(least: int) -> int:
    """The smallest odd number from ``least`` on that is quick to transform."""
    size = least | 1
    while True:
        rest = size
        for prime in (3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2
