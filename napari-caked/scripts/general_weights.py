"""Train the general weights that napari-caked ships, on specimens that exist nowhere.

    python napari-caked/scripts/general_weights.py OUT.safetensors

Every specimen is another particle (:func:`napari_caked.simulate.specimens.random_specimen`) in another micrograph:
diameter, crowding, ice, contamination, carbon, defocus, dose, noise, and what programs do to micrographs afterwards are
all drawn. The network sees each of them at the picker's own working scale, half of them with the template of a few of
its own, badly centred labels, the others with the disc that stands for a particle nobody has seen yet. No real picture
is used, neither here nor to choose anything here but the mixture of crowded and faint micrographs (see general.md).

One process simulates the next chunk while the other learns from the present one. The defaults take about 45 minutes on
two cores; seeds are fixed, so that the same command gives the same weights on the same machine.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from napari_caked.calibration import estimate_calibration
from napari_caked.checkpoint import PickerModel, save_model
from napari_caked.datasets.crops import CropSource
from napari_caked.dense_learning import DenseLearner
from napari_caked.general import disc
from napari_caked.models import MatchedFilter, MatchedFilterNetwork
from napari_caked.picking import candidates_and_decoys
from napari_caked.preprocess import WorkingImage, prepare
from napari_caked.settings import PickSettings, TrainingSettings
from napari_caked.simulate.micrograph import simulate_micrograph
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
from napari_caked.spacing import estimate_spacing
from napari_caked.teaching import inner_radius, target_planes

#: Side of a micrograph and of the part of it that is learned from, in working pixels.
SIDE, PART = 496, 480
#: Specimens in a chunk, and those at the beginning that calibrate and are never learned from.
CHUNK, CALIBRATION = 64, 64
#: Closest packing leaves about this share of the places on a square grid in practice.
FULL = 0.85


@dataclass(frozen=True)
class Sample:
    """A working image with the places ``(n, 2)`` of its particles in working pixels."""

    working: WorkingImage
    centres: np.ndarray


def main() -> None:
    """Train, calibrate, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=9_000)
    parser.add_argument("--steps-per-chunk", type=int, default=250)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = TrainingSettings(100.0, general=False)
    device = torch.device(arguments.device)
    radius = round(settings.template_radius * settings.preprocess.particle_width)
    blank = disc(settings.preprocess.particle_width, radius)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = MatchedFilterNetwork(blank.profile, inner_radius(settings), settings.channels)
    rng = np.random.default_rng(settings.seed)
    chunks = math.ceil(arguments.steps / arguments.steps_per_chunk)
    learner, began, losses = None, time.monotonic(), []
    held_back: list[Sample] = []
    for number, samples in enumerate(_chunks(chunks + 1)):
        if number == 0:
            held_back = samples
            continue
        crops = _crops(samples, network, blank, settings, device, rng)
        if learner is None:
            learner = DenseLearner(network, crops, settings, torch.float32, device)
        else:
            learner.read_from(crops)
        for _ in range(min(arguments.steps_per_chunk, arguments.steps - learner.steps)):
            losses.append(float(learner.step(learner.steps / arguments.steps)))
        recent = np.mean(losses[-arguments.steps_per_chunk :])
        print(f"{learner.steps} steps, loss {recent:.4f}, {time.monotonic() - began:.0f} s", flush=True)
        _write(arguments.output, network, held_back, settings, learner.steps)


