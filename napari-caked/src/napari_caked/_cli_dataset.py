"""The commands ``dataset``: build a data set, say what is in it, divide it, and write it for others."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_caked._cli_options import Overwrite, PixelSize, refuse_existing, say
from napari_caked.errors import DatasetError, SettingsError
from napari_empiarreader import console

if TYPE_CHECKING:
    from napari_caked.datasets.classes import ClassRule
    from napari_caked.datasets.items import ItemSource
    from napari_caked.datasets.recipe import Recipe
    from napari_caked.datasets.store import Store

__all__ = ["dataset"]

dataset = typer.Typer(help="Labelled data sets: build, info, split, export.", no_args_is_help=True)

_HIDDEN: dict[str, Any] = {"show_default": False}
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
StoreFolder = Annotated[Path, typer.Argument(metavar="DATASET", help="Folder NAME.dataset.zarr.")]
Seed = Annotated[int, typer.Option(min=0, help="Of all that is chosen by chance.")]


@dataset.command()
def build(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="A folder of images or volumes, a stack (.mrcs, or its STAR or .cs file), or with --particles "
            "micrographs: files, folders, patterns or empiar:// addresses.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="NAME.dataset.zarr.", **_HIDDEN)],
    particles: Annotated[
        Path | None, typer.Option(help="Coordinates of particles on the micrographs (STAR, .cs, .box …).", **_HIDDEN)
    ] = None,
    box: Annotated[float | None, typer.Option(min=1, help="Side of a particle image in Å.", **_HIDDEN)] = None,
    recipe: Annotated[Path | None, typer.Option(help="JSON file of transforms and augmentations.", **_HIDDEN)] = None,
    classes: Annotated[
        str,
        typer.Option(
            help="Of a folder: prefix (NAME_rest.mrc), folder, a CSV file name,class, or a regular expression with "
            "(?P<class>...). Of particles and stacks: a column."
        ),
    ] = "prefix",
    only: Annotated[
        list[str] | None, typer.Option(help="Class to take; may be given several times.", **_HIDDEN)
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(help="Of a folder: a regular expression with (?P<group>...). Else: a column.", **_HIDDEN),
    ] = None,
    masks: Annotated[
        str | None, typer.Option(help="Name of the mask of a file: {stem}_mask{suffix}.", **_HIDDEN)
    ] = None,
    partner: Annotated[
        str | None, typer.Option(help="Name of what goes with a file: {stem}_model{suffix}.", **_HIDDEN)
    ] = None,
    pixel_size: PixelSize = None,
    half: Annotated[bool, typer.Option("--half", help="Store 16-bit floats: half the bytes.")] = False,
    compress: Annotated[bool, typer.Option("--compress", help="Compress: smaller for maps, slower to read.")] = False,
    permissive: Annotated[
        bool, typer.Option("--permissive", help="Leave out what cannot be used, and say so.")
    ] = False,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Build a data set; after Ctrl-C or a crash the same command goes on where it was."""
    _require_name(output)
    steps = _recipe(recipe)
    kind = _kind(source, particles, box)
    options = {"only": only or None, "permissive": permissive, "groups": groups}
    if kind == "folder":
        items = _folder(source[0], classes, masks, partner, pixel_size, options)
    elif masks or partner:
        raise SettingsError("--masks and --partner are for folders of images or volumes; leave them out")
    else:
        column = None if classes == "prefix" else classes
        items = _table(source, particles, box, column, pixel_size, options)
    for sentence in (*getattr(items, "warnings", ()), *map(str, _left_out(items))):
        say(sentence)
    from napari_caked.datasets.building import build as build_store
    from napari_caked.datasets.card import write_card

    made = {"command": ["napari-caked", *sys.argv[1:]], "folder": str(Path.cwd())}
    try:
        store = build_store(
            items,
            output,
            steps,
            dtype="float16" if half else "float32",
            compress=compress,
            overwrite=overwrite,
            made=made,
            progress=console.progress_line,
        )
    except KeyboardInterrupt:
        say(f"cancelled; what is finished is in {output}, and the same command goes on from there")
        raise typer.Exit(130) from None
    write_card(store, output, seed=seed, overwrite=True, progress=console.progress_line)
    _tell(store, as_json)


