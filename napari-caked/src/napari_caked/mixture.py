"""Particles and chance maxima in one list of values: how many of each, and which is which.

The maxima of a map, whatever the map is (a correlation, a network's logits), are a mixture: their density at a value
``s`` is

    p(s) = a f₁(s) + (1 - a) f₀(s),

with the share ``a`` of particles. Three samples say what the parts look like. *Labelled* particles come from ``f₁``
alone (positive and unlabelled learning; Elkan and Noto, KDD 2008; Ward et al., Biometrics 65, 554 (2009)). Maxima of a
*decoy* map, made of the same image with its contrast inverted, come from the chance part alone (Elias and Gygi, Nature
Methods 4, 207 (2007)), though only about: where particles stand there is no room for chance maxima, and the rest are a
little lower than the decoys. So ``f₀`` starts at the decoys and is then fitted like the rest (an empirical null; Efron,
JASA 99, 96 (2004)), by expectation maximisation over all three samples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["TwoComponents", "fit_two_components"]

#: Degrees of freedom of Student's t for the chance part: maxima of noise have a heavier tail than a Gaussian.
_TAIL = 5.0
#: Weight of the decoys, as a share of the number of values.
_DECOY_WEIGHT = 0.02
#: Labels that the decoys' spread counts for in the spread of the particles: one label alone has none.
_SPREAD_WEIGHT = 4.0
#: Twice a log likelihood ratio that chance alone does not reach in practice, three parameters being fitted.
_LEAST_EVIDENCE = 16.0
_STEPS, _TOLERANCE = 500, 1e-7


@dataclass(frozen=True)
class TwoComponents:
    """A mixture of particles (a Gaussian) and chance maxima (Student's t).

    Attributes
    ----------
    share
        Of particles among the values, above 0 and below 1.
    mean, deviation
        Of the particles' values.
    chance_mean, chance_deviation
        Location and scale of the chance part.
    evidence
        Twice the logarithm of the likelihood ratio, for the values, of this mixture and of the decoys alone.
    """

    share: float
    mean: float
    deviation: float
    chance_mean: float
    chance_deviation: float
    evidence: float = np.inf

    def log_ratio(self, values: np.ndarray) -> np.ndarray:
        """Natural logarithm of ``f₁ / f₀`` at values ``(n,)``."""
        particle = log_gaussian(values, self.mean, self.deviation)
        return particle - log_student(values, self.chance_mean, self.chance_deviation)

    def log_density(self, values: np.ndarray) -> np.ndarray:
        """Natural logarithm of the mixture's density at values ``(n,)``."""
        return np.logaddexp(
            np.log(self.share) + log_gaussian(values, self.mean, self.deviation),
            np.log1p(-self.share) + log_student(values, self.chance_mean, self.chance_deviation),
        )

    def posterior(self, values: np.ndarray) -> np.ndarray:
        """Probability ``(n,)`` that each value is a particle's."""
        from scipy.special import expit, logit

        return np.asarray(expit(logit(self.share) + self.log_ratio(values)))


def fit_two_components(
    values: np.ndarray,
    labelled: np.ndarray,
    decoys: np.ndarray | None = None,
    *,
    expected: float | None = None,
) -> TwoComponents:
    """Fit the mixture by expectation maximisation.

    Parameters
    ----------
    values
        ``(n,)`` of all maxima, labelled ones among them.
    labelled
        ``(m,)`` of labelled particles, one or more.
    decoys
        ``(k,)`` of a decoy map; without any, the chance part starts at the lower half of the values.
    expected
        Particles among the values, where somebody knows; it counts for as much as the values themselves.
    """
    values, labelled = _clean(values), _clean(labelled)
    decoys = _clean(decoys) if decoys is not None else np.empty(0)
    if len(decoys) < 4:
        decoys = np.sort(values)[: max(len(values) // 2, 2)]
    fitted = _maximise(values, labelled, decoys, expected)
    evidence = 2 * (float(fitted.log_density(values).sum()) - _chance_alone(values, decoys))
    if evidence < _LEAST_EVIDENCE and expected is None:
        # Nothing but the labels says that there are particles; so they are all that may be counted on.
        fitted = replace(fitted, share=float(np.clip(len(labelled) / len(values), 0.5 / len(values), fitted.share)))
    return replace(fitted, evidence=evidence)


def _chance_alone(values: np.ndarray, decoys: np.ndarray) -> float:
    """Log likelihood of the values if all were like the decoys: of a Gaussian or a t, whichever is better."""
    centre, deviation = float(decoys.mean()), max(float(decoys.std()), 1e-9)
    gaussian = log_gaussian(values, centre, deviation).sum()
    return float(max(gaussian, log_student(values, centre, student_scale(deviation)).sum()))


def _maximise(values: np.ndarray, labelled: np.ndarray, decoys: np.ndarray, expected: float | None) -> TwoComponents:
    count = len(values)
    floor = 1e-3 * max(float(np.ptp(np.concatenate([values, decoys]))), 1e-6)
    start, spread = float(decoys.mean()), max(student_scale(float(decoys.std())), floor)
    pull = _DECOY_WEIGHT * count
    known = None if expected is None else float(np.clip(expected / count, 0.5 / count, 1 - 0.5 / count))
    tight = np.sum((labelled - labelled.mean()) ** 2) + _SPREAD_WEIGHT * spread**2
    # A single label may be a poor one; two of the values that stand out keep it company at the start.
    outstanding = values[values > start + spread]
    company = float(outstanding.mean()) if len(outstanding) else start + 2 * spread
    now = TwoComponents(
        share=known or 0.5,
        mean=max(float((labelled.sum() + 2 * company) / (len(labelled) + 2)), start + 0.5 * spread),
        deviation=float(np.sqrt(tight / (len(labelled) + _SPREAD_WEIGHT))),
        chance_mean=start,
        chance_deviation=spread,
    )
    for _ in range(_STEPS):
        particle = now.posterior(values)
        chance = 1 - particle
        found = float(particle.sum())
        mean = (particle @ values + labelled.sum()) / (found + len(labelled))
        scatter = particle @ (values - mean) ** 2 + np.sum((labelled - mean) ** 2) + _SPREAD_WEIGHT * spread**2
        # Values far out in the tail count less (the usual weights of a t fit).
        weight = chance * (_TAIL + 1) / (_TAIL + ((values - now.chance_mean) / now.chance_deviation) ** 2)
        chance_mean = (weight @ values + pull * start) / (weight.sum() + pull)
        chance_scatter = weight @ (values - chance_mean) ** 2 + pull * (spread**2 + (start - chance_mean) ** 2)
        share = found / count if known is None else 0.5 * (found / count + known)
        step = TwoComponents(
            share=float(np.clip(share, 0.5 / count, 1 - 0.5 / count)),
            mean=float(mean),
            deviation=max(float(np.sqrt(scatter / (found + len(labelled) + _SPREAD_WEIGHT))), floor),
            chance_mean=float(chance_mean),
            chance_deviation=max(float(np.sqrt(chance_scatter / (chance.sum() + pull))), floor),
        )
        if step.mean <= step.chance_mean:
            break  # the labels do not stand out: what was last known is all there is
        moved = abs(step.share - now.share)
        now = step
        if moved < _TOLERANCE:
            break
    return now


def log_gaussian(values: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    """Logarithm of the density of a Gaussian."""
    return -0.5 * ((values - mean) / deviation) ** 2 - np.log(deviation) - 0.5 * np.log(2 * np.pi)


def log_student(values: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    """Logarithm of the density of Student's t with the degrees of freedom of the chance part."""
    from scipy.special import gammaln

    scale = gammaln((_TAIL + 1) / 2) - gammaln(_TAIL / 2) - 0.5 * np.log(_TAIL * np.pi) - np.log(deviation)
    return np.asarray(scale - (_TAIL + 1) / 2 * np.log1p(((values - mean) / deviation) ** 2 / _TAIL))


def student_scale(deviation: float) -> float:
    """Scale of the chance part's t of a standard deviation."""
    return deviation * float(np.sqrt((_TAIL - 2) / _TAIL))


def _clean(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64).ravel()
    return values[np.isfinite(values)]
