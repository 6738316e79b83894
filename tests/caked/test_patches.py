"""Patches show what lies at their place, of the right kind; learning from them can stop and go on exactly."""

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch.utils._python_dispatch import TorchDispatchMode

from napari_caked.datasets.labels import disc_area
from napari_caked.datasets.patches import PatchSource, jittered
from napari_caked.errors import CheckpointError, LabelsError, SettingsError
from napari_caked.models.registry import build_network
from napari_caked.objectives import OBJECTIVES
from napari_caked.patch_learning import PatchLearner
from napari_caked.patch_settings import PatchSettings

SHAPES = [(60, 70), (48, 64), (25, 30)]
LABELS = [np.array([[20.3, 30.4], [41.0, 50.0]]), np.array([[10.0, 12.0]]), np.empty((0, 2))]
NEGATIVES = [np.array([[22.0, 34.0]]), np.empty((0, 2)), np.array([[12.0, 3.0]])]


def numbered(shapes=SHAPES):
    """Images in which each pixel has a number of its own, exact in half precision: (image, y, x) by the remainder."""
    sizes = [height * width for height, width in shapes]
    assert sum(sizes) < 60_000
    bits = [torch.arange(size) + sum(sizes[:i]) for i, size in enumerate(sizes)]
    return [part.to(torch.int16).view(torch.float16).view(shape) for part, shape in zip(bits, shapes, strict=True)]


def read_numbers(patches):
    """``(n, width, width)`` of what :func:`numbered` wrote."""
    return patches.view(torch.int16).long()[:, 0] & 0xFFFF


def source(width=9, radius=3.0, negatives=NEGATIVES, valid=None, images=None, labels=LABELS, seed=0, expected=4):
    images = images or numbered()
    valid = valid or [torch.ones(image.shape, dtype=torch.bool) for image in images]
    return PatchSource(
        images, valid, labels, negatives, width=width, radius=radius, expected_particles=expected, seed=seed
    )


def within(points, shape, radius):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.any([np.hypot(y - py, x - px) <= radius for py, px in points], axis=0) if len(points) else y < 0


def kinds_by_hand(radius=3.0, valid=None):
    """Numbers of labelled, unlabelled and negative pixels, pixel by pixel."""
    kinds = ([], [], [])
    for i, (numbers, points, others) in enumerate(zip(numbered(), LABELS, NEGATIVES, strict=True)):
        numbers = read_numbers(numbers[None, None])[0].numpy()
        shown = np.ones(numbers.shape, bool) if valid is None else valid[i].numpy()
        near, against = within(points, numbers.shape, radius), within(others, numbers.shape, radius)
        for kind, here in zip(kinds, (near & ~against, ~near & ~against, against & ~near), strict=True):
            kind.append(numbers[here & shown])
    return [set(np.concatenate(kind).tolist()) for kind in kinds]


def test_a_patch_shows_the_surroundings_of_its_middle_turned_in_one_of_eight_ways():
    drawn = source(width=9, images=numbered(), negatives=None)
    numbers = [read_numbers(image[None, None])[0].numpy() for image in numbered()]
    ways = set()
    for patch in read_numbers(drawn.draw(200, 200)).numpy():
        index = next(i for i, image in enumerate(numbers) if patch[4, 4] in image)
        (y,), (x,) = np.nonzero(numbers[index] == patch[4, 4])
        around = np.pad(numbers[index], 4, mode="reflect")[y : y + 9, x : x + 9]
        turned = [np.rot90(way, k) for way in (around, around[:, ::-1]) for k in range(4)]
        same = [k for k, one in enumerate(turned) if np.array_equal(one, patch)]
        assert same
        ways.update(same)
    assert ways == set(range(8))


def test_without_turning_a_patch_is_upright():
    for patch in read_numbers(source(negatives=None).draw(20, 0, turns=False)).numpy():
        row = 70 if patch[4, 4] < 60 * 70 else 64
        np.testing.assert_array_equal(np.diff(patch, axis=1), 1)
        np.testing.assert_array_equal(np.diff(patch, axis=0), row)


