"""Gain references: how sensitive each pixel of the camera is, turned as the movie lies, and applied to frames.

**Orientation.** A reference is rotated first and flipped then, as RELION (``--gain_rot``, ``--gain_flip``) and
MotionCor2 and 3 (``-RotGain``, ``-FlipGain``) do, with the same numbers: ``rotate`` is 90 times theirs, ``flip`` 1 is
upside down and 2 left to right. Seen with row 0 on top, as napari and relion_display show an array, the rotation is
**clockwise**; MotionCor2 speaks of counter-clockwise because it draws row 0 at the bottom (the index arithmetic of
MotionCor3's G90Rotate2D.cu and the help text of RELION's job agree on what happens to the array).

**TIFF.** RELION and MotionCor2 turn TIFF images upside down when they read them; here every array is as stored. For a
TIFF movie with an MRC reference, or the reverse, their numbers therefore name another orientation here:
:func:`orientation_in_relion` translates them.

**Multiply or divide.** Frames of K2 and K3 cameras are multiplied with the reference. EER movies of Falcon cameras come
with one of two kinds (RELION's documentation, "Movie compression"): a TIFF file with the ending ``.gain`` multiplies,
any other file holds sensitivities and divides. :func:`open_gain` chooses so when it is told which movie it is for.

**Dead pixels.** Where the reference is zero, negative or not a number, the camera saw nothing that can be trusted. Such
a pixel gets the mean of its good neighbours (the median of the whole frame where there is none), so that contrast and
Fourier transforms are not spoiled. RELION likewise counts pixels of zero gain as defects.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np

from napari_empiarreader.errors import FormatError
from napari_empiarreader.files import ByteSource

__all__ = ["Flip", "GainReference", "OrientationGuess", "guess_orientation", "open_gain", "orientation_in_relion"]

Flip = Literal["none", "upside-down", "left-right"]
Rotation = Literal[0, 90, 180, 270]

#: Neighbours that stand in for a dead pixel are at most so many pixels away.
_REACH = 2


@dataclass(frozen=True, eq=False)
class GainReference:
    """A gain reference and how it is to be laid over frames.

    Attributes
    ----------
    image
        Values ``(y, x)`` as stored.
    flip
        Done after the rotation.
    rotate
        Degrees, clockwise with row 0 on top; see the module.
    multiply
        Frames are multiplied with the values; otherwise divided by them.
    source
        Where it came from, for messages.
    """

    image: np.ndarray
    flip: Flip = "none"
    rotate: Rotation = 0
    multiply: bool = True
    source: str = "the gain reference"
    _factors: dict[tuple[int, int], tuple[np.ndarray, Any]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.flip not in get_args(Flip):
            raise ValueError(f"flip {self.flip!r} is none of {', '.join(get_args(Flip))}")
        if self.rotate not in get_args(Rotation):
            raise ValueError(f"a rotation by {self.rotate} degrees is not possible; give 0, 90, 180 or 270")
        if self.image.ndim != 2 or 0 in self.image.shape:
            raise FormatError(f"{self.source}: a gain reference is one image, not an array of shape {self.image.shape}")
        if not _good(self.image).any():
            raise FormatError(f"{self.source}: no pixel is positive, so this is no gain reference")

    @property
    def oriented(self) -> np.ndarray:
        """The values ``(y, x)``, rotated and flipped, as they lie over frames."""
        turned = np.rot90(self.image, -(self.rotate // 90))
        if self.flip == "upside-down":
            return turned[::-1]
        return turned[:, ::-1] if self.flip == "left-right" else turned

    def turned(self, flip: Flip, rotate: Rotation) -> GainReference:
        """The same reference in another orientation."""
        return replace(self, flip=flip, rotate=rotate, _factors={})

    def for_shape(self, shape: tuple[int, int]) -> np.ndarray:
        """Factors ``(y, x)`` that frames of this shape are multiplied with, 0 where a pixel is dead.

        A reference of twice the frame's size (super-resolution, for frames saved in physical pixels) is binned by two;
        one of half the size serves four pixels with each value.

        Raises
        ------
        FormatError
            The reference does not fit the frames.
        """
        return self._prepared(shape)[0]

    def apply(self, frame: np.ndarray) -> np.ndarray:
        """A frame ``(y, x)``, corrected, as 32 bit floats.

        Raises
        ------
        FormatError
            The reference does not fit the frame.
        """
        factors, dead = self._prepared((frame.shape[0], frame.shape[1]))
        corrected = frame.astype(np.float32) * factors
        if dead[0].size:
            _fill(corrected, factors, dead)
        return corrected

    def _prepared(self, shape: tuple[int, int]) -> tuple[np.ndarray, Any]:
        """Factors for a shape, and where they are dead; kept, because a movie has many frames."""
        known = self._factors.get(shape)
        if known is not None:
            return known
        values = _scaled(self.oriented, shape)
        if values is None:
            raise self._misfit(shape)
        good = _good(values)
        factors = np.zeros(shape, np.float32)
        with np.errstate(over="ignore"):
            factors[good] = values[good] if self.multiply else 1 / values[good]
        factors[~np.isfinite(factors)] = 0
        prepared = factors, np.nonzero(factors == 0)
        # Two threads may prepare the same at once; each returns its own, whatever the other forgets.
        self._factors.clear()
        self._factors[shape] = prepared
        return prepared

    def _misfit(self, shape: tuple[int, int]) -> FormatError:
        height, width = self.oriented.shape
        message = f"{self.source}: {width} x {height} pixels as it lies, frames have {shape[1]} x {shape[0]}"
        if _scaled(self.oriented.T, shape) is not None:
            return FormatError(f"{message}; rotated by 90 or 270 degrees it would fit")
        return FormatError(f"{message}; choose the reference of this movie (of its size, half or twice of it)")


@dataclass(frozen=True)
class OrientationGuess:
    """One of the eight ways to lay a reference over frames, and how well it explains them.

    Attributes
    ----------
    flip, rotate
        As in :class:`GainReference`.
    score
        Correlation of the frames' sum with what an evenly lit camera of this gain would see; 1 explains it wholly.
    """

    flip: Flip
    rotate: Rotation
    score: float


def open_gain(
    source: ByteSource,
    *,
    flip: Flip = "none",
    rotate: Rotation = 0,
    multiply: bool | None = None,
    movie: str | None = None,
) -> GainReference:
    """Read a gain reference from any image file (MRC, TIFF, ``.gain``, DM3, DM4).

    Parameters
    ----------
    source
        The file; of several sections (an average of several takes) the first counts.
    flip, rotate
        Orientation over the arrays of this package; see the module.
    multiply
        Whether frames are multiplied or divided. By default they are divided where an EER movie has a reference that
        is no ``.gain`` file, and multiplied otherwise.
    movie
        Name of a movie it is for.

    Raises
    ------
    FormatError, TruncatedFileError
        No image, or one without a positive value.
    """
    from napari_empiarreader.micrographs.formats import open_image

    image = open_image(source)
    if multiply is None:
        is_eer = movie is not None and _bare_name(movie).endswith(".eer")
        multiply = not is_eer or _bare_name(source.name).endswith(".gain")
    values = image.frame(0)
    if np.iscomplexobj(values):
        raise FormatError(f"{source.uri}: complex values are no gain reference; choose an image of real numbers")
    return GainReference(values.astype(np.float32), flip, rotate, multiply, source.uri)


def orientation_in_relion(gain_rot: int, gain_flip: int, *, gain: str, movie: str) -> tuple[Flip, Rotation]:
    """Orientation over the arrays of this package that RELION and MotionCor2 mean with their numbers.

    Parameters
    ----------
    gain_rot
        ``--gain_rot`` or ``-RotGain``: 0 to 3.
    gain_flip
        ``--gain_flip`` or ``-FlipGain``: 0, 1 (upside down) or 2 (left to right).
    gain, movie
        Names of the two files: TIFF files are turned upside down by those programs, except an EER movie's reference.

    Raises
    ------
    ValueError
        Other numbers.
    """
    if gain_rot not in (0, 1, 2, 3) or gain_flip not in (0, 1, 2):
        raise ValueError(f"--gain_rot {gain_rot} --gain_flip {gain_flip}: give 0 to 3, and 0 to 2")
    is_eer = _bare_name(movie).endswith(".eer")
    gain_turned = _is_tiff(gain) and not is_eer
    # Every orientation is a rotation, then perhaps upside down; left to right is half a turn, then upside down.
    turns, is_flipped = gain_rot + (2 if gain_flip == 2 else 0), gain_flip > 0
    if gain_turned:
        turns = -turns  # a rotation after turning upside down is the opposite rotation before it
    is_flipped ^= gain_turned ^ _is_tiff(movie)
    rotate: Any = turns % 4 * 90
    return "upside-down" if is_flipped else "none", rotate


def _is_tiff(name: str) -> bool:
    return _bare_name(name).endswith((".tif", ".tiff", ".gain"))


def _bare_name(name: str) -> str:
    """A file's name in small letters, without the ending of a compression."""
    return name.lower().removesuffix(".gz").removesuffix(".bz2").removesuffix(".xz")


