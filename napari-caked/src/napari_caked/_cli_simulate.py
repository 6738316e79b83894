"""The command ``simulate``: a density in, micrographs with their truth out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_caked._cli_options import Overwrite, refuse_existing, say
from napari_caked.errors import SettingsError
from napari_caked.simulate.settings import (
    CameraSettings,
    DecoySettings,
    OpticsSettings,
    SceneSettings,
    SimulationSettings,
    ViewSettings,
)
from napari_empiarreader import console

if TYPE_CHECKING:
    from napari_caked.simulate.like import Likeness
    from napari_caked.simulate.project import Bank

__all__ = ["simulate"]

_HIDDEN: dict[str, Any] = {"show_default": False}
#: As many of each decoy as --decoys puts into a micrograph.
_SOME = DecoySettings(broken=8, aggregates=2, ice_crystals=1, ice_lumps=2, gold=1)


def simulate(
    density: Annotated[Path, typer.Argument(metavar="MAP", help="Density (MRC or CCP4), in volts.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for micrographs and truth.", **_HIDDEN)],
    count: Annotated[int, typer.Option(min=1, help="Micrographs.")] = 1,
    pixel_size: Annotated[
        float | None,
        typer.Option(help=f"Å per pixel of the micrographs; {SimulationSettings.pixel_size:g} if left out.", **_HIDDEN),
    ] = None,
    size: Annotated[
        tuple[int, int] | None, typer.Option(help="Height and width in pixels; 1024 1024 if left out.", **_HIDDEN)
    ] = None,
    defocus: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Least and greatest under-focus, µm; 0.8 2.5, or as in --like, if left out.", **_HIDDEN),
    ] = None,
    dose: Annotated[
        float | None,
        typer.Option(
            help=f"Electrons per Å²; {CameraSettings.dose:g}, or as measured by --like, if left out.", **_HIDDEN
        ),
    ] = None,
    particles: Annotated[
        int | None,
        typer.Option(
            min=0,
            help=f"Particles per micrograph; {SceneSettings.particles}, or as measured by --like without --dose, if "
            "left out.",
            **_HIDDEN,
        ),
    ] = None,
    spacing: Annotated[
        float, typer.Option(min=0, help="Least distance of two particles, in diameters; below 0.9 they overlap.")
    ] = SceneSettings.spacing,
    clumped: Annotated[float, typer.Option(min=0, max=1, help="Share of particles that touch others.")] = 0.0,
    decoys: Annotated[
        bool, typer.Option("--decoys", help="Add broken particles, heaps, contamination and gold.")
    ] = False,
    carbon: Annotated[str, typer.Option(help="none, edge (of the hole) or film.")] = DecoySettings.carbon,
    ice: Annotated[float, typer.Option(help="Thickness of the ice, Å.")] = SceneSettings.ice_thickness,
    voltage: Annotated[float, typer.Option(help="kV.")] = OpticsSettings.voltage,
    astigmatism: Annotated[
        float, typer.Option(help="Largest difference of the defoci, µm.")
    ] = OpticsSettings.astigmatism,
    phase_plate: Annotated[float, typer.Option(help="Phase shift, degrees.")] = OpticsSettings.phase_plate,
    views: Annotated[int, typer.Option(min=1, help="Projections in the bank.")] = ViewSettings.views,
    diameter: Annotated[
        float | None, typer.Option(help="Particle diameter in Å; measured on the density if left out.", **_HIDDEN)
    ] = None,
    voxel_size: Annotated[float | None, typer.Option(help="Å per voxel; overrides the header.", **_HIDDEN)] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(
            help="Real micrographs (no labels) whose size, pixel size, defocus, noise and contrast to take; may be "
            "given several times.",
            show_default=False,
        ),
    ] = None,
    mass: Annotated[
        float | None,
        typer.Option(help="Mass of the particle in kDa: scales a map in arbitrary units to volts.", **_HIDDEN),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = SimulationSettings.seed,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    overwrite: Overwrite = False,
) -> None:
    """Simulate micrographs of a density, with coordinates, angles, defocus, masks and cut-out particles."""
    refuse_existing(output / "particles.star", overwrite)
    few = DecoySettings(**{**(vars(_SOME) if decoys else {}), "carbon": carbon})
    settings = SimulationSettings(
        pixel_size=pixel_size if pixel_size is not None else SimulationSettings.pixel_size,
        diameter=diameter,
        seed=seed,
        views=ViewSettings(views=views),
        scene=SceneSettings(
            shape=size or SceneSettings.shape,
            particles=SceneSettings.particles if particles is None else particles,
            spacing=spacing,
            clumped=clumped,
            ice_thickness=ice,
        ),
        decoys=few,
        optics=OpticsSettings(
            voltage=voltage,
            defocus=defocus or OpticsSettings.defocus,
            astigmatism=astigmatism,
            phase_plate=phase_plate,
        ),
        camera=CameraSettings(dose=dose if dose is not None else CameraSettings.dose),
    )
    from napari_caked.simulate.project import bank_of, density_in_volts
    from napari_caked.simulate.run import simulate_folder

    volume = density_in_volts(density, voxel_size, mass)
    likeness = None
    if like:
        if size:
            raise SettingsError("--size is that of the micrographs of --like; leave it out")
        likeness = _likeness(like, diameter or volume.diameter, pixel_size, settings)
        settings = _fitted(likeness, settings, defocus)

    bank = bank_of(
        volume, settings.views, settings.pixel_size, seed=seed, diameter=diameter, broken=24 if few.broken else 0
    )
    if likeness is not None:
        settings = _matched(bank, settings, likeness, dose, particles, defocus)
    files = simulate_folder(
        bank, settings, output, count, workers=workers, overwrite=overwrite, progress=console.progress_line
    )
    say(f"{count} micrographs of {density.name}, {bank.diameter:.0f} Å wide, in {output / 'micrographs'}")
    for what, path in files.items():
        typer.echo(f"{what:<12} {path}")


def _likeness(
    micrographs: list[str], diameter: float, pixel_size: float | None, settings: SimulationSettings
) -> Likeness:
    from napari_caked.simulate.like import likeness_of
    from napari_empiarreader import open_micrographs

    series = open_micrographs(micrographs, pixel_size=pixel_size)
    return likeness_of(series, diameter, settings.optics, progress=console.progress_line)


def _fitted(
    likeness: Likeness, settings: SimulationSettings, defocus: tuple[float, float] | None
) -> SimulationSettings:
    """Settings in the likeness; a defocus that was given stays."""
    from napari_caked.simulate.like import in_the_likeness_of

    fitted = in_the_likeness_of(likeness, settings)
    if defocus is not None:
        return replace(fitted, optics=settings.optics)
    if likeness.defocus is not None:
        low, high = likeness.defocus
        say(f"defocus as measured: {low:.2f} to {high:.2f} µm")
    return fitted


def _matched(
    bank: Bank,
    settings: SimulationSettings,
    likeness: Likeness,
    dose: float | None,
    particles: int | None,
    defocus: tuple[float, float] | None,
) -> SimulationSettings:
    """Settings with the background, and what nobody said of contrast, number and defocus, of real micrographs.

    Who says the dose may have particles too faint to measure anything on them; nothing is then.
    """
    from napari_caked.simulate.like import matched

    told = dose is not None
    fitted = matched(
        bank,
        settings,
        likeness,
        dose=dose,
        crowding=particles is None and not told,
        focusing=defocus is None and not told,
    )
    low, high = fitted.optics.defocus
    if particles is None and not told:
        say(f"{fitted.scene.particles} particles per micrograph, as measured; give another number with --particles")
    if defocus is None and likeness.defocus is None:
        how = "" if fitted.optics.defocus == settings.optics.defocus else ", as fits the particles best"
        say(f"no Thon rings to be seen: defocus {low:g} to {high:g} µm{how}; give another range with --defocus")
    return fitted
