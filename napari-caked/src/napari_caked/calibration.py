"""From logits to probabilities, and what a threshold on them will give.

The logits of all candidates of the labelled micrographs are taken for a mixture of particles and chance maxima
(:mod:`napari_caked.mixture`); a straight line through the log-odds of that mixture is the calibration. It comes from a
few micrographs of one specimen, and a micrograph without particles has maxima too. So each micrograph is asked whether
its candidates are more than those of its own decoy, the same image with its contrast inverted: see
:func:`micrograph_shift`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_caked.mixture import TwoComponents, fit_two_components, log_gaussian, log_student, student_scale

__all__ = [
    "Calibration",
    "MicrographShift",
    "Reliability",
    "estimate_calibration",
    "expected_count",
    "expected_precision",
    "expected_recall",
    "micrograph_shift",
    "reliability",
]

#: Share of candidates about which the logit is taken to say nothing: people who label disagree about more.
_DOUBT = 0.05
#: A micrograph with less than this part of the usual share of particles is taken for one without any.
_PARTICLE_FREE = 0.42
#: Twice the log likelihood ratio that it takes to say so: a few candidates alone prove nothing.
_LEAST_EVIDENCE = 12.0
#: What the scores of a micrograph without particles add up to: not enough for a single pick at 0.5.
_NEARLY_NOTHING = 0.25
#: Decoys needed to say what chance looks like on a micrograph.
_FEWEST_DECOYS = 8
_THRESHOLDS = np.round(np.arange(0.0, 1.0, 0.01), 2)


@dataclass(frozen=True)
class Calibration:
    """Log-odds of a candidate: ``slope * logit + offset``; increasing, so that the order of candidates stays.

    Attributes
    ----------
    slope
        Above 0.
    offset
        In log-odds.
    share
        Of particles among the candidates of the labelled micrographs; None where it was not estimated, and then no
        micrograph can be compared with them.
    particle_mean, particle_deviation
        Of the particles' logits.
    chance_mean, chance_deviation
        Location and scale of the other candidates' logits.
    decoy_mean, decoy_deviation
        Mean and standard deviation of the decoys' logits.

    Raises
    ------
    ValueError
        Numbers that are not finite, a slope or a deviation that is not positive, a share that is none.
    """

    slope: float = 1.0
    offset: float = 0.0
    share: float | None = None
    particle_mean: float = 0.0
    particle_deviation: float = 1.0
    chance_mean: float = 0.0
    chance_deviation: float = 1.0
    decoy_mean: float = 0.0
    decoy_deviation: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what would turn the order of candidates around, or every score into NaN."""
        for name, value in vars(self).items():
            positive = name == "slope" or name.endswith("deviation")
            if value is not None and not (np.isfinite(value) and (value > 0 or not positive)):
                raise ValueError(
                    f"the calibration's {name} is {value}, but must be {'positive' if positive else 'finite'}"
                )
        if self.share is not None and not 0 < self.share < 1:
            raise ValueError(f"the calibration's share of particles is {self.share}, but must lie between 0 and 1")

    def log_odds(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated log-odds ``(n,)`` of candidates' logits ``(n,)``."""
        return self.slope * np.asarray(logits, np.float64) + self.offset

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities ``(n,)`` of candidates' logits ``(n,)``."""
        from scipy.special import expit

        return np.asarray(expit(self.log_odds(logits)))


def estimate_calibration(
    candidates: np.ndarray,
    labelled: np.ndarray,
    expected: float | None = None,
    *,
    decoys: np.ndarray | None = None,
) -> Calibration:
    """Calibrate logits from the candidates of the labelled micrographs, without ground truth.

    Parameters
    ----------
    candidates
        ``(n,)`` logits of all candidates of the labelled micrographs, labelled ones among them.
    labelled
        ``(m,)`` logits at labels: of the candidate at each label, best by a network that has not learned from it.
    expected
        Particles among all these candidates, where the user said how many; it counts for as much as the candidates.
    decoys
        ``(k,)`` logits of all candidates of the same micrographs with their contrast inverted.

    Raises
    ------
    ValueError
        There are no finite candidates, or no finite labels.
    """
    candidates, labelled = _finite(candidates, "candidates"), _finite(labelled, "labels")
    decoys = None if decoys is None else np.asarray(decoys, np.float64)[np.isfinite(decoys)]
    mixture = fit_two_components(candidates, labelled, decoys, expected=expected)
    slope, offset = _line(candidates, mixture)
    known = decoys is not None and len(decoys) >= _FEWEST_DECOYS
    return Calibration(
        slope=slope,
        offset=offset,
        share=mixture.share if known else None,
        particle_mean=mixture.mean,
        particle_deviation=mixture.deviation,
        chance_mean=mixture.chance_mean,
        chance_deviation=mixture.chance_deviation,
        decoy_mean=float(decoys.mean()) if known and decoys is not None else 0.0,
        decoy_deviation=max(float(decoys.std()), 1e-9) if known and decoys is not None else 1.0,
    )


def _line(candidates: np.ndarray, mixture: TwoComponents) -> tuple[float, float]:
    """Slope and offset of the logistic regression of the mixture's posteriors on the logits.

    With a probability of :data:`_DOUBT` the logit says nothing, and the share of particles is all that is known:
    without that, a mixture of thin tails is far too sure of itself. A few points where chance lies are always there:
    else, where all candidates are particles, nobody would know what is none.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    chance = mixture.chance_mean + mixture.chance_deviation * np.array([-1.0, 0.0, 1.0])
    points = np.concatenate([candidates, chance])
    weight = np.append(np.ones(len(candidates)), np.full(3, max(0.01 * len(candidates), 2.0) / 3))
    weight /= weight.sum()
    centre, width = float(weight @ points), max(float(np.std(points)), 1e-6)
    z = (points - centre) / width
    wanted = (1 - _DOUBT) * mixture.posterior(points) + _DOUBT * mixture.share
    # Two candidates' worth of a slope of one deviation: it decides only where the data say nothing at all.
    pull = 2.0 / len(candidates)

    def loss(p: np.ndarray) -> tuple[float, np.ndarray]:
        line = p[0] * z + p[1]
        miss = weight * (expit(line) - wanted)
        value = weight @ (np.logaddexp(0, line) - wanted * line) + 0.5 * pull * (p[0] - 1) ** 2
        return float(value), np.array([miss @ z + pull * (p[0] - 1), miss.sum()])

    start = np.array([1.0, float(np.log(mixture.share) - np.log1p(-mixture.share))])
    slope, offset = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(1e-2, None), (-50, 50)]).x
    return float(slope / width), float(offset - slope * centre / width)


@dataclass(frozen=True)
class MicrographShift:
    """Whether a micrograph has particles at all.

    Attributes
    ----------
    shift
        To add to the log-odds of its candidates: 0, or below where it is taken for one without particles.
    share
        Estimated share of particles among its candidates, as a multiple of that on the labelled micrographs.
    evidence
        Twice the log likelihood ratio of this share and of the usual one.
    """

    shift: float
    share: float
    evidence: float

    @property
    def particle_free(self) -> bool:
        """Whether the micrograph is taken for one without particles."""
        return self.shift < 0


def micrograph_shift(calibration: Calibration, logits: np.ndarray, decoys: np.ndarray) -> MicrographShift:
    """Compare a micrograph's candidates with those of its decoy, the same image with its contrast inverted.

    Ice, carbon, or noise alone have bright spots as well as dark ones, particles are only one of both. So the
    candidates are fitted with a mixture of the particles' logits, as they were on the labelled micrographs, and of
    this micrograph's own decoys; the share of particles is the only unknown. Where it is below 0.42 of the usual,
    and surely so, the log-odds of all candidates are lowered until their scores add up to a quarter of a particle; else
    they stay.

    Parameters
    ----------
    calibration
        With a ``share``; without one nothing is shifted.
    logits
        ``(n,)`` of all candidates, before calibration.
    decoys
        ``(k,)`` of all candidates of the same image with its contrast inverted.
    """
    from scipy.special import expit

    logits, decoys = np.asarray(logits, np.float64), np.asarray(decoys, np.float64)
    if calibration.share is None or len(logits) == 0 or len(decoys) < _FEWEST_DECOYS:
        return MicrographShift(0.0, 1.0, 0.0)
    share, evidence = _share_here(calibration, logits, decoys)
    relative = share / calibration.share
    odds = calibration.log_odds(logits)
    usual = relative >= _PARTICLE_FREE or evidence < _LEAST_EVIDENCE
    if usual or expit(odds).sum() <= _NEARLY_NOTHING:
        return MicrographShift(0.0, relative, evidence)
    from scipy.optimize import brentq  # a fifth of a second, and hardly ever needed

    lowest = -float(odds.max()) - 50.0 - np.log(len(odds))
    shift = brentq(lambda by: expit(odds + by).sum() - _NEARLY_NOTHING, min(lowest, -1.0), 0.0)
    return MicrographShift(float(shift), relative, evidence)


def _share_here(calibration: Calibration, logits: np.ndarray, decoys: np.ndarray) -> tuple[float, float]:
    """Most likely share of particles on one micrograph, and the evidence for it against the usual one."""
    c = calibration
    # Where chance goes further than on the labelled micrographs (ice, carbon), a high logit means less.
    stretch = max(1.0, float(decoys.std()) / max(c.decoy_deviation, 1e-9))
    if stretch > 1.0:
        logits = c.decoy_mean + (logits - decoys.mean()) / stretch
        centre, width = c.decoy_mean, c.decoy_deviation
    else:
        raised = max(0.0, float(decoys.mean()) - c.decoy_mean)
        logits = logits - raised
        centre, width = float(decoys.mean()) - raised, max(float(decoys.std()), 1e-9)
    width = student_scale(width)
    usual = min(max(c.share or 0.5, 1e-3), 0.999)
    shares = np.concatenate([[1e-3], np.linspace(0.005, 0.99, 150), [usual]])
    particle = log_gaussian(logits, c.particle_mean, c.particle_deviation)
    likelihood = np.empty(len(shares))
    for i, share in enumerate(shares):
        # The more room particles take, the lower the chance maxima that are left; as on the labelled micrographs.
        full = min(share / (c.share or 1.0), 1.0)
        chance = log_student(
            logits,
            centre + full * (c.chance_mean - c.decoy_mean),
            width * (1 + full * (c.chance_deviation / max(student_scale(c.decoy_deviation), 1e-9) - 1)),
        )
        likelihood[i] = np.logaddexp(np.log(share) + particle, np.log1p(-share) + chance).sum()
    best = int(np.argmax(likelihood))
    return (0.0 if best == 0 else float(shares[best])), 2 * float(likelihood[best] - likelihood[-1])


def expected_precision(scores: np.ndarray, thresholds: Sequence[float] | np.ndarray = _THRESHOLDS) -> np.ndarray:
    """Mean score ``(t,)`` of the picks that reach each threshold; NaN where none does.

    Parameters
    ----------
    scores
        ``(n,)`` calibrated probabilities.
    thresholds
        ``(t,)``.
    """
    total, count = _above(scores, thresholds)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def expected_count(scores: np.ndarray, thresholds: Sequence[float] | np.ndarray = (0.0,)) -> np.ndarray:
    """Particles ``(t,)`` to expect among the picks that reach each threshold: the sum of their scores."""
    return _above(scores, thresholds)[0]


def expected_recall(scores: np.ndarray, thresholds: Sequence[float] | np.ndarray = _THRESHOLDS) -> np.ndarray:
    """Share ``(t,)`` of the particles among all candidates that reaches each threshold; NaN without candidates.

    Particles that are no candidate at all are not counted.
    """
    total = float(np.sum(scores))
    return _above(scores, thresholds)[0] / total if total > 0 else np.full(len(np.atleast_1d(thresholds)), np.nan)


def _above(scores: np.ndarray, thresholds: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the scores at or above each threshold."""
    ordered = np.sort(np.asarray(scores, np.float64))[::-1]
    count = np.searchsorted(-ordered, -np.asarray(thresholds, np.float64).reshape(-1), side="right")
    return np.concatenate([[0.0], np.cumsum(ordered)])[count], count


@dataclass(frozen=True)
class Reliability:
    """How often scores come true.

    Attributes
    ----------
    edges
        ``(bins + 1,)`` of the scores.
    count
        ``(bins,)`` candidates in each bin.
    mean_score, share
        ``(bins,)`` what was promised, and the share that was right; NaN in empty bins.
    low, high
        ``(bins,)`` 95 % Wilson interval of the share.
    error
        Expected calibration error: mean of ``|mean_score - share|`` over all candidates.
    """

    edges: np.ndarray
    count: np.ndarray
    mean_score: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    error: float


def reliability(scores: np.ndarray, right: np.ndarray, bins: int = 10) -> Reliability:
    """Compare scores with the truth, bin by bin.

    The expected calibration error is that of Naeini et al., AAAI 2015; the intervals are those of Wilson, JASA 22, 209
    (1927).

    Parameters
    ----------
    scores
        ``(n,)`` probabilities.
    right
        ``(n,)`` bool.
    bins
        Of equal width between 0 and 1.

    Raises
    ------
    ValueError
        A score is no probability.
    """
    scores, right = np.asarray(scores, np.float64), np.asarray(right, bool)
    if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
        raise ValueError(
            f"scores from {scores.min():g} to {scores.max():g} are no probabilities, which lie between 0 and 1"
        )
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    promised, kept = np.bincount(place, scores, bins), np.bincount(place, right, bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_score, share = promised / count, kept / count
        low, high = _wilson(share, count)
    error = float(np.abs(promised - kept).sum() / len(scores)) if len(scores) else float("nan")
    return Reliability(edges, count, mean_score, share, low, high, error)


def _wilson(share: np.ndarray, count: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def _finite(values: np.ndarray, what: str) -> np.ndarray:
    values = np.asarray(values, np.float64).ravel()
    values = values[np.isfinite(values)]
    if not len(values):
        raise ValueError(f"a calibration needs the logits of {what}, and there are none that are finite")
    return values
