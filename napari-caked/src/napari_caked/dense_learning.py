"""Learning of the default network, from whole regions: one step at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F

from napari_caked.datasets.crops import CropSource
from napari_caked.errors import CheckpointError
from napari_caked.learner_state import load_optimiser, optimiser_state, under
from napari_caked.models import MatchedFilterNetwork
from napari_caked.optimisers import AdamW
from napari_caked.settings import TrainingSettings

__all__ = ["DenseLearner"]

#: Pixels at the rim of a crop that have seen too little of their surroundings to be judged.
_RIM = 12
_CONTRAST, _BRIGHTNESS = 0.2, 0.1
_WEIGHT_DECAY = 1e-2
_HIGHEST_RATE = 3e-3
#: What the highest rate is multiplied by in all rounds but the first.
_LATER_RATE = 2 / 3
#: Share of the steps in which the rate rises, and how far below its highest it begins and ends.
_RISE, _FIRST, _LAST = 0.3, 1 / 25, 1 / 250_000


class DenseLearner:
    """Makes the default network say what the target planes say; who loops may validate, save and stop between steps.

    Parameters
    ----------
    network
        To be trained, in place, on the device of the crops.
    crops
        Planes: two correlations, target, weight.
    settings
        Batch size, rate, seed.
    precision
        Of the network's arithmetic.
    device
        Where.

    Attributes
    ----------
    network
        The network. Set it to evaluation mode for use between steps; a step sets it back.
    steps
        Done so far.
    round
        The one that is learned in, counted from 0.
    """

    def __init__(
        self,
        network: MatchedFilterNetwork,
        crops: CropSource,
        settings: TrainingSettings,
        precision: torch.dtype,
        device: torch.device,
    ) -> None:
        # Channels last is the faster order of convolutions, on CPUs as well as on GPUs.
        self.network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.steps = self.round = 0
        self._crops, self._batch, self._precision, self._device = crops, settings.batch_size, precision, device
        self._rate = self._first_rate = settings.learning_rate or _HIGHEST_RATE
        self._generator = torch.Generator().manual_seed(settings.seed + 1)
        self._optimiser = self._new_optimiser()
        # Gradients in half precision would vanish without it; it does nothing for the other types.
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)

    def step(self, progress: float) -> torch.Tensor:
        """Learn from one batch.

        Parameters
        ----------
        progress
            Share of the training that is over, 0 to 1: it decides the learning rate.

        Returns
        -------
        torch.Tensor
            The mean of the weighted cross entropy, detached, on the device.
        """
        self.network.train()
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate * _one_cycle(progress)
        images, planes = self._crops.draw(self._batch)
        images = self._jittered(images).contiguous(memory_format=torch.channels_last)
        half = self._precision != torch.float32
        with torch.autocast(self._device.type, self._precision, enabled=half):
            logits = self.network(images, planes[:, :2].contiguous(memory_format=torch.channels_last))
        loss = _cross_entropy(logits.float(), planes[:, 2], planes[:, 3])
        self._optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self.steps += 1
        return loss.detach()

    def replace_targets(self, targets: Sequence[torch.Tensor]) -> None:
        """Learn from other targets and weights ``(2, y // 2 + 1, x // 2 + 1)`` of the micrographs."""
        self._crops.replace_planes(2, targets)

    def read_from(self, crops: CropSource) -> None:
        """Learn from other micrographs."""
        self._crops = crops

    def begin_round(self, targets: Sequence[torch.Tensor]) -> None:
        """Learn from other targets and weights, as :meth:`replace_targets` takes them, at lower rates."""
        self.replace_targets(targets)
        self._rate = _LATER_RATE * self._first_rate
        self._optimiser = self._new_optimiser()

    def _new_optimiser(self) -> AdamW:
        return AdamW(
            self.network.parameters(),
            lr=self._rate,
            weight_decay=_WEIGHT_DECAY,
            fused=self._device.type == "cuda",
        )

    def _jittered(self, images: torch.Tensor) -> torch.Tensor:
        """Contrast and brightness of each crop changed a little; the correlation does not depend on either."""
        gain, shift = torch.randn((2, len(images), 1, 1, 1), generator=self._generator).to(images.device)
        return images * (1 + _CONTRAST * gain) + _BRIGHTNESS * shift

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything that is needed to go on exactly from here, as named tensors that a safetensors file can hold."""
        state = {
            "steps": torch.tensor(self.steps),
            "round": torch.tensor(self.round),
            "targets": self._crops.planes(2),
            "crops": self._crops.generator.get_state(),
            "jitter": self._generator.get_state(),
        }
        state |= {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        state |= optimiser_state(self._optimiser, self._scaler)
        return {name: tensor.detach().clone().cpu().contiguous() for name, tensor in state.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from what :meth:`state_dict` gave, under the same settings and with the same data.

        Raises
        ------
        CheckpointError
            The state is that of another network, or incomplete.
        """
        try:
            self.network.load_state_dict(under(state, "network"))
            load_optimiser(state, self._optimiser, self._scaler, is_new=not int(state["steps"]))
            self._crops.generator.set_state(state["crops"].cpu())
            self._generator.set_state(state["jitter"].cpu())
            self.steps, self.round = int(state["steps"]), int(state["round"])
            self._crops.replace_planes(2, list(state["targets"]))
            if self.round:
                self._rate = _LATER_RATE * self._first_rate
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"this training cannot go on from the saved state ({reason}); train anew") from error


def _cross_entropy(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    rim = _RIM // MatchedFilterNetwork.stride
    inner = (..., slice(rim, -rim), slice(rim, -rim))
    loss = F.binary_cross_entropy_with_logits(logits[inner], target[inner], reduction="none")
    return (loss * weight[inner]).sum() / weight[inner].sum().clamp(min=1.0)


def _one_cycle(progress: float) -> float:
    """Share of the highest rate: a rise and a fall by half a cosine each (Smith and Topin, arXiv:1708.07120)."""
    if progress < _RISE:
        start, end, way = _FIRST, 1.0, progress / _RISE
    else:
        start, end, way = 1.0, _LAST, min((progress - _RISE) / (1 - _RISE), 1.0)
    return end + (start - end) * (1 + math.cos(math.pi * way)) / 2