@pytest.mark.parametrize("shape", [(5, 300), (9, 9), (31, 16)], ids=str)
def test_a_micrograph_smaller_than_a_patch_is_surrounded(shape):
    here = source(31, 1.0, None, None, [torch.randn(shape)], [np.array([[2.0, 3.0]])], expected=2)
    patches = here.draw(8, 56)
    assert patches.shape == (64, 1, 31, 31) and bool(torch.isfinite(patches).all())


@pytest.mark.parametrize("masked", [False, True])
def test_middles_are_exactly_the_pixels_of_their_kind(masked):
    """Given labels, negatives and invalid regions, when very many are drawn, then each pixel of its kind comes up."""
    valid = None
    if masked:
        valid = [torch.ones(shape, dtype=torch.bool) for shape in SHAPES]
        valid[0][:, :31], valid[1][40:], valid[2][:, 20] = False, False, False
    here = source(width=3, valid=valid)
    labelled, unlabelled, negative = kinds_by_hand(valid=valid)
    middles = read_numbers(here.draw(2_000, 100_000, 2_000))[:, 1, 1]
    parts = torch.tensor_split(middles, [2_000, 102_000])
    assert set(parts[0].tolist()) == labelled
    assert set(parts[1].tolist()) == unlabelled
    assert set(parts[2].tolist()) == negative
    assert (here.labelled, here.unlabelled, here.negative) == tuple(map(len, (labelled, unlabelled, negative)))


def plain(labels, shape=(80, 140), expected=8.0, radius=3.0, valid=None):
    """A source of one micrograph, or of several alike, without negatives."""
    images = [torch.randn(shape) for _ in labels]
    return source(9, radius, None, valid, images, labels, expected=expected)


@pytest.mark.parametrize("radius", [2.0, 3.0, 4.0, 5.5])
def test_the_prior_is_the_share_of_particle_pixels_among_the_unlabelled(radius):
    """Given 3 of 8 particles labelled on each micrograph, then the prior is what counting the other 5 gives."""
    places = np.array([(y, x) for y in (20, 50) for x in (20, 50, 80, 110)], float)
    everything, labelled = (within(some, (80, 140), radius) for some in (places, places[:3]))
    expected = (everything & ~labelled).sum() / (~labelled).sum()
    assert plain([places[:3]] * 2, radius=radius).prior == pytest.approx(float(expected), rel=1e-12)


def test_overlapping_and_cut_labels_are_counted_once():
    here = plain([np.array([[0.0, 0.0], [20.0, 20.0], [20.0, 21.0]])], (60, 60), 10)
    assert here.labelled < 3 * disc_area(3.0)
    assert here.prior == pytest.approx((10 * 29 - here.labelled) / (3600 - here.labelled))


def test_pixels_that_show_no_specimen_are_no_part_of_the_prior():
    """Given a micrograph whose half is blank, then the same particles are about twice as dense on the rest."""
    points, valid = np.array([[20.0, 20.0], [40.0, 59.0]]), torch.ones(60, 120, dtype=torch.bool)
    valid[:, 60:] = False
    here = plain([points], (60, 120), 10, valid=[valid])
    assert disc_area(3.0) < here.labelled < 2 * disc_area(3.0)
    assert here.prior == pytest.approx((10 * 29 - here.labelled) / (3600 - here.labelled))
    assert here.prior > 1.8 * plain([points], (60, 120), 10).prior


def test_more_labels_than_expected_still_leave_room_for_others():
    assert plain([np.array([[20.0, 20.0], [40.0, 40.0]])], (60, 60), 1).prior > 0


def test_without_negatives_none_are_drawn():
    assert len(source(negatives=None).draw(3, 5, 7)) == 8
    assert len(source().draw(3, 5, 7)) == 15


