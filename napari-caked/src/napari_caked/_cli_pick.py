"""The commands ``pick`` and ``join``: micrographs and a model in, a STAR file of particles out."""

from __future__ import annotations

import logging
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_caked._cli_options import (
    Device,
    Micrographs,
    Overwrite,
    PixelSize,
    positive_diameter,
    refuse_existing,
    say,
)
from napari_caked.errors import PickingError, SettingsError
from napari_caked.settings import PickSettings
from napari_empiarreader import console
from napari_empiarreader.errors import FormatError, NothingFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from napari_caked.jobs import Micrograph
    from napari_caked.many import PickRun

__all__ = ["join", "pick"]

_HIDDEN: dict[str, Any] = {"show_default": False}
#: Exit code of a run that picked all micrographs but some.
SOME_FAILED = 3
#: Failed micrographs that are named one by one.
_NAMED = 20
_SHARD = re.compile(r"_(?P<part>\d+)-of-(?P<parts>\d+)$")


def pick(
    micrographs: Micrographs,
    output: Annotated[Path, typer.Option("--output", "-o", help="Picks to write (.star).", show_default=False)],
    model: Annotated[
        Path | None, typer.Option(help="Model from 'train' (.safetensors); without one, give --diameter.", **_HIDDEN)
    ] = None,
    diameter: Annotated[
        float | None,
        typer.Option(
            help="Particle diameter in Å: the general picker adapts itself to these micrographs, without any label.",
            callback=positive_diameter,
            **_HIDDEN,
        ),
    ] = None,
    pixel_size: PixelSize = None,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Least probability of a pick; 0 writes every candidate.")
    ] = PickSettings.threshold,
    border: Annotated[
        float, typer.Option(min=0, help="Least distance from the micrograph's edges, in particle diameters.")
    ] = PickSettings.border,
    device: Device = PickSettings.device,
    precision: Annotated[
        str, typer.Option(help="float32, bfloat16, float16, or auto: float16 on CUDA, else float32.")
    ] = PickSettings.precision,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes on this machine; one for each processor if left out.", show_default=False),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Pick on the cluster of this dask scheduler, tcp://host:8786.", show_default=False),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="Only part I of N, written I/N, for array jobs; 'join' joins them.", show_default=False),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that did not end.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at a micrograph that cannot be picked.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Pick particles with a trained model, or with the general one.

    Exit code 0: all micrographs were picked; 3: some could not be, and were named; 1: nothing was written.
    """
    part = None if shard is None else _parsed_shard(shard)
    if part is not None:
        output = output.with_stem(f"{output.stem}_{part[0]}-of-{part[1]}")
    if workers is not None and scheduler is not None:
        raise SettingsError("--workers and --scheduler are two ways of picking; choose one")
    if output.suffix.lower() != ".star":
        raise FormatError(f"{output}: picks are written as STAR; name a file that ends in .star")
    if (model is None) == (diameter is None):
        raise SettingsError("give either --model FILE, or --diameter Å to pick with the general picker")
    refuse_existing(output, overwrite)
    settings = PickSettings(threshold=threshold, border=border, device=device, precision=precision)
    from napari_caked.many import find_micrographs, pick_many, shard_of
    from napari_empiarreader import write_particles

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    began = time.monotonic()
    found = find_micrographs(list(micrographs))
    if diameter is not None:
        model = output.with_name(f"{output.stem}_picker.safetensors")
        _adapt(model, found, diameter, pixel_size, device, resume, overwrite)
    assert model is not None
    if part is not None:
        found = shard_of(found, part)
    journal = output.with_name(f"{output.name}.journal")
    try:
        run = pick_many(
            found,
            model,
            settings,
            pixel_size=pixel_size,
            workers=workers,
            scheduler=scheduler,
            strict=strict,
            journal=journal,
            resume=resume,
            overwrite=overwrite,
            progress=_Report(),
        )
    except KeyboardInterrupt:
        typer.echo(f"\ncancelled; finished micrographs are kept in {journal}: go on with --resume", err=True)
        raise
    write_particles(output, run.table, overwrite=overwrite)
    _summarise(run, output, time.monotonic() - began)
    if run.failed:
        typer.echo(f"the others are kept in {journal}; try these again with --resume --overwrite", err=True)
        raise typer.Exit(SOME_FAILED)
    journal.unlink(missing_ok=True)


def _adapt(
    path: Path,
    found: Sequence[Micrograph],
    diameter: float,
    pixel_size: float | None,
    device: str,
    resume: bool,
    overwrite: bool,
) -> None:
    """Write the general picker as it is for these micrographs; all shards of a run look at the same ones."""
    if resume and path.exists():
        return
    refuse_existing(path, overwrite)
    from napari_caked.checkpoint import save_model
    from napari_caked.general import general_picker
    from napari_caked.zero_clicks import adapted

    general = general_picker(diameter)
    picker = adapted(general, _readable(found, pixel_size), device=device)
    save_model(path, replace(picker, network=picker.network.cpu()), overwrite=overwrite)
    if picker.network is general.network:
        say(
            f"warning: there seem to be hardly any particles of {diameter:g} Å: fewer than ten places looked at are "
            "surely one, so that few are picked; check --diameter and the pixel size, or label ten particles and train"
        )
    typer.echo(f"the general picker adapted to these micrographs: {path}", err=True)


def _readable(found: Sequence[Micrograph], pixel_size: float | None) -> Iterator[tuple[str, np.ndarray, float]]:
    """Some of the micrographs; those that cannot be read are named when it is their turn to be picked."""
    from napari_caked.jobs import read_image
    from napari_caked.zero_clicks import spread
    from napari_empiarreader.errors import UserError

    chosen, report = spread(found), _Report()
    for done, micrograph in enumerate(chosen, 1):
        try:
            image, size = read_image(micrograph, pixel_size, None)
        except UserError:
            continue
        yield micrograph.name, image, size
        report(done, len(chosen), f"looked at {micrograph.name}")


def join(
    shards: Annotated[list[Path], typer.Argument(help="STAR files of all shards of one run.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Picks to write (.star).", show_default=False)],
    overwrite: Overwrite = False,
) -> None:
    """Join the picks of array jobs ('pick --shard') in one file: the same as that of an undivided run."""
    refuse_existing(output, overwrite)
    _require_all(shards)
    from napari_caked.many import join_tables
    from napari_empiarreader import read_particles, write_particles

    table = join_tables([read_particles(shard) for shard in shards])
    write_particles(output, table, overwrite=overwrite)
    typer.echo(f"{len(table)} picks on {len(table.micrographs)} micrographs of {len(shards)} shards: {output}")


class _Report:
    """Progress on a terminal as a line that changes; in a log as a line each minute."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, done: int, total: int, message: str = "") -> None:
        console.progress_line(done, total, message)
        if not sys.stderr.isatty() and time.monotonic() - self._said > 60:
            self._said = time.monotonic()
            typer.echo(f"{done}/{total}  {message}", err=True)