def guess_orientation(frames_sum: np.ndarray, gain: GainReference) -> list[OrientationGuess]:
    """The orientations that fit the frames' size, the likeliest first.

    A camera that is lit evenly sees 1/gain (gain, where it divides); so does the sum of many frames on the whole, as
    the specimen changes brightness little. Both are flattened first (each pixel against its neighbourhood), because
    the detector's fine pattern tells orientations apart and the slow shading of the beam does not.

    Parameters
    ----------
    frames_sum
        Sum ``(y, x)`` of uncorrected frames; the more electrons, the surer.
    gain
        The reference; its own orientation does not matter.

    Raises
    ------
    FormatError
        It fits in no orientation.
    """
    shape = frames_sum.shape[0], frames_sum.shape[1]
    seen = _flattened(frames_sum.astype(np.float32))
    guesses = []
    flips: tuple[Flip, ...] = ("none", "upside-down")
    rotations: tuple[Rotation, ...] = (0, 90, 180, 270)
    for flip, rotate in itertools.product(flips, rotations):
        candidate = gain.turned(flip, rotate)
        if _scaled(candidate.oriented, shape) is None:
            continue
        factors = candidate.for_shape(shape)
        good = factors > 0
        expected = np.zeros(shape, np.float32)
        expected[good] = 1 / factors[good]
        expected[~good] = float(np.median(expected[good])) if good.any() else 0
        guesses.append(OrientationGuess(flip, rotate, _correlation(seen, _flattened(expected), good)))
    if not guesses:
        raise gain._misfit(shape)
    return sorted(guesses, key=lambda guess: -guess.score)