def test_the_same_seed_draws_the_same_patches_and_another_seed_others():
    one, same, other = (source(seed=seed).draw(4, 8).view(torch.int16) for seed in (3, 3, 4))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_drawing_leaves_everyone_elses_random_numbers_alone():
    here, state = source(), torch.get_rng_state()
    here.draw(4, 8)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_label_of_a_small_radius_keeps_its_own_pixel():
    assert source(radius=0.2, negatives=None).labelled == 3


def test_labels_beyond_the_edge_mark_only_what_of_their_disc_is_inside():
    points = np.array([[-2.0, 10.0], [-30.0, -30.0], [61.0, 20.0], [30.0, 500.0]])
    here = source(images=[torch.randn(60, 70)], labels=[points], negatives=None, expected=1)
    assert here.labelled == int(within(points, (60, 70), 3.0).sum()) > 0


@pytest.mark.parametrize(
    "change, message",
    [
        ({"labels": [np.empty((0, 2))] * 3}, "no label lies"),
        ({"valid": [torch.zeros(shape, dtype=torch.bool) for shape in SHAPES]}, "no label lies"),
        ({"radius": 200.0, "negatives": None, "labels": [np.array([[9.0, 9.0]])] * 3}, "cover the micrographs"),
        ({"expected": 500}, "more than half"),
    ],
    ids=["no labels", "nothing valid", "labels everywhere", "too many particles"],
)
def test_what_cannot_be_learned_from_is_an_error(change, message):
    with pytest.raises(LabelsError, match=message):
        source(**change)


def test_jitter_changes_contrast_brightness_and_noise_as_much_as_asked():
    dice = torch.Generator().manual_seed(0)
    patches = torch.ones(4_000, 1, 3, 3)
    assert jittered(patches, 0, 0, 0, dice) is patches
    contrast, brightness, noise = (
        jittered(patches, *(0.2 if i == k else 0 for i in range(3)), dice) - 1 for k in range(3)
    )
    for change in (contrast, brightness, noise):
        assert float(change.std()) == pytest.approx(0.2, rel=0.05)
    assert float((contrast - contrast[:, :, :1, :1]).abs().max()) == 0
    assert float((brightness - brightness[:, :, :1, :1]).abs().max()) == 0
    assert float((noise - noise[:, :, :1, :1]).abs().max()) > 0.5


# --- learning ---

SETTINGS = PatchSettings(batch_size=32, labelled_share=0.25, learning_rate=5e-3, contrast=0.1, noise=0.05, seed=1)


def discs(seed=0):
    """Two images of noise with dark discs, and where those are."""
    dice = np.random.default_rng(seed)
    images, centres = [], []
    y, x = np.mgrid[:120, :120]
    for _ in range(2):
        image = dice.normal(size=(120, 120)).astype(np.float32)
        points = np.array([(py, px) for py in range(15, 110, 30) for px in range(15, 110, 30)]) + dice.uniform(-4, 4)
        for py, px in points:
            image -= 3 * (np.hypot(y - py, x - px) < 6)
        images.append(torch.from_numpy(image))
        centres.append(points)
    return images, centres


def learner(settings=SETTINGS, negatives=False):
    images, centres = discs()
    labels = [points[:6] for points in centres]
    others = [points[:1] + 15.0 for points in centres] if negatives else None
    valid = [torch.ones(image.shape, dtype=torch.bool) for image in images]
    kind = {"width": 31, "radius": 3.0, "expected_particles": 16.0, "seed": settings.seed}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = build_network("conv31", units=4)
    return PatchLearner(network, PatchSource(images, valid, labels, others, **kind), settings)


def changed(**settings):
    from dataclasses import replace

    return replace(SETTINGS, **settings)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("autoencoder", [0.0, 0.01])
def test_every_objective_learns_to_tell_discs_from_noise(objective, autoencoder):
    """Given 12 of 32 discs as labels, when trained for seconds, then the others score higher than the background."""
    training = learner(changed(objective=objective, autoencoder=autoencoder), negatives=True)
    for _ in range(20):
        loss = training.step()
    assert loss.shape == () and not loss.requires_grad and bool(torch.isfinite(loss))
    images, centres = discs()
    training.network.eval()
    with torch.inference_mode():
        scores = [training.network(image[None, None])[0].numpy() for image in images]
    found, background = [], []
    for score, points in zip(scores, centres, strict=True):
        rows, columns = np.rint(points[6:]).astype(int).T
        found.extend(score[rows, columns])
        background.extend(score[~within(points, score.shape, 12)])
    assert np.median(found) > np.quantile(background, 0.98)


