"""One micrograph to pick, wherever that happens: what a worker must know, what it is told, and what it answers.

All three are JSON, so that workers may be processes, or machines. Pixels never travel: whoever picks reads the file.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_caked.errors import PickingError
from napari_caked.settings import PickSettings
from napari_empiarreader.errors import UserError

if TYPE_CHECKING:
    from napari_empiarreader.archive import Archive

__all__ = ["Micrograph", "Outcome", "Picker", "Setup", "pick_here", "read_image"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Micrograph:
    """Where a micrograph is.

    Attributes
    ----------
    name
        As the table of picks will call it.
    location
        Absolute path or ``empiar://`` address.
    section
        Of a stack, counted from 0; None for a file of one image.
    """

    name: str
    location: str
    section: int | None = None


@dataclass(frozen=True)
class Setup:
    """What every worker must know.

    Attributes
    ----------
    model, checksum
        Path of the model file, and the SHA-256 it must have.
    settings
        How to pick.
    pixel_size
        Å per pixel, which overrides the headers.
    api_url, archive_url
        The archive that ``empiar://`` addresses lead to.
    """

    model: str
    checksum: str
    settings: PickSettings
    pixel_size: float | None
    api_url: str
    archive_url: str

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Setup:
        """The inverse of :meth:`as_json`."""
        values = json.loads(text)
        return cls(**{**values, "settings": PickSettings(**values["settings"])})


@dataclass(frozen=True)
class Outcome:
    """What came of a micrograph.

    Attributes
    ----------
    name
        Of the micrograph.
    picks
        ``(n, 3)`` of y, x in pixels of the micrograph and calibrated log-odds, best first.
    error
        Why there are no picks; empty where all is well, also if nothing was found.
    device
        Where it was computed, in words.
    pixel_size
        Å per pixel that was used.
    """

    name: str
    picks: np.ndarray = field(default_factory=lambda: np.empty((0, 3)))
    error: str = ""
    device: str = ""
    pixel_size: float | None = None

    def as_json(self) -> str:
        """One line of JSON; the picks keep every bit."""
        picks = base64.b64encode(np.ascontiguousarray(self.picks, "<f8").tobytes()).decode()
        return json.dumps({**{name: getattr(self, name) for name in _PLAIN}, "picks": picks})

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        """The inverse of :meth:`as_json`."""
        values = json.loads(text)
        picks = np.frombuffer(base64.b64decode(values["picks"], validate=True), "<f8").reshape(-1, 3)
        return cls(picks=picks.astype(np.float64), **{name: values[name] for name in _PLAIN})


_PLAIN = ("name", "error", "device", "pixel_size")


class Picker:
    """A loaded model that picks micrographs by their location.

    Parameters
    ----------
    setup
        See :class:`Setup`.

    Raises
    ------
    CheckpointError, DeviceError, SettingsError
        The model or the device cannot be used.
    PickingError
        The model file is not the one that picking began with.
    """

    def __init__(self, setup: Setup) -> None:
        from dataclasses import replace

        from napari_caked.checkpoint import checksum, load_model
        from napari_caked.devices import choose_device, device_in_words
        from napari_caked.scoring import choose_precision

        self._device = choose_device(setup.settings.device)
        choose_precision(setup.settings.precision, self._device)
        model = load_model(setup.model)
        if checksum(setup.model) != setup.checksum:
            raise PickingError(f"{setup.model}: the model was replaced while it was picked with; start again")
        self._model = replace(model, network=model.network.to(self._device))
        self._setup = setup
        self._archive: Any = None
        self.device = device_in_words(self._device)

    def outcomes(self, micrographs: Iterable[Micrograph]) -> Generator[Outcome]:
        """One outcome for each micrograph, in their order; the next is read while one is computed."""
        waiting = iter(micrographs)

        def load_next() -> tuple[Micrograph, tuple[np.ndarray, float] | Exception] | None:
            micrograph = next(waiting, None)
            if micrograph is None:
                return None
            try:
                return micrograph, self._read(micrograph)
            except Exception as error:
                return micrograph, error

        with ThreadPoolExecutor(1) as reading:
            loading = reading.submit(load_next)
            while (loaded := loading.result()) is not None:
                loading = reading.submit(load_next)
                micrograph, image = loaded
                del loaded  # or it would be held beside the next
                yield self._outcome(micrograph, image)

    def _read(self, micrograph: Micrograph) -> tuple[np.ndarray, float]:
        remote = micrograph.location.startswith("empiar:")
        return read_image(micrograph, self._setup.pixel_size, self._opened_archive() if remote else None)

    def _opened_archive(self) -> Any:
        from dataclasses import replace

        from napari_empiarreader.archive import Archive
        from napari_empiarreader.archive.settings import ArchiveSettings

        if self._archive is None:
            known = ArchiveSettings.from_environment()
            self._archive = Archive(replace(known, api_url=self._setup.api_url, archive_url=self._setup.archive_url))
        return self._archive

    def _outcome(self, micrograph: Micrograph, loaded: tuple[np.ndarray, float] | Exception) -> Outcome:
        try:
            if isinstance(loaded, Exception):
                raise loaded
            image, pixel_size = loaded
            picks = self._picks(micrograph.name, image, pixel_size)
        except Exception as error:
            if not isinstance(error, UserError):
                _log.warning("%s", micrograph.name, exc_info=error)
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            return Outcome(micrograph.name, error=f"{kind}{error}", device=self.device)
        return Outcome(micrograph.name, picks, device=self.device, pixel_size=pixel_size)

    def _picks(self, name: str, image: np.ndarray, pixel_size: float) -> np.ndarray:
        from napari_caked.picking import pick_image

        return np.column_stack(pick_image(image, name, pixel_size, self._model, self._setup.settings))


def read_image(micrograph: Micrograph, pixel_size: float | None, archive: Archive | None) -> tuple[np.ndarray, float]:
    """Image ``(y, x)`` and Å per pixel; past the cache of images, which nobody would ask again.

    Raises
    ------
    UserError
        It cannot be read, is a stack among micrographs, or nobody said its pixel size.
    """
    from pathlib import Path

    from napari_empiarreader.errors import MixedSizesError
    from napari_empiarreader.files import ByteSource, LocalFile
    from napari_empiarreader.micrographs.formats import open_image
    from napari_empiarreader.micrographs.locations import find_files
    from napari_empiarreader.micrographs.series import required_pixel_size

    source: ByteSource = LocalFile(Path(micrograph.location))
    if micrograph.location.startswith("empiar:"):
        (source,) = find_files(micrograph.location, archive=archive)
    image = open_image(source)
    sections = image.info.shape[0]
    if micrograph.section is None and sections != 1:
        raise MixedSizesError(f"{source.uri}: a stack of {sections} sections among micrographs; pick it alone")
    return image.frame(micrograph.section or 0), required_pixel_size(pixel_size or image.info.pixel_size, source.uri)


def pick_here(micrographs: Sequence[Micrograph], setup: Setup) -> Generator[Outcome]:
    """Outcomes of micrographs picked in this process, in their order."""
    yield from Picker(setup).outcomes(micrographs)