def _summarise(run: PickRun, output: Path, seconds: float) -> None:
    for name, reason in list(run.failed.items())[:_NAMED]:
        typer.echo(f"not picked: {reason if name in reason else f'{name}: {reason}'}", err=True)
    if len(run.failed) > _NAMED:
        typer.echo(f"not picked: {len(run.failed) - _NAMED} more", err=True)
    sizes = sorted(run.pixel_sizes.values())
    if sizes and sizes[-1] > 1.001 * sizes[0]:
        typer.echo(
            f"pixel sizes differ, {sizes[0]:g} to {sizes[-1]:g} Å; each micrograph was picked at its own "
            "(--pixel-size overrides them)",
            err=True,
        )
    picked = len(run.table.micrographs) - len(run.failed)
    earlier = f", {run.resumed} of them by an earlier run" if run.resumed else ""
    lost = f" ({len(run.failed)} could not be)" if run.failed else ""
    typer.echo(
        f"{len(run.table)} picks on {picked} micrographs{lost}{earlier}, {len(run.table) / max(picked, 1):.1f} each, "
        f"in {seconds:.0f} s on {', '.join(run.devices) or 'no device'}: {output}"
    )


def _parsed_shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isascii() and part.isdecimal() and parts.isascii() and parts.isdecimal()):
        raise SettingsError(f"--shard {text}: write part and parts, such as 3/8")
    if not 1 <= int(part) <= int(parts):
        raise SettingsError(f"--shard {text}: parts are counted from 1 to {parts}")
    return int(part), int(parts)


def _require_all(shards: list[Path]) -> None:
    """Notice by the names that ``pick --shard`` gives if one of the shards is missing."""
    for shard in shards:
        if not shard.is_file():
            raise NothingFoundError(f"{shard}: no such file")
    found = [match for shard in shards if (match := _SHARD.search(shard.stem))]
    if not found:
        return
    parts = int(found[0]["parts"])
    missing = sorted(set(range(1, parts + 1)) - {int(match["part"]) for match in found})
    if missing or any(int(match["parts"]) != parts for match in found):
        named = ", ".join(f"{part}-of-{parts}" for part in missing) or "these are of several runs"
        raise PickingError(f"{len(shards)} files of a run of {parts} shards; missing: {named}")