@pytest.mark.parametrize(
    "settings",
    [{}, {"autoencoder": 0.01}, {"precision": "bfloat16"}, {"objective": "nnpu", "weight_decay": 1e-3}],
    ids=["plain", "autoencoder", "bfloat16", "nnpu"],
)
def test_a_training_that_goes_on_is_the_same_as_one_that_never_stopped(settings):
    """Given the state as a safetensors file, when loaded into a fresh learner, then every later loss is the same."""
    whole, first, second = (learner(changed(**settings)) for _ in range(3))
    expected = torch.stack([whole.step() for _ in range(6)])
    before = [first.step() for _ in range(3)]
    first.network.eval()  # as for a validation in between
    second.load_state_dict(load(save(first.state_dict())))
    assert second.steps == 3
    assert torch.equal(torch.stack(before + [second.step() for _ in range(3)]), expected)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, second.network.state_dict()[name]), name


def test_the_state_is_a_copy_that_later_steps_leave_alone():
    training = learner()
    training.step()
    state = training.state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    training.step()
    assert all(torch.equal(before[name], tensor) for name, tensor in state.items())


def test_a_state_that_does_not_fit_is_an_error():
    training = learner()
    training.step()
    state = training.state_dict()
    with pytest.raises(CheckpointError, match="cannot go on"):
        learner(changed(autoencoder=0.1)).load_state_dict(state)
    for missing in ("steps", "network.head.weight", "optimiser.2.exp_avg"):
        others = {name: tensor for name, tensor in state.items() if not name.startswith(missing.rsplit(".", 1)[0])}
        with pytest.raises(CheckpointError, match="cannot go on"):
            learner().load_state_dict(others)


def test_a_network_of_another_width_is_refused():
    training = learner()
    with pytest.raises(ValueError, match="sees 63 pixels, but the patches are 31 wide"):
        PatchLearner(build_network("conv63", units=2), training._source)


class NoQuestions(TorchDispatchMode):
    """Refuses whatever would make Python wait for a device: single values, and results of unknown size."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        waits = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::is_nonzero"}
        assert function.name().split(".")[0] not in waits, function.name()
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_step_never_waits_for_the_device(objective, monkeypatch):
    training = learner(changed(objective=objective, autoencoder=0.1), negatives=True)
    training.step()  # the first one fills caches
    # Adam keeps its count of steps on the CPU and reads it there; on CUDA it is fused and reads nothing.
    monkeypatch.setattr(training._optimiser, "step", lambda *_args: None)
    with NoQuestions():
        training.step()
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoQuestions():
        torch.ones(3).sum().item()  # the net has no holes


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_step_never_waits_for_a_gpu(precision):
    images, centres = discs()
    valid = [torch.ones(image.shape, dtype=torch.bool) for image in images]
    kind = {"width": 31, "radius": 3.0, "expected_particles": 16.0, "device": "cuda"}
    training = PatchLearner(
        build_network("conv31", units=4),
        PatchSource(images, valid, centres, **kind),
        changed(precision=precision, autoencoder=0.1),
    )
    for _ in range(3):
        training.step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        training.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "int8"},
        {"batch_size": 4, "labelled_share": 0.01},
        {"labelled_share": 1.0},
        {"learning_rate": 0.0},
        {"noise": -1.0},
        {"autoencoder": float("nan")},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(SettingsError):
        changed(**settings)


def test_the_defaults_are_those_of_the_paper():
    settings = PatchSettings()
    assert (settings.labelled, settings.unlabelled, settings.learning_rate) == (16, 240, 2e-4)
    assert (settings.objective, settings.slack) == ("ge-binomial", None)
