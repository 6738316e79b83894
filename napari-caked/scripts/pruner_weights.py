"""Pretrain the pruner that napari-caked ships, on picks of specimens that exist nowhere.

    CRYO_TEST_DATA=FOLDER python napari-caked/scripts/pruner_weights.py OUT.safetensors [--specimens N] [--steps N]

Every specimen is another made-up particle in micrographs with ice, heaps, gold, broken particles, and carbon; what a
picker would propose there is labelled by the simulation's own truth. Places on real pictures without particles are
added where ``CRYO_TEST_DATA`` says where they are; those in :data:`LEARNED_PICTURES` only, the others are for tests. No
real particle is looked at. A longer run is only a larger number; seeds are fixed.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from general_weights import _treated as treated

from napari_caked.preprocess import WorkingImage
from napari_caked.pruning.checkpoint import Pruner, load_pruner, save_pruner
from napari_caked.pruning.learning import PARTICLE, jittered, log_odds, temperature_of
from napari_caked.pruning.network import PrunerNetwork, head_logits, pooled_features
from napari_caked.pruning.patches import Patches, cut_patches, prepare_for_patches
from napari_caked.pruning.settings import CLASSES, PatchSettings
from napari_caked.simulate.micrograph import SimulatedMicrograph, simulate_micrograph
from napari_caked.simulate.project import bank_of
from napari_caked.simulate.settings import (
    CameraSettings,
    DecoySettings,
    OpticsSettings,
    SceneSettings,
    SimulationSettings,
    ViewSettings,
)
from napari_caked.simulate.specimens import random_specimen

import torch  # isort: skip  (after napari_caked, which says how its threads shall wait)

#: Side of a micrograph in particle widths, and micrographs of a specimen.
SIDE, MICROGRAPHS = 12, 3
#: Specimens that are simulated before the network learns from them, and those at the beginning that calibrate.
CHUNK, CALIBRATION = 20, 12
#: Most places of each class on a micrograph, and how often each class is learned from.
QUOTA = {"particle": 20, "contaminant": 14, "carbon": 8, "background": 18}
SHARES = {"particle": 0.42, "contaminant": 0.2, "carbon": 0.1, "background": 0.28}
#: In particle widths: a place so near a centre is a particle, and one so far from all is none; nothing else is learned.
NEAR, FAR = 0.15, 0.35
#: Centres nearer than this to another are of particles that overlap, which are no examples of anything.
APART = 0.6
#: Real pictures that are learned from begin so; the other particle-free ones are kept for tests.
LEARNED_PICTURES = ("18dec17a", "18sep26a", "19aug14a")
#: Folders of particle-free pictures, and what a place there is.
PICTURE_CLASSES = {
    "3Empty_no_ice": "background",
    "4Crystalline_ice": "contaminant",
    "5Empty_ice_no_particles_but_vitreous_ice": "background",
}
_PATCHES = PatchSettings()


@dataclass
class Pool:
    """Patches as float16 with their classes, by class."""

    near: list[list[torch.Tensor]] = field(default_factory=lambda: [[] for _ in CLASSES])
    wide: list[list[torch.Tensor]] = field(default_factory=lambda: [[] for _ in CLASSES])

    def add(self, patches: Patches, classes: np.ndarray) -> None:
        """Keep them."""
        for number in range(len(CLASSES)):
            which = torch.from_numpy(np.flatnonzero(classes == number))
            self.near[number].extend(patches.near[which].half())
            self.wide[number].extend(patches.wide[which].half())

    def counts(self) -> list[int]:
        """Patches of each class."""
        return [len(part) for part in self.near]

    def drawn(self, rng: np.random.Generator, count: int) -> tuple[Patches, torch.Tensor]:
        """``count`` of them by :data:`SHARES`, with their classes."""
        shares = np.array([SHARES[name] if self.near[i] else 0.0 for i, name in enumerate(CLASSES)])
        classes = rng.choice(len(CLASSES), count, p=shares / shares.sum())
        rows = [int(rng.integers(len(self.near[number]))) for number in classes]
        near = torch.stack([self.near[number][row] for number, row in zip(classes, rows, strict=True)])
        wide = torch.stack([self.wide[number][row] for number, row in zip(classes, rows, strict=True)])
        return Patches(near.float(), wide.float(), torch.zeros(count)), torch.from_numpy(classes)

    def everything(self) -> tuple[Patches, np.ndarray]:
        """All, with their classes."""
        near = torch.stack([one for part in self.near for one in part]).float()
        wide = torch.stack([one for part in self.wide for one in part]).float()
        return Patches(near, wide, torch.zeros(len(near))), np.repeat(np.arange(len(CLASSES)), self.counts())


def main() -> None:
    """Simulate, train, calibrate, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--specimens", type=int, default=400)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--width", type=int, default=12)
    parser.add_argument("--start", type=Path, help="pruner to go on from, such as that of an earlier run")
    parser.add_argument("--first", type=int, default=0, help="number of the first specimen, after those of that run")
    parser.add_argument("--smoothing", type=float, default=0.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = load_pruner(arguments.start).network if arguments.start else PrunerNetwork(arguments.width)
    optimiser = torch.optim.AdamW(network.parameters(), lr=arguments.rate, weight_decay=1e-2)
    # The rate rises, stays, and falls in the last 40 %; what is written is the mean of late weights at any time, so
    # that a run that is stopped early leaves something of use, too.
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step / arguments.steps))
    mean = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99), use_buffers=True
    )
    generator = torch.Generator().manual_seed(0)
    pool, held_back = Pool(), Pool()
    for seed in range(CALIBRATION):
        add_specimen(held_back, 10_000_000 + seed)
    add_pictures(pool, rng)
    chunks = math.ceil(arguments.specimens / CHUNK)
    done = 0
    for chunk in range(chunks):
        for seed in range(chunk * CHUNK, min((chunk + 1) * CHUNK, arguments.specimens)):
            add_specimen(pool, arguments.first + seed)
        until = round(arguments.steps * (chunk + 1) / chunks)
        losses = []
        for _ in range(done, until):
            patches, classes = pool.drawn(rng, arguments.batch)
            optimiser.zero_grad()
            heads = network.train()(noisier(jittered(patches, generator), generator))
            loss = sum(
                torch.nn.functional.cross_entropy(one, classes, label_smoothing=arguments.smoothing) for one in heads
            )
            loss.backward()
            optimiser.step()
            schedule.step()
            mean.update_parameters(network)
            losses.append(loss.item() / 2)
        done = until
        report = judged(mean.module, held_back)
        print(
            f"{done} steps, {pool.counts()} patches, loss {np.mean(losses):.3f}, held back: {report[1]}, "
            f"{time.process_time():.0f} s of CPU",
            flush=True,
        )
        write(arguments, mean.module, report[0], pool, done)


