"""Who tells simulated patches from real ones: a small convolutional network, and hand-made features with a regression.

Both are asked about micrographs that they have not learned from, as many simulated patches as real ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["Patches", "accuracies"]

_EPOCHS, _BATCH = 12, 32
#: Rings of the power spectrum, and widths in pixels of the differences of Gaussians, that features are taken of.
_BANDS, _WIDTHS = 14, (0.7, 1.4, 2.8, 5.6)


@dataclass(frozen=True)
class Patches:
    """Patches of real and of simulated micrographs.

    Attributes
    ----------
    images
        ``(n, y, x)`` float32.
    real, particle
        ``(n,)`` bool: of a real micrograph; around a particle.
    group
        ``(n,)``: number of the micrograph; a simulated one has that of the real one it takes after.
    """

    images: np.ndarray
    real: np.ndarray
    particle: np.ndarray
    group: np.ndarray


def accuracies(patches: Patches, folds: int, seed: int, ways: Sequence[str]) -> dict[str, float]:
    """Share that each way of telling gets right on micrographs left out, each class counting a half.

    Returns
    -------
    dict
        ``network`` and ``features``, and both for particles and for background alone.
    """
    groups = np.unique(patches.group)
    order = np.random.default_rng(seed).permutation(groups)
    features = _features(patches.images)
    guesses = {way: np.zeros(len(patches.real)) for way in ways}
    for left_out in np.array_split(order, min(folds, len(groups))):
        test = np.isin(patches.group, left_out)
        for way, guess in guesses.items():
            if way == "network":
                guess[test] = _network_guess(patches.images, patches.real, test, seed)
            else:
                guess[test] = _regression_guess(features, patches.real, test)
    result = {}
    for name, guess in guesses.items():
        right = (guess > 0) == patches.real
        for suffix, some in (("", True), (" particles", patches.particle), (" background", ~patches.particle)):
            result[name + suffix] = float(
                np.mean([right[some & (patches.real == one)].mean() for one in (True, False)])
            )
    return result


# ---- the network ---------------------------------------------------------------------------------------------


class _Net(nn.Module):
    """Three layers of convolution; what they find is averaged, and the most of it taken, over the patch."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        widths = (1, 16, 24, 32)
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, *((5, stride) if before == 1 else (3,)), bias=False)
            for before, after in zip(widths[:-1], widths[1:], strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        self.last = nn.Linear(2 * widths[-1], 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for number, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            x = F.relu(norm(layer(x)))
            if number < 2:
                x = F.avg_pool2d(x, 2)
        seen: torch.Tensor = self.last(torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1))
        return seen[:, 0]


def _network_guess(images: np.ndarray, real: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    torch.manual_seed(seed)
    shuffler = np.random.default_rng(seed)
    x = torch.from_numpy(images)[:, None]
    truth = torch.from_numpy(real.astype(np.float32))
    weight = torch.from_numpy(_balance(real, ~test).astype(np.float32))
    net = _Net(2 if images.shape[-1] > 64 else 1)
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-2)
    known = np.flatnonzero(~test)
    steps = _EPOCHS * (len(known) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=max(steps, 1))
    for _ in range(_EPOCHS):
        shuffler.shuffle(known)
        for start in range(0, len(known) - _BATCH + 1, _BATCH):
            these = known[start : start + _BATCH]
            batch = x[these]
            for axis in (2, 3):  # mirrored, but never turned: which way a detector blurs stays to be seen
                if shuffler.random() < 0.5:
                    batch = batch.flip(axis)
            loss = F.binary_cross_entropy_with_logits(net(batch), truth[these], weight[these])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        return np.concatenate([net(part).numpy() for part in x[test].split(256)])


def _balance(real: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Weights with which both classes count alike."""
    share = real[known].mean()
    return np.where(real, 0.5 / share, 0.5 / (1 - share))


# ---- features by hand ----------------------------------------------------------------------------------------


def _features(images: np.ndarray) -> np.ndarray:
    """``(n, features)``: spectrum by rings and directions, and moments of the patch and of four sizes of detail."""
    from scipy.ndimage import gaussian_filter

    side = images.shape[-1]
    window = np.hanning(side)[:, None] * np.hanning(side)
    centred = images - images.mean(axis=(1, 2), keepdims=True)
    power = np.abs(np.fft.rfft2(centred * window)) ** 2
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)
    ring = np.minimum((np.hypot(rows, columns) / 0.5 * _BANDS).astype(int), _BANDS - 1)
    steep, flat = np.abs(rows) > 2 * np.abs(columns), np.abs(columns) > 2 * np.abs(rows)
    found = [images.mean(axis=(1, 2))]
    for band in range(_BANDS):
        found.append(np.log(power[:, ring == band].mean(axis=1) + 1e-9))
    for low in range(0, _BANDS, 4):
        here = (ring >= low) & (ring < low + 4)
        for some in (here & steep, here & flat):
            found.append(np.log(power[:, some].mean(axis=1) + 1e-9))
    details = [
        centred,
        *(gaussian_filter(centred, (0, w, w)) - gaussian_filter(centred, (0, 2 * w, 2 * w)) for w in _WIDTHS),
    ]
    for detail in details:
        flat_detail = detail.reshape(len(detail), -1)
        deviation = flat_detail.std(axis=1) + 1e-9
        standard = flat_detail / deviation[:, None]
        found += [np.log(deviation), (standard**3).mean(axis=1), (standard**4).mean(axis=1)]
        found += [standard.min(axis=1), standard.max(axis=1)]
    table = np.column_stack(found)
    return table.astype(np.float32)


def _regression_guess(features: np.ndarray, real: np.ndarray, test: np.ndarray, ridge: float = 3e-3) -> np.ndarray:
    """Logistic regression on features and their squares."""
    known = features[~test]
    standard = np.clip((features - known.mean(axis=0)) / (known.std(axis=0) + 1e-9), -5, 5)
    x = torch.from_numpy(np.hstack([standard, standard**2]).astype(np.float64))
    truth, weight = (torch.from_numpy(v.astype(np.float64)) for v in (real, _balance(real, ~test)))
    line = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    offset = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([line, offset], max_iter=200, line_search_fn="strong_wolfe")
    rows = torch.from_numpy(~test)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = F.binary_cross_entropy_with_logits((x @ line + offset)[rows], truth[rows], weight[rows])
        loss = loss + ridge * line.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        return np.asarray((x @ line + offset)[torch.from_numpy(test)].numpy())
