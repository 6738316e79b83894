"""Band-limited resampling and filtering of volumes: Fourier crop, Fourier pad, radial filters.

Voxel 0 stays where it is: the voxel i of a map resampled from n to m voxels lies where voxel i n / m was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["filtered", "resampled", "squared_frequencies"]


def resampled(data: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Volume with another number of voxels over the same box, by cropping or padding its Fourier transform.

    Parameters
    ----------
    data
        (z, y, x) float32; taken as one period.
    shape
        Voxels wanted along z, y, x.

    Returns
    -------
    numpy.ndarray
        float32 of that shape. Padding and cropping back gives the volume again.
    """
    from scipy import fft

    # Axis by axis, the last first: memory never holds more than the volume and one spectrum of it.
    for axis, wanted in sorted(enumerate(shape), reverse=True):
        size = data.shape[axis]
        if size == wanted:
            continue
        spectrum = np.moveaxis(fft.rfft(data, axis=axis), axis, 0)
        kept = np.zeros((wanted // 2 + 1, *spectrum.shape[1:]), dtype=spectrum.dtype)
        shared = min(size, wanted)
        kept[: shared // 2 + 1] = spectrum[: shared // 2 + 1]
        if shared % 2 == 0:
            # The frequency ±Nyquist is one number of an even period, and two halves within a longer one.
            kept[shared // 2] *= 0.5 if wanted > size else 2.0
        data = fft.irfft(np.moveaxis(kept, 0, axis), wanted, axis=axis)
        data *= np.float32(wanted / size)
    return np.ascontiguousarray(data, dtype=np.float32)


def filtered(data: np.ndarray, voxel_size: float, response: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Volume times a radial function in Fourier space.

    Parameters
    ----------
    data
        (z, y, x) float32.
    voxel_size
        Å.
    response
        From the squared frequency s² in 1/Å² to the factor there.

    Returns
    -------
    numpy.ndarray
        float32, the shape of ``data``.
    """
    from scipy import fft

    spectrum = fft.rfftn(data)
    spectrum *= response(squared_frequencies(data.shape, voxel_size)).astype(np.float32)
    return np.asarray(fft.irfftn(spectrum, data.shape), dtype=np.float32)


def squared_frequencies(shape: Sequence[int], voxel_size: float) -> np.ndarray:
    """s² of each element of the real Fourier transform of a volume of this shape, float32, 1/Å²."""
    z, y = (np.fft.fftfreq(size, voxel_size).astype(np.float32) ** 2 for size in shape[:2])
    x = np.fft.rfftfreq(shape[2], voxel_size).astype(np.float32) ** 2
    return z[:, None, None] + y[:, None] + x