def _chunks(count: int) -> Iterator[list[Sample]]:
    """Chunks 0, 1, ... of samples; the next one is simulated while somebody looks at this one."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        coming = [pool.submit(_chunk, 0)]
        for number in range(count):
            if number + 1 < count:
                coming.append(pool.submit(_chunk, number + 1))
            yield coming.pop(0).result()


def _chunk(number: int) -> list[Sample]:
    torch.set_num_threads(1)
    return [sample(seed) for seed in range(number * CHUNK, (number + 1) * CHUNK)]


def sample(seed: int) -> Sample:
    """Specimen number ``seed`` in a micrograph of its own."""
    rng = np.random.default_rng((seed, 0x9E4E))
    diameter = float(np.exp(rng.uniform(np.log(80), np.log(320))))
    # Nobody measures a diameter better than to a tenth; the micrograph shall be as large for whoever is told it.
    told = diameter * float(np.clip(np.exp(rng.normal(0, 0.1)), 0.75, 1.3))
    settings = _settings(rng, diameter, seed, math.ceil(SIDE * told / diameter))
    specimen = random_specimen(rng, diameter)
    broken = 4 if settings.decoys.broken else 0
    bank = bank_of(specimen, settings.views, settings.pixel_size, seed=seed, diameter=diameter, broken=broken)
    micrograph = simulate_micrograph(bank, settings)
    image = _treated(micrograph.image.astype(np.float64), rng)
    working = prepare(image.astype(np.float32), f"specimen {seed}", told, settings.pixel_size)
    return Sample(working.half(), working.rescaling.to_rescaled(micrograph.scene.centres))


def _settings(rng: np.random.Generator, diameter: float, seed: int, side: int) -> SimulationSettings:
    def sometimes(chance: float) -> bool:
        return bool(rng.random() < chance)

    plate = sometimes(0.06)
    least = float(rng.uniform(0.2, 0.8) if plate else rng.uniform(0.4, 2.5))
    directions = rng.uniform((0, 0), (360, 180), (int(rng.integers(1, 4)), 2)) if sometimes(0.3) else ()
    return SimulationSettings(
        pixel_size=diameter / TrainingSettings(100.0).preprocess.particle_width,
        diameter=diameter,
        seed=seed,
        views=ViewSettings(
            views=int(rng.integers(30, 120)),
            preferred=tuple((float(rot), float(tilt)) for rot, tilt in directions),
            preference=float(rng.uniform(0.3, 1.0)),
        ),
        scene=_scene(rng, diameter, side),
        decoys=DecoySettings(
            broken=int(rng.integers(1, 4)) if sometimes(0.15) else 0,
            aggregates=int(rng.integers(1, 4)) if sometimes(0.3) else 0,
            ice_crystals=int(rng.integers(1, 4)) if sometimes(0.25) else 0,
            ice_lumps=int(rng.integers(1, 6)) if sometimes(0.4) else 0,
            gold=int(rng.integers(1, 4)) if sometimes(0.05) else 0,
            carbon=str(rng.choice(["none", "edge", "film"], p=[0.8, 0.13, 0.07])),
        ),
        optics=OpticsSettings(
            voltage=float(rng.choice([200.0, 300.0])),
            defocus=(least, least + 0.3),
            phase_plate=float(rng.uniform(50, 110)) if plate else 0.0,
            b_factor=float(rng.uniform(50, 400)),
        ),
        camera=CameraSettings(
            dose=float(np.exp(rng.uniform(np.log(0.7), np.log(45)))),
            mtf=float(rng.uniform(0.7, 1.0)),
            solvent=float(rng.uniform(0.3, 3.0)),
        ),
    )


def _scene(rng: np.random.Generator, diameter: float, side: int) -> SceneSettings:
    """One in seventeen empty, nearly half with a few particles or many, and half of all crowded."""
    most = FULL * (side / TrainingSettings(100.0).preprocess.particle_width) ** 2
    kind = rng.random()
    crowded = kind >= 0.5
    some = np.exp(rng.uniform(np.log(10), np.log(most)))
    return SceneSettings(
        shape=(side, side),
        particles=0 if kind < 0.06 else round(float(rng.uniform(0.3, 1.3) * most if crowded else some)),
        spacing=float(rng.uniform(0.5, 1.0) if crowded else rng.uniform(0.55, 1.3)),
        clumped=float(rng.uniform(0, 0.4)) if rng.random() < 0.25 else 0.0,
        ice_thickness=float(diameter * rng.uniform(1.0, 2.0) + rng.uniform(0, 400)),
        thickness_variation=float(rng.uniform(0, 0.15)),
        gradient=float(rng.uniform(0, 0.5)),
    )


def _treated(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What cameras and programs leave of a micrograph: slow noise, smoothing, 8 bits of another contrast."""
    frequency = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1]))
    if rng.random() < 0.6:
        slow = np.minimum((frequency + 1e-3) ** -rng.uniform(0.3, 1.2), 50.0)
        noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(image.shape)) * slow, s=image.shape)
        image = image + noise * (rng.uniform(0, 0.8) * image.std() / noise.std())
    if rng.random() < 0.3:
        envelope = np.exp(-((frequency / rng.uniform(0.2, 0.5)) ** 2))
        image = np.fft.irfft2(np.fft.rfft2(image) * envelope, s=image.shape)
    if rng.random() < 0.3:
        low, high = np.quantile(image, [rng.uniform(0, 0.01), 1 - rng.uniform(0, 0.01)])
        image = np.round(255 * np.clip((image - low) / (high - low), 0, 1) ** rng.uniform(0.7, 1.4))
    return image