@dataset.command()
def info(
    store: StoreFolder,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for card.json, card.md and card.png.", **_HIDDEN)
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read everything and compare it with its checksums.")
    ] = False,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Say what is in a data set."""
    from napari_caked.datasets.card import make_card, write_card
    from napari_caked.datasets.store import open_store

    opened = open_store(store)
    if output is not None:
        refuse_existing(output / "card.json", overwrite)
    if verify:
        opened.verify(console.progress_line)
        say(f"{len(opened)} items are as they were stored")
    card = make_card(opened, seed=seed, progress=console.progress_line)
    typer.echo(card.to_json() if as_json else card.to_markdown())
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_card(opened, output, seed=seed, overwrite=overwrite, progress=console.progress_line)


@dataset.command()
def split(
    store: StoreFolder,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="JSON file: names of the items of each part.", **_HIDDEN)
    ],
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SHARE",
            help="May be given several times; a part without share takes the rest. Left out: train, val=0.1, test=0.1.",
            **_HIDDEN,
        ),
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Write so many folds instead, FILE_1.json …", **_HIDDEN)] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Divide a data set so that no group is in two parts, with the classes in each as in the whole."""
    if part and folds is not None:
        raise SettingsError("--part and --folds are two ways to divide; give one of them")
    from napari_caked.datasets.splits import k_folds
    from napari_caked.datasets.splits import split as split_source
    from napari_caked.datasets.store import open_store
    from napari_empiarreader.files import replaced_when_complete

    opened = open_store(store)
    if folds is None:
        found = {output: split_source(opened, _parts(part or ["train", "val=0.1", "test=0.1"]), seed=seed)}
    else:
        names = [output.with_stem(f"{output.stem}_{i}") for i in range(1, folds + 1)]
        found = dict(zip(names, k_folds(opened, folds, seed=seed), strict=True))
    for file in found:
        refuse_existing(file, overwrite)
    sizes = {}
    for file, one in found.items():
        for warning in one.warnings:
            say(f"{file.name}: {warning}")
        with replaced_when_complete(file, overwrite=overwrite) as temporary:
            temporary.write_text(one.to_json(opened), "utf-8")
        sizes[str(file)] = {name: len(indices) for name, indices in one.parts.items()}
    if as_json:
        typer.echo(json.dumps(sizes, indent=2))
        return
    for name, counts in sizes.items():
        typer.echo(f"{name}  {', '.join(f'{part} {count}' for part, count in counts.items())}")