def _flattened(image: np.ndarray) -> np.ndarray:
    from scipy.ndimage import uniform_filter

    level = uniform_filter(image, 33, mode="nearest")
    return image / np.where(level > 0, level, 1)


def _correlation(first: np.ndarray, second: np.ndarray, good: np.ndarray) -> float:
    """Correlation over good pixels, extreme values (hot pixels, missing electrons) held back."""
    a, b = first[good].astype(np.float64), second[good].astype(np.float64)
    if a.size < 2:
        return 0.0
    a, b = (np.clip(v, *np.percentile(v[:: max(1, v.size // 100_000)], (0.1, 99.9))) for v in (a, b))
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0


def _good(values: np.ndarray) -> np.ndarray:
    return np.isfinite(values) & (values > 0)


def _scaled(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray | None:
    """Values for frames of this shape, binned or repeated by two where that fits; dead stays dead."""
    if values.shape == shape:
        return values
    if values.shape == (2 * shape[0], 2 * shape[1]):
        blocks = values.reshape(shape[0], 2, shape[1], 2)
        good = _good(blocks)
        count = good.sum((1, 3))
        total = np.where(good, blocks, 0).sum((1, 3), dtype=np.float64)
        # Half a pixel that is dead would be trusted with twice its share.
        return np.where(count >= 3, total / np.maximum(count, 1), 0).astype(np.float32)
    if (2 * values.shape[0], 2 * values.shape[1]) == shape:
        return values.repeat(2, axis=0).repeat(2, axis=1)
    return None


def _fill(frame: np.ndarray, factors: np.ndarray, dead: tuple[np.ndarray, np.ndarray]) -> None:
    """Give dead pixels the mean of their good neighbours, in place."""
    rows, columns = dead
    total = np.zeros(rows.size, np.float64)
    count = np.zeros(rows.size, np.int64)
    for down, across in itertools.product(range(-_REACH, _REACH + 1), repeat=2):
        y, x = rows + down, columns + across
        inside = (y >= 0) & (y < frame.shape[0]) & (x >= 0) & (x < frame.shape[1])
        y, x = np.where(inside, y, 0), np.where(inside, x, 0)
        good = inside & (factors[y, x] > 0)
        total += np.where(good, frame[y, x], 0)
        count += good
    alone = float(np.median(frame[factors > 0]))
    frame[rows, columns] = np.where(count > 0, total / np.maximum(count, 1), alone)