def _crops(
    samples: list[Sample],
    network: MatchedFilterNetwork,
    blank: MatchedFilter,
    settings: TrainingSettings,
    device: torch.device,
    rng: np.random.Generator,
) -> CropSource:
    """Parts of the micrographs, what the network sees of each template there, and what it shall say."""
    images, planes = [], []
    seeing = MatchedFilterNetwork(blank.profile, network.inner, network.channels)
    for one in samples:
        image, shape = one.working.image.float(), one.working.image.shape
        seeing.filter = _template(one, blank, rng)
        top, left = (2 * int(rng.integers(0, (length - PART) // 2 + 1)) for length in shape)
        cut = (slice(top, top + PART), slice(left, left + PART))
        centres = one.centres - [top, left]
        centres = centres[((centres > -3) & (centres < PART + 2)).all(axis=1)]
        with torch.inference_mode():
            seen = seeing.correlations(image[cut][None, None])[0].clone()
        valid = one.working.valid[cut].numpy()
        wanted = target_planes((PART, PART), centres, np.ones(len(centres)), valid, settings)
        images.append(image[cut])
        planes.append(torch.cat([seen, wanted]))
    return CropSource(images, planes, settings.crop_size, device, int(rng.integers(2**31)))


def _template(one: Sample, blank: MatchedFilter, rng: np.random.Generator) -> MatchedFilter:
    """The disc, or what 5 to 40 clicks, a working pixel off, would make."""
    if len(one.centres) < 3 or rng.random() < 0.5:
        return blank
    chosen = rng.permutation(len(one.centres))[: int(rng.integers(5, 40))]
    clicks = one.centres[chosen] + rng.normal(0, 1.0, (len(chosen), 2))
    return MatchedFilter.from_labels([one.working.image.float()], [clicks], len(blank.profile) - 1)


def _write(
    path: Path, network: MatchedFilterNetwork, samples: list[Sample], settings: TrainingSettings, steps: int
) -> None:
    """The network with its calibration, from specimens that it has not learned from."""
    learned = MatchedFilterNetwork(network.filter.profile, network.inner, network.channels)
    learned.load_state_dict({name: tensor.cpu() for name, tensor in network.state_dict().items()})
    model = PickerModel(learned.eval(), settings.particle_diameter, settings.preprocess)
    found, decoys, areas = [], [], []
    for one in samples[:CALIBRATION]:
        working = replace(one.working, image=one.working.image.float())
        own, chance = candidates_and_decoys(model, working, PickSettings(threshold=0.0))
        found.append((working.rescaling.to_rescaled(own[0]), own[1], one.centres))
        decoys.append(chance)
        areas.append(float(working.valid.sum()))
    right = np.concatenate([_right(yx, centres) for yx, _, centres in found])
    logits = np.concatenate([heights for _, heights, _ in found])
    calibration = estimate_calibration(logits, logits[right], float(right.sum()), decoys=np.concatenate(decoys))
    # What share of all candidates are particles is nothing that another micrograph could be compared with.
    calibration = replace(calibration, share=None)
    judged = [(yx, calibration.log_odds(heights)) for yx, heights, _ in found]
    spacing = estimate_spacing(judged, areas, settings.preprocess.particle_width)
    record = {
        "trained on": f"{steps * settings.batch_size} crops of simulated micrographs of made-up specimens",
        "steps": steps,
        "seed": settings.seed,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(path, replace(model, calibration=calibration, spacing=spacing, provenance=record), overwrite=True)


def _right(yx: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """``(n,)`` bool: which candidates, best first, are particles that none before them was."""
    from scipy.spatial import cKDTree

    right = np.zeros(len(yx), bool)
    if not len(centres) or not len(yx):
        return right
    away, nearest = cKDTree(centres).query(yx)
    taken: set[int] = set()
    for i, (distance, j) in enumerate(zip(away, nearest, strict=True)):
        if distance < 6 and int(j) not in taken:
            right[i] = True
            taken.add(int(j))
    return right


if __name__ == "__main__":
    main()
