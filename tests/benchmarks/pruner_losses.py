"""Which terms of the loss make a better pruner: the second table of docs/explanation/pruning.md.

    CRYO_TEST_DATA=FOLDER python tests/benchmarks/pruner_losses.py [--specimens 80] [--steps 1200] [--draws 20]

Networks learn from the same patches of the same made-up specimens, in the same order and with the same seed. They
differ in their loss only: of both heads (the multi-loss of Li et al., J. Comput. Biol. 29, 1117 (2022)), of one head,
and of both with one more term. They are judged by other made-up specimens, and by how well their heads tell particles
from the rest after 20 labels of each kind (the table ``labels`` of ``pruning.py``, without a picker's opinion).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

import pruning as benchmark  # isort: skip  (beside this file)
from napari_caked.optimisers import AdamW
from napari_caked.pruning.checkpoint import Pruner
from napari_caked.pruning.learning import jittered
from napari_caked.pruning.network import PrunerNetwork
from napari_caked.pruning.patches import Patches
from napari_caked.pruning.settings import CLASSES

import torch  # isort: skip  (after napari_caked, which says how its threads shall wait)
import torch.nn.functional as F  # isort: skip  # noqa: N812

sys.path.append(str(Path(__file__).parents[2] / "napari-caked" / "scripts"))
import pruner_weights  # noqa: E402

Loss = Callable[[PrunerNetwork, Patches, torch.Tensor, torch.Generator], torch.Tensor]


def main() -> None:
    """Train a network with each loss, and judge it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--specimens", type=int, default=80)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--only", nargs="+", default=list(LOSSES))
    parser.add_argument("--benches", nargs="+", default=["apoferritin", "barrels", "simulated"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pool, held_back = pruner_weights.Pool(), pruner_weights.Pool()
    for seed in range(pruner_weights.CALIBRATION):
        pruner_weights.add_specimen(held_back, 10_000_000 + seed)
    pruner_weights.add_pictures(pool, np.random.default_rng(0))
    for seed in range(arguments.specimens):
        pruner_weights.add_specimen(pool, seed)
    benches = [_silent(bench) for bench in benchmark.benches(arguments.benches, 700)]
    names = " | ".join(bench.name for bench in benches)
    print(f"| loss | held back: accuracy, loss | {names} | mean | s of CPU |")
    print("|---|---|" + "---|" * (len(benches) + 2), flush=True)
    for name in arguments.only:
        began = time.process_time()
        network = _trained(LOSSES[name], pool, arguments.steps)
        seconds = time.process_time() - began
        report = pruner_weights.judged(network, held_back)[1].split(", of each")[0]
        told = [_few_labels(Pruner(network), bench, arguments.draws) for bench in benches]
        cells = " | ".join(f"{one:.3f}" for one in told)
        report = report.replace("balanced accuracy ", "").replace("loss ", "")
        print(f"| {name} | {report} | {cells} | {np.mean(told):.3f} | {seconds:.0f} |", flush=True)


def _silent(bench: benchmark.Bench) -> benchmark.Bench:
    """Without what a picker says."""
    return replace(bench, patches=replace(bench.patches, odds=torch.zeros(len(bench.patches))))


def _few_labels(pruner: Pruner, bench: benchmark.Bench, draws: int) -> float:
    features = benchmark._features(pruner, bench.patches)  # noqa: SLF001  (a sibling)
    results = []
    for draw in range(draws):
        drawn, rest = benchmark._drawn(bench.kinds, (0, 1, 2), 20, draw)  # noqa: SLF001
        results.append(benchmark._by_heads(pruner, features, bench.kinds, drawn, rest)[0])  # noqa: SLF001
    return float(np.mean(results))


def _trained(loss: Loss, pool: pruner_weights.Pool, steps: int) -> PrunerNetwork:
    torch.manual_seed(0)
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    network = PrunerNetwork().train()
    centres = torch.nn.Parameter(torch.zeros(len(CLASSES), network.trunk.first[0].out_channels * 2))
    network.register_parameter("centres", centres)
    optimiser = AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: pruner_weights._rate(step / steps))  # noqa: SLF001
    for _ in range(steps):
        patches, classes = pool.drawn(rng, 64)
        patches = pruner_weights.noisier(jittered(patches, generator), generator)
        optimiser.zero_grad()
        loss(network, patches, classes, generator).backward()
        optimiser.step()
        schedule.step()
    del network.centres
    return network.eval()


def _both(network: PrunerNetwork, patches: Patches, classes: torch.Tensor, _: torch.Generator) -> torch.Tensor:
    whole, halved = network(patches)
    return F.cross_entropy(whole, classes) + F.cross_entropy(halved, classes)


def _one(network: PrunerNetwork, patches: Patches, classes: torch.Tensor, _: torch.Generator) -> torch.Tensor:
    whole, halved = network(patches)
    # The second head learns, too, but from what the first has taught the trunk.
    apart = network.halved_head(network.features(patches)[1].detach())
    return 2 * F.cross_entropy(whole, classes) + 0 * halved.sum() + F.cross_entropy(apart, classes)


def _smoothed(network: PrunerNetwork, patches: Patches, classes: torch.Tensor, _: torch.Generator) -> torch.Tensor:
    return sum((F.cross_entropy(one, classes, label_smoothing=0.1) for one in network(patches)), torch.zeros(()))


def _mixed(network: PrunerNetwork, patches: Patches, classes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mixup of Zhang et al., ICLR (2018), with alpha 0.2, by one share for the batch."""
    seed = int(torch.randint(2**31, (1,), generator=generator))
    share = float(np.random.default_rng(seed).beta(0.2, 0.2))
    other = torch.randperm(len(patches), generator=generator)
    near, wide = (share * one + (1 - share) * one[other] for one in (patches.near, patches.wide))
    heads = network(replace(patches, near=near, wide=wide))
    parts = [
        share * F.cross_entropy(one, classes) + (1 - share) * F.cross_entropy(one, classes[other]) for one in heads
    ]
    return parts[0] + parts[1]


def _contrasted(network: PrunerNetwork, patches: Patches, classes: torch.Tensor, _: torch.Generator) -> torch.Tensor:
    """The supervised contrastive loss of Khosla et al., NeurIPS (2020), temperature 0.1, weight 0.2."""
    whole, halved = network.features(patches)
    seen = F.normalize(whole[:, : len(network.centres[0])], dim=1)
    alike = seen @ seen.T / 0.1
    itself = torch.eye(len(seen), dtype=torch.bool)
    likely = alike - torch.logsumexp(alike.masked_fill(itself, -torch.inf), dim=1, keepdim=True)
    same = (classes[:, None] == classes[None]) & ~itself
    term = -(likely * same).sum(dim=1) / same.sum(dim=1).clamp(min=1)
    heads = F.cross_entropy(network.head(whole), classes) + F.cross_entropy(network.halved_head(halved), classes)
    return heads + 0.2 * term.mean()


def _centred(network: PrunerNetwork, patches: Patches, classes: torch.Tensor, _: torch.Generator) -> torch.Tensor:
    """The centre loss of Wen et al., ECCV (2016), weight 0.01; the centres learn with the rest."""
    whole, halved = network.features(patches)
    away = whole[:, : len(network.centres[0])] - network.centres[classes]
    heads = F.cross_entropy(network.head(whole), classes) + F.cross_entropy(network.halved_head(halved), classes)
    return heads + 0.01 * away.square().sum(dim=1).mean()


LOSSES: dict[str, Loss] = {
    "both heads": _both,
    "one head": _one,
    "label smoothing 0.1": _smoothed,
    "mixup": _mixed,
    "supervised contrastive": _contrasted,
    "centre": _centred,
}


if __name__ == "__main__":
    main()