@dataset.command()
def export(
    store: StoreFolder,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="FILE.h5, FILE.mrcs (with a STAR file), or a folder of MRC files.", **_HIDDEN
        ),
    ],
    split_file: Annotated[
        Path | None, typer.Option("--split", help="JSON file of the command split.", **_HIDDEN)
    ] = None,
    part: Annotated[str | None, typer.Option(help="Part of the split to write.", **_HIDDEN)] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a data set, or a part of it, for other programs."""
    if (split_file is None) != (part is None):
        raise SettingsError("--split and --part belong together; give both, or none")
    from napari_caked.datasets.export import export_folder, export_hdf5, export_stack
    from napari_caked.datasets.store import open_store

    opened: ItemSource = open_store(store)
    if split_file is not None and part is not None:
        opened = _part_of(opened, split_file, part)
    common: dict[str, Any] = {"overwrite": overwrite, "progress": console.progress_line}
    suffix = output.suffix.lower()
    if suffix in (".h5", ".hdf5"):
        files = [export_hdf5(opened, output, **common)]
    elif suffix in (".mrcs", ".star"):
        files = list(export_stack(opened, output, **common))
    elif not suffix:
        files = export_folder(opened, output, **common)
    else:
        raise SettingsError(f"{output}: a data set is written as .h5, as .mrcs with .star, or into a folder")
    if as_json or len(files) <= 2:
        console.print_paths(files, as_json)
    else:
        typer.echo(f"{len(files) - 1} items and {files[-1].name} in {output}")


def _require_name(output: Path) -> None:
    """Say how a store is named before a thousand headers are read, not after."""
    from napari_caked.datasets.store import SUFFIX

    if not output.name.endswith(SUFFIX):
        raise DatasetError(f"{output}: the name of a data set ends with {SUFFIX}; name it {output.stem}{SUFFIX}")


def _recipe(path: Path | None) -> Recipe | None:
    if path is None:
        return None
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: the recipe cannot be read ({error})") from error
    from napari_caked.datasets.recipe import Recipe

    return Recipe.from_json(text)


def _kind(source: list[str], particles: Path | None, box: float | None) -> str:
    """What is meant by SOURCE: a folder, a stack or micrographs."""
    if (particles is None) != (box is None):
        raise SettingsError("--particles and --box (Å) belong together; give both, or none")
    if particles is not None:
        return "particles"
    if len(source) > 1:
        raise SettingsError("several sources are micrographs, and need --particles and --box; name one folder or stack")
    return "stack" if source[0].lower().endswith((".star", ".cs", ".mrcs")) else "folder"


def _folder(
    source: str, classes: str, masks: str | None, partner: str | None, pixel_size: float | None, options: dict[str, Any]
) -> ItemSource:
    from napari_caked.datasets.sources import Beside, folder_source

    return folder_source(
        source,
        _rule(classes),
        masks=None if masks is None else Beside(masks),
        partner=None if partner is None else Beside(partner),
        voxel_size=pixel_size,
        progress=console.progress_line,
        **options,
    )


def _rule(classes: str) -> ClassRule:
    from napari_caked.datasets.classes import ByCsv, ByFolder, ByPattern, ByPrefix, OneClass

    if classes.lower().endswith(".csv"):
        return ByCsv(Path(classes))
    if "(?P<" in classes:
        return ByPattern(classes)
    known: dict[str, ClassRule] = {"prefix": ByPrefix(), "folder": ByFolder(), "none": OneClass()}
    if classes not in known:
        raise SettingsError(
            f"--classes {classes}: of a folder give prefix, folder, none, a CSV file, or a regular expression with "
            "(?P<class>...)"
        )
    return known[classes]


def _table(
    source: list[str],
    particles: Path | None,
    box: float | None,
    column: str | None,
    pixel_size: float | None,
    options: dict[str, Any],
) -> ItemSource:
    from napari_caked.datasets.sources import particles_of_files, stack_source

    if particles is None:
        return stack_source(source[0], classes=column, pixel_size=pixel_size, **options)
    assert box is not None
    return particles_of_files(source, particles, box, unit="Å", classes=column, pixel_size=pixel_size, **options)


def _left_out(items: ItemSource) -> tuple[object, ...]:
    """What a folder left out, one by one; other sources say it in a sentence."""
    left_out = getattr(items, "left_out", ())
    return left_out if isinstance(left_out, tuple) else ()


def _parts(words: list[str]) -> dict[str, float | None]:
    parts: dict[str, float | None] = {}
    for word in words:
        name, found, share = word.partition("=")
        try:
            parts[name] = float(share) if found else None
        except ValueError as error:
            raise SettingsError(f"--part {word}: {share!r} is no share; give NAME=0.1") from error
    return parts


def _part_of(store: ItemSource, file: Path, part: str) -> ItemSource:
    from napari_caked.datasets.sources import Subset
    from napari_caked.datasets.splits import Split

    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: the split cannot be read ({error})") from error
    return Subset(store, Split.from_json(text, store)[part].tolist())


def _tell(store: Store, as_json: bool) -> None:
    labels = store.labels
    counts = {name: int((labels == i).sum()) for i, name in enumerate(store.classes)}
    if (labels < 0).any():
        counts["(none)"] = int((labels < 0).sum())
    if as_json:
        size = None if store.voxel_size is None else list(store.voxel_size)
        said = {"path": str(store.path), "items": len(store), "shape": store.shape, "voxel_size": size}
        typer.echo(json.dumps(said | {"classes": counts}, indent=2, ensure_ascii=False))
        return
    shape = " x ".join(map(str, store.shape))
    typer.echo(f"{store.path}  {len(store)} items of {shape}: {', '.join(f'{n} {c}' for n, c in counts.items())}")
