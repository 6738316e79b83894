"""The helper's side of the simulator: bank, previews, likeness, stacks and folders. PyTorch runs here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_caked.errors import SettingsError
from napari_caked.simulate.settings import SimulationSettings, ViewSettings
from napari_caked.widgets import _sim_messages as messages
from napari_empiarreader.errors import UserError

if TYPE_CHECKING:
    from napari_caked.simulate.project import Bank, Density
    from napari_caked.widgets._inbox import Inbox

__all__ = ["answers", "newest"]

#: Projections that a preview draws from, and broken ones among them.
_PREVIEW_VIEWS, _BROKEN = 100, 24

Job = messages.PreviewJob | messages.MatchJob | messages.StackJob | messages.SaveJob


def answers(job: Job, inbox: Inbox) -> Iterator[Any]:
    """All that the helper says to a job."""
    density = density_of(job.specimen)
    match job:
        case messages.PreviewJob():
            yield messages.Measured(density.diameter)
            yield from _previews(density, inbox)
        case messages.MatchJob():
            yield from _match(density, job, inbox)
        case messages.StackJob():
            yield from _stack(density, job, inbox)
        case messages.SaveJob():
            yield from _save(density, job, inbox)


def density_of(specimen: messages.Specimen) -> Density:
    """The density in volts.

    Raises
    ------
    SettingsError
        It is none, or its values cannot be volts.
    """
    from napari_caked.simulate.project import Density, looks_like_volts, scaled_to_volts

    density = Density(specimen.volume, specimen.voxel_size, specimen.name)
    if specimen.mass is not None:
        return scaled_to_volts(density, specimen.mass)
    if not looks_like_volts(density):
        raise SettingsError(
            f"{specimen.name}: values up to {specimen.volume.max():.3g} are no potential in volts; type the "
            "particle's mass in kDa in the field 'Mass' to scale a map in arbitrary units"
        )
    return density


def newest(inbox: Inbox) -> messages.Preview:
    """The last preview that was asked for; those before it are forgotten."""
    request = inbox.request()
    while inbox.waiting:
        request = inbox.request()
    if not isinstance(request, messages.Preview):
        raise TypeError(f"a preview cannot be asked for by a {type(request).__name__}")
    return request


def _previews(density: Density, inbox: Inbox) -> Iterator[Any]:
    bank, made_of = None, None
    while True:
        request = newest(inbox)
        settings = replace(request.settings, views=_few(request.settings.views))
        try:
            if bank is None or made_of != _bank_settings(settings):
                yield messages.Advanced("Projecting the density")
                bank, made_of = _bank(density, settings), _bank_settings(settings)
            yield _seen(bank, settings, request)
        except UserError as error:
            yield messages.Refused(request.ticket, str(error))


def _few(views: ViewSettings) -> ViewSettings:
    return replace(views, views=min(views.views, _PREVIEW_VIEWS))


def _bank_settings(settings: SimulationSettings) -> tuple[Any, ...]:
    """What a bank depends on."""
    return settings.views, settings.pixel_size, settings.seed, settings.diameter, bool(settings.decoys.broken)


def _bank(density: Density, settings: SimulationSettings) -> Bank:
    from napari_caked.simulate.project import bank_of

    return bank_of(
        density,
        settings.views,
        settings.pixel_size,
        seed=settings.seed,
        diameter=settings.diameter,
        broken=_BROKEN if settings.decoys.broken else 0,
    )


def _seen(bank: Bank, settings: SimulationSettings, request: messages.Preview) -> messages.Seen:
    from napari_caked.simulate.micrograph import simulate_micrograph
    from napari_caked.simulate.truth import truth_of
    from napari_empiarreader.micrographs import contrast_limits

    micrograph = simulate_micrograph(bank, settings, request.index)
    truth = truth_of(micrograph, 2)
    low, high = contrast_limits(micrograph.image)
    return messages.Seen(
        request.ticket,
        micrograph.image,
        (float(low), float(high)),
        truth.particles,
        truth.decoys,
        float(bank.diameter),
        float(micrograph.focus.defocus),
    )


def _match(density: Density, job: messages.MatchJob, inbox: Inbox) -> Iterator[Any]:
    from napari_caked.simulate.like import in_the_likeness_of, likeness_of, matched
    from napari_empiarreader.micrographs import MicrographSeries

    series = MicrographSeries(job.names, job.shape, job.dtype, job.pixel_size, inbox.read, job.source)

    def progress(done: int, total: int, message: str = "") -> None:
        inbox.say(messages.Advanced("Measuring micrographs", done, total))

    yield messages.Advanced("Measuring micrographs")
    diameter = job.settings.diameter or density.diameter
    likeness = likeness_of(series, diameter, job.settings.optics, progress=progress)
    settings = in_the_likeness_of(likeness, job.settings)
    low, high = settings.optics.defocus
    words = (
        f"no Thon rings to be seen: the defocus stays {low:g} to {high:g} µm"
        if likeness.defocus is None
        else f"defocus {low:.2f} to {high:.2f} µm"
    )
    yield messages.Advanced("Projecting the density")
    few = replace(settings, views=_few(settings.views))
    bank = _bank(density, few)
    yield messages.Advanced("Measuring the contrast")
    noise = matched(bank, few, likeness, dose=job.dose).noise
    yield messages.Matched(replace(settings, noise=noise), f"{len(series)} micrographs, {words}")


def _stack(density: Density, job: messages.StackJob, inbox: Inbox) -> Iterator[Any]:
    from napari_caked.simulate.lazy import truth_tables
    from napari_caked.simulate.micrograph import simulate_micrograph

    yield messages.Advanced("Projecting the density")
    bank = _bank(density, job.settings)

    def progress(done: int, total: int, message: str = "") -> None:
        inbox.say(messages.Advanced("Placing particles", done, total))

    particles, decoys = truth_tables(bank, job.settings, job.count, progress=progress)
    yield messages.Laid(particles, decoys, float(bank.diameter))
    while True:
        request = inbox.request()
        yield messages.Rendered(request.index, simulate_micrograph(bank, job.settings, request.index).image)


def _save(density: Density, job: messages.SaveJob, inbox: Inbox) -> Iterator[Any]:
    from napari_caked.simulate.run import simulate_folder

    yield messages.Advanced("Projecting the density")
    bank = _bank(density, job.settings)
    written = 0

    def progress(done: int, total: int, message: str = "") -> None:
        nonlocal written
        written = done
        inbox.say(messages.Advanced("Saving micrographs", done, total))

    if inbox.stopped:
        return
    files = simulate_folder(
        bank,
        job.settings,
        Path(job.folder),
        job.count,
        overwrite=job.overwrite,
        progress=progress,
        stopped=lambda: inbox.stopped,
    )
    yield messages.Saved(written, tuple(str(path) for path in files.values()))
