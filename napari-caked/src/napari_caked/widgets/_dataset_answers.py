"""What the helper process answers to the window of data sets. PyTorch runs here; Qt does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_caked.datasets.items import UNLABELLED, Item, ItemSource
from napari_caked.errors import DatasetError
from napari_caked.widgets import _dataset_messages as messages
from napari_caked.widgets._dataset_sources import rule_of
from napari_caked.widgets._sim_messages import Advanced
from napari_empiarreader.errors import UserError
from napari_empiarreader.micrographs import MicrographSeries
from napari_empiarreader.progress import Progress

if TYPE_CHECKING:
    from napari_caked.datasets.recipe import Recipe
    from napari_caked.datasets.sample import Pool
    from napari_caked.datasets.splits import Split
    from napari_caked.widgets._inbox import Inbox

__all__ = ["Relabelled", "answers", "picture_of", "source_of"]

#: Pixels of a picture's side at most, on the sheet and of the preview.
_SMALL, _LARGE = 96, 192
#: Bytes of items that are kept, so that a preview need not read them again.
_KEPT = 256 * 2**20
#: Bytes of a class that are read for the sheet, unless two items are more.
_READ = 2**29
#: Others of the data set that a step may mix in.
_OTHERS = 3
_TRAIN, _VALIDATION = "train", "val"

Job = messages.LookJob | messages.BuildJob
Source = messages.OnMicrographs | messages.InFolder | messages.InTable


class Relabelled(ItemSource):
    """Some items of a source, with classes and labels that somebody gave them.

    Parameters
    ----------
    source
        The whole.
    taken
        ``(k,)`` indices into it.
    classes, labels
        Names, and ``(k,)`` which of them each item is of.
    """

    def __init__(self, source: ItemSource, taken: np.ndarray, classes: Sequence[str], labels: np.ndarray) -> None:
        self.source, self.taken, self.classes = source, taken, tuple(classes)
        pairs = zip(taken, labels, strict=True)
        self.records = tuple(replace(source.records[int(i)], label=int(label)) for i, label in pairs)

    def items(self, indices: Sequence[int]) -> Iterator[tuple[int, Item]]:
        """Read items in the order of the whole source; see :class:`.ItemSource`."""
        back = {int(self.taken[own]): own for own in indices}
        for index, item in self.source.items([int(self.taken[own]) for own in indices]):
            yield back[index], replace(item, record=self.records[back[index]])


def answers(job: Job, inbox: Inbox) -> Iterator[Any]:
    """All that the helper says to a job."""
    match job:
        case messages.LookJob():
            yield from _Session(job, inbox).run()
        case messages.BuildJob():
            yield from _build(job, inbox)


def source_of(said: Source, inbox: Inbox) -> ItemSource:
    """The items that the window speaks of."""
    from napari_caked.datasets.sources import folder_source, joined, particle_source, stack_source

    if isinstance(said, messages.InTable):
        return stack_source(
            said.path,
            classes=said.classes or None,
            groups=said.groups or None,
            pixel_size=said.pixel_size,
            permissive=said.permissive,
        )
    if isinstance(said, messages.InFolder):
        return folder_source(
            said.path,
            rule_of(said),
            groups=said.groups or None,
            voxel_size=said.voxel_size,
            permissive=said.permissive,
            progress=_teller(inbox, messages.LISTING),
        )

    def stack(number: int) -> MicrographSeries:
        first = number * len(said.names)
        about = said.names, said.shape, said.dtype, said.pixel_size
        return MicrographSeries(*about, lambda index: inbox.read(first + index), said.source)

    parts = [
        particle_source(
            stack(0), cut.table, cut.box, classes="class_name", masks=stack(cut.masks) if cut.masks else None
        )
        for cut in said.cuts
    ]
    return parts[0] if len(parts) == 1 else joined(parts)


def picture_of(image: np.ndarray, side: int) -> np.ndarray:
    """``(y, x)`` uint8, no side longer than ``side``; of a volume the middle section.

    Pixels are averaged, and the darkest and brightest per cent become black and white.
    """
    section = image[len(image) // 2] if image.ndim == 3 else image
    step = -(-max(section.shape) // side)
    if step > 1:
        rows, columns = (min(step, n) for n in section.shape)
        height, width = section.shape[0] // rows, section.shape[1] // columns
        blocks = section[: height * rows, : width * columns].reshape(height, rows, width, columns)
        section = blocks.mean(axis=(1, 3))
    known = section[np.isfinite(section)]
    low, high = np.percentile(known, [1, 99]) if len(known) else (0.0, 1.0)
    grey = (np.nan_to_num(section, nan=low) - low) / (high - low if high > low else 1.0)
    return np.asarray(np.clip(grey * 255, 0, 255), np.uint8)


class _Session:
    """Items that somebody looks at: listed, sampled, tried.

    Parameters
    ----------
    job, inbox
        What is asked, and where more of it comes from.
    """

    def __init__(self, job: messages.LookJob, inbox: Inbox) -> None:
        self._job, self._inbox = job, inbox
        self._kept: dict[int, Item] = {}
        self._bytes = 0
        self._source: ItemSource

    def run(self) -> Iterator[Any]:
        """What there is, and then whatever is asked for."""
        from napari_caked.widgets._dataset_steps import step_kinds

        yield Advanced(messages.LISTING)
        # The steps of a recipe come with PyTorch, which takes a second; what is to be seen of the items does not.
        self._source = source_of(self._job.source, self._inbox)
        yield _listed(self._source)
        yield self._sheet()
        yield messages.Steps(step_kinds())
        while True:
            for request in _newest(self._inbox):
                match request:
                    case messages.Try():
                        yield from self._tried(request)
                    case messages.AskSplit():
                        yield messages.Divided(_split_words(self._source, request))

    def _sheet(self) -> messages.Sheet:
        labels = np.array([record.label for record in self._source.records], int)
        dice = np.random.default_rng(0)
        some = []
        for label in [*range(len(self._source.classes)), UNLABELLED]:
            members = np.flatnonzero(labels == label)
            some.append(np.sort(dice.permutation(members)[: self._per_class]))
        indices = np.concatenate(some)
        tell = _teller(self._inbox, messages.READING)
        pictures = np.zeros((len(indices), _SMALL, _SMALL), np.uint8)
        places = {int(index): place for place, index in enumerate(indices)}
        for done, (index, item) in enumerate(self._source.items(indices.tolist()), 1):
            self._keep(index, item)
            _put(picture_of(item.image, 2 * _SMALL), pictures[places[index]])
            tell(done, len(indices))
        return messages.Sheet(indices, pictures)

    @property
    def _per_class(self) -> int:
        """Fewer of large volumes, which take long to read."""
        size = 4 * max(int(np.prod(record.shape)) for record in self._source.records)
        return max(min(self._job.per_class, _READ // size), 2)

    def _keep(self, index: int, item: Item) -> None:
        size = item.image.nbytes
        if self._bytes + size <= _KEPT:
            self._kept[index] = item
            self._bytes += size

    def _item(self, index: int) -> Item:
        if index not in self._kept:
            self._keep(index, item := self._source[index])
            return item
        return self._kept[index]

    def _tried(self, request: messages.Try) -> Iterator[Any]:
        from napari_caked.datasets.recipe import Recipe
        from napari_caked.datasets.sample import Canvas, Sample
        from napari_caked.datasets.steps import Augmentation, Dice

        number = -1
        titles, captions, pictures = [], [], []
        trouble: str | None = None

        def show(title: str, canvas: Canvas) -> None:
            pixels = canvas.pictures[0].pixels.numpy()
            titles.append(title)
            captions.append(_caption(pixels, canvas.record.voxel_size))
            pictures.append(picture_of(pixels, _LARGE))

        try:
            recipe = Recipe.from_json(request.recipe)
            sample = Sample.of(self._item(request.index))
            canvas = Canvas.of(sample, twins=recipe.partner == "twin", pool=self._pool(request.index, recipe))
            show("before", canvas)
            for number, step in enumerate((*recipe.transforms, *recipe.augmentations)):
                if isinstance(step, Augmentation):
                    step.roll(canvas, Dice(request.seed, 0, request.index, number - len(recipe.transforms)))
                else:
                    step.work(canvas)
                show(type(step).__name__, canvas)
        except UserError as error:
            trouble = str(error)
        if pictures:
            about = tuple(titles), tuple(captions), tuple(pictures)
            yield messages.Tried(request.ticket, request.index, *about)
        if trouble is not None:
            yield messages.NotTried(request.ticket, number, trouble)

    def _pool(self, index: int, recipe: Recipe) -> Pool:
        """Some other items as the transforms leave them, where a step mixes them in."""
        from napari_caked.datasets.sample import Pool, Sample

        mixing = {"Mixup", "MixBackground"} & {type(step).__name__ for step in recipe.augmentations}
        if not mixing:
            return Pool()
        own = self._source.records[index].label
        others = [i for i in self._kept if i != index]
        strange = [i for i in others if self._source.records[i].label != own]
        # What else is of this data set takes the place of backgrounds, which come with the training.
        return Pool(
            [recipe.prepare(Sample.of(self._kept[i])) for i in others[:_OTHERS]],
            [recipe.prepare(Sample.of(self._kept[i])) for i in (strange or others)[:_OTHERS]],
        )


def _newest(inbox: Inbox) -> list[Any]:
    """The last request of each kind; those before it are forgotten."""
    requests = [inbox.request()]
    while inbox.waiting:
        requests.append(inbox.request())
    return list({type(request): request for request in requests}.values())


def _put(picture: np.ndarray, square: np.ndarray) -> None:
    """Bring a picture to the size of a square, by its nearest pixels, and put it into its middle."""
    times = len(square) / max(picture.shape)
    sides = [max(round(n * times), 1) for n in picture.shape]
    rows, columns = ((np.arange(m) * n // m) for m, n in zip(sides, picture.shape, strict=True))
    y, x = ((len(square) - n) // 2 for n in sides)
    square[y : y + sides[0], x : x + sides[1]] = picture[np.ix_(rows, columns)]


def _caption(pixels: np.ndarray, voxel_size: tuple[float, ...] | None) -> str:
    size = " × ".join(map(str, pixels.shape))
    voxel = f", {voxel_size[-1]:.4g} Å" if voxel_size else ""
    mean, deviation = float(pixels.mean()), float(pixels.std())
    shown = mean if abs(mean) > 1e-3 * deviation else 0.0  # what is left of the mean is rounding
    return f"{size}{voxel}\n{shown:.3g} ± {deviation:.3g}"


def _listed(source: ItemSource) -> messages.Listed:
    from napari_caked.datasets.sources import what_is_mixed

    records = source.records
    labels = np.array([record.label for record in records], int)
    words = [*what_is_mixed(records)] or [_one_size(source)]
    words += [sentence for sentence in getattr(source, "warnings", ()) if sentence not in words]
    left_out = getattr(source, "left_out", ())
    words += [f"left out: {one}" for one in (left_out if isinstance(left_out, tuple) else ())[:5]]
    names = np.array([record.name for record in records], np.str_)
    groups = len({record.group for record in records})
    return messages.Listed(source.classes, labels, names, groups, "\n".join(words), _places(source))


def _places(source: ItemSource) -> np.ndarray:
    from napari_caked.datasets.sources import JoinedSource, ParticleSource

    if isinstance(source, ParticleSource):
        return source.table.coordinates
    if isinstance(source, JoinedSource):
        return np.concatenate([_places(part) for part in source.sources])
    return np.zeros((0, 3))


def _one_size(source: ItemSource) -> str:
    record = source.records[0]
    size = " × ".join(map(str, record.shape))
    sizes = {f"{one:.4g}" for one in record.voxel_size or ()}
    return f"{size} pixels" + (f" of {' × '.join(sorted(sizes))} Å" if sizes else ", of unknown size")


def _teller(inbox: Inbox, what: str) -> Progress:
    import time

    said = 0.0

    def tell(done: int, total: int, message: str = "") -> None:  # noqa: ARG001  (the window says it in its own words)
        nonlocal said
        if done == total or time.monotonic() - said > 0.1:
            said = time.monotonic()
            inbox.say(Advanced(what, done, total))

    return tell


# ---- splitting and building --------------------------------------------------------------------------------------


def _divided(source: ItemSource, share: float, seed: int) -> Split:
    from napari_caked.datasets.splits import split

    return split(source, {_TRAIN: None, _VALIDATION: share}, seed=seed)


def _split_words(source: ItemSource, request: messages.AskSplit) -> str:
    from napari_caked.datasets.leakage import leakage
    from napari_caked.datasets.sources import Subset

    try:
        taken = Subset(source, request.taken.tolist())
        parts = _divided(taken, request.share, request.seed)
        report = leakage(taken, parts)
    except UserError as error:
        return str(error)
    groups = {part: len({taken.records[i].group for i in at}) for part, at in parts.parts.items()}
    sizes = ", ".join(f"{part} {len(at):,} items of {groups[part]:,} groups" for part, at in parts.parts.items())
    return "\n".join([sizes, *parts.warnings, str(report)])


def _build(job: messages.BuildJob, inbox: Inbox) -> Iterator[Any]:
    from napari_caked.datasets.building import build
    from napari_caked.datasets.card import write_card
    from napari_caked.datasets.recipe import Recipe

    yield Advanced(messages.LISTING)
    source = Relabelled(source_of(job.source, inbox), job.taken, job.classes, job.labels)
    recipe = Recipe.from_json(job.recipe)
    yield Advanced(messages.STORING, 0, len(source))
    try:
        store = build(
            source,
            job.path,
            recipe if recipe.transforms or recipe.augmentations else None,
            dtype="float16" if job.half else "float32",
            overwrite=job.overwrite,
            made={"widget": "Build data set", "source": _in_words(job.source)},
            progress=_teller(inbox, messages.STORING),
            stopped=lambda: inbox.stopped,
        )
    except DatasetError as error:
        if not inbox.stopped:
            raise
        yield messages.Halted(str(error))
        return
    write_card(store, job.path, overwrite=True)
    counts = [f"{name} {int((store.labels == i).sum()):,}" for i, name in enumerate(store.classes)]
    words = [f"{len(store):,} items: {', '.join(counts)}"]
    if job.share:
        words.append(_write_split(store, Path(job.path) / "split.json", job))
    yield messages.Built(str(store.path), "\n".join(words))


def _write_split(store: ItemSource, file: Path, job: messages.BuildJob) -> str:
    from napari_empiarreader.files import replaced_when_complete

    parts = _divided(store, job.share, job.seed)
    with replaced_when_complete(file, overwrite=True) as temporary:
        temporary.write_text(parts.to_json(store), "utf-8")
    sizes = ", ".join(f"{part} {len(at):,}" for part, at in parts.parts.items())
    return "\n".join([f"{file.name}: {sizes}", *parts.warnings])


def _in_words(said: Source) -> dict[str, Any]:
    if isinstance(said, messages.InTable):
        return {"table": said.path, "classes": said.classes, "groups": said.groups}
    if isinstance(said, messages.InFolder):
        return {"folder": said.path, "classes": said.rule, "said": said.said}
    boxes = sorted({cut.box for cut in said.cuts})
    return {"micrographs": said.source, "boxes": boxes, "places": sum(len(cut.table) for cut in said.cuts)}
