"""A step of learning: its objective, its rate, its precision, and that it never waits for a device."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch.utils._python_dispatch import TorchDispatchMode

from napari_caked import dense_learning
from napari_caked.datasets.crops import CropSource
from napari_caked.dense_learning import DenseLearner
from napari_caked.errors import CheckpointError
from napari_caked.models import MatchedFilterNetwork
from napari_caked.settings import TrainingSettings

SETTINGS = TrainingSettings(120.0, batch_size=4, crop_size=65, channels=4, learning_rate=1e-2, seed=1)


def learner(precision=torch.float32, settings=SETTINGS, channels=4):
    """Learns where bright spots lie, from one image of noise with 16 of them."""
    dice = torch.Generator().manual_seed(0)
    image, target = torch.randn((121, 121), generator=dice), torch.zeros(61, 61)
    rows, columns = torch.meshgrid(torch.arange(121), torch.arange(121), indexing="ij")
    for y in range(16, 121, 30):
        for x in range(16, 121, 30):
            image += 3 * torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 18.0)
            target[y // 2 - 1 : y // 2 + 2, x // 2 - 1 : x // 2 + 2] = 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = MatchedFilterNetwork(torch.exp(-(torch.arange(9.0) ** 2) / 18), inner=5, channels=channels)
    with torch.inference_mode():
        seen = network.correlations(image[None, None])[0]
    planes = torch.cat([seen, target[None], torch.ones(1, 61, 61)]).clone()
    crops = CropSource([image], [planes], settings.crop_size, seed=settings.seed)
    return DenseLearner(network, crops, settings, precision, torch.device("cpu"))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_steps_in_every_precision_learn(precision):
    """Given a device that has it or only imitates it, then the loss falls, and the weights stay float32 and finite."""
    training = learner(precision, replace(SETTINGS, learning_rate=5e-2))
    losses = [float(training.step(i / 30)) for i in range(30)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
    assert training._scaler.is_enabled() == (precision == torch.float16)
    for tensor in training.network.state_dict().values():
        assert not tensor.is_floating_point() or (tensor.dtype == torch.float32 and bool(torch.isfinite(tensor).all()))


def test_a_gradient_that_overflows_changes_nothing_but_the_scale():
    training = learner(torch.float16)
    training.step(0.3)
    before = {name: tensor.clone() for name, tensor in training.network.named_parameters()}
    scale = training._scaler.get_scale()
    hook = training.network.head.weight.register_hook(lambda gradient: gradient * float("inf"))
    training.step(0.3)
    hook.remove()
    assert training._scaler.get_scale() == scale / 2
    assert all(torch.equal(before[name], tensor) for name, tensor in training.network.named_parameters())


def test_the_objective_is_the_weighted_cross_entropy_without_the_rim():
    dice = np.random.default_rng(0)
    logits, target = dice.normal(size=(2, 33, 33)), dice.uniform(size=(2, 33, 33))
    weight = dice.uniform(size=(2, 33, 33)) * 3
    total = norm = 0.0
    for k in range(2):
        for y in range(6, 27):
            for x in range(6, 27):
                p = 1 / (1 + np.exp(-logits[k, y, x]))
                t = target[k, y, x]
                total -= weight[k, y, x] * (t * np.log(p) + (1 - t) * np.log(1 - p))
                norm += weight[k, y, x]
    value = dense_learning._cross_entropy(*map(torch.from_numpy, (logits, target, weight)))
    assert float(value) == pytest.approx(total / norm, rel=1e-12)
    nothing = torch.zeros(1, 33, 33)
    assert float(dense_learning._cross_entropy(nothing, nothing, nothing)) == 0


def test_the_rate_rises_and_falls_once():
    rates = []
    training = learner(settings=replace(SETTINGS, batch_size=2, crop_size=33))
    for i in range(11):
        training.step(i / 10)
        rates.append(training._optimiser.param_groups[0]["lr"])
    top = int(np.argmax(rates))
    assert top == 3 and rates[top] == pytest.approx(1e-2)
    assert (np.diff(rates[: top + 1]) > 0).all() and (np.diff(rates[top:]) < 0).all()
    assert rates[0] == pytest.approx(1e-2 / 25) and rates[-1] < 1e-6


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_learner_that_goes_on_is_the_same_as_one_that_never_stopped(precision):
    """Given the state as a safetensors file, when loaded into a fresh learner, then every later loss is the same."""
    whole, first, second = (learner(precision) for _ in range(3))
    expected = torch.stack([whole.step(i / 6) for i in range(6)])
    before = [first.step(i / 6) for i in range(3)]
    first.network.eval()  # as for a look in between
    second.load_state_dict(load(save(first.state_dict())))
    assert second.steps == 3
    assert torch.equal(torch.stack(before + [second.step(i / 6) for i in range(3, 6)]), expected)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, second.network.state_dict()[name]), name


def test_the_state_is_a_copy_that_later_steps_leave_alone():
    training = learner()
    training.step(0.5)
    state = training.state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    training.step(0.5)
    assert all(torch.equal(before[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("missing", ["steps", "network.head.weight", "optimiser.2", "optimiser.0.exp_avg_sq", "crops"])
def test_a_state_that_does_not_fit_is_an_error(missing):
    training = learner()
    training.step(0.5)
    state = {name: tensor for name, tensor in training.state_dict().items() if not name.startswith(missing)}
    with pytest.raises(CheckpointError, match="cannot go on"):
        learner().load_state_dict(state)
    with pytest.raises(CheckpointError, match="cannot go on"):
        learner(channels=5).load_state_dict(training.state_dict())


def test_the_seed_decides_what_is_learned():
    one, same, other = (learner(settings=replace(SETTINGS, seed=seed)) for seed in (1, 1, 2))
    losses = [[float(training.step(0.5)) for _ in range(2)] for training in (one, same, other)]
    assert losses[0] == losses[1] != losses[2]


class NoQuestions(TorchDispatchMode):
    """Refuses whatever would make Python wait for a device: single values, and results of unknown size."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        waits = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::is_nonzero"}
        on_device = [one for one in args if isinstance(one, torch.Tensor) and one.numel() > 1 or one is None]
        assert function.name().split(".")[0] not in waits or not on_device, function.name()
        return function(*args, **(kwargs or {}))


def test_a_step_never_waits_for_the_device(monkeypatch):
    """The turn of a batch is drawn on the CPU, a number of one element, and asked for there."""
    training = learner()
    training.step(0.1)
    # AdamW keeps its count of steps on the CPU and reads it there; on CUDA it is fused and reads nothing.
    monkeypatch.setattr(training._optimiser, "step", lambda *_args: None)
    with NoQuestions():
        training.step(0.2)
    with pytest.raises(AssertionError, match="nonzero"), NoQuestions():
        torch.ones(3).nonzero()  # the net has no holes
