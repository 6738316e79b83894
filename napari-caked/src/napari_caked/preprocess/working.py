"""The working image: what training and picking see of a micrograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from napari_caked.errors import DiameterError, MicrographError
from napari_caked.preprocess.normalize import flatten_background, normalize
from napari_caked.preprocess.rescale import Rescaling, rescale
from napari_caked.settings import PreprocessSettings

__all__ = ["PreprocessSettings", "WorkingImage", "prepare"]

_DEFAULTS = PreprocessSettings()


@dataclass(frozen=True)
class WorkingImage:
    """A prepared micrograph.

    Attributes
    ----------
    image
        ``(y, x)`` float32: background about 0 with standard deviation 1.
    rescaling
        From micrograph pixels to working pixels and back.
    valid
        ``(y, x)`` bool: pixels that show specimen; false on blank borders, dead columns and other flat or missing
        regions. No statistic, label or pick comes from the others.
    """

    image: torch.Tensor
    rescaling: Rescaling
    valid: torch.Tensor


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
        The particle is larger than half the micrograph, or narrower than three pixels.
    MicrographError
        All pixels are equal, most are not finite, or the values are complex.
    """
    if np.iscomplexobj(micrograph):
        raise MicrographError(f"{name}: complex values are no picture; transform it to real space first")
    width = particle_diameter / pixel_size
    if not width < min(micrograph.shape) / 2:
        raise DiameterError(
            f"{name}: a particle of {particle_diameter:g} Å is {width:.0f} pixels wide at {pixel_size:g} Å per pixel, "
            f"more than half the micrograph ({micrograph.shape[1]} x {micrograph.shape[0]}); check diameter and pixel "
            "size"
        )
    if width < 3:
        raise DiameterError(
            f"{name}: a particle of {particle_diameter:g} Å is only {width:.1f} pixels wide at {pixel_size:g} Å per "
            "pixel; check diameter and pixel size"
        )
    image = torch.from_numpy(np.array(micrograph, np.float32)).to(device)
    finite = torch.isfinite(image)
    if not bool(finite.all()):
        if float(finite.float().mean()) < 0.5:
            raise MicrographError(
                f"{name}: more than half of the pixels are NaN or infinite; leave this micrograph out"
            )
        image = torch.where(finite, image, image[finite].median())
    if float(image.max()) == float(image.min()):
        raise MicrographError(f"{name}: all pixels have the value {float(image.max()):g}; leave this micrograph out")
    # Single bright pixels (X-rays, hot pixels) ring through a Fourier crop; nothing in a specimen is 8 deviations off.
    image = _without_outliers(image, deviations=8)
    plan = Rescaling.plan((micrograph.shape[0], micrograph.shape[1]), width / settings.particle_width)
    small = flatten_background(rescale(image, plan), settings.background_width * settings.particle_width)
    small = normalize(small, settings.normalization)
    return WorkingImage(small.clamp(-6, 6), plan, torch.ones_like(small, dtype=torch.bool))


def _without_outliers(image: torch.Tensor, deviations: float) -> torch.Tensor:
    """Values clamped to mean +- so many standard deviations, repeatedly: outliers widen the deviation at first."""
    for _ in range(10):
        centre, reach = image.mean(), deviations * image.std()
        if bool(((image - centre).abs() <= 1.01 * reach).all()):
            break
        image = image.clamp(centre - reach, centre + reach)
    return image