def _rate(done: float) -> float:
    """Of the largest rate, at a share of all steps."""
    return max(min(done / 0.05, 1.0, math.cos(math.pi / 2 * max(0.0, done - 0.6) / 0.4)), 1e-3)


def write(arguments: argparse.Namespace, network: PrunerNetwork, temperature: float, pool: Pool, steps: int) -> None:
    """The pruner as it is now."""
    record = {
        "trained on": f"{sum(pool.counts())} patches of simulated micrographs of made-up specimens",
        "patches of each class": dict(zip(CLASSES, pool.counts(), strict=True)),
        "steps": steps,
        "batch": arguments.batch,
        "specimens": arguments.specimens,
        "first specimen": arguments.first,
        "after": dict(load_pruner(arguments.start).provenance) if arguments.start else None,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    pruner = Pruner(network.eval(), _PATCHES, temperature, record)
    save_pruner(arguments.output, pruner, overwrite=True)


def judged(network: PrunerNetwork, held_back: Pool) -> tuple[float, str]:
    """Temperature of specimens that were not learned from, and how well their places are told apart."""
    patches, classes = held_back.everything()
    network.eval()
    with torch.no_grad():
        logits = head_logits(network, pooled_features(network, patches, flips=1))
    odds, right = log_odds(logits), torch.from_numpy(classes == PARTICLE)
    temperature, loss = temperature_of(odds, right)
    told = (odds > 0) == right
    balanced = (told[right].float().mean() + told[~right].float().mean()) / 2
    by_class = [f"{(logits.argmax(dim=1).numpy() == classes)[classes == i].mean():.2f}" for i in range(len(CLASSES))]
    return temperature, f"balanced accuracy {balanced:.3f}, loss {loss:.3f}, of each class {' '.join(by_class)}"


def add_specimen(pool: Pool, seed: int) -> None:
    """Places on the micrographs of specimen number ``seed``."""
    rng = np.random.default_rng((seed, 0x9B0))
    diameter, simulated = _simulated(rng, seed)
    for micrograph in simulated:
        # Nobody measures a diameter better than to a tenth.
        told = diameter * float(np.clip(np.exp(rng.normal(0, 0.08)), 0.8, 1.25))
        image = treated(micrograph.image.astype(np.float64), rng).astype(np.float32)
        working, step = prepare_for_patches(image, f"specimen {seed}", told, micrograph.pixel_size)
        places, classes = labelled_places(micrograph, working, rng)
        if len(places):
            pool.add(cut_patches(working, places, step), classes)


def made_up(seed: int) -> tuple[list[np.ndarray], list[np.ndarray], float, float]:
    """Micrographs of a specimen, centres ``(n, 2)`` in pixels on each, its diameter and the pixel size in Å."""
    rng = np.random.default_rng((seed, 0x9B0))
    diameter, simulated = _simulated(rng, seed)
    micrographs = list(simulated)
    images = [treated(one.image.astype(np.float64), rng).astype(np.float32) for one in micrographs]
    return images, [one.scene.centres for one in micrographs], diameter, micrographs[0].pixel_size


def _simulated(rng: np.random.Generator, seed: int) -> tuple[float, Iterator[SimulatedMicrograph]]:
    """Diameter in Å of specimen number ``seed``, and its micrographs, each with settings of its own."""
    diameter = float(np.exp(rng.uniform(np.log(80), np.log(320))))
    specimen = random_specimen(rng, diameter)
    pixel_size = diameter / _PATCHES.particle_width
    views = ViewSettings(views=int(rng.integers(12, 24)))
    bank = bank_of(specimen, views, pixel_size, seed=seed, diameter=diameter, broken=4)
    return diameter, (
        simulate_micrograph(bank, _settings(rng, diameter, pixel_size, seed), index) for index in range(MICROGRAPHS)
    )


def labelled_places(
    micrograph: SimulatedMicrograph, working: WorkingImage, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Places ``(n, 2)`` in pixels of a micrograph, and ``(n,)`` their classes, as the truth has them."""
    from scipy.spatial import cKDTree

    scene, width = micrograph.scene, _PATCHES.particle_width
    centres = scene.centres
    shape = np.array(scene.shape)
    proposed = [working.rescaling.to_original(maxima(working))]
    proposed += [rng.uniform(0, shape - 1, (30, 2)), np.array([decoy.centre for decoy in scene.decoys]).reshape(-1, 2)]
    if len(centres):
        angle, away = rng.uniform(0, 2 * np.pi, 12), rng.uniform(FAR, 0.7, 12) * width
        beside = centres[rng.integers(len(centres), size=12)]
        proposed.append(beside + np.column_stack([np.sin(angle), np.cos(angle)]) * away[:, None])
        proposed.append(centres + rng.normal(0, 0.05 * width, centres.shape))
    places = np.concatenate(proposed)
    places = places[((places >= 0) & (places <= shape - 1)).all(axis=1)]
    covered = covers(scene.classes, places, round(0.35 * width))
    dirty, carbon = covered[:, 2:7].sum(axis=1), covered[:, 7]
    distance, crowded = np.full(len(places), np.inf), np.zeros(len(places), bool)
    if len(centres):
        tree = cKDTree(centres)
        distance, nearest = tree.query(places)
        neighbour = tree.query(centres, k=2)[0][:, 1] if len(centres) > 1 else np.full(1, np.inf)
        crowded = neighbour[nearest] < APART * width
    far = distance > FAR * width
    classes = np.full(len(places), -1)
    classes[(distance < NEAR * width) & ~crowded & (dirty < 0.2)] = CLASSES.index("particle")
    classes[far & (dirty > 0.3)] = CLASSES.index("contaminant")
    classes[far & (dirty < 0.05) & (carbon > 0.3)] = CLASSES.index("carbon")
    classes[far & (dirty < 0.05) & (carbon < 0.05)] = CLASSES.index("background")
    chosen = [rng.permutation(np.flatnonzero(classes == number))[: QUOTA[name]] for number, name in enumerate(CLASSES)]
    rows = np.concatenate(chosen)
    return places[rows], classes[rows]


def covers(mask: np.ndarray, places: np.ndarray, radius: int) -> np.ndarray:
    """``(n, 8)``: share of each class of the simulation's mask in squares around places."""
    whole = np.rint(places).astype(int)
    shares = np.zeros((len(places), 8))
    for row, (y, x) in enumerate(whole):
        part = mask[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        shares[row] = np.bincount(part.ravel(), minlength=8)[:8] / part.size
    return shares


def maxima(working: WorkingImage, most: int = 60) -> np.ndarray:
    """What a simple picker proposes on a working image: dark blobs ``(n, 2)``, the best first."""
    from scipy.ndimage import gaussian_filter

    from napari_caked.peaks import find_peaks

    image, width = working.image.numpy(), _PATCHES.particle_width
    blobs = gaussian_filter(image, 0.35 * width) - gaussian_filter(image, 0.2 * width)
    return find_peaks(blobs, 0.5 * width)[0][:most].astype(float)


def add_pictures(pool: Pool, rng: np.random.Generator) -> None:
    """Places on the real pictures that may be learned from, at several sizes of what might be a particle."""
    folder = os.environ.get("CRYO_TEST_DATA")
    if folder is None:
        print("CRYO_TEST_DATA is not set: no real pictures", flush=True)
        return
    for name, image, kind in pictures(Path(folder), learned=True):
        for _ in range(5):
            working, step = prepare_for_patches(image, name, float(rng.uniform(14, 34)), 1.0)
            best = working.rescaling.to_original(maxima(working, 80))
            places = np.concatenate([best, rng.uniform(0, np.array(image.shape) - 1, (40, 2))])
            pool.add(cut_patches(working, places, step), np.full(len(places), CLASSES.index(kind)))


def pictures(data: Path, *, learned: bool) -> Iterator[tuple[str, np.ndarray, str]]:
    """Name, pixels and class of particle-free pictures: those that are learned from, or the others; needs Pillow."""
    from PIL import Image

    for kind, name in PICTURE_CLASSES.items():
        for file in sorted((data / "micrograph_quality" / kind).glob("*.png")):
            if file.name.startswith(LEARNED_PICTURES) == learned:
                yield file.name, np.asarray(Image.open(file).convert("L"), np.float32), name


def noisier(patches: Patches, generator: torch.Generator) -> Patches:
    """Half of them with more noise, on the same scale."""
    count = len(patches)
    added = 2.5 * torch.rand((count, 1, 1, 1), generator=generator) ** 2
    added = added * (torch.rand((count, 1, 1, 1), generator=generator) < 0.5)
    noise = torch.randn(patches.near.shape, generator=generator)
    return replace(patches, near=(patches.near + added * noise) / torch.sqrt(1 + added**2))


def _settings(rng: np.random.Generator, diameter: float, pixel_size: float, seed: int) -> SimulationSettings:
    def sometimes(chance: float) -> bool:
        return bool(rng.random() < chance)

    def some(chance: float, most: int) -> int:
        return int(rng.integers(1, most + 1)) if sometimes(chance) else 0

    side = round(SIDE * _PATCHES.particle_width)
    plate = sometimes(0.06)
    least = float(rng.uniform(0.2, 0.8) if plate else rng.uniform(0.4, 2.8))
    crowded = sometimes(0.4)
    most = 0.85 * SIDE**2
    particles = rng.uniform(0.3, 1.0) * most if crowded else np.exp(rng.uniform(np.log(8), np.log(most)))
    return SimulationSettings(
        pixel_size=pixel_size,
        diameter=diameter,
        seed=seed,
        views=ViewSettings(views=1),
        scene=SceneSettings(
            shape=(side, side),
            particles=0 if sometimes(0.04) else round(float(particles)),
            spacing=float(rng.uniform(0.6, 1.0) if crowded else rng.uniform(0.6, 1.3)),
            ice_thickness=float(diameter * rng.uniform(1.0, 2.0) + rng.uniform(0, 400)),
            thickness_variation=float(rng.uniform(0, 0.15)),
            gradient=float(rng.uniform(0, 0.5)),
        ),
        decoys=DecoySettings(
            broken=some(0.35, 4),
            aggregates=some(0.45, 4),
            ice_crystals=some(0.35, 3),
            ice_lumps=some(0.45, 6),
            gold=some(0.12, 4),
            carbon=str(rng.choice(["none", "edge", "film"], p=[0.62, 0.28, 0.1])),
        ),
        optics=OpticsSettings(
            voltage=float(rng.choice([200.0, 300.0])),
            defocus=(least, least + 0.3),
            phase_plate=float(rng.uniform(50, 110)) if plate else 0.0,
            b_factor=float(rng.uniform(50, 400)),
        ),
        camera=CameraSettings(
            dose=float(np.exp(rng.uniform(np.log(1.0), np.log(45)))),
            mtf=float(rng.uniform(0.7, 1.0)),
            solvent=float(rng.uniform(0.3, 3.0)),
        ),
    )


if __name__ == "__main__":
    main()
