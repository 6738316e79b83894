"""The specimen before the microscope looks at it: projected potential by depth, ice, and what lies where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.simulate.decoys import (
    CARBON,
    CARBON_POTENTIAL,
    Decoy,
    Edge,
    carbon_power,
    decoys_of,
    draw_edge,
    free_path,
)
from napari_caked.simulate.noise import ICE_POTENTIAL
from napari_caked.simulate.placement import place
from napari_caked.simulate.project import Bank, support_of
from napari_caked.simulate.settings import SimulationSettings

if TYPE_CHECKING:
    import torch

__all__ = ["Layout", "Scene", "build_scene", "lay_out"]

#: Å of depth that share one defocus: 5 nm to either side turn no phase by more than 0.3 rad at 4 Å.
_SLAB = 100.0
#: Particles shifted at once.
_BATCH = 256


@dataclass(frozen=True)
class Layout:
    """What lies where, before anything of it is drawn.

    Attributes
    ----------
    centres, heights, views
        Of all particles that show, ``(n, 2)`` (y, x) in pixels of the micrograph, Å above the middle of the ice, and
        index of the projection.
    decoys
        What is no particle.
    edge
        Of the carbon, if there is one.
    seen
        Which of the particles have their centre in the micrograph.
    """

    centres: np.ndarray
    heights: np.ndarray
    views: np.ndarray
    decoys: tuple[Decoy, ...]
    edge: Edge | None
    seen: np.ndarray


@dataclass(frozen=True)
class Scene:
    """A specimen, on the pixels of the micrograph and a rim around it.

    Attributes
    ----------
    potential
        ``(slab, y, x)`` float32, V Å over ice.
    depths
        ``(slab,)`` Å above the middle of the ice.
    attenuation
        ``(y, x)`` float32: minus the logarithm of the share of electrons that come through.
    rim
        Pixels around the micrograph on each side.
    shape
        ``(y, x)`` of the micrograph.
    centres, heights, views
        Of particles whose centre is in the micrograph: ``(n, 2)`` (y, x) in its pixels, Å above the middle of the ice,
        and index of the projection.
    decoys
        What is no particle.
    instances, classes
        ``(y, x)`` of the micrograph: number of the particle from 1 (uint16), and index into
        :data:`.decoys.CLASSES` (uint8).
    """

    potential: torch.Tensor
    depths: np.ndarray
    attenuation: np.ndarray
    rim: int
    shape: tuple[int, int]
    centres: np.ndarray
    heights: np.ndarray
    views: np.ndarray
    decoys: tuple[Decoy, ...]
    instances: np.ndarray
    classes: np.ndarray


def build_scene(
    bank: Bank, settings: SimulationSettings, rng: np.random.Generator, rim: int, padded: tuple[int, int]
) -> Scene:
    """Specimen of one micrograph.

    Parameters
    ----------
    bank
        Projections, of the pixel size of the settings.
    settings
        What to make.
    rng
        Source of all chance in it.
    rim, padded
        Pixels before the micrograph's first, and ``(y, x)`` of the whole, in pixels.
    """
    import torch

    where, what, which = rng.spawn(3)
    layout = _laid_out(bank, settings, where, what, which)
    depths = _slab_depths(_free_height(bank, settings))
    slabs = np.abs(layout.heights[:, None] - depths).argmin(axis=1)
    scene = Scene(
        potential=torch.zeros((len(depths), *padded)),
        depths=depths,
        attenuation=_ice(what, settings, padded) / np.float32(free_path("ice", settings.optics.voltage)),
        rim=rim,
        shape=settings.scene.shape,
        centres=layout.centres,
        heights=layout.heights,
        views=layout.views,
        decoys=layout.decoys,
        instances=np.zeros(padded, np.uint16),
        classes=np.zeros(padded, np.uint8),
    )
    _add_carbon(scene, settings, what, layout.edge)
    for decoy in layout.decoys:
        _add_decoy(scene, decoy)
    outside = np.setdiff1d(np.arange(len(layout.centres)), layout.seen)  # which get no number
    _add_particles(scene, bank, np.concatenate([layout.seen, outside]), slabs)
    return _trimmed(scene, layout.seen)


def lay_out(bank: Bank, settings: SimulationSettings, rng: np.random.Generator) -> Layout:
    """What :func:`build_scene` draws, given a generator in the same state, without the drawing."""
    return _laid_out(bank, settings, *rng.spawn(3))


def _laid_out(
    bank: Bank,
    settings: SimulationSettings,
    where: np.random.Generator,
    what: np.random.Generator,
    which: np.random.Generator,
) -> Layout:
    shape = settings.scene.shape
    edge = draw_edge(what, shape) if settings.decoys.carbon == "edge" else None
    decoys = decoys_of(what, settings.decoys, bank, shape, settings.optics.voltage)
    diameter = bank.diameter / bank.pixel_size
    centres = place(where, settings.scene, diameter, lambda places: _taken(places, decoys, edge, diameter))
    free = _free_height(bank, settings)
    heights = which.uniform(-free, free, len(centres))
    views = which.integers(len(bank.images), size=len(centres))
    return Layout(centres, heights, views, tuple(decoys), edge, np.flatnonzero(_inside(centres, shape)))


def _free_height(bank: Bank, settings: SimulationSettings) -> float:
    """Å that the middle of a particle may be above the middle of the ice."""
    return max(settings.scene.ice_thickness - bank.diameter, 0.0) / 2


def _inside(places: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.asarray(((places >= 0) & (places <= np.array(shape) - 1)).all(axis=1))


def _trimmed(scene: Scene, seen: np.ndarray) -> Scene:
    """The same scene, its truth only of what is in the micrograph."""
    from dataclasses import replace

    cut = tuple(slice(scene.rim, scene.rim + length) for length in scene.shape)
    return replace(
        scene,
        centres=scene.centres[seen],
        heights=scene.heights[seen],
        views=scene.views[seen],
        instances=np.where(scene.instances[cut] <= len(seen), scene.instances[cut], 0).astype(np.uint16),
        classes=scene.classes[cut].copy(),
    )


def _taken(places: np.ndarray, decoys: list[Decoy], edge: Edge | None, diameter: float) -> np.ndarray:
    """Which places are under something that is no particle, or beyond the edge of the hole."""
    taken = np.zeros(len(places), bool)
    for decoy in decoys:
        away = np.hypot(places[:, 0] - decoy.centre[0], places[:, 1] - decoy.centre[1])
        taken |= away < decoy.radius + 0.4 * diameter
    return taken if edge is None else taken | (edge.depth(places[:, 0], places[:, 1]) > -0.3 * diameter)


def _slab_depths(free: float) -> np.ndarray:
    """Middles, in Å, of equal slabs that cover depths from ``-free`` to ``free``."""
    count = max(1, int(np.ceil(2 * free / _SLAB)))
    return ((np.arange(count) + 0.5) / count * 2 - 1) * free


def _ice(rng: np.random.Generator, settings: SimulationSettings, padded: tuple[int, int]) -> np.ndarray:
    """Thickness of the ice, ``(y, x)`` float32 in Å: hilly, and thicker towards one side."""
    import torch
    from torch.nn.functional import interpolate

    scene = settings.scene
    if settings.noise is not None:  # which has the hills of real ice
        return np.full(padded, scene.ice_thickness, np.float32)
    hills = torch.from_numpy(rng.standard_normal((1, 1, 9, 9), np.float32))
    hills = interpolate(hills, size=padded, mode="bicubic", align_corners=True)[0, 0].numpy()
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, scene.gradient)
    y, x = (np.linspace(-0.5, 0.5, length, dtype=np.float32) for length in padded)
    ramp = np.sin(angle) * y[:, None] + np.cos(angle) * x[None, :]
    # Interpolated hills vary less than those they are interpolated from.
    relative = 1 + scene.thickness_variation * hills / max(float(hills.std()), 1e-6) + slope * ramp
    return (scene.ice_thickness * np.maximum(relative, 0.05)).astype(np.float32)


def _add_carbon(scene: Scene, settings: SimulationSettings, rng: np.random.Generator, edge: Edge | None) -> None:
    """Carbon film of 100 to 200 Å below everything, as far as its edge."""
    if settings.decoys.carbon == "none":
        return
    import torch
    from scipy.special import expit

    from napari_caked.simulate.noise import coloured_noise
    from napari_caked.simulate.optics import frequencies

    padded = scene.attenuation.shape
    thickness = float(rng.uniform(100, 200))
    cover = np.ones(padded, np.float32)
    if edge is not None:
        y, x = np.ogrid[: padded[0], : padded[1]]
        depth = edge.depth(y - scene.rim, x - scene.rim)
        cover = expit(depth * settings.pixel_size / 10.0).astype(np.float32)
        cut = tuple(slice(scene.rim, scene.rim + length) for length in scene.shape)
        scene.classes[cut][depth[cut] > 0] = CARBON
    power = carbon_power(frequencies(padded, settings.pixel_size).numpy(), thickness)
    amplitude = torch.from_numpy(np.sqrt(power).astype(np.float32) / settings.pixel_size)
    grain = torch.fft.irfft2(coloured_noise(rng, padded, amplitude), s=padded)
    step = (CARBON_POTENTIAL - ICE_POTENTIAL) * thickness
    scene.potential[0] += torch.from_numpy(cover) * (step * (edge is not None) + grain)
    scene.attenuation[:] += cover * np.float32(thickness / free_path("carbon", settings.optics.voltage))


def _add_decoy(scene: Scene, decoy: Decoy) -> None:
    import torch

    corner = [
        int(np.floor(place)) + scene.rim - n // 2 for place, n in zip(decoy.centre, decoy.cover.shape, strict=True)
    ]
    here, there = _overlap(corner, decoy.cover.shape, scene.attenuation.shape)
    slab = -1 if decoy.attenuation.any() else len(scene.depths) // 2  # contamination lies on top
    scene.potential[slab][here] += torch.from_numpy(decoy.potential[there])
    scene.attenuation[here] += decoy.attenuation[there]
    scene.classes[here][decoy.cover[there]] = decoy.kind


def _add_particles(scene: Scene, bank: Bank, order: np.ndarray, slabs: np.ndarray) -> None:
    """Add projections, each moved by the fraction of a pixel that its centre asks for, in Fourier space."""
    import torch

    box, padded = bank.box, scene.attenuation.shape
    rows, columns = torch.fft.fftfreq(box), torch.fft.rfftfreq(box)
    supports = {}
    for start in range(0, len(order), _BATCH):
        these = order[start : start + _BATCH]
        whole = np.floor(scene.centres[these])
        dy, dx = torch.from_numpy((scene.centres[these] - whole).astype(np.float32)).T
        turn = -2 * torch.pi * (dy[:, None, None] * rows[:, None] + dx[:, None, None] * columns)
        images = torch.from_numpy(bank.images[scene.views[these]])
        moved = torch.fft.irfft2(torch.fft.rfft2(images) * torch.polar(torch.ones_like(turn), turn), s=(box, box))
        for number, (particle, corner) in enumerate(zip(these, whole.astype(int) + scene.rim - box // 2, strict=True)):
            here, there = _overlap(corner.tolist(), (box, box), padded)
            scene.potential[slabs[particle]][here] += moved[number][there]
            view = int(scene.views[particle])
            if view not in supports:
                supports[view] = support_of(bank.images[view])
            covered = supports[view][there]
            scene.instances[here][covered] = start + number + 1
            scene.classes[here][covered] = 1


def _overlap(
    corner: list[int], patch: tuple[int, ...], whole: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of a whole and of a patch that lies in it at ``corner``, where both are."""
    here, there = [], []
    for first, size, length in zip(corner, patch, whole, strict=True):
        low, high = min(max(first, 0), length), max(min(first + size, length), 0)
        high = max(low, high)
        here.append(slice(low, high))
        there.append(slice(low - first, high - first))
    return tuple(here), tuple(there)
