"""What a source could not take, and what is uneven about what it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from napari_caked.datasets.items import Record
from napari_caked.errors import DatasetError
from napari_empiarreader.errors import UserError

__all__ = ["LeftOut", "Troubles", "require_alike", "what_is_mixed"]

#: So many of a long list are named in a message.
_NAMED = 8


@dataclass(frozen=True)
class LeftOut:
    """An item that is not in a source, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return self.reason if self.reason.startswith(self.name) else f"{self.name}: {self.reason}"


@dataclass
class Troubles:
    """What is wrong with the items of a source, gathered so that one message can name all.

    Attributes
    ----------
    permissive
        Whether items that cannot be used are left out, instead of being an error.
    found
        So far.
    """

    permissive: bool
    found: list[LeftOut] = field(default_factory=list)

    def add(self, name: str, reason: object) -> None:
        """Note what is wrong with an item."""
        self.found.append(LeftOut(name, str(reason)))

    @contextmanager
    def about(self, name: str) -> Iterator[None]:
        """Note an error of the block as what is wrong with an item, and go on."""
        try:
            yield
        except UserError as error:
            self.add(name, error)

    def settle(self, where: str) -> tuple[LeftOut, ...]:
        """Everything that was noted, if it may be left out.

        Raises
        ------
        DatasetError
            Something was noted, and nothing may be left out; the message names it.
        """
        if self.found and not self.permissive:
            named = "; ".join(map(str, self.found[:_NAMED]))
            more = f"; and {len(self.found) - _NAMED} more" if len(self.found) > _NAMED else ""
            raise DatasetError(
                f"{where}: {len(self.found)} of its items cannot be used: {named}{more}. Mend or remove them, or leave "
                "them out with permissive (--permissive)"
            )
        return tuple(self.found)


def what_is_mixed(records: Sequence[Record]) -> tuple[str, ...]:
    """Sentences about shapes and voxel sizes that differ between items; none where all are alike."""
    shapes = Counter(" x ".join(map(str, record.shape)) for record in records)
    sizes = Counter(_size_text(record) for record in records)
    return tuple(
        f"{len(counts)} different {what}: " + ", ".join(f"{text} ({number})" for text, number in _most(counts))
        for what, counts in (("shapes in pixels", shapes), ("voxel sizes", sizes))
        if len(counts) > 1
    )


def require_alike(records: Sequence[Record], where: str) -> None:
    """Refuse items of several shapes or voxel sizes.

    Raises
    ------
    DatasetError
        They differ; the message says how many are of which.
    """
    mixed = what_is_mixed(records)
    if mixed:
        raise DatasetError(
            f"{where}: {'; '.join(mixed)}. Bring them to one voxel size and shape (rescale, crop or pad) first"
        )


def _size_text(record: Record) -> str:
    sizes = record.voxel_size
    if sizes is None:
        return "unknown"
    # Headers hold cell lengths in single precision: the fifth digit is noise.
    texts = [f"{size:.5g}" for size in sizes]
    return f"{texts[0] if len(set(texts)) == 1 else ' x '.join(texts)} Å"


def _most(counts: Counter[str]) -> list[tuple[str, int | str]]:
    most: list[tuple[str, int | str]] = list(counts.most_common(_NAMED))
    rest = sum(counts.values()) - sum(counts[text] for text, _ in most)
    return [*most, ("others", rest)] if rest else most
