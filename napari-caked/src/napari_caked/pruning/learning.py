"""Learning from a few labels: first the two heads on what the trunk sees already, then everything at a small rate.

How far the heads may leave what was learned before, and how many batches the whole network learns from, is chosen by
labels that are held back in turn; and by them the probabilities are calibrated. Nothing else is looked at.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from napari_caked.errors import LabelsError
from napari_caked.optimisers import AdamW
from napari_caked.pruning.checkpoint import Pruner
from napari_caked.pruning.network import (
    Features,
    PrunerNetwork,
    flipped,
    head_logits,
    partial_loss,
    pooled_features,
)
from napari_caked.pruning.patches import Patches
from napari_caked.pruning.settings import CLASSES, PARTICLE, PruneSettings
from napari_empiarreader.progress import Progress, silent

__all__ = [
    "PARTICLE",
    "allowed_classes",
    "fine_tuned",
    "fitted_heads",
    "log_odds",
    "sobered",
    "temperature_of",
    "with_fitted_heads",
]

#: Penalties on leaving the shipped heads, of which one is chosen.
_PENALTIES = (10.0, 1.0)
#: What the heads of a pruner that has seen no label of a specimen count beside what labels or a picker say: it is too
#: sure of itself there.
_UNSEEN = 0.25
#: Penalty on trusting a picker more or less than the shipped network does.
_FAITH = 0.05
#: Batches between two looks at the labels that are held back.
_LOOK_EVERY = 10
#: Where the record of a pruner says what labels it has learned from.
_LABELS = "labels"
#: Fewest labels on either side.
_FEWEST = 2
_DEFAULTS = PruneSettings()


def allowed_classes(classes: np.ndarray) -> torch.Tensor:
    """``(n, classes)`` bool: what each label may be.

    Parameters
    ----------
    classes
        ``(n,)`` int: index into :data:`.CLASSES`, or -1 for something that is no particle, whatever it is.
    """
    allowed = torch.zeros((len(classes), len(CLASSES)), dtype=torch.bool)
    for row, number in enumerate(classes):
        if number < 0:
            allowed[row] = True
            allowed[row, PARTICLE] = False
        else:
            allowed[row, number] = True
    return allowed


def log_odds(logits: torch.Tensor) -> torch.Tensor:
    """Log-odds ``(n,)`` of being a particle, of logits ``(n, classes)``."""
    others = torch.cat([logits[:, :PARTICLE], logits[:, PARTICLE + 1 :]], dim=1)
    return logits[:, PARTICLE] - torch.logsumexp(others, dim=1)


def balanced(allowed: torch.Tensor) -> torch.Tensor:
    """Weights ``(n,)`` with sum 1 by which particles count as much as all the others together."""
    right = allowed[:, PARTICLE]
    count = torch.where(right, right.sum(), (~right).sum()).clamp(min=1)
    weight = 1.0 / count
    return weight / weight.sum()


def fine_tuned(
    pruner: Pruner,
    patches: Patches,
    classes: np.ndarray,
    settings: PruneSettings = _DEFAULTS,
    *,
    progress: Progress = silent,
    stop: Callable[[], bool] = lambda: False,
) -> Pruner:
    """A pruner that has learned from labels.

    Parameters
    ----------
    pruner
        To start from.
    patches
        Of the labels, on the CPU or where the network shall learn.
    classes
        ``(n,)`` as :func:`allowed_classes` takes them; at least two are particles and two are not.
    settings
        Folds, steps, seed.
    progress
        Told after each fold.
    stop
        Asked between folds; where it says yes, learning ends with :class:`KeyboardInterrupt`.

    Raises
    ------
    LabelsError
        Too few labels of either side.
    """
    allowed = allowed_classes(np.asarray(classes)).to(patches.near.device)
    folds = _folds(allowed, settings)
    network = sobered(pruner).eval().to(patches.near.device)
    features = pooled_features(network, patches, settings.flips, settings.batch)
    penalty, _ = _best_penalty(network, features, allowed, folds)
    looks = settings.steps // _LOOK_EVERY + 1
    held_back = torch.full((looks, len(allowed)), torch.nan, device=allowed.device)
    for number, (learn, test) in enumerate(folds):
        if stop():
            raise KeyboardInterrupt
        start = _with_heads(network, features, allowed, learn, penalty)
        trained = _trained(start, patches[learn], allowed[learn], settings, settings.steps, number)
        for look, one in enumerate(trained):
            seen = pooled_features(one, patches[test], settings.flips, settings.batch)
            with torch.no_grad():
                held_back[look, test] = log_odds(head_logits(one, seen))
        progress(number + 1, len(folds) + 1, "learning from labels")
    right = allowed[:, PARTICLE]
    found = [temperature_of(odds, right) for odds in held_back]
    # The first of the best: what the labels do not ask for is not learned.
    best = int(np.argmin([loss for _, loss in found]))
    start = _with_heads(network, features, allowed, np.arange(len(allowed)), penalty)
    steps = best * _LOOK_EVERY
    *_, final = _trained(start, patches, allowed, settings, steps, len(folds))
    progress(len(folds) + 1, len(folds) + 1, "learned from labels")
    record = {
        **pruner.provenance,
        _LABELS: {"particles": int(right.sum()), "others": int((~right).sum())},
        "steps of the whole network": steps,
        "held-back loss": round(found[best][1], 4),
        "seed": settings.seed,
    }
    final = copy.deepcopy(final).eval()
    return replace(pruner, network=final, temperature=found[best][0], provenance=record)


def with_fitted_heads(
    pruner: Pruner, features: Features, classes: np.ndarray, settings: PruneSettings = _DEFAULTS
) -> Pruner:
    """A pruner of which only the heads have learned, from features of labels; as :func:`fine_tuned` without steps.

    Parameters
    ----------
    pruner
        To start from.
    features
        Of the labels, from :func:`.pooled_features` of its network.
    classes, settings
        As of :func:`fine_tuned`.
    """
    allowed = allowed_classes(np.asarray(classes)).to(features.whole.device)
    folds = _folds(allowed, settings)
    network = sobered(pruner)
    penalty, temperature = _best_penalty(network, features, allowed, folds)
    network = _with_heads(network, features, allowed, np.arange(len(allowed)), penalty)
    return replace(pruner, network=network, temperature=temperature)


def sobered(pruner: Pruner) -> PrunerNetwork:
    """A copy of its network to stand beside labels or a picker, with quieter heads where it has never seen labels."""
    network = copy.deepcopy(pruner.network)
    if _LABELS not in pruner.provenance:
        with torch.no_grad():
            for head in (network.head, network.halved_head):
                head.weight.mul_(_UNSEEN)
                head.bias.mul_(_UNSEEN)
    return network


def _folds(allowed: torch.Tensor, settings: PruneSettings) -> list[tuple[np.ndarray, np.ndarray]]:
    """What to learn from and what is held back, in turn; each part has its share of particles and of the others."""
    right = allowed[:, PARTICLE].cpu().numpy()
    fewest = min(int(right.sum()), int((~right).sum()))
    if fewest < _FEWEST:
        raise LabelsError(
            f"{int(right.sum())} labels are particles and {int((~right).sum())} are not: {_FEWEST} of each are needed, "
            "20 are good; mark more"
        )
    count = min(settings.folds, fewest)
    rng = np.random.default_rng(settings.seed)
    part = np.empty(len(right), int)
    for side in (right, ~right):
        rows = rng.permutation(np.flatnonzero(side))
        part[rows] = np.arange(len(rows)) % count
    return [(np.flatnonzero(part != i), np.flatnonzero(part == i)) for i in range(count)]


def _best_penalty(
    network: PrunerNetwork, features: Features, allowed: torch.Tensor, folds: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[float, float]:
    """The penalty whose heads say best what the labels are that they have not seen, and the temperature of those."""
    found = []
    for penalty in _PENALTIES:
        held_back = torch.empty(len(allowed), device=allowed.device)
        for learn, test in folds:
            heads = fitted_heads(network, features[learn], allowed[learn], penalty)
            held_back[test] = log_odds(_said(heads, features[test]))
        found.append(temperature_of(held_back, allowed[:, PARTICLE]))
    best = int(np.argmin([loss for _, loss in found]))
    return _PENALTIES[best], found[best][0]


@dataclass(frozen=True)
class FittedHead:
    """Weights ``(classes, features)`` and biases ``(classes,)`` of a linear head, and what it trusts a picker."""

    weight: torch.Tensor
    bias: torch.Tensor
    trust: float


def _said(heads: tuple[FittedHead, FittedHead], features: Features) -> torch.Tensor:
    said = [one @ head.weight.T + head.bias for head, one in zip(heads, (features.whole, features.halved), strict=True)]
    mean = (said[0] + said[1]) / 2
    mean[:, PARTICLE] += _mean_trust(heads) * features.odds
    return mean


def _mean_trust(heads: tuple[FittedHead, FittedHead]) -> float:
    return (heads[0].trust + heads[1].trust) / 2


def fitted_heads(
    network: PrunerNetwork, features: Features, allowed: torch.Tensor, penalty: float
) -> tuple[FittedHead, FittedHead]:
    """Both heads, each by its own cross-entropy, on what the trunk says.

    Parameters
    ----------
    network
        Its heads are where the fit starts, and what it is drawn back to.
    features, allowed
        Of the labels.
    penalty
        On the square of what is added to the weights, of features with standard deviation 1.
    """
    trust = float(network.trust)
    return (
        _fitted(network.head, features.whole, features.odds, trust, allowed, penalty),
        _fitted(network.halved_head, features.halved, features.odds, trust, allowed, penalty),
    )


def _fitted(
    head: torch.nn.Linear,
    features: torch.Tensor,
    odds: torch.Tensor,
    trust: float,
    allowed: torch.Tensor,
    penalty: float,
) -> FittedHead:
    """One head; its loss is that of :func:`.partial_loss`, in numpy, since few labels are faster there."""
    from scipy.optimize import minimize

    x, may_be = features.double().cpu().numpy(), allowed.cpu().numpy()
    weight, bias = head.weight.detach().double().cpu().numpy(), head.bias.detach().double().cpu().numpy()
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    deviation = deviation + 0.1 * deviation.mean() + 1e-6
    scaled = (x - mean) / deviation
    # The best weights are a sum of the labels' features (the representer theorem): few numbers for few labels.
    basis = np.linalg.svd(scaled, full_matrices=False)[2] if len(x) < x.shape[1] else np.eye(x.shape[1])
    reduced = scaled @ basis.T
    before, counts = x @ weight.T + bias, balanced(allowed).double().cpu().numpy()[:, None]
    told = odds.double().cpu().numpy()
    before[:, PARTICLE] += trust * told
    shape = (len(bias), reduced.shape[1] + 1)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        added, more = flat[:-1].reshape(shape), flat[-1]
        logits = before + reduced @ added[:, :-1].T + added[:, -1]
        logits[:, PARTICLE] += more * told
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        likely /= likely.sum(axis=1, keepdims=True)
        right = np.maximum((likely * may_be).sum(axis=1, keepdims=True), 1e-300)
        slope = counts * (likely - likely * may_be / right)
        penalties = penalty * np.append(np.ones(reduced.shape[1]), 0.01)
        gradient = np.column_stack([slope.T @ reduced, slope.sum(axis=0)]) + 2 * penalties * added
        total = -(counts * np.log(right)).sum() + (penalties * added**2).sum() + _FAITH * more**2
        return float(total), np.append(gradient, slope[:, PARTICLE] @ told + 2 * _FAITH * more)

    size = shape[0] * shape[1]
    # A picker may be trusted less, but never for the contrary of what it says.
    bounds = [(None, None)] * size + [(-trust, None)]
    found = minimize(loss, np.zeros(size + 1), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 100})
    added = found.x[:-1].reshape(shape)
    change = added[:, :-1] @ basis / deviation
    weight, bias = weight + change, bias + added[:, -1] - change @ mean
    weight, bias = (torch.from_numpy(part).to(features) for part in (weight, bias))
    return FittedHead(weight, bias, trust + float(found.x[-1]))


def _with_heads(
    network: PrunerNetwork, features: Features, allowed: torch.Tensor, rows: np.ndarray, penalty: float
) -> PrunerNetwork:
    """A copy whose heads have learned from some of the labels."""
    fitted = fitted_heads(network, features[rows], allowed[torch.from_numpy(rows)], penalty)
    copied = copy.deepcopy(network)
    with torch.no_grad():
        for head, new in zip((copied.head, copied.halved_head), fitted, strict=True):
            head.weight.copy_(new.weight)
            head.bias.copy_(new.bias)
        copied.trust.fill_(_mean_trust(fitted))
    return copied


def _trained(
    network: PrunerNetwork, patches: Patches, allowed: torch.Tensor, settings: PruneSettings, steps: int, stream: int
) -> Iterator[PrunerNetwork]:
    """The network as it is, and after every ten of ``steps`` batches, always the same one.

    It stays in evaluation mode: the statistics by which it normalises are those of what it was pretrained on.
    """
    yield network
    if not steps:
        return
    generator = torch.Generator().manual_seed(settings.seed * 1009 + stream)
    optimiser = AdamW(network.parameters(), lr=settings.step_size, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    chance = balanced(allowed).cpu()
    for step in range(1, steps + 1):
        rows = torch.multinomial(chance, settings.learning_batch, replacement=True, generator=generator)
        piece = jittered(patches[rows], generator)
        may_be = allowed[rows]
        weight = torch.full((len(rows),), 1 / len(rows), device=allowed.device)
        optimiser.zero_grad()
        loss = sum(partial_loss(logits, may_be, weight) for logits in network(piece))
        loss.backward()  # type: ignore[union-attr]  # sum of two tensors
        optimiser.step()
        schedule.step()
        if step % _LOOK_EVERY == 0:
            yield network


def jittered(patches: Patches, generator: torch.Generator) -> Patches:
    """All of them in one of the eight views, with another gain and brightness."""
    view = int(torch.randint(8, (1,), generator=generator))
    turned = flipped(patches, view)
    count, device = len(patches), patches.near.device

    def drawn(spread: float) -> torch.Tensor:
        return (spread * torch.randn((count, 1, 1, 1), generator=generator)).to(device)

    gain, wide = torch.exp(drawn(0.1)), turned.wide.clone()
    wide[:, :2] *= torch.exp(drawn(0.1))
    wide[:, :1] += drawn(0.1)
    return replace(turned, near=turned.near * gain + drawn(0.05), wide=wide)


def temperature_of(odds: torch.Tensor, right: torch.Tensor) -> tuple[float, float]:
    """Temperature by which log-odds say best what is right, and their loss then.

    Labels are few, so what they say is smoothed as by Platt (1999): a temperature never becomes 0, however well they
    are told apart.

    Parameters
    ----------
    odds
        ``(n,)`` log-odds of labels that were held back.
    right
        ``(n,)`` bool.
    """
    positives, negatives = int(right.sum()), int((~right).sum())
    target = torch.where(right, (positives + 1) / (positives + 2), 1 / (negatives + 2)).double()
    weight = torch.where(right, 0.5 / max(positives, 1), 0.5 / max(negatives, 1)).double()
    candidates = torch.exp(torch.linspace(-1.5, 2.5, 81, dtype=torch.float64, device=odds.device))
    scaled = odds.double()[None] / candidates[:, None]
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        scaled, target.expand_as(scaled), weight.expand_as(scaled), reduction="none"
    ).sum(dim=1)
    best = int(losses.argmin())
    return float(candidates[best]), float(losses[best])
