"""The working image: what training and picking see of a micrograph."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from napari_caked.errors import DiameterError, MicrographError
from napari_caked.preprocess.normalize import flatten_background, normalize
from napari_caked.preprocess.rescale import Rescaling, rescale
from napari_caked.preprocess.valid import fill_invalid, invalid_pixels, outlier_bounds, valid_on
from napari_caked.settings import PreprocessSettings

__all__ = ["PreprocessSettings", "WorkingImage", "prepare"]

_DEFAULTS = PreprocessSettings()

#: A micrograph of which less than this share shows specimen has no background to be normalised by.
_LEAST_VALID = 0.1
#: Small particles are enlarged, but to no more than so many times the micrograph's pixels,
_MOST_ENLARGED = 2.0
#: unless the whole has fewer pixels than this.
_ALWAYS_ALLOWED = 2048**2


@dataclass(frozen=True)
class WorkingImage:
    """A prepared micrograph.

    Attributes
    ----------
    image
        ``(y, x)`` float32 or float16: background about 0 with standard deviation 1; 0 where not ``valid``.
    rescaling
        From micrograph pixels to working pixels and back.
    valid
        ``(y, x)`` bool: pixels that show specimen; false on blank borders, dead columns and other flat or missing
        regions. No statistic, label or pick comes from the others.
    """

    image: torch.Tensor
    rescaling: Rescaling
    valid: torch.Tensor

    def half(self) -> WorkingImage:
        """The same with a float16 image: half the memory; values lie within +-6 and err by 0.002 at most."""
        return replace(self, image=self.image.half())


def prepare(
    micrograph: np.ndarray,
    name: str,
    particle_diameter: float,
    pixel_size: float,
    settings: PreprocessSettings = _DEFAULTS,
    device: torch.device | str = "cpu",
) -> WorkingImage:
    """Rescale, flatten and normalise one micrograph.

    Parameters
    ----------
    micrograph
        ``(y, x)`` in any real type.
    name
        For messages.
    particle_diameter
        Å.
    pixel_size
        Å per pixel of ``micrograph``.
    settings
        How.
    device
        Where the result lives.

    Raises
    ------
    DiameterError
        The particle is larger than half the micrograph, or narrower than three pixels, or so narrow that enlarging the
        micrograph to the working width would take more memory than is sensible.
    MicrographError
        All pixels are equal, most are not finite, hardly any show specimen, or the values are complex.
    """
    factor = _checked_factor(micrograph, name, particle_diameter, pixel_size, settings)
    plan = Rescaling.plan((micrograph.shape[0], micrograph.shape[1]), factor)
    # Single bright pixels (X-rays, hot pixels) ring through a Fourier crop; nothing in a specimen is 8 deviations off.
    bounds = outlier_bounds(micrograph)
    invalid = invalid_pixels(micrograph, bounds)
    valid = None
    if invalid is not None:
        on_grid = valid_on(plan, invalid)
        if on_grid.mean() < _LEAST_VALID:
            raise MicrographError(
                f"{name}: only {on_grid.mean():.0%} of it shows specimen, the rest is padding, blanked or dead; leave "
                "this micrograph out"
            )
        micrograph = fill_invalid(micrograph, invalid)
        bounds = outlier_bounds(micrograph)
        valid = None if on_grid.all() else torch.from_numpy(on_grid).to(device)
    small = rescale(micrograph, plan, bounds, device).float()
    small = flatten_background(small, settings.background_width * settings.particle_width, valid)
    small = normalize(small, settings.normalization, valid).clamp(-6, 6)
    if valid is None:
        return WorkingImage(small, plan, torch.ones_like(small, dtype=torch.bool))
    return WorkingImage(small * valid, plan, valid)


def _checked_factor(
    micrograph: np.ndarray, name: str, particle_diameter: float, pixel_size: float, settings: PreprocessSettings
) -> float:
    """Micrograph pixels per working pixel, where all is well; see :func:`prepare` for the errors."""
    if np.iscomplexobj(micrograph):
        raise MicrographError(f"{name}: complex values are no picture; transform it to real space first")
    width = particle_diameter / pixel_size
    particle = f"{name}: a particle of {particle_diameter:g} Å is"
    if not width < min(micrograph.shape) / 2:
        raise DiameterError(
            f"{particle} {width:.0f} pixels wide at {pixel_size:g} Å per pixel, more than half the micrograph "
            f"({micrograph.shape[1]} x {micrograph.shape[0]}); check diameter and pixel size"
        )
    if width < 3:
        raise DiameterError(
            f"{particle} only {width:.1f} pixels wide at {pixel_size:g} Å per pixel; check diameter and pixel size"
        )
    factor = width / settings.particle_width
    pixels = micrograph.size / factor**2
    if pixels > max(_MOST_ENLARGED * micrograph.size, _ALWAYS_ALLOWED):
        raise DiameterError(
            f"{particle} only {width:.1f} pixels wide at {pixel_size:g} Å per pixel; enlarged until it is "
            f"{settings.particle_width:g} pixels wide, the micrograph ({micrograph.shape[1]} x {micrograph.shape[0]}) "
            f"would take {pixels / 1e6:.0f} megapixels; check diameter and pixel size, or cut the micrograph into parts"
        )
    low, high = micrograph.min(), micrograph.max()
    if low == high:
        raise MicrographError(f"{name}: all pixels have the value {float(high):g}; leave this micrograph out")
    if not (np.isfinite(low) and np.isfinite(high)) and np.isfinite(micrograph).mean() < 0.5:
        raise MicrographError(f"{name}: more than half of the pixels are NaN or infinite; leave this micrograph out")
    return factor
